package sessiontest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/session"
)

// Contract tests an empty store against what session.Store says. pass lets time pass.
func Contract(t *testing.T, s session.Store, pass func(time.Duration)) {
	ctx := context.Background()
	_, err := s.Get(ctx, "a")
	require.ErrorIs(t, err, session.ErrNotFound)
	require.NoError(t, s.Delete(ctx, "a"))

	data := []byte("\x00one\xff")
	require.NoError(t, s.Set(ctx, "a", data, 0))
	data[0] = 'x'
	got, err := s.Get(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "\x00one\xff", string(got), "the caller keeps what it has given")
	got[0] = 'y'
	got, err = s.Get(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "\x00one\xff", string(got), "what is returned is the caller's")

	require.NoError(t, s.Set(ctx, "empty", nil, 0))
	got, err = s.Get(ctx, "empty")
	require.NoError(t, err, "an empty session is one")
	require.Empty(t, got)

	require.NoError(t, s.Set(ctx, "short", []byte("s"), 2*time.Second))
	require.NoError(t, s.Set(ctx, "a", []byte("two"), 2*time.Second))
	require.NoError(t, s.Set(ctx, "long", []byte("l"), time.Hour))
	require.NoError(t, s.Set(ctx, "kept", []byte("k"), 2*time.Second))
	require.NoError(t, s.Set(ctx, "kept", []byte("k"), 0))
	_, err = s.Get(ctx, "short")
	require.NoError(t, err)
	pass(2100 * time.Millisecond)
	for key, there := range map[string]bool{"short": false, "a": false, "long": true, "kept": true} {
		if _, err = s.Get(ctx, key); there {
			require.NoError(t, err, key)
		} else {
			require.ErrorIs(t, err, session.ErrNotFound, key)
		}
	}
	require.NoError(t, s.Delete(ctx, "long"))
	_, err = s.Get(ctx, "long")
	require.ErrorIs(t, err, session.ErrNotFound)
	require.ErrorIs(t, s.Set(ctx, "a", nil, -1), session.ErrTTL)
	require.ErrorIs(t, s.Set(ctx, "a", nil, time.Microsecond), session.ErrTTL)

	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { // until it has done its part
			for j := range 50 {
				key := fmt.Sprint("many", i, j)
				if s.Set(ctx, key, []byte(key), time.Minute) != nil {
					t.Error("set", key)
				}
				if got, err := s.Get(ctx, key); err != nil || string(got) != key {
					t.Error("get", key, err)
				}
			}
		})
	}
	all.Wait()
}
