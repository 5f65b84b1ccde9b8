package engine

import (
	"math/bits"
	"sync"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// An arrival is a message, or a ping or pong, between the reader and its handler.
type arrival struct {
	gws        *gws.Message  // has the payload if it is gws's,
	buf        *frame.Buffer // else this
	opcode     frame.Opcode
	compressed bool
	checked    bool  // its text, on a connection with compression
	pooled     bool  // buf is from arrivalBuffers, or the engine's pool, which has forgotten it
	read       int64 // transport.lastWait when it was
}

func (r *arrival) bytes() []byte {
	if r.gws != nil {
		return r.gws.Bytes()
	}
	return r.buf.B
}

// own gives the message its payload, in memory of the engine's pool.
func (r *arrival) own(e *Engine, payload *frame.Buffer) {
	e.pool.Forget(payload) // a message may end in many ways, and is then the garbage collector's
	r.gws, r.buf, r.pooled = nil, payload, true
}

// arrivalBuffers are for the payloads of small messages: 128 bytes, and twice as many in each
// that follows. What waits for a slow handler is held for long, and the budget knows its payload
// only, so they are finer than the classes of the engine's pool.
var arrivalBuffers [6]sync.Pool

// arrivalClass returns the class of buffers that have room for n bytes, up to smallMessage.
func arrivalClass(n int) int { return max(0, bits.Len(uint(n-1))-7) }

// copy gives the message its payload, in memory of its own.
func (r *arrival) copy(e *Engine, payload []byte) {
	n := len(payload)
	if n > smallMessage {
		r.own(e, e.pool.Get(n))
	} else {
		class := arrivalClass(max(n, 1))
		r.buf, r.pooled = arrivalBuffers[class].Get().(*frame.Buffer)
		if !r.pooled {
			r.buf, r.pooled = &frame.Buffer{B: make([]byte, 0, 128<<class)}, true
		}
	}
	r.buf.B = append(r.buf.B[:0], payload...)
}

// free gives back the memory of a message.
func (e *Engine) free(r arrival) {
	switch {
	case r.gws != nil:
		_ = r.gws.Close() // gives the buffer back to gws; it has no way to fail
	case r.pooled && cap(r.buf.B) <= smallMessage:
		arrivalBuffers[arrivalClass(cap(r.buf.B))].Put(r.buf)
	case r.pooled:
		e.pool.Recycle(r.buf)
	}
}

// batchSize is how many messages the reader hands over at once at the most: a batch of them
// takes 1 KiB.
const batchSize = 31

// A batch carries messages from the reader to the worker. Batches are pooled, so
// that a quiet connection holds none.
type batch struct {
	next  *batch // the last one's is the first
	n     int    // filled
	taken int
	bytes int
	list  [batchSize]arrival
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	clear(b.list[:b.n])
	b.next, b.n, b.taken, b.bytes = nil, 0, 0, 0
	batchPool.Put(b)
}

// batches is a list of batches in order. It is a ring, which one pointer holds: every
// connection has two.
type batches struct {
	last *batch
}

func (l *batches) empty() bool { return l.last == nil }

// push puts a batch at the end, in the room that the last one has if it has enough: messages
// that come one by one and wait do not take a batch each.
func (l *batches) push(b *batch) {
	if last := l.last; last != nil && last.n+b.n <= batchSize {
		last.n += copy(last.list[last.n:], b.list[:b.n])
		b.free()
		return
	}
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

// pop takes the next message. There must be one.
func (l *batches) pop() arrival {
	b := l.last.next
	m := b.list[b.taken]
	b.taken++
	if b.taken == b.n {
		if l.last.next = b.next; b == l.last {
			l.last = nil
		}
		b.free()
	}
	return m
}

// more reports whether at least two messages are left.
func (l *batches) more() bool {
	if l.last == nil {
		return false
	}
	first := l.last.next
	return first != l.last || first.n-first.taken > 1
}
