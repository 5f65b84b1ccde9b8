package engine

import (
	"bytes"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/frame"
)

// gws does not get whole messages, pings and pongs on a loop. Messages that are handled on it
// are handled where they were read, several that came together at once, and one that came alone
// when the others of the turn have been read: they are neither copied, nor is anything allocated
// for them. Those that are for workers, or must wait, are copied to the engine's memory. So a
// loop need not enter gws for each, and its wait can stay open (see loop.woken). See
// docs/decisions/0026-whole-messages.md.

// aloneMost is how much memory messages that came alone may hold while the others of the turn
// are read. Beyond it they are copied.
const aloneMost = 4 << 20

// isAlone reports whether all that there is is one message, which can be handled where it is.
func (s *loopSocket) isAlone() bool {
	t := &s.conn.transport
	if !s.conn.onLoop() || t.pos >= t.cut || t.cut < t.safe || t.fault != nil || t.trickles() || t.more != nil && t.more.whole != nil {
		return false
	}
	next := t.buf.B[t.pos:t.cut]
	return isMessage(next) && frameSize(next) == len(next) && s.mayHandle()
}

// isMessage reports whether b, which begins with a frame or is empty, begins with one that is
// a message of its own.
func isMessage(b []byte) bool {
	const fin = 0x80
	return len(b) > 0 && (b[0] == fin|byte(frame.Text) || b[0] == fin|byte(frame.Binary))
}

// takeWhole deals with the messages, pings and pongs that have been read, up to what must wait,
// or what gws must have; then it returns true.
func (s *loopSocket) takeWhole() (forGWS bool) {
	c, t, l := s.conn, &s.conn.transport, s.loop
	l.lane.conn = c // who is to blame for a panic
	for l.mayGoOn(s) {
		b := t.buf.B[t.pos:t.cut]
		h, n, _ := frame.ParseHeader(b)
		ping := h.Opcode == frame.Ping || h.Opcode == frame.Pong
		if forGWS = !ping && !isMessage(b); forGWS {
			break
		}
		b = b[n : n+int(h.Length)]
		t.pos += n + len(b)
		if ping {
			frame.Mask(b, h.Mask, 0)
			c.takeControl(h.Opcode, b)
			continue
		}
		m := arrival{opcode: h.Opcode}
		bulk := t.takeBulk()
		if bulk == nil {
			frame.Mask(b, h.Mask, 0)
		}
		if c.deflateBits != 0 {
			m.compressed = t.more.marks.pop()
		} else if bulk == nil && h.Opcode == frame.Text && !utf8.Valid(b) {
			t.refuse()
			break
		}
		now := c.onLoop() && s.mayHandle()
		switch {
		case bulk != nil:
			m.own(c.e, bulk)
			m.checked = !m.compressed
		case now:
			l.place = *bytes.NewBuffer(b)
			m.data = &l.place
		default:
			m.copy(c.e, b)
		}
		if now {
			c.handleInline(m)
		} else {
			c.take(m)
		}
	}
	l.place = bytes.Buffer{}
	l.lane.conn = nil
	return forGWS
}

// handleAlone handles the next of the messages that came alone. Nothing has touched its
// connection since: epoll tells of each once in an answer, and is not asked before all of them
// are handled, nor is what has been posted served.
func (l *loop) handleAlone() {
	s := l.alone[l.handled]
	l.alone[l.handled] = nil
	if l.handled++; l.handled == len(l.alone) {
		l.alone, l.handled = l.alone[:0], 0
	}
	l.current = s
	l.goThrough(s)
}
