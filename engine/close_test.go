package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// The kit asserts for every test that OnClose comes exactly once and last. Here
// is what it says.
func TestCloseByPeer(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(c *enginetest.Client)
		want engine.CloseError
	}{
		"with code and reason": {
			func(c *enginetest.Client) {
				c.SendClose(frame.CloseNormal, "bye")
				code, reason := c.ReadClose()
				require.Equal(t, frame.CloseNormal, code)
				require.Empty(t, reason)
				c.ExpectEOF()
				c.Close()
			},
			engine.CloseError{Code: frame.CloseNormal, Reason: "bye", Remote: true},
		},
		"with a code of its own": {
			func(c *enginetest.Client) {
				c.SendClose(4242, "")
				code, _ := c.ReadClose()
				require.Equal(t, frame.CloseCode(4242), code)
				c.ExpectEOF()
				c.Close()
			},
			engine.CloseError{Code: 4242, Remote: true},
		},
		"without code": {
			func(c *enginetest.Client) {
				c.SendClose(frame.CloseNoStatus, "")
				h, payload := c.ReadFrame()
				require.Equal(t, frame.Close, h.Opcode)
				require.Empty(t, payload)
				c.ExpectEOF()
				c.Close()
			},
			engine.CloseError{Code: frame.CloseNoStatus, Remote: true},
		},
		"by reset":                {(*enginetest.Client).Reset, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF":                  {(*enginetest.Client).Close, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF of its direction": {func(c *enginetest.Client) { c.CloseWrite(); c.ExpectEOF() }, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF inside a header":  {func(c *enginetest.Client) { c.Write([]byte{0x82}); c.CloseWrite(); c.ExpectEOF() }, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF inside a payload": {func(c *enginetest.Client) {
			c.Write([]byte{0x82, 0x85, 0, 0, 0, 0, 'x'})
			c.CloseWrite()
			c.ExpectEOF()
		}, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF inside a message":   {func(c *enginetest.Client) { c.Write([]byte{0x02, 0x80, 0, 0, 0, 0}); c.CloseWrite(); c.ExpectEOF() }, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by reset inside a payload": {func(c *enginetest.Client) { c.Write([]byte{0x82, 0x85, 0, 0, 0, 0, 'x'}); c.Reset() }, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by reset of a large frame": {func(c *enginetest.Client) {
			c.Write(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(1<<20))[:500_000])
			c.Reset()
		}, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
		"by EOF after the handshake": {func(c *enginetest.Client) { c.Close() }, engine.CloseError{Code: frame.CloseAbnormal, Remote: true}},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				var end ending
				open := make(conns, 1)
				s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
					Inline:  inline,
					Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose},
				})
				c := s.Dial()
				conn := <-open
				c.SendText("hello")
				require.Equal(t, "hello", c.ReadText())
				row.end(c)
				got := end.await(t)
				if got.Code == frame.CloseAbnormal {
					require.NotEmpty(t, got.Reason, "our own words")
					got.Reason = ""
				}
				require.Equal(t, row.want, *got)
				requireEnded(t, conn)
			})
		})
	}
}

// requireEnded wants everything that a connection offers to say that it is closed.
func requireEnded(t *testing.T, c *engine.Conn) {
	t.Helper()
	var closed *engine.CloseError
	for name, err := range map[string]error{
		"SendText":   c.SendText("x"),
		"SendBytes":  c.SendBytes([]byte("x")),
		"SendWait":   c.SendWait(context.Background(), frame.Text, []byte("x")),
		"SendStream": c.SendStream(context.Background(), frame.Text, strings.NewReader("x")),
		"Ping":       c.Ping(nil),
		"Close":      c.Close(frame.CloseNormal, ""),
		"Go":         c.Go(func(context.Context) { panic("must not run") }),
	} {
		assert.ErrorIs(t, err, net.ErrClosed, name)
		assert.ErrorAs(t, err, &closed, name)
	}
	assert.ErrorIs(t, c.Context().Err(), context.Canceled)
	select {
	case <-c.Context().Done():
	default:
		assert.Fail(t, "the context is not done")
	}
	assert.Zero(t, c.PendingBytes())
}

// What the peer sent before its close is handled and answered first.
func TestCloseByPeerAfterMessages(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		for name, ending := range map[string][]byte{
			"close frame": {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8},
			"EOF":         nil,
		} {
			t.Run(name, func(t *testing.T) {
				const n = 200 // more than one batch and one quantum
				ep := onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
					if err := ctx.Err(); err != nil {
						return errors.New("the context ended before the messages did")
					}
					return echo(ctx, c, m)
				})
				ep.Inline = inline
				c := enginetest.Start(t, engine.Config{}, ep).Dial()
				var b []byte
				for i := range n {
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(fmt.Sprint(i)))...)
				}
				c.Write(append(b, ending...))
				c.CloseWrite()
				for i := range n {
					require.Equal(t, fmt.Sprint(i), c.ReadText())
				}
				if ending != nil {
					code, _ := c.ReadClose()
					require.Equal(t, frame.CloseNormal, code)
				}
				c.ExpectEOF()
			})
		}
	})
}

func TestCloseLocal(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		for name, handler := range map[string]engine.Handler{
			"in OnMessage": {OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
				_ = c.SendText("last")
				return c.Close(4001, "enough")
			}},
			"by OnMessage's error": {OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
				_ = c.SendText("last")
				return fmt.Errorf("wrapped: %w", &engine.CloseError{Code: 4001, Reason: "enough"})
			}},
			"in OnOpen": {OnOpen: func(_ context.Context, c *engine.Conn) error {
				_ = c.SendText("last")
				return c.Close(4001, "enough")
			}},
			"by OnOpen's error": {OnOpen: func(_ context.Context, c *engine.Conn) error {
				_ = c.SendText("last")
				return &engine.CloseError{Code: 4001, Reason: "enough"}
			}},
			"from outside": {OnOpen: func(_ context.Context, c *engine.Conn) error {
				_ = c.SendText("last")
				go func() { _ = c.Close(4001, "enough") }()
				return nil
			}},
			"in Go": {OnOpen: func(_ context.Context, c *engine.Conn) error {
				return c.Go(func(context.Context) {
					_ = c.SendText("last")
					_ = c.Close(4001, "enough")
				})
			}},
		} {
			t.Run(name, func(t *testing.T) {
				var end ending
				handler.OnClose = end.OnClose
				if handler.OnMessage == nil {
					handler.OnMessage = func(context.Context, *engine.Conn, engine.Message) error { return nil }
				}
				s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: handler})
				c := s.Dial()
				_ = c.TryWrite(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, nil))
				require.Equal(t, "last", c.ReadText())
				code, reason := c.ReadClose()
				require.Equal(t, frame.CloseCode(4001), code)
				require.Equal(t, "enough", reason)
				c.SendClose(4001, "")
				c.ExpectEOF()
				c.CloseWrite()
				require.Equal(t, &engine.CloseError{Code: 4001, Reason: "enough"}, end.await(t))
			})
		}
	})
}

// What an error of OnMessage does to its connection.
func TestCloseByError(t *testing.T) {
	for name, row := range map[string]struct {
		err  error
		code frame.CloseCode
	}{
		"any":                       {errors.New("secret"), frame.CloseInternalError},
		"congested":                 {fmt.Errorf("wrapped: %w", engine.ErrCongested), frame.CloseTryAgainLater},
		"close":                     {&engine.CloseError{Code: frame.ClosePolicyViolation}, frame.ClosePolicyViolation},
		"close with a reserved one": {&engine.CloseError{Code: frame.CloseAbnormal}, frame.CloseInternalError},
		"closed elsewhere":          {net.ErrClosed, frame.CloseInternalError},
		"invalid UTF-8":             {engine.ErrInvalidUTF8, frame.CloseInternalError},
	} {
		t.Run(name, func(t *testing.T) {
			c := enginetest.Start(t, engine.Config{}, onMessage(func(context.Context, *engine.Conn, engine.Message) error { return row.err })).Dial()
			c.SendText("")
			code, reason := c.ReadClose()
			require.Equal(t, row.code, code)
			require.NotContains(t, reason, "secret")
			c.CloseWrite()
			c.ExpectEOF()
		})
	}
}

// After a local close no message reaches the handler any more.
func TestCloseStopsMessages(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var handled atomic.Int32
		ep := onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			if handled.Add(1) == 3 {
				return c.Close(frame.CloseNormal, "")
			}
			return nil
		})
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		c := s.Dial()
		var b []byte
		for range 100 {
			b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("x"))...)
		}
		c.Write(b)
		c.ExpectClose(frame.CloseNormal)
		s.AwaitOpen(0)
		require.EqualValues(t, 3, handled.Load())
	})
}

// Closing again changes nothing and says what the first close was.
func TestCloseTwice(t *testing.T) {
	open := make(conns, 1)
	var end ending
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
	c := s.Dial()
	conn := <-open
	require.NoError(t, conn.Close(4001, "first"))
	var closed *engine.CloseError
	require.ErrorAs(t, conn.Close(4002, "second"), &closed)
	require.Equal(t, &engine.CloseError{Code: 4001, Reason: "first"}, closed)
	require.ErrorIs(t, conn.SendText("x"), net.ErrClosed)
	code, reason := c.ReadClose()
	require.Equal(t, frame.CloseCode(4001), code)
	require.Equal(t, "first", reason)
	c.SendClose(4001, "")
	c.ExpectEOF() // one close frame only
	c.CloseWrite()
	require.Equal(t, closed, end.await(t))
}

// D4: a bad code or reason is an error and leaves the connection open.
func TestCloseValidates(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	for _, code := range []frame.CloseCode{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		err := conn.Close(code, "")
		require.Error(t, err, "%d", code)
		require.NotErrorIs(t, err, net.ErrClosed)
	}
	require.Error(t, conn.Close(frame.CloseNormal, strings.Repeat("x", 124)))
	require.Error(t, conn.Close(frame.CloseNormal, "\xff"))
	c.SendText("unharmed")
	require.Equal(t, "unharmed", c.ReadText())
	require.NoError(t, conn.Close(frame.CloseNormal, strings.Repeat("x", 123)))
	code, reason := c.ReadClose()
	require.Equal(t, frame.CloseNormal, code)
	require.Len(t, reason, 123)
	c.Close()
}

// Both sides close at once: each sees the other's frame, and one of the two is
// the cause.
func TestCloseSimultaneous(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		open := make(conns, 1)
		var end ending
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
			Inline:  inline,
			Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose},
		})
		const rounds = 50
		for range rounds {
			c := s.Dial()
			conn := <-open
			var both sync.WaitGroup
			both.Go(func() { _ = conn.Close(4001, "ours") })
			both.Go(func() { c.SendClose(4002, "theirs") })
			both.Wait()
			code, _ := c.ReadClose()
			require.Contains(t, []frame.CloseCode{4001, 4002}, code)
			c.ExpectEOF()
			c.Close()
		}
		enginetest.Await(t, func() bool { return len(end.all()) == rounds }, "all should have ended")
		for _, err := range end.all() {
			if err.Remote {
				require.Equal(t, engine.CloseError{Code: 4002, Reason: "theirs", Remote: true}, *err)
			} else {
				require.Equal(t, engine.CloseError{Code: 4001, Reason: "ours"}, *err)
			}
		}
	})
}

// A close during a large send comes after it.
func TestCloseDuringLargeSend(t *testing.T) {
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, roomy, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := s.Dial()
			conn := <-open
			began := make(chan struct{})
			require.NoError(t, conn.Go(func(context.Context) {
				close(began)
				_ = send(s.Engine, conn, frame.Binary, pattern(large))
			}))
			<-began
			h, first := c.ReadFrame()
			require.Equal(t, frame.Binary, h.Opcode)
			require.NoError(t, conn.Close(4001, "after all that"))
			got := first
			for !h.Fin {
				var next []byte
				h, next = c.ReadFrame()
				require.Equal(t, frame.Continuation, h.Opcode)
				got = append(got, next...)
			}
			requireSame(t, pattern(large), got)
			c.ExpectClose(4001)
		})
	}
}

// A peer that does not answer the close is cut off after the close timeout, and
// the reason is what the close said.
func TestCloseTimeout(t *testing.T) {
	for name, peer := range map[string]enginetest.Handshake{"silent": {}, "not reading": {ReceiveBuffer: 4 << 10}} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			var end ending
			cfg := engine.Config{CloseTimeout: time.Second, MaxMessageBytes: 16 << 20}
			s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
			c := s.DialWith(peer)
			conn := <-open
			if peer.ReceiveBuffer > 0 {
				require.NoError(t, conn.SendBytes(pattern(large)))
			}
			start := time.Now()
			require.NoError(t, conn.Close(frame.CloseNormal, "go"))
			require.Equal(t, &engine.CloseError{Code: frame.CloseNormal, Reason: "go"}, end.await(t))
			require.GreaterOrEqual(t, time.Since(start), cfg.CloseTimeout/2, "the clock is as old as the last tick")
			_ = c.Conn.SetWriteDeadline(time.Now().Add(enginetest.Patience))
			enginetest.Await(t, func() bool { _, err := c.Conn.Write([]byte{0}); return err != nil }, "the socket should be closed")
		})
	}
}

// A handler that runs when the connection is reset keeps OnClose waiting, and its
// context tells it.
func TestCloseWhileHandling(t *testing.T) {
	var end ending
	inside := make(chan struct{})
	returned := new(atomic.Bool)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			close(inside)
			for c.SendText("x") == nil || !errors.Is(c.SendText("x"), net.ErrClosed) {
				time.Sleep(time.Millisecond)
			}
			returned.Store(true)
			return nil
		},
		OnClose: func(c *engine.Conn, err *engine.CloseError) {
			assert.True(t, returned.Load())
			end.OnClose(c, err)
		},
	}})
	c := s.Dial()
	c.SendText("")
	<-inside
	c.Reset()
	require.Equal(t, frame.CloseAbnormal, end.await(t).Code)
}
