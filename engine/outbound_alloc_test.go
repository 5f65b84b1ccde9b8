//go:build !race

package engine_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Sending allocates nothing for a message, on a real connection whose peer reads.
func TestAllocOutbound(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{PingInterval: -1, IdleTimeout: -1}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	var read atomic.Int64
	more := make(chan struct{}, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, err := c.Conn.Read(b)
			read.Add(int64(n))
			select {
			case more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	})
	payload, text := pattern(128), string(letters(128))
	prepared, err := s.Engine.Prepare(frame.Binary, payload)
	require.NoError(t, err)
	classed := engine.SendOptions{Class: &backpressure.Class{Name: "ticks", Overflow: backpressure.DropOldest, TTL: 1 << 40, Gap: gapText}, Key: "k"}
	sixteen := func() {
		for range 16 {
			_ = conn.SendBytes(payload)
		}
	}
	for name, row := range map[string]struct {
		n   int
		one func()
	}{
		"SendBytes":       {1, func() { _ = conn.SendBytes(payload) }},
		"SendText":        {1, func() { _ = conn.SendText(text) }},
		"SendPrepared":    {1, func() { _ = conn.SendPrepared(prepared) }},
		"SendWith":        {1, func() { _ = conn.SendWith(classed, frame.Binary, payload) }},
		"Prepared.With":   {1, func() { _ = conn.SendPrepared(prepared.With(classed)) }},
		"Cork, 16 inside": {16, func() { conn.Cork(sixteen) }},
	} {
		t.Run(name, func(t *testing.T) {
			one := func() {
				until := read.Load() + int64(row.n*(128+4))
				row.one()
				for read.Load() < until { // a peer that keeps up
					<-more
				}
			}
			for range 200 {
				one()
			}
			require.Zero(t, testing.AllocsPerRun(2000, one))
		})
	}
	c.Reset()
	reader.Wait()
}
