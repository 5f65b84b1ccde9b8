package cluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/frame"
)

// TestConfigErrors: each mistake is told, all of them at once.
func TestConfigErrors(t *testing.T) {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Shutdown(context.Background())) }()
	for name, cfg := range map[string]cluster.Config{
		"prefix": {Prefix: "a b"}, "outbox": {OutboxMessages: -1}, "bytes": {OutboxBytes: -1},
		"lease": {Lease: time.Millisecond}, "when full": {WhenFull: 7},
	} {
		_, err := cluster.New(e, cfg)
		require.Error(t, err, name)
	}
	_, err = cluster.New(e, cluster.Config{Prefix: ".", Lease: -1})
	several, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, several.Unwrap(), 2)
	n, err := cluster.New(e, cluster.Config{})
	require.NoError(t, err)
	_, err = n.All().Broadcast(context.Background(), frame.Text, []byte{0xff})
	require.ErrorIs(t, err, engine.ErrInvalidUTF8, "what nobody here can be sent nobody gets")
	require.Zero(t, n.Stats().Published)
}

func TestCheckChannel(t *testing.T) {
	for _, good := range []string{"global", "a.b", "penstock.room.%2F", "x:y/z"} {
		require.NoError(t, cluster.CheckChannel(good))
	}
	for _, bad := range []string{"", "a b", "a*", ">", ".a", "a.", "a..b", "ü", "a\n", string(make([]byte, 1001))} {
		require.Error(t, cluster.CheckChannel(bad), bad)
	}
}
