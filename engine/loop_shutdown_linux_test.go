package engine_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// A batch that came before a shutdown from a peer that does not take the replies waits
// for the peer; the loop does not turn in vain meanwhile, and when the peer reads again
// all of it is handled.
func TestLoopShutdownCongested(t *testing.T) {
	const batch, size = 10, 60_000
	var handled, sent atomic.Int32
	inside := make(chan struct{})
	ep := onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		if handled.Add(1) > 1 {
			return nil
		}
		for c.SendBytes(pattern(size)) == nil { // congests it
			sent.Add(1)
		}
		close(inside)
		return nil
	})
	ep.Inline = true
	s := enginetest.Start(t, engine.Config{IO: engine.IOLoops, Loops: 1, HighWaterBytes: 100_000, Logger: quiet}, ep)
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4096})
	var stream []byte
	for range batch {
		stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("x"))...)
	}
	c.Write(stream)
	<-inside
	over := make(chan error, 1)
	go func() { over <- s.Shutdown(enginetest.Patience) }()
	time.Sleep(100 * time.Millisecond) // the shutdown has reached the connection
	before := userTime(t)
	time.Sleep(300 * time.Millisecond)
	require.Less(t, userTime(t)-before, 150*time.Millisecond, "a loop with nothing to do is busy")
	for range sent.Load() {
		require.Len(t, c.ReadMessage().Data, size)
	}
	enginetest.Await(t, func() bool { return handled.Load() == batch }, "what was received should be handled")
	c.ExpectClose(frame.CloseGoingAway)
	c.Close()
	require.NoError(t, <-over)
}

func userTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano())
}
