package engine

import (
	"sync"

	"github.com/lxzan/gws"
)

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
	list  [batchSize]*gws.Message
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	*b = batch{}
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

// pop takes the next message, and says when it was read; nil if there is none.
func (l *batches) pop() (m *gws.Message, read int64) {
	if l.last == nil {
		return nil, 0
	}
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
