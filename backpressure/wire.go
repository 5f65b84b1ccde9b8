package backpressure

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
// called with no lock held, by whichever goroutine has just written; they must
// not block and must not send on the same queue.
type Events interface {
	// Drained reports that pending bytes have fallen to the low-water mark
	// after having been above the high-water mark: once for each such crossing.
	Drained()

	// Finished reports, exactly once, that nothing will be written any more:
	// with nil after the close frame has been handed to the socket, else with
	// the wire's error or the one given to Fail.
	Finished(err error)
}

// Verdict is what became of a message that was offered to a queue.
type Verdict uint8

const (
	// Queued: the message is on its way, in order; its bytes have been copied
	// or written, the caller may reuse its memory.
	Queued Verdict = iota
	// Congested: pending bytes were above the high-water mark, so the message
	// was not taken. It is the caller's turn: wait with Drain, or drop.
	Congested
	// Overflowed: as Congested, under a policy that disconnects: this message
	// was not taken and the queue has begun to close.
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
	case Overflowed:
		return "overflowed"
	case Closed:
		return "closed"
	}
	return "unknown verdict"
}
