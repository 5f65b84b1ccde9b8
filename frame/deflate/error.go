package deflate

import (
	"errors"
	"strconv"

	"github.com/penstock-ws/penstock/frame"
)

// What inflating and negotiating can end in, compared with errors.Is. The
// peer's violations are values of frame's table and carry their close code.
var (
	// ErrTooBig: the message inflates to more than the limit or the ratio
	// allows; close code 1009.
	ErrTooBig error = frame.ErrMessageTooBig

	// ErrCorrupt: what the peer sent is not one whole compressed message; close
	// code 1007.
	ErrCorrupt error = frame.ErrCompressedData

	// ErrNoMemory: the caller's Grow has refused. The peer has done nothing wrong.
	ErrNoMemory = errors.New("deflate: no memory for the inflated message")

	// ErrAnswer: a server's answer does not fit Offer, so the client must fail
	// the connection (RFC 7692 §7.1); the wrapping error says why.
	ErrAnswer = errors.New("deflate: the server's extensions do not fit the offer")
)

// SyntaxError is a Sec-WebSocket-Extensions header that breaks the grammar of
// RFC 6455 §9.1. A server answers it with status 400 (§4.2.1).
type SyntaxError struct {
	Line   int    // index of the header line, from 0
	Offset int    // byte in the line at which the grammar is broken, from 0
	Reason string // what was expected there
}

// Error returns the place and the reason on one line.
func (e *SyntaxError) Error() string {
	return "deflate: Sec-WebSocket-Extensions, line " + strconv.Itoa(e.Line) + ", byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}
