//go:build !race

package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// Messages that are handled on a loop are handled where they were read, and nothing is
// allocated for them, whether they come together or alone.
func TestAllocInPlace(t *testing.T) {
	const together = 32
	s := enginetest.Start(t, engine.Config{IO: engine.IOLoops, PingInterval: -1, IdleTimeout: -1}, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
	for _, n := range []int{1, together} {
		got := allocsForEcho(s, n)
		t.Logf("%d together: %.3f allocations for each message", n, got)
		require.Less(t, got, 0.1)
	}
}
