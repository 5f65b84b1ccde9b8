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

// Memory is bounded: by what is there, not by what has been.
func TestMemoryFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &session.Memory{MaxBytes: 1000}
		ctx := context.Background()
		big := make([]byte, 700)
		require.NoError(t, m.Set(ctx, "a", big, time.Hour))
		require.NoError(t, m.Set(ctx, "a", big, time.Hour), "it takes its own place")
		require.ErrorIs(t, m.Set(ctx, "b", big, 0), session.ErrFull)
		require.ErrorIs(t, m.Set(ctx, "a", make([]byte, 1000), 0), session.ErrFull)
		got, err := m.Get(ctx, "a")
		require.NoError(t, err)
		require.Len(t, got, 700, "what was there stays")
		time.Sleep(time.Hour)
		require.NoError(t, m.Set(ctx, "b", big, 0), "what is over makes room")
		require.NoError(t, m.Delete(ctx, "b"))
		require.NoError(t, m.Set(ctx, "c", big, 0))
	})
}
