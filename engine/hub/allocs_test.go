//go:build !race

package hub_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// TestAllocations: a broadcast allocates as much for 100 members as for one.
// The race detector makes pools forget, and so allocate.
func TestAllocations(t *testing.T) {
	f := start(t, engine.Config{}).connect(1)
	f.drain(0)
	payload := make([]byte, 128)
	run := func() {
		_, _ = f.room.Broadcast(context.Background(), frame.Binary, payload)
	}
	one := testing.AllocsPerRun(200, run)
	f.connect(99)
	f.drain(1)
	hundred := testing.AllocsPerRun(200, run)
	t.Logf("%v for one member, %v for 100", one, hundred)
	require.InDelta(t, one, hundred, 2)
}
