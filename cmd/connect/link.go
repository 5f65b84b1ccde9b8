package connect

import (
	"context"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A link takes messages: one connection, or with --reconnect a client that makes others. Its
// errors are its end's, or ctx's.
type link interface {
	// put sends a message when not too much waits.
	put(ctx context.Context, op frame.Opcode, data []byte) error

	// drain waits until all has been sent.
	drain(ctx context.Context) error

	// close begins the end. It does not wait, and may be called again.
	close(code frame.CloseCode, reason string)
}

// mostQueued is what may wait to be sent before more of the input is taken. It is far
// below Config.HighWaterBytes, above which the engine would not read, either: a server
// that does the same, and echoes, would wait for us then, and we for it.
const mostQueued = 256 << 10

// single is a link that ends with its connection.
type single struct{ conn *engine.Conn }

func (l single) put(ctx context.Context, op frame.Opcode, data []byte) error {
	if err := l.conn.Drain(ctx, mostQueued); err != nil {
		return err
	}
	return l.conn.SendWait(ctx, op, data)
}

func (l single) drain(ctx context.Context) error { return l.conn.Drain(ctx, 0) }

func (l single) close(code frame.CloseCode, reason string) {
	_ = l.conn.Close(code, reason) // if it is not ending already
}
