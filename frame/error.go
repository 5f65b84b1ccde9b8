package frame

import "strconv"

// Error is a peer's violation of the protocol or of a limit. Its values are
// the package variables below, compared by identity (errors.Is); they are
// shared by all connections and must not be modified.
type Error struct {
	Code    CloseCode // close code that answers it
	Reason  string    // close reason for the wire, at most MaxReason bytes
	Section string    // the rule that was violated, such as "RFC 6455 §5.2"
}

// Error returns reason, close code and section on one line.
func (e *Error) Error() string {
	return "frame: " + e.Reason + " (" + strconv.Itoa(int(e.Code)) + ", " + e.Section + ")"
}

// Everything that a peer can do wrong at the level of frames and messages.
var (
	// Decided by a frame's first byte.

	ErrReservedBits           = &Error{CloseProtocolError, "reserved bits set", "RFC 6455 §5.2"}
	ErrUnknownOpcode          = &Error{CloseProtocolError, "unknown opcode", "RFC 6455 §5.2"}
	ErrFragmentedControl      = &Error{CloseProtocolError, "fragmented control frame", "RFC 6455 §5.5"}
	ErrUnexpectedContinuation = &Error{CloseProtocolError, "continuation without a message", "RFC 6455 §5.4"}
	ErrExpectedContinuation   = &Error{CloseProtocolError, "new message inside a fragmented one", "RFC 6455 §5.4"}
	ErrTooManyFragments       = &Error{ClosePolicyViolation, "too many fragments", "RFC 6455 §10.4"}

	// Decided by the second byte.

	ErrUnmasked       = &Error{CloseProtocolError, "frame not masked", "RFC 6455 §5.1"}
	ErrMasked         = &Error{CloseProtocolError, "frame masked", "RFC 6455 §5.1"}
	ErrControlTooLong = &Error{CloseProtocolError, "control frame over 125 bytes", "RFC 6455 §5.5"}

	// Decided by the length.

	ErrLengthTopBit     = &Error{CloseProtocolError, "length with its top bit set", "RFC 6455 §5.2"}
	ErrLengthNotMinimal = &Error{CloseProtocolError, "length not minimally encoded", "RFC 6455 §5.2"}
	ErrMessageTooBig    = &Error{CloseMessageTooBig, "message too big", "RFC 6455 §7.4.1"}

	// Decided by the payload.

	ErrCloseLength     = &Error{CloseProtocolError, "close frame of one byte", "RFC 6455 §5.5.1"}
	ErrCloseCode       = &Error{CloseProtocolError, "illegal close code", "RFC 6455 §7.4"}
	ErrCloseReasonUTF8 = &Error{CloseInvalidPayload, "close reason not UTF-8", "RFC 6455 §5.5.1"}
	ErrInvalidUTF8     = &Error{CloseInvalidPayload, "text not UTF-8", "RFC 6455 §8.1"}
	ErrCompressedData  = &Error{CloseInvalidPayload, "compressed data corrupt", "RFC 7692 §7.2.2"}
)
