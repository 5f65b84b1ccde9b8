//go:build !race

package engine_test

import (
	"io"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// A compressed send allocates nothing, a compressed message received no more than
// one that is not: gws's Message, and the closure that grows it.
func TestCompressAllocates(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{Compress: true, PingInterval: -1, IdleTimeout: -1}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := dialPacker(t, s, plainOffer)
	conn := <-open
	payload := letters(1 << 10)
	require.NoError(t, conn.SendBytes(payload))
	reply := c.readMessage()
	require.True(t, reply.compressed)
	frameBytes := make([]byte, len(reply.wire)+2)
	sends := testing.AllocsPerRun(500, func() {
		_ = conn.SendBytes(payload)
		_, _ = io.ReadFull(c.r, frameBytes)
	})
	require.Zero(t, sends, "a send")
	p, err := s.Engine.Prepare(frame.Binary, payload)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(500, func() {
		_ = conn.SendPrepared(p)
		_, _ = io.ReadFull(c.r, frameBytes)
	}), "a prepared send")
	wire := c.packed(frame.Binary, deflated(payload, 1), 2000)
	echoes := testing.AllocsPerRun(500, func() {
		_, _ = c.Conn.Write(wire)
		_, _ = io.ReadFull(c.r, frameBytes)
	})
	t.Logf("an echo: %.2f", echoes)
	require.LessOrEqual(t, echoes, 2.5)
	c.hangup()
}
