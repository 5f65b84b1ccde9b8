package engine_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// What only the loop can bring about a handler on the loop cannot wait for: it is told
// so, however its context is wrapped, and a function given to Go may wait. Handlers on
// workers, and inline ones without loops, wait as ever.
func TestLoopHandlerCannotWait(t *testing.T) {
	waits := func(ctx context.Context, c *engine.Conn) []error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return []error{
			c.SendWait(ctx, frame.Text, []byte("waited")),
			c.SendStream(ctx, frame.Binary, bytes.NewReader([]byte("streamed"))),
			c.Drain(ctx, 0),
		}
	}
	for name, row := range map[string]struct {
		io     engine.IO
		inline bool
		want   error
	}{
		"loop, inline":      {engine.IOLoops, true, engine.ErrOnLoop},
		"loop, pool":        {engine.IOLoops, false, nil},
		"goroutine, inline": {engine.IOGoroutines, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, background := make(chan []error, 1), make(chan []error, 1)
			s := enginetest.Start(t, engine.Config{IO: row.io}, engine.Endpoint{Inline: row.inline, Handler: engine.Handler{
				OnMessage: func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
					got <- waits(ctx, c)
					return c.Go(func(ctx context.Context) { background <- waits(ctx, c) })
				},
			}})
			c := s.Dial()
			c.SendText("go")
			if row.want == nil {
				require.Equal(t, "waited", c.ReadText())
				require.Equal(t, "streamed", string(c.ReadMessage().Data))
			}
			for _, err := range <-got {
				require.ErrorIs(t, err, row.want)
			}
			require.Equal(t, "waited", c.ReadText())
			require.Equal(t, "streamed", string(c.ReadMessage().Data))
			for _, err := range <-background {
				require.NoError(t, err)
			}
			c.Hangup()
		})
	}
}
