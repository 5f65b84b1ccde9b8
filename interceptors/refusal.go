package interceptors

import (
	"fmt"
	"time"
)

// Refusal is the error by which an interceptor, returning it without calling
// next, refuses an inbound message: the engine answers the peer with it, by a text
// message
//
//	{"type": "error", "status": 403, "message": "uploads are not allowed"}
//
// Returned by Admit it refuses a connection, with an HTTP status. It is found by
// errors.As whether it was returned as a value or as a pointer.
type Refusal struct {
	// Status says why, like an HTTP status: 401 (who are you?), 403 (you may not), 429 (too often).
	Status int
	// Message is sent to the peer: it must not tell what the peer may not know.
	Message string
	// RetryAfter, unless zero, is told to the peer in whole seconds, rounded up: as
	// "retry_after" of the message, or in the Retry-After header.
	RetryAfter time.Duration
	// Close ends the connection after the answer, with 1008 and Message as the reason,
	// as far as it fits (123 bytes).
	Close bool
}

// Refuse returns a [Refusal]. A refusal that is always the same can be made
// once and returned many times.
func Refuse(status int, message string) error { return Refusal{Status: status, Message: message} }

// Error tells status and message.
func (r Refusal) Error() string {
	return fmt.Sprintf("interceptors: refused with status %d: %s", r.Status, r.Message)
}

// As lets errors.As find a Refusal that was returned as a pointer where a value
// is asked for, and the reverse: an engine that missed one of them would answer
// the peer with an internal error.
func (r Refusal) As(target any) bool {
	switch t := target.(type) {
	case *Refusal:
		*t = r
	case **Refusal:
		*t = &r
	default:
		return false
	}
	return true
}
