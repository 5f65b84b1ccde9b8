package backpressure

import (
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// Policy says what happens to a message for which a queue has no room.
type Policy uint8

const (
	// Congest refuses it and leaves the rest to the sender. The message that
	// crosses the high-water mark is still taken, later ones are not until the
	// low-water mark is reached: a handler that was allowed to run can always
	// send its reply.
	Congest Policy = iota
	// DropNewest drops it. Here and with the policies that follow, a message has
	// room if pending bytes with it are at most the high-water mark, or if
	// nothing is pending.
	DropNewest
	// DropOldest drops as many of the oldest waiting messages of its class as
	// make room for it; if all of them would not, it is dropped itself. A message
	// that the socket is being offered, or of which it has taken a byte, stays.
	DropOldest
	// Disconnect ends the connection: what is queued is dropped, and no data
	// follows.
	Disconnect
)

// String returns the policy's name in lower case.
func (p Policy) String() string {
	switch p {
	case Congest:
		return "congest"
	case DropNewest:
		return "drop newest"
	case DropOldest:
		return "drop oldest"
	case Disconnect:
		return "disconnect"
	}
	return "unknown policy"
}

// A Class is a kind of message, and what becomes of it if the peer is too slow.
// The zero value refuses under congestion. Classes are told apart by their
// address and must not change while they are used; any number of queues may
// share one.
type Class struct {
	// Name stands in logs and metrics.
	Name string

	// Overflow is what happens without room.
	Overflow Policy

	// Code is the close code of Disconnect. Default 1013, also for a code that may not
	// stand in a close frame.
	Code frame.CloseCode

	// TTL, unless zero, is how long a message may wait before the socket is first
	// offered a byte of it; then it is dropped.
	TTL time.Duration

	// Gap, unless nil, makes the message that the peer receives in place of those
	// of this class that were dropped, so that it can know. Neighbours make one
	// gap. It is called when the gap's turn to be written comes, and must not
	// block, nor end its goroutine. Replaced messages leave none.
	Gap func(Lost) (frame.Opcode, []byte)
}

// closeCode is the code of Disconnect.
func (c *Class) closeCode() frame.CloseCode {
	if !c.Code.Sendable() {
		return frame.CloseTryAgainLater
	}
	return c.Code
}

// Lost is how many messages of a class have been dropped, and why.
type Lost struct {
	Class      *Class
	Overflowed int // for lack of room
	Expired    int // their time to live had run out
	Replaced   int // by a newer one with the same key
	Bytes      int // their payload
}

func (l *Lost) add(o Lost) {
	l.Overflowed += o.Overflowed
	l.Expired += o.Expired
	l.Replaced += o.Replaced
	l.Bytes += o.Bytes
}

// Messages returns the number of messages dropped for whatever reason.
func (l Lost) Messages() int { return l.Overflowed + l.Expired + l.Replaced }
