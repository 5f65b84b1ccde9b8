package connect

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// EndError tells that a connection has not ended as this side or an orderly server
// would have it.
type EndError struct {
	Close  *engine.CloseError
	Unsent bool // the server closed before all of the input was sent
}

// Error tells who has ended it, with which code and reason.
func (e *EndError) Error() string {
	text := closing(e.Close)
	if e.Unsent {
		text += "; input was left unsent"
	}
	return text
}

// Unwrap returns the end.
func (e *EndError) Unwrap() error { return e.Close }

// ExitCode is 101 to 115 for the codes of RFC 6455, 120 and 121 for those of services
// and applications, and 1 for an orderly end that came too early.
func (e *EndError) ExitCode() int { return max(1, codeStatus(e.Close.Code)) }

// codeStatus is the exit status for a close code that this side has not asked for.
func codeStatus(code frame.CloseCode) int {
	switch {
	case code == frame.CloseNormal, code == frame.CloseNoStatus:
		return 0
	case code <= frame.CloseTLSHandshake:
		return 100 + int(code-frame.CloseNormal)
	case code < 4000:
		return 120
	}
	return 121
}

// closing describes an end; the reason is quoted, as it may be the peer's.
func closing(end *engine.CloseError) string {
	var b strings.Builder
	switch {
	case end.Cause == engine.CauseLost:
		b.WriteString("the connection was lost: ")
	case end.Remote:
		b.WriteString("the server closed the connection: ")
	default:
		b.WriteString("this side closed the connection: ")
	}
	b.WriteString(end.Code.String())
	if end.Reason != "" {
		fmt.Fprintf(&b, " %q", end.Reason)
	}
	return b.String()
}

// ConnectError tells why there is no connection.
type ConnectError struct{ Err error }

// Error is the cause's text, on one line.
func (e *ConnectError) Error() string { return oneLine(withoutPrefix(e.Err)) }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// ExitCode is 4 if the server has refused the handshake, else 3.
func (e *ConnectError) ExitCode() int {
	var refused *engine.HandshakeError
	if errors.As(e.Err, &refused) {
		return 4
	}
	return 3
}

// SignalError tells that a signal ended the command before there was a connection, or
// before that was closed.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e *SignalError) Error() string { return fmt.Sprintf("ended by a signal (%v)", e.Signal) }

// ExitCode is 128 and the signal's number, as a shell has it.
func (e *SignalError) ExitCode() int {
	if n, ok := e.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 1
}

func withoutPrefix(err error) string { return strings.TrimPrefix(err.Error(), "engine: ") }
