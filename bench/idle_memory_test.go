//go:build !race

package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What connections hold is found, near enough.
func TestIdle(t *testing.T) {
	server, err := StartServer(t.Context(), childConfig("holder"))
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()
	target := Target{URL: server.URL(), PID: server.PID()}
	r, err := Idle{Connections: 200, Settle: 50 * time.Millisecond}.Run(t.Context(), target, nil)
	if !ReadsMemory() {
		require.ErrorContains(t, err, "cannot be read")
		return
	}
	require.NoError(t, err)
	require.EqualValues(t, 200, r.Messages)
	require.InDelta(t, heldBytes, r.Memory.User, heldBytes/3)
	require.Equal(t, "idle: 200 connections", r.Name)
	require.Equal(t, map[string]any{"connections": 200, "settle": "50ms", "url": target.URL}, r.Settings)
}
