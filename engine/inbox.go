package engine

import (
	"sync"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// A received is a message, or a ping or pong, between the reader and its handler.
type received struct {
	gws        *gws.Message  // has the payload if it is gws's,
	buf        *frame.Buffer // else this
	opcode     frame.Opcode
	compressed bool
	checked    bool // text is known to be UTF-8
	pooled     bool // buf is from the engine's pool, which has forgotten it
}

func (r *received) bytes() []byte {
	if r.gws != nil {
		return r.gws.Bytes()
	}
	return r.buf.B
}

// own gives the message its payload, in memory of the engine's pool.
func (r *received) own(e *Engine, payload *frame.Buffer) {
	e.pool.Forget(payload) // a message may end in many ways, and is then the garbage collector's
	r.gws, r.buf, r.pooled = nil, payload, true
}

// free gives back the memory of a message.
func (e *Engine) free(r received) {
	switch {
	case r.gws != nil:
		_ = r.gws.Close() // gives the buffer back to gws; it has no way to fail
	case r.pooled:
		e.pool.Recycle(r.buf)
	}
}

// batchSize is how many messages the reader hands over at once at the most.
const batchSize = 32

// A batch carries messages from the reader to the worker. Batches are pooled, so
// that a quiet connection holds none.
type batch struct {
	next  *batch // the last one's is the first
	n     int    // filled
	taken int
	bytes int
	read  int64 // transport.lastWait when the first message was put in
	list  [batchSize]received
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	clear(b.list[:b.n])
	b.next, b.n, b.taken, b.bytes, b.read = nil, 0, 0, 0, 0
	batchPool.Put(b)
}

// batches is a list of batches in order. It is a ring, which one pointer holds: every
// connection has two.
type batches struct {
	last *batch
}

func (l *batches) empty() bool { return l.last == nil }

func (l *batches) push(b *batch) {
	b.next = b
	l.append(&batches{b})
}

// append moves all of other to the end of l.
func (l *batches) append(other *batches) {
	if other.last == nil {
		return
	}
	if l.last != nil {
		l.last.next, other.last.next = other.last.next, l.last.next
	}
	l.last = other.last
	other.last = nil
}

// pop takes the next message, and says when it was read. There must be one.
func (l *batches) pop() (m received, read int64) {
	b := l.last.next
	m, read = b.list[b.taken], b.read
	b.taken++
	if b.taken == b.n {
		if l.last.next = b.next; b == l.last {
			l.last = nil
		}
		b.free()
	}
	return m, read
}

// more reports whether at least two messages are left.
func (l *batches) more() bool {
	if l.last == nil {
		return false
	}
	first := l.last.next
	return first != l.last || first.n-first.taken > 1
}
