package engine

import (
	"bytes"
	"math"
	"math/bits"
	"sync"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// An arrival is a message, or a ping or pong, between the reader and its handler.
type arrival struct {
	data       *bytes.Buffer // its payload
	later      uint32        // microseconds that it was read after the first of its batch
	opcode     frame.Opcode
	memory     memoryOf
	compressed bool
	checked    bool // its text, on a connection with compression
}

// memoryOf says whose a payload's memory is.
type memoryOf uint8

const (
	ofNobody   memoryOf = iota // it is left where it is
	ofGWS                      // gws's pool
	ofArrivals                 // arrivalBuffers
	ofEngine                   // the engine's pool, which has forgotten it
)

// own gives the message its payload, in memory of the engine's pool.
func (r *arrival) own(e *Engine, payload *frame.Buffer) {
	e.pool.Forget(payload) // a message may end in many ways, and is then the garbage collector's
	r.data, r.memory = bytes.NewBuffer(payload.B), ofEngine
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
		buf := e.pool.Get(n)
		buf.B = append(buf.B, payload...)
		r.own(e, buf)
		return
	}
	class := arrivalClass(max(n, 1))
	r.data, _ = arrivalBuffers[class].Get().(*bytes.Buffer)
	if r.data == nil {
		r.data = bytes.NewBuffer(make([]byte, 0, 128<<class))
	}
	r.data.Write(payload)
	r.memory = ofArrivals
}

// free gives back the memory of a message.
func (e *Engine) free(r arrival) {
	switch r.memory {
	case ofGWS:
		_ = (&gws.Message{Data: r.data}).Close() // gives the buffer back to gws; it has no way to fail
	case ofArrivals:
		class := arrivalClass(r.data.Cap())
		r.data.Reset()
		arrivalBuffers[class].Put(r.data)
	case ofEngine:
		e.pool.Recycle(&frame.Buffer{B: r.data.Bytes()})
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
	if last := l.last; last != nil && last.n+b.n <= batchSize && b.read-last.read <= math.MaxUint32*1e3 {
		for _, m := range b.list[:b.n] {
			m.later = uint32((b.read - last.read) / 1e3)
			last.list[last.n] = m
			last.n++
		}
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

// pop takes the next message, and says when it was read. There must be one.
func (l *batches) pop() (m arrival, read int64) {
	b := l.last.next
	m = b.list[b.taken]
	read = b.read + int64(m.later)*1e3
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
