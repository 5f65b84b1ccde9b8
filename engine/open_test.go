package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// OnOpen has returned when the client learns that it is connected.
func TestOpenBeforeResponse(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		opened := make(chan struct{}, 1)
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				if err := c.SendText("first"); err != nil {
					return err
				}
				time.Sleep(10 * time.Millisecond)
				opened <- struct{}{}
				return nil
			},
			OnMessage: echo,
		}})
		for range 5 {
			c := s.Dial()
			require.Len(t, opened, 1, "the response came before OnOpen had returned")
			<-opened
			require.Equal(t, "first", c.ReadText())
			c.Hangup()
		}
	})
}

// The response comes before everything else, whatever OnOpen does.
func TestOpenResponseComesFirst(t *testing.T) {
	for name, row := range map[string]struct {
		cfg  engine.Config
		open func(c *engine.Conn) error
		want func(t *testing.T, c *enginetest.Client)
	}{
		"ping": {
			open: func(c *engine.Conn) error { return c.Ping([]byte("hello")) },
			want: func(t *testing.T, c *enginetest.Client) {
				h, payload := c.ReadFrame()
				require.Equal(t, frame.Ping, h.Opcode)
				require.Equal(t, "hello", string(payload))
				c.Hangup()
			},
		},
		"ping and flush": {
			open: func(c *engine.Conn) error { defer c.Flush(); return c.Ping(nil) },
			want: func(_ *testing.T, c *enginetest.Client) { c.ReadFrame(); c.Hangup() },
		},
		"close": {
			open: func(c *engine.Conn) error { return c.Close(4001, "") },
			want: func(_ *testing.T, c *enginetest.Client) { c.ExpectClose(4001) },
		},
		"error": {
			cfg:  engine.Config{Logger: quiet},
			open: func(*engine.Conn) error { return errors.New("no") },
			want: func(_ *testing.T, c *enginetest.Client) { c.ExpectClose(frame.CloseInternalError) },
		},
		"stream that fails": {
			open: func(c *engine.Conn) error {
				_ = c.SendStream(context.Background(), frame.Text, iotest.ErrReader(errors.New("no")))
				return nil
			},
			want: func(_ *testing.T, c *enginetest.Client) { c.ExpectClose(frame.CloseInternalError) },
		},
		"message over the limit": {
			open: func(c *engine.Conn) error { return c.SendBytes(pattern(2 << 20)) },
			want: func(_ *testing.T, c *enginetest.Client) { c.ExpectClose(frame.CloseMessageTooBig) },
		},
		"overflow": {
			cfg: engine.Config{HighWaterBytes: 2, SendClass: &backpressure.Class{Overflow: backpressure.Disconnect}, CorkBytes: 1 << 20},
			open: func(c *engine.Conn) error {
				for c.SendText("more") == nil {
				}
				return nil
			},
			want: func(_ *testing.T, c *enginetest.Client) { c.ExpectClose(frame.CloseTryAgainLater) },
		},
		"wait for room": {
			cfg: engine.Config{HighWaterBytes: 2},
			open: func(c *engine.Conn) error {
				ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
				defer cancel()
				for range 3 {
					if err := c.SendWait(ctx, frame.Text, []byte("more")); err != nil {
						return err
					}
				}
				return c.Drain(ctx, 0)
			},
			want: func(t *testing.T, c *enginetest.Client) {
				for range 3 {
					require.Equal(t, "more", c.ReadText())
				}
				c.Hangup()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				s := enginetest.Start(t, row.cfg, engine.Endpoint{Inline: inline, Handler: engine.Handler{
					OnOpen:    func(_ context.Context, c *engine.Conn) error { return row.open(c) },
					OnMessage: echo,
				}})
				row.want(t, s.Dial())
			})
		})
	}
}

// A small high-water mark is not used up by the response.
func TestOpenResponseIsNotCongestion(t *testing.T) {
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 64}, engine.Endpoint{Handler: engine.Handler{
		OnOpen:    func(_ context.Context, c *engine.Conn) error { return c.SendText("hello") },
		OnMessage: echo,
	}})
	c := s.Dial()
	require.Equal(t, "hello", c.ReadText())
	c.Hangup()
}

// A client that is gone before OnOpen has returned is closed like any other.
func TestOpenClientGone(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var end ending
		inside, leave := make(chan struct{}), make(chan struct{})
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen:    func(context.Context, *engine.Conn) error { close(inside); <-leave; return nil },
			OnMessage: echo,
			OnClose:   end.OnClose,
		}})
		c := s.Ask(enginetest.Handshake{})
		<-inside
		c.Reset()
		close(leave)
		require.Equal(t, frame.CloseAbnormal, end.await(t).Code)
	})
}

// Shutdown during an OnOpen waits for it.
func TestOpenDuringShutdown(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var end ending
		inside, leave := make(chan struct{}), make(chan struct{})
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen:    func(context.Context, *engine.Conn) error { close(inside); <-leave; return nil },
			OnMessage: echo,
			OnClose:   end.OnClose,
		}})
		s.Handle("/later", onMessage(echo))
		c := s.Ask(enginetest.Handshake{})
		<-inside
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(enginetest.Patience) }()
		later := enginetest.Handshake{Target: "/later"} // may come before the shutdown has begun
		enginetest.Await(t, func() bool { return s.Request(later).StatusCode == 503 }, "upgrades should be refused")
		require.Empty(t, end.all())
		close(leave)
		c.ReadResponse()
		c.ExpectClose(frame.CloseGoingAway)
		require.NoError(t, <-down)
	})
}
