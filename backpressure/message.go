package backpressure

import "github.com/penstock-ws/penstock/frame"

// A Message is what a queue is offered.
type Message struct {
	// Opcode is frame.Text or frame.Binary. The queue does not look at it.
	Opcode frame.Opcode

	// RSV holds the reserved bits of the message's first frame: frame.RSV1 if
	// Payload is compressed (RFC 7692 §6).
	RSV byte

	// Hold lets the message wait for Flush, which the caller owes, or for a full
	// cork, so that a broadcast of several messages leaves in one write for each
	// connection.
	Hold bool

	// Payload is the sender's, who may reuse it when Send has returned.
	Payload []byte

	// Prepared, unless nil, is the message, and the fields above do not count.
	Prepared *Prepared

	// Class says what becomes of the message if the peer is too slow for it.
	// nil: the queue's own class.
	Class *Class

	// Key, unless empty, makes the message take the place of a waiting one of the
	// same class and key, which is dropped.
	Key string
}

// len returns the payload's size.
func (m *Message) len() int {
	if m.Prepared != nil {
		return m.Prepared.Len()
	}
	return len(m.Payload)
}

// unshare makes a prepared message an ordinary one, for a queue that masks: it is
// copied before it is masked. What others share must stay as it is, and with a key for
// each queue there is nothing left to share.
func (m *Message) unshare() {
	p := m.Prepared
	m.Opcode, m.RSV, m.Payload, m.Prepared = p.op, p.rsv, p.Payload(), nil
}

// tracked: the message may be dropped, or replaced, after it has been taken.
func (m *Message) tracked() bool {
	return m.Key != "" || m.Class.Overflow == DropOldest || m.Class.TTL > 0
}

// Verdict is what became of a message that was offered to a queue.
type Verdict uint8

const (
	// Queued: the message is on its way, in order; its bytes have been copied
	// or written, the caller may reuse its memory.
	Queued Verdict = iota
	// Congested: the message was not taken, because pending bytes were above the
	// high-water mark, or the budget would not bear it. It is the caller's turn:
	// wait with Room, or drop.
	Congested
	// Dropped: the message was not taken, as its class wants it.
	Dropped
	// Overflowed: the message was not taken, as its class disconnects, and the
	// queue has begun to close.
	Overflowed
	// Closed: the queue has been closed or has failed; nothing was taken.
	Closed
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Queued:
		return "queued"
	case Congested:
		return "congested"
	case Dropped:
		return "dropped"
	case Overflowed:
		return "overflowed"
	case Closed:
		return "closed"
	}
	return "unknown verdict"
}
