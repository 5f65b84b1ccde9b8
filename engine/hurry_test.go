package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A connection that has begun to close is hurried with its own code, also if its close
// frame is not queued yet.
func TestHurryKeepsTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Config{IO: IOGoroutines, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
		require.NoError(t, err)
		scope := scopeOf("")
		require.NoError(t, e.admission.enter(scope))
		sock := &cutSocket{tasks: &e.goroutines}
		c := e.start(e.endpoint, beginning{sock: lateSocket{sock, 0, make(chan struct{})}, response: []byte("x"), scope: scope})
		synctest.Wait()
		_, first := c.beginShut(&CloseError{Code: 4000, Reason: "mine"})
		require.True(t, first)
		c.hurry()
		synctest.Wait()
		require.Equal(t, append([]byte{'x', 0x88, 6}, frame.AppendClose(nil, 4000, "mine")...), sock.out)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = e.Shutdown(ctx) // the peer does not answer
	})
}
