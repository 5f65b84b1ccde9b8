package engine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A connection whose inbox becomes full inside a fragmented message does not leave
// that to the next connection of its loop, whose message would be held against it.
func TestLoopFullInsideMessage(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		gate, inside := make(chan struct{}), make(chan struct{}, 100)
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		held := inFunc(func(ctx context.Context, in engine.Message, next interceptors.InboundFunc) error {
			if in.Type == frame.Ping {
				if c := engine.FromContext(ctx); inline {
					for c.SendBytes(pattern(60_000)) == nil { // congests it
					}
					inside <- struct{}{}
				} else {
					inside <- struct{}{}
					<-gate
				}
			}
			return next(ctx, in)
		})
		ep := with(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			_ = c.Send(m.Type, m.Data) // refused while the peer is congested
			return nil
		}}, held)
		ep.Inline = inline
		cfg := engine.Config{IO: engine.IOLoops, Loops: 1, InboxMessages: 32, ControlFramesPerSecond: -1, HighWaterBytes: 100_000, Logger: quiet}
		s := enginetest.Start(t, cfg, ep)
		a, b := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4096}), s.Dial()
		stream := a.Frame(frame.Header{Opcode: frame.Text}, []byte("in two "))
		for range 40 {
			stream = append(stream, a.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, nil)...)
		}
		stream = append(stream, a.Frame(frame.Header{Fin: true, Opcode: frame.Continuation}, []byte("pieces"))...)
		a.Write(stream)
		<-inside
		for range 3 {
			b.SendText("whole")
			require.Equal(t, "whole", b.ReadText())
		}
		open()
		if !inline {
			require.Equal(t, "in two pieces", a.ReadText())
		}
		a.Reset()
		s.AwaitOpen(1)
	})
}

// A batch that came before a shutdown is handled at once although the peer does not take
// the replies to it, and the loop does not turn in vain meanwhile. Its last message may
// wait for the peer, as it would for a worker.
func TestLoopShutdownCongested(t *testing.T) {
	var handled atomic.Int32
	inside := make(chan struct{})
	ep := onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		if handled.Add(1) > 1 {
			return nil
		}
		for c.SendBytes(pattern(60_000)) == nil { // congests it
		}
		close(inside)
		return nil
	})
	ep.Inline = true
	s := enginetest.Start(t, engine.Config{IO: engine.IOLoops, Loops: 1, HighWaterBytes: 100_000, Logger: quiet}, ep)
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4096})
	var stream []byte
	for range 10 {
		stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("x"))...)
	}
	c.Write(stream)
	<-inside
	over := make(chan error, 1)
	go func() { over <- s.Shutdown(enginetest.Patience) }()
	enginetest.Await(t, func() bool { return handled.Load() >= 9 }, "what was received should be handled")
	c.Reset()
	require.NoError(t, <-over)
}
