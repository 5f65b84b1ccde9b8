package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster/redis"
	"github.com/penstock-ws/penstock/engine/session"
	"github.com/penstock-ws/penstock/engine/session/sessiontest"
)

func openSessions(t *testing.T, s *server) *redis.Sessions {
	store, err := redis.NewSessions(redis.Config{URL: "redis://" + s.address(), Silence: silence}, "penstock:session:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestSessions(t *testing.T) {
	s := startServer(t)
	sessiontest.Contract(t, openSessions(t, s), time.Sleep)
	require.Equal(t, ":1", s.raw(t, "EXISTS", "penstock:session:kept"), "the prefix begins the key")
	require.Equal(t, ":-1", s.raw(t, "PTTL", "penstock:session:kept"), "0 is for ever")
}

// TestSessionsAway: a Redis that is away is not one that knows nothing, and it may come back.
func TestSessionsAway(t *testing.T) {
	s := startServer(t)
	store := openSessions(t, s)
	ctx := context.Background()
	require.NoError(t, store.Set(ctx, "a", []byte("x"), 0))
	s.kill(t)
	_, err := store.Get(ctx, "a")
	require.Error(t, err)
	require.NotErrorIs(t, err, session.ErrNotFound)
	require.Error(t, store.Set(ctx, "a", nil, 0))
	require.Error(t, store.Delete(ctx, "a"))
	s.start(t)
	require.Eventually(t, func() bool { return store.Set(ctx, "a", []byte("y"), 0) == nil }, 20*time.Second, 5*time.Millisecond)
	got, err := store.Get(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "y", string(got))
}

// TestConfig: what is wrong is said when the broker is made, without the password.
func TestConfig(t *testing.T) {
	for _, url := range []string{"", "http://h", "redis://u:secret@h:port", "redis://u:secret@h/x"} {
		_, err := redis.New(redis.Config{URL: url})
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "secret")
		_, err = redis.NewSessions(redis.Config{URL: url}, "")
		require.Error(t, err, url)
	}
	_, err := redis.New(redis.Config{URL: "redis://h", Silence: time.Millisecond})
	require.Error(t, err)
}
