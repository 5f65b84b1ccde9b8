package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

const idle = 200 * time.Millisecond

// lively is the timeout where the test itself must be in time, on a machine that has other
// things to do.
const lively = 5 * idle

func TestTimeoutIdle(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var end ending
		s := enginetest.Start(t, engine.Config{PingInterval: -1, IdleTimeout: idle}, engine.Endpoint{
			Inline:  inline,
			Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose},
		})
		start := time.Now()
		c := s.Dial()
		c.ExpectClose(frame.CloseGoingAway)
		require.GreaterOrEqual(t, time.Since(start), idle*3/4, "the clock is coarse, and may be late")
		err := end.await(t)
		require.Equal(t, frame.CloseGoingAway, err.Code)
		require.False(t, err.Remote)
		require.Empty(t, c.Pinged)
	})
}

// What is received, even a part of a message, shows that the peer is alive.
func TestTimeoutIdleNotWhileReceiving(t *testing.T) {
	s := enginetest.Start(t, engine.Config{PingInterval: -1, IdleTimeout: lively}, onMessage(echo))
	c := s.Dial()
	bytes := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("slowly but surely"))
	pace := time.NewTicker(lively / 10)
	defer pace.Stop()
	for _, b := range bytes { // 23: more than twice the timeout
		c.Write([]byte{b})
		<-pace.C
	}
	require.Equal(t, "slowly but surely", c.ReadText())
	c.ExpectClose(frame.CloseGoingAway)
}

// A quiet peer is pinged, lives on as long as it answers, and not longer.
func TestTimeoutPing(t *testing.T) {
	s := enginetest.Start(t, engine.Config{PingInterval: lively / 10, IdleTimeout: lively}, onMessage(echo))
	c := s.Dial()
	for start := time.Now(); time.Since(start) < 2*lively; {
		h, payload := c.ReadFrame()
		require.Equal(t, frame.Ping, h.Opcode)
		c.Send(frame.Pong, payload)
	}
	c.SendText("alive")
	require.Equal(t, "alive", c.ReadText())
	c.Pinged = nil
	c.ExpectClose(frame.CloseGoingAway)
	require.NotEmpty(t, c.Pinged)
}

// A peer that sends needs no pings.
func TestTimeoutNoPingWithoutNeed(t *testing.T) {
	s := enginetest.Start(t, engine.Config{PingInterval: lively, IdleTimeout: -1}, onMessage(echo))
	c := s.Dial()
	pace := time.NewTicker(lively / 10)
	defer pace.Stop()
	for range 20 {
		c.SendText("x")
		c.ReadText()
		<-pace.C
	}
	require.Empty(t, c.Pinged)
	c.Hangup()
}

// Both switched off: nothing happens to a quiet peer.
func TestTimeoutOff(t *testing.T) {
	s := enginetest.Start(t, engine.Config{PingInterval: -1, IdleTimeout: -1, CloseTimeout: 100 * time.Millisecond, WriteStallTimeout: -1}, onMessage(echo))
	c := s.Dial()
	require.NoError(t, c.Conn.SetReadDeadline(time.Now().Add(idle)))
	_, err := c.Conn.Read(make([]byte, 1))
	var timeout interface{ Timeout() bool }
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	require.Equal(t, 1, s.Open())
}

// The clock stands still while the engine does not read: because the inbox is
// full, or because an inline handler keeps the reader.
func TestTimeoutIdleNotWhilePaused(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		cfg := engine.Config{PingInterval: -1, IdleTimeout: lively, InboxMessages: 1}
		ep := onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "slow" {
				time.Sleep(2 * lively)
			}
			return echo(ctx, c, m)
		})
		ep.Inline = inline
		s := enginetest.Start(t, cfg, ep)
		c := s.Dial()
		for range 2 {
			c.SendText("slow")
		}
		c.SendText("quick")
		require.Equal(t, "slow", c.ReadText())
		require.Equal(t, "slow", c.ReadText())
		require.Equal(t, "quick", c.ReadText())
		c.ExpectClose(frame.CloseGoingAway)
	})
}

// An endpoint may have times of its own.
func TestTimeoutOfEndpoint(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	ep := onMessage(echo)
	ep.PingInterval, ep.IdleTimeout = 1100*time.Millisecond, 2*time.Second
	s.Handle("/own", ep)
	other := s.Dial()
	c := s.DialWith(enginetest.Handshake{Target: "/own"})
	c.ExpectClose(frame.CloseGoingAway)
	require.Len(t, c.Pinged, 1)
	other.SendText("alive")
	require.Equal(t, "alive", other.ReadText())
	require.Empty(t, other.Pinged)
	other.Hangup()

	ep.IdleTimeout = ep.PingInterval
	require.Panics(t, func() { s.Engine.Endpoint(ep) })
}
