package engine

import (
	"github.com/penstock-ws/penstock/frame"
)

// How a connection ends. There are two directions, and each ends once:
//
//   - reading: the reader has seen EOF or an error (readDone);
//   - writing: the queue has written the close frame, or has failed (writeDone).
//
// When both have, the socket is closed, and when the functions given to Go have
// returned as well, OnClose is called. What begins the end sets cause, and the
// first cause stays:
//
//   - this side closes (shut): our frame is queued at once; nothing inbound is
//     handled any more;
//   - the peer closes, or is gone, or the engine shuts down (finish): what had been
//     received is handled, then the handshake is answered (answerLocked);
//   - the peer violates the protocol (shut, by the reader);
//   - the socket fails, or a timeout forces the end (abort).

// shut closes from this side with the code and reason of cause, behind what is
// queued or, with discard, instead of it. It reports whether this call was the
// first to begin the end.
func (c *Conn) shut(cause *CloseError, discard bool) bool {
	cause, first := c.beginShut(cause)
	c.queue.Close(cause.Code, cause.replyReason(), discard)
	c.kick()
	return first
}

// beginShut notes that this side closes, and returns the cause that counts.
func (c *Conn) beginShut(cause *CloseError) (_ *CloseError, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = c.causeLocked(cause)
	c.noMore, c.answered = true, true
	c.beginCloseLocked()
	return c.cause, first
}

// finish says that nothing more will be received, and why; what has been is
// still handled.
func (c *Conn) finish(cause *CloseError) {
	c.mu.Lock()
	c.causeLocked(cause)
	c.noMore = true
	c.deaf.Store(true)
	c.wakeReaderLocked()
	c.wakeReceiverLocked()
	if c.ep.pull && c.closeSince == 0 {
		c.closeSince = c.e.clock.now() // whoever receives may never come to the end: answerLate
	}
	c.kickLocked()
}

// answerLocked begins or answers the closing handshake once everything received
// has been handled. It unlocks.
func (c *Conn) answerLocked() {
	c.answered = true
	c.beginCloseLocked()
	cause := c.cause
	c.mu.Unlock()
	c.queue.Close(cause.Code, cause.replyReason(), false)
}

// answerLate is for a connection whose messages nobody receives.
func (c *Conn) answerLate() {
	c.mu.Lock()
	if c.answered {
		c.mu.Unlock()
		return
	}
	c.closeSince = 0 // the handshake has CloseTimeout of its own
	c.answerLocked()
}

// abort ends the connection without ceremony.
func (c *Conn) abort(cause *CloseError) {
	c.mu.Lock()
	c.causeLocked(cause)
	c.noMore, c.answered = true, true
	c.mu.Unlock()
	c.queue.Fail(cause) // before anybody is told: an OnOpen that waits must not send the response
	c.mu.Lock()
	c.beginCloseLocked()
	c.mu.Unlock()
	c.closeSocket()
	c.kick()
}

func (c *Conn) causeLocked(cause *CloseError) bool {
	if c.cause != nil {
		return false
	}
	c.cause = cause
	return true
}

// beginCloseLocked: from here on nothing is handled, and everybody who waits is
// told.
func (c *Conn) beginCloseLocked() {
	if c.closeSince == 0 {
		c.closeSince = c.e.clock.now()
	}
	c.closing.Store(true)
	c.deaf.Store(true)
	c.cancelLocked()
	c.wakeReaderLocked()
	c.wakeReceiverLocked()
}

// Finished implements backpressure.Events: the writing direction has ended.
func (c *Conn) Finished(err error) {
	overflow := c.overflowError()
	c.mu.Lock()
	if c.cause == nil { // the queue closed by itself: a write failed, or overflow
		c.cause = &CloseError{Code: frame.CloseAbnormal, Reason: "write failed", Remote: err != nil, Cause: CauseLost}
		if err == nil {
			c.cause = overflow
		}
	}
	c.noMore, c.answered = true, true
	c.beginCloseLocked()
	c.writeDone = true
	over := c.readDone || err != nil
	c.mu.Unlock()
	switch {
	case over:
		c.closeSocket()
	case !c.scope.dialled: // many servers and proxies take a client's half-close for its end
		_ = c.sock.closeWrite() // fails if the peer is gone; then the reader sees it
	}
	c.kick()
}

// readEnded: everything until the peer's EOF has been read.
func (c *Conn) readEnded() {
	c.mu.Lock()
	c.readDone = true
	over := c.writeDone
	c.mu.Unlock()
	if over {
		c.closeSocket()
	}
	c.kick()
}

// A sockState says whether the socket has been closed, and, for Drain, with what.
type sockState uint8

const (
	sockOpen   sockState = iota
	sockClosed           // all messages that it had taken had been sent
	sockLost             // or not
)

func (c *Conn) closeSocket() {
	n, lost := c.sock.unsent() // a socket that is closed tells of nothing
	c.mu.Lock()
	first := c.sockState == sockOpen
	switch {
	case !first:
	case n+lost > c.farewellLocked():
		c.sockState = sockLost
	default:
		c.sockState = sockClosed
	}
	c.mu.Unlock()
	if first {
		_ = c.sock.close() // nothing can be done about an error here
	}
}

// farewellLocked is how many of the last bytes in the kernel are no message: our close frame
// and the end of the stream. A peer that has closed may not have taken them.
func (c *Conn) farewellLocked() int {
	if !c.writeDone || c.cause.Code == frame.CloseAbnormal {
		return 0
	}
	const (
		end    = 1  // TCP counts it
		mask   = 4  // of what a client sends
		record = 29 // what TLS adds to a frame, at the most
		alert  = 31 // TLS's own farewell, at the most
	)
	n := 2 + len(frame.AppendClose(nil, c.cause.Code, c.cause.replyReason()))
	s, _ := c.sock.(*streamSocket)
	secure := s != nil && s.secure()
	if secure {
		n += record
	}
	switch {
	case c.scope.dialled:
		return n + mask // and no end before the socket is closed
	case secure:
		return n + end + alert
	}
	return n + end
}

func (c *Conn) closeError() *CloseError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// ending reports whether inbound data is to be dropped.
func (c *Conn) ending() bool { return c.deaf.Load() }

// replyReason is the reason in our close frame, whose code is the cause's, as
// RFC 6455 §5.5.1 wants it: not the peer's own words.
func (e *CloseError) replyReason() string {
	if e.Remote {
		return ""
	}
	return e.Reason
}
