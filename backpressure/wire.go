package backpressure

import "github.com/penstock-ws/penstock/frame"

// Wire is the socket of a connection as its queue sees it. Only the queue's
// current owner calls it, so an implementation needs no lock of its own.
type Wire interface {
	// Write offers the bytes of bufs to the socket, in order, and returns how
	// many it took. With wait false it never blocks: fewer bytes than offered,
	// zero included, say that the socket is full. With wait true it may block
	// until the socket has taken at least one byte or has failed.
	//
	// An error is final for the connection. bufs and what it points to are
	// valid until Write returns; the elements of bufs may be changed.
	Write(bufs [][]byte, wait bool) (n int, err error)

	// Await arranges for one later call of q.Resume, when the socket may have
	// room again, and returns at once. It may have room already: an owner hands
	// over when it has had its turn, too. A wire that cannot wait for readiness
	// starts a goroutine that calls q.Resume(true).
	Await(q *Queue)
}

// Events is what a queue tells the connection it belongs to. The methods are
// called with no lock held, by whichever goroutine has just written or sent; they
// must not block and must not send on the same queue.
type Events interface {
	// Notice reports what has happened.
	Notice(n Notice)

	// Finished reports, exactly once, that nothing will be written any more:
	// with nil after the close frame has been handed to the socket, else with
	// the wire's error or the one given to Fail.
	Finished(err error)

	// Gap returns the message that stands for lost ones: what lost.Class.Gap
	// does. An opcode that is neither frame.Text nor frame.Binary leaves it out.
	Gap(lost Lost) (frame.Opcode, []byte)
}

// Notice is a set of things that have happened.
type Notice uint8

const (
	// NoticeDrained: sends that would have been answered Congested will not be any
	// more. Pending bytes have fallen to the low-water mark after having been above
	// the high-water mark, once for each such crossing, or the budget bears what
	// it would not.
	NoticeDrained Notice = 1 << iota

	// NoticeDropped: messages have been dropped; TakeLost tells which.
	NoticeDropped
)
