package interceptors

import (
	"context"
	"errors"

	"github.com/penstock-ws/penstock/frame"
)

// Sender sends to the peer of a connection, without waiting for it: an engine's
// connection is one. Any goroutine may call it.
type Sender interface {
	Send(op frame.Opcode, p []byte) error
}

// SenderKey is the key under which a context of a connection has its [Sender] as a
// value. It is for those who make such contexts, and tests; others call [Reply].
type SenderKey struct{}

// Reply sends a message of type op, frame.Text or frame.Binary, to the peer of the
// connection that ctx belongs to, through its outbound interceptors. An interceptor
// uses it to answer in the handler's place; to refuse it returns a [Refusal]. The
// caller keeps data. The errors are those of the engine's Conn.Send, and one if ctx
// belongs to no connection.
func Reply(ctx context.Context, op frame.Opcode, data []byte) error {
	s, _ := ctx.Value(SenderKey{}).(Sender)
	if s == nil {
		return errNoSender
	}
	return s.Send(op, data)
}

var errNoSender = errors.New("interceptors: the context of Reply belongs to no connection")
