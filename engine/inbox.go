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
	next  *batch
	n     int // filled
	taken int
	bytes int
	list  [batchSize]*gws.Message
}

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) free() {
	*b = batch{}
	batchPool.Put(b)
}

// batches is a list of batches in order.
type batches struct {
	head, tail *batch
}

func (l *batches) empty() bool { return l.head == nil }

func (l *batches) push(b *batch) {
	if l.tail == nil {
		l.head = b
	} else {
		l.tail.next = b
	}
	l.tail = b
}

// append moves all of other to the end of l.
func (l *batches) append(other *batches) {
	switch {
	case other.head == nil:
	case l.head == nil:
		*l = *other
	default:
		l.tail.next = other.head
		l.tail = other.tail
	}
	*other = batches{}
}

// pop takes the next message; nil if there is none.
func (l *batches) pop() *gws.Message {
	b := l.head
	if b == nil {
		return nil
	}
	m := b.list[b.taken]
	b.taken++
	if b.taken == b.n {
		if l.head = b.next; l.head == nil {
			l.tail = nil
		}
		b.free()
	}
	return m
}

// more reports whether at least two messages are left.
func (l *batches) more() bool {
	return l.head != nil && (l.head.n-l.head.taken > 1 || l.head.next != nil)
}
