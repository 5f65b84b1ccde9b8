package engine

import (
	"math/bits"

	"github.com/penstock-ws/penstock/frame"
)

// gws allocates the length that a frame's header announces, before the payload has
// come. That is the fastest way for a peer that means it, and a way to take our
// memory for one that does not. So an engine grants only so many announced bytes at
// a time; the frames of further peers trickle: gws is given what has arrived of
// such a frame as fragments of its message (RFC 6455 §5.4), and allocates that.
const (
	// smallMessage is what a connection is counted with in any case, for a message
	// that is coming in.
	smallMessage = 4 << 10

	// mostGranted bounds the announced bytes of an engine that have not come, or an
	// eighth of the budget if that is less.
	mostGranted = 64 << 20

	// leastPiece is what a piece has at least, unless it is the last: gws reads
	// through a buffer of so many bytes. Pieces are multiples of 4 so that the mask
	// keeps its phase.
	leastPiece = gwsBuffer

	// holdMost is the most that is held back: a header without its last byte, or too
	// little for a piece.
	holdMost = leastPiece + 4
)

// A trickle is a frame that is handed to gws in pieces.
type trickle struct {
	on     bool
	op     frame.Opcode // of the next piece
	fin    bool         // the frame's
	masked bool
	mask   [4]byte
	left   int64 // payload that gws has not been given
}

// follows reports whether the frame whose header has been read, and of whose
// payload so much is missing in the buffer, has to trickle.
func (t *transport) follows(h frame.Header, missing int64) bool {
	if h.Length <= smallMessage {
		return false
	}
	most := int64(mostGranted)
	if limit := t.c.e.cfg.Budget.Limit(); limit > 0 {
		most = min(most, int64(limit)/8)
	}
	if t.c.e.granted.Add(missing) <= most && t.c.announce(t.needs()) {
		t.needMore().granted = missing
		return false
	}
	t.c.e.granted.Add(-missing)
	return true
}

// returnGrant: the frame has come, or will not.
func (t *transport) returnGrant() {
	if m := t.more; m != nil && m.granted > 0 {
		t.c.e.granted.Add(-m.granted)
		m.granted = 0
	}
}

// startTrickle makes a piece of what is in buf of a frame whose header is at header
// and whose payload begins at at. Nothing comes behind it.
func (t *transport) startTrickle(h frame.Header, header, at int) {
	b := t.buf.B
	k := &t.needMore().trickle
	*k = trickle{on: true, op: h.Opcode, fin: h.Fin, masked: h.Masked, mask: h.Mask, left: h.Length}
	have := len(b) - at
	t.watch(b[at:], h.Length)
	t.scanner.Skip(int64(have))
	size := pieceOf(have)
	t.keep(b[at+size:])
	t.safe = header
	if size == 0 {
		return
	}
	t.safe += len(frame.AppendHeader(b[:header], k.header(size))) - header // no longer than the header was
	t.safe += copy(b[t.safe:], b[at:at+size])
}

// piece makes a piece of the payload at front, of which what is before from was held
// back. It returns where scanning goes on.
func (t *transport) piece(front, from int) int {
	b := t.buf.B
	k := &t.needMore().trickle
	fresh := min(int64(len(b)-from), t.scanner.Remaining())
	t.watch(b[from:from+int(fresh)], t.scanner.Remaining())
	t.scanner.Skip(fresh)
	have := from - front + int(fresh)
	last := int64(have) == k.left
	size := have
	if !last {
		size = pieceOf(have)
		t.keep(b[front+size : front+have])
	}
	if size > 0 {
		var head [frame.MaxHeaderSize]byte
		h := frame.AppendHeader(head[:0], k.header(size))
		t.pos = front - len(h)
		copy(b[t.pos:], h)
	}
	t.safe = front + size
	if last {
		k.on = false
		return t.safe
	}
	return len(b)
}

// pieceOf returns how many of n bytes make a piece.
func pieceOf(n int) int {
	if n < leastPiece {
		return 0
	}
	return n &^ 3
}

// header returns the header of the next piece, of so many bytes.
func (k *trickle) header(size int) frame.Header {
	h := frame.Header{Fin: k.fin && int64(size) == k.left, Opcode: k.op, Masked: k.masked, Mask: k.mask, Length: int64(size)}
	k.op = frame.Continuation
	k.left -= int64(size)
	return h
}

// needs returns what a message of n bytes takes in gws: buffers come in powers of
// two, and a fragmented message grows by doubling, with the old one beside the new.
func needs(n int64, fragmented bool) int {
	size := 1 << bits.Len64(uint64(max(n-1, 0)))
	if fragmented {
		size *= 2
	}
	return size
}

// needs returns the memory for the message that is coming in, if there is one and
// it is not small, and for a large one that has yet to be taken.
func (t *transport) needs() int {
	n := 0
	if t.more != nil && t.more.whole != nil {
		n = cap(t.more.whole.B)
	}
	if t.scanner.InMessage() || t.data && t.scanner.Remaining() > 0 {
		n += t.coming()
	}
	return n
}

// coming returns the memory for the message that is coming in, 0 if it is small.
func (t *transport) coming() int {
	n := t.length
	if t.trickles() {
		n -= t.more.trickle.left
	}
	if n <= smallMessage {
		return 0
	}
	return needs(n, t.fragmented || t.trickles())
}

// arrived gives back what was granted once the frame is here, and takes from the
// budget what the message that is coming in has come to need. If that is too much
// the connection ends.
func (t *transport) arrived() {
	if t.scanner.Remaining() == 0 {
		t.returnGrant()
	}
	if n := t.needs(); n > t.c.announced && !t.c.announce(n) {
		t.c.e.counters.shed.Add(1)
		t.c.shut(budgetError(), false)
	}
}
