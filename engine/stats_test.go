package engine_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// What counts only grows, whoever ends while it is read: a collector of metrics takes a
// counter that goes back for one that began again.
func TestStatsNeverGoBack(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for range 300 {
				c, err := engine.Dial(t.Context(), s.URL(), engine.DialConfig{Engine: s.Engine})
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SendText("hello")
				_, _ = c.Receive(t.Context())
				_ = c.Close(frame.CloseNormal, "")
			}
		})
	}
	over := make(chan struct{})
	go func() { clients.Wait(); close(over) }() // ends with the clients
	last := s.Engine.Stats()
	statsUntil(s, over, func(st engine.Stats) {
		require.LessOrEqual(t, last.MessagesIn, st.MessagesIn)
		require.LessOrEqual(t, last.BytesIn, st.BytesIn)
		require.LessOrEqual(t, last.MessagesOut, st.MessagesOut)
		require.LessOrEqual(t, last.BytesOut, st.BytesOut)
		last = st
	})
	enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "all have ended")
	st := s.Engine.Stats()
	require.Equal(t, []uint64{1200, 1200, 6000}, []uint64{st.MessagesIn, st.MessagesOut, st.BytesIn}, "on both sides of each connection")
}

// statsUntil looks at the figures again and again until over is closed, and once after it.
func statsUntil(s *enginetest.Server, over <-chan struct{}, look func(engine.Stats)) {
	for ended := false; !ended; {
		select {
		case <-over:
			ended = true
		default:
		}
		look(s.Engine.Stats())
	}
}

// The policies' parts of what was dropped agree at every moment.
func TestStatsOfDropsAgree(t *testing.T) {
	conns := make(chan *engine.Conn, 1)
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 100_000, LowWaterBytes: 20_000, WriteStallTimeout: -1}, engine.Endpoint{Handler: engine.Handler{
		OnOpen:    func(_ context.Context, c *engine.Conn) error { conns <- c; return nil },
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil },
	}})
	s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
	slow, oldest := <-conns, engine.SendOptions{Class: &backpressure.Class{Overflow: backpressure.DropOldest}}
	const drops = 20_000
	over := make(chan struct{})
	go func() { // ends with the drops
		defer close(over)
		for p := make([]byte, 200); s.Engine.Stats().DroppedOldest < drops && t.Context().Err() == nil; {
			for range 100 {
				_ = slow.SendWith(oldest, frame.Binary, p)
			}
		}
	}()
	statsUntil(s, over, func(st engine.Stats) {
		require.Equal(t, st.DroppedOverflow, st.DroppedOldest, "nothing else was dropped")
	})
}
