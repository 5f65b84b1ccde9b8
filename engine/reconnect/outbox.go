package reconnect

import (
	"bytes"

	"github.com/penstock-ws/penstock/frame"
)

// An outbox holds messages in order, each with a number, from 1. What is in it is
//
//	base+1 … next   handed to the present connection
//	       … ever   handed to an earlier one, and to be handed over again
//	       … end    never handed to any
//
// A message's number is certain once it has been handed over: those of the rest move
// up when one before them is dropped.
type outbox struct {
	list             []waiting // list[from] has the number base+1
	from             int
	bytes            int // of payload
	base, next, ever uint64
}

type waiting struct {
	op   frame.Opcode
	data []byte
}

func (b *outbox) len() int    { return len(b.list) - b.from }
func (b *outbox) end() uint64 { return b.base + uint64(b.len()) }

// push puts a copy of a message at the end.
func (b *outbox) push(op frame.Opcode, p []byte) {
	b.list = append(b.list, waiting{op, bytes.Clone(p)})
	b.bytes += len(p)
}

// hand takes note that the next message is handed over, and returns it; first says
// that it has never been.
func (b *outbox) hand() (m waiting, number uint64, first bool) {
	m = b.list[b.from+int(b.next-b.base)]
	b.next++
	first = b.next > b.ever
	b.ever = max(b.ever, b.next)
	return m, b.next, first
}

// takeBack undoes hand.
func (b *outbox) takeBack(number uint64, first bool) {
	if number <= b.base { // somebody says that it has arrived
		return
	}
	b.next = number - 1
	if first {
		b.ever = number - 1
	}
}

// pass counts a message that has not been in the outbox.
func (b *outbox) pass() {
	b.base++
	b.next, b.ever = b.base, b.base
}

// passBack undoes pass. Nothing has been handed over since.
func (b *outbox) passBack() {
	b.base--
	b.next, b.ever = b.base, b.base
}

// drop lets go of all up to a number.
func (b *outbox) drop(number uint64) {
	for ; b.base < number; b.base++ {
		b.bytes -= len(b.list[b.from].data)
		b.list[b.from] = waiting{}
		b.from++
	}
	b.next, b.ever = max(b.next, b.base), max(b.ever, b.base)
	b.compact()
}

// compact keeps what has been let go of from taking more room than what has not.
func (b *outbox) compact() {
	if b.from > len(b.list)/2 {
		n := copy(b.list, b.list[b.from:])
		clear(b.list[n:])
		b.list, b.from = b.list[:n], 0
	}
}

// remove takes out the oldest message that has never been handed over.
func (b *outbox) remove() waiting {
	i := b.from + int(b.ever-b.base)
	m := b.list[i]
	b.bytes -= len(m.data)
	copy(b.list[b.from+1:i+1], b.list[b.from:i]) // those before it are fewer, or none
	b.list[b.from] = waiting{}
	b.from++
	b.compact()
	return m
}

// removable returns how many messages have never been handed over, and their bytes.
func (b *outbox) removable() (n, bytes int) {
	for _, m := range b.list[b.from+int(b.ever-b.base):] {
		n++
		bytes += len(m.data)
	}
	return n, bytes
}

// rewind begins again on another connection.
func (b *outbox) rewind() { b.next = b.base }

// empty takes everything out.
func (b *outbox) empty() []waiting {
	list := b.list[b.from:]
	b.base = b.end()
	b.next, b.ever = b.base, b.base
	b.list, b.from, b.bytes = nil, 0, 0
	return list
}
