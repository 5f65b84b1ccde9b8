//go:build !race

package engine_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Messages that are handled on a loop are handled where they were read, and nothing is
// allocated for them, whether they come together or alone.
func TestAllocInPlace(t *testing.T) {
	const together = 32
	s := enginetest.Start(t, engine.Config{IO: engine.IOLoops, PingInterval: -1, IdleTimeout: -1}, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
	for _, n := range []int{1, together} {
		c := s.Dial()
		var b []byte
		for range n {
			b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(128))...)
		}
		replies := make([]byte, n*(128+4))
		one := func() {
			_, _ = c.Conn.Write(b)
			_, _ = io.ReadFull(c.Conn, replies)
		}
		for range 100 {
			one()
		}
		got := testing.AllocsPerRun(500, one) / float64(n)
		t.Logf("%d together: %.3f allocations for each message", n, got)
		require.Less(t, got, 0.1)
		c.Hangup()
	}
}
