package engine

import (
	"bytes"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// Whole messages that are handled on the loop are handled where they were read, those that
// came together at once, and one that came alone when the others of the turn have been read.
// So they are neither copied, nor is anything allocated for them, and gws does not get them. See
// docs/decisions/0026-in-place.md.

// An inPlace is the message that is being handled where it was read. A loop has one.
type inPlace struct {
	message gws.Message
	data    bytes.Buffer
}

// handlesInPlace reports whether the next message is to be handled where it is, as others
// behind it, or were before it: their replies leave together.
func (s *loopSocket) handlesInPlace() bool {
	next := s.ahead()
	return isMessage(next) && (s.conn.inlineBurst != nil || isMessage(next[frameSize(next):])) && s.mayHandle()
}

// aloneMost is how much memory messages that came alone may hold while the others of the turn
// are read. Beyond it they are gws's, which copies them.
const aloneMost = 4 << 20

// isAlone reports whether all that there is is one message, which can be handled where it is.
func (s *loopSocket) isAlone() bool {
	t := &s.conn.transport
	if t.cut < t.safe || t.kept > 0 || t.fault != nil || t.trickles() {
		return false
	}
	next := s.ahead()
	return isMessage(next) && frameSize(next) == len(next) && s.mayHandle()
}

// ahead are the whole messages that have been read, nil if they are not to be handled on the
// loop, or the payload of the first is elsewhere.
func (s *loopSocket) ahead() []byte {
	t := &s.conn.transport
	if !s.conn.onLoop() || t.more != nil && t.more.whole != nil {
		return nil
	}
	return t.buf.B[t.pos:t.cut]
}

// isMessage reports whether b, which begins with a frame or is empty, begins with one that is
// a message of its own.
func isMessage(b []byte) bool {
	const fin = 0x80
	return len(b) > 0 && (b[0] == fin|byte(frame.Text) || b[0] == fin|byte(frame.Binary))
}

// handleInPlace handles messages where they are, up to what gws must have, or what must wait.
func (s *loopSocket) handleInPlace() {
	c, t, p := s.conn, &s.conn.transport, &s.loop.inPlace
	for t.pos < t.cut && !s.full && s.mayHandle() {
		b := t.buf.B[t.pos:t.cut]
		if !isMessage(b) {
			return
		}
		h, n, _ := frame.ParseHeader(b)
		b = b[n : n+int(h.Length)]
		t.pos += n + len(b)
		frame.Mask(b, h.Mask, 0)
		op := gws.Opcode(h.Opcode) | placeMark
		if c.deflateBits != 0 {
			if t.more.marks.pop() {
				op |= compressedMark
			}
		} else if h.Opcode == frame.Text && !utf8.Valid(b) {
			t.refuse()
			return
		}
		p.data = *bytes.NewBuffer(b)
		p.message = gws.Message{Opcode: op, Data: &p.data}
		c.handleInline(&p.message)
	}
}

// handleAlone handles the next of the messages that came alone.
func (l *loop) handleAlone() {
	s := l.alone[l.handled]
	l.alone[l.handled] = nil
	if l.handled++; l.handled == len(l.alone) {
		l.alone, l.handled = l.alone[:0], 0
	}
	l.current, l.lane.conn = s, s.conn // who is to blame for a panic
	s.handleInPlace()
	l.lane.conn = nil
	l.settle(s)
}
