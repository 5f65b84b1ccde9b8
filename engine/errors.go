package engine

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/penstock-ws/penstock/frame"
)

var (
	// ErrCongested: more than HighWaterBytes are queued for the peer, or the memory
	// budget is used up; the message was not taken. Use SendWait, wait for OnDrain,
	// or drop it.
	ErrCongested = errors.New("engine: connection congested")

	// ErrDropped: the peer is too slow, and the message's class drops it, or could not
	// make room by dropping older ones. It was not taken; nothing needs to be done.
	ErrDropped = errors.New("engine: message dropped")

	// ErrStreamStalled: the source of a SendStream yielded nothing for
	// StreamStallTimeout. The connection is being closed with 1011.
	ErrStreamStalled = errors.New("engine: the stream's source has stalled")

	// ErrMessageTooBig: a message to send is larger than MaxMessageBytes. The
	// connection, if it is for one, is being closed with 1009.
	ErrMessageTooBig = errors.New("engine: message exceeds MaxMessageBytes")

	// ErrInvalidUTF8: a text message to send is not UTF-8 (RFC 6455 §8.1). It was
	// not sent; the connection is unharmed.
	ErrInvalidUTF8 = errors.New("engine: text message is not valid UTF-8")

	// ErrTooMuchBackground: MaxBackground functions are running.
	ErrTooMuchBackground = errors.New("engine: MaxBackground functions are running")

	// ErrNotPull: Receive on a connection whose endpoint has an OnMessage.
	ErrNotPull = errors.New("engine: Receive needs an endpoint without OnMessage")

	// ErrReceiving: two goroutines in Receive at once.
	ErrReceiving = errors.New("engine: another goroutine is in Receive")

	// ErrOnLoop: a handler that runs on an event loop (see Endpoint.Inline and IOLoops)
	// was about to wait for what only that loop can bring about. Wait in a function given
	// to Conn.Go, with the context that it gets.
	ErrOnLoop = errors.New("engine: a handler on an event loop cannot wait; use Conn.Go")

	// ErrNoBudget: the memory budget does not bear another connection.
	ErrNoBudget = errors.New("engine: the memory budget does not bear another connection")

	// ErrShutdown: the engine has been shut down.
	ErrShutdown = errors.New("engine: shut down")
)

// CloseError says how a connection ended. It satisfies
// errors.Is(err, net.ErrClosed).
type CloseError struct {
	// Code is the close code: the one that was sent or received, 1005 if the
	// peer's close frame had none, 1006 if the connection ended without one.
	Code frame.CloseCode

	// Reason is the text sent or received with it, at most 123 bytes, or our
	// own words for an end without a close frame.
	Reason string

	// Remote is true if the peer ended the connection, false if this side did.
	Remote bool

	// Cause is the kind of reason.
	Cause Cause
}

// Error tells code, side and reason.
func (e *CloseError) Error() string {
	side := "by this side"
	if e.Remote {
		side = "by the peer"
	}
	if e.Reason == "" {
		return fmt.Sprintf("engine: connection closed %s: %v", side, e.Code)
	}
	return fmt.Sprintf("engine: connection closed %s: %v: %s", side, e.Code, e.Reason)
}

// Is makes every CloseError a net.ErrClosed.
func (e *CloseError) Is(target error) bool { return target == net.ErrClosed }

// HandshakeError refuses an upgrade. The response has the status, 200 to 599 (403 stands in
// for any other), the headers, and the reason as its plain-text body. Dial returns the one that the server has
// sent: the reason is the body's first line then, or what there is of it in 512 bytes.
type HandshakeError struct {
	Status int
	Reason string
	Header http.Header

	why Refusal
}

// Error tells status and reason.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("engine: handshake refused with %d: %s", e.Status, e.Reason)
}
