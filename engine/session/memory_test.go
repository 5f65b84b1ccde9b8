package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/session"
	"github.com/penstock-ws/penstock/engine/session/sessiontest"
)

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { sessiontest.Contract(t, new(session.Memory), time.Sleep) })
}

// TestMemorySweeps: sessions that nobody asks for do not stay in memory.
func TestMemorySweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(session.Memory)
		ctx := context.Background()
		for i := range 1000 {
			require.NoError(t, m.Set(ctx, string(rune(i)), nil, time.Second))
		}
		require.Equal(t, 1000, m.Len())
		time.Sleep(2 * time.Minute)
		require.NoError(t, m.Set(ctx, "last", nil, time.Second))
		require.Equal(t, 1, m.Len())
	})
}
