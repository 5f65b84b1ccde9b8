package engine_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Shutdown leaves nothing of connections in any state; the kit counts goroutines,
// descriptors, buffers and bytes.
func TestLeakShutdown(t *testing.T) {
	for name, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{
		"TCP": enginetest.Start, "TLS": enginetest.StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				cfg := engine.Config{HighWaterBytes: 50_000, WriteStallTimeout: -1, CloseTimeout: 500 * time.Millisecond}
				open := make(conns, 100)
				ep := engine.Endpoint{Inline: inline, Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
					if string(m.Data) == "wait" {
						<-ctx.Done()
					}
					return echo(ctx, c, m)
				}}}
				s := start(t, cfg, ep)
				s.Handle("/pull", engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen}})
				connect := func(h enginetest.Handshake) (*enginetest.Client, *engine.Conn) {
					c := s.DialWith(h)
					return c, <-open
				}
				connect(enginetest.Handshake{}) // idle
				half, _ := connect(enginetest.Handshake{})
				half.Write([]byte{0x82, 0xFE, 0x10}) // in a header
				part, _ := connect(enginetest.Handshake{})
				part.Write(part.Frame(frame.Header{Opcode: frame.Binary}, pattern(100_000))[:50_000])
				waiting, _ := connect(enginetest.Handshake{})
				waiting.SendText("wait")
				waiting.SendText("behind it")
				_, congested := connect(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				enginetest.Await(t, func() bool { return congested.SendBytes(pattern(20_000)) == engine.ErrCongested }, "it should be congested")
				_, streaming := connect(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				require.NoError(t, streaming.Go(func(ctx context.Context) {
					_ = streaming.SendStream(ctx, frame.Binary, new(endless))
				}))
				_, waited := connect(enginetest.Handshake{})
				require.NoError(t, waited.Go(func(ctx context.Context) { <-ctx.Done() }))
				_, closing := connect(enginetest.Handshake{})
				require.NoError(t, closing.Close(frame.CloseNormal, ""))
				pulled, _ := connect(enginetest.Handshake{Target: "/pull"})
				pulled.SendText("nobody receives it")
				eof, _ := connect(enginetest.Handshake{})
				eof.SendText("wait")
				eof.CloseWrite()
				_ = s.Shutdown(time.Second) // some do not answer
			})
		})
	}
}

// Many short connections leave nothing, whichever way they end.
func TestLeakChurn(t *testing.T) {
	n := 600
	if raceEnabled || testing.Short() {
		n = 200
	}
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	for i := range n {
		c := s.Dial()
		c.SendText("x")
		switch i % 4 {
		case 0:
			c.Reset()
		case 1:
			c.ReadText()
			c.Hangup()
		case 2:
			c.Write([]byte{0xFF})
			c.Close()
		default:
			c.Close()
		}
	}
	s.AwaitOpen(0)
	st := s.Engine.Stats()
	require.EqualValues(t, n, st.Opened)
}

// A refused upgrade leaves nothing either.
func TestLeakRefused(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	for range 50 {
		require.Equal(t, 426, s.Request(enginetest.Handshake{Header: map[string][]string{"Upgrade": nil}}).StatusCode)
	}
	require.EqualValues(t, 50, s.Engine.Stats().Refused)
}

// An idle connection holds no buffer, whatever it has done before.
func TestLeakIdleHoldsNoBuffer(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		for range 20 {
			c := s.Dial()
			c.SendText(strings.Repeat("x", 100_000))
			c.ReadText()
			c.Send(frame.Ping, nil)
			c.SendText("x")
			c.ReadText()
		}
		enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers == 0 }, "idle connections should hold no buffers")
	})
}
