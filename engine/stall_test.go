package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
)

// A lateSocket takes what it is sent after a while; its peer says nothing.
type lateSocket struct {
	*cutSocket
	wait time.Duration
	over chan struct{}
}

func (s lateSocket) read(m memory) (int, error) {
	<-s.over
	return s.cutSocket.read(m)
}

func (s lateSocket) Write(bufs [][]byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	select {
	case <-time.After(s.wait):
	case <-s.over:
	}
	return s.cutSocket.Write(bufs, wait)
}

func (s lateSocket) Await(q *backpressure.Queue) { s.tasks.spawn(func() { q.Resume(true) }) }

func (s lateSocket) close() error {
	_ = s.cutSocket.close()
	close(s.over)
	return nil
}

// A stall counts from when the connection began, however old the engine is: TLS has
// its response written by a goroutine, which a sweep may overtake.
func TestStallOfAResponse(t *testing.T) {
	for wait, stalls := range map[time.Duration]bool{9 * time.Second: false, 13 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			e, err := New(Config{WriteStallTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
			require.NoError(t, err)
			time.Sleep(time.Hour)
			end := make(chan *CloseError, 1)
			ep := e.newEndpoint(Endpoint{Handler: Handler{OnClose: func(_ *Conn, err *CloseError) { end <- err }}})
			scope := &Scope{lines: "Late\n\n", host: "h"}
			require.NoError(t, e.admission.enter(scope))
			sock := lateSocket{&cutSocket{tasks: &e.goroutines}, wait, make(chan struct{})}
			e.start(ep, sock, 0, nil, []byte(preface), scope)
			time.Sleep(14 * time.Second)
			synctest.Wait()
			if stalls {
				require.Equal(t, CauseWriteStall, (<-end).Cause)
			} else {
				require.Empty(t, end)
				require.Equal(t, preface, string(sock.out))
				require.Zero(t, e.Stats().Stalled)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = e.Shutdown(ctx) // the peer does not answer
		})
	}
}
