package engine_test

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// No more functions than MaxBackground run at once, over all connections, and
// one that ends makes room.
func TestBackgroundLimit(t *testing.T) {
	open := make(conns, 2)
	s := enginetest.Start(t, engine.Config{MaxBackground: 3}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	s.Dial()
	s.Dial()
	a, b := <-open, <-open
	leave, left := make(chan struct{}), make(chan struct{})
	wait := func(context.Context) { <-leave; left <- struct{}{} }
	require.NoError(t, a.Go(wait))
	require.NoError(t, b.Go(wait))
	require.NoError(t, a.Go(wait))
	require.Equal(t, 3, s.Engine.Stats().Background)
	require.ErrorIs(t, a.Go(wait), engine.ErrTooMuchBackground)
	require.ErrorIs(t, b.Go(wait), engine.ErrTooMuchBackground)
	leave <- struct{}{}
	<-left
	enginetest.Await(t, func() bool { return b.Go(wait) == nil }, "there should be room for one more")
	require.ErrorIs(t, a.Go(wait), engine.ErrTooMuchBackground)
	close(leave)
	for range 3 {
		<-left
	}
	enginetest.Await(t, func() bool { return s.Engine.Stats().Background == 0 }, "none should be left")
}

// The context tells a function that the connection has ended, however it did, and
// OnClose waits for the function.
func TestBackgroundEnds(t *testing.T) {
	for name, end := range map[string]func(s *enginetest.Server, peer *enginetest.Client, c *engine.Conn){
		"peer closes": func(_ *enginetest.Server, peer *enginetest.Client, _ *engine.Conn) {
			peer.SendClose(frame.CloseNormal, "")
		},
		"peer resets": func(_ *enginetest.Server, peer *enginetest.Client, _ *engine.Conn) { peer.Reset() },
		"peer breaks the protocol": func(_ *enginetest.Server, peer *enginetest.Client, _ *engine.Conn) {
			peer.Write([]byte{0xFF, 0xFF})
		},
		"we close": func(_ *enginetest.Server, _ *enginetest.Client, c *engine.Conn) { _ = c.Close(frame.CloseNormal, "") },
		"shutdown": func(s *enginetest.Server, _ *enginetest.Client, _ *engine.Conn) {
			go func() { _ = s.Shutdown(enginetest.Patience) }()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var returned atomic.Bool
			var ended ending
			open := make(conns, 1)
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
				OnOpen:    open.OnOpen,
				OnMessage: echo,
				OnClose: func(c *engine.Conn, err *engine.CloseError) {
					assert.True(t, returned.Load(), "OnClose came before the function had returned")
					ended.OnClose(c, err)
				},
			}})
			peer := s.Dial()
			conn := <-open
			leave := make(chan struct{})
			told := make(chan error)
			require.NoError(t, conn.Go(func(ctx context.Context) {
				if engine.FromContext(ctx) != conn {
					told <- assert.AnError
				}
				<-ctx.Done()
				told <- ctx.Err()
				<-leave
				returned.Store(true)
			}))
			end(s, peer, conn)
			require.ErrorIs(t, <-told, context.Canceled)
			require.ErrorIs(t, conn.Go(func(context.Context) {}), net.ErrClosed)
			require.Empty(t, ended.all())
			require.Equal(t, 1, s.Open())
			peer.Close()
			close(leave)
			ended.await(t)
		})
	}
}

// A function may send for as long as it likes: SendWait paces it.
func TestBackgroundStream(t *testing.T) {
	const n, size = 200, 50_000
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 128 << 10}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: echo,
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				for i := range n {
					p := append(pattern(size), strconv.Itoa(i)...)
					if !assert.NoError(t, c.SendWait(ctx, frame.Binary, p)) {
						return
					}
					assert.LessOrEqual(t, c.PendingBytes(), 128<<10+size+100+kernelHolds)
				}
				_ = c.Close(frame.CloseNormal, "that was all")
			})
		},
	}})
	c := s.Dial()
	for i := range n {
		m := c.ReadMessage()
		require.Equal(t, strconv.Itoa(i), string(m.Data[size:]))
	}
	c.ExpectClose(frame.CloseNormal)
}
