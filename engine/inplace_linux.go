package engine

import (
	"bytes"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// Messages that came in one read, one behind the other, and are handled on the loop, are
// handled where they were read: the buffer is not needed for anything else before. So they are
// neither copied, nor is anything allocated for them, and gws does not get them. See
// docs/decisions/0026-in-place.md.

// An inPlace is the message that is being handled where it was read. A loop has one.
type inPlace struct {
	message gws.Message
	data    bytes.Buffer
}

// handlesInPlace reports whether the next message is to be handled where it is, as others
// behind it, or were before it: their replies leave together.
func (s *loopSocket) handlesInPlace() bool {
	c, t := s.conn, &s.conn.transport
	if !c.onLoop() || t.more != nil && t.more.whole != nil {
		return false
	}
	next := t.buf.B[t.pos:t.cut]
	if !isMessage(next) || c.inlineBurst == nil && !isMessage(next[frameSize(next):]) {
		return false
	}
	return s.mayHandle()
}

// isMessage reports whether b, which begins with a frame or is empty, begins with one that is
// a message of its own.
func isMessage(b []byte) bool {
	const fin = 0x80
	return len(b) > 0 && (b[0] == fin|byte(frame.Text) || b[0] == fin|byte(frame.Binary))
}

// handleInPlace handles messages up to what must go to gws, or wait.
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
