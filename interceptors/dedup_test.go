package interceptors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/interceptors"
)

// beforeColon is the id of "id: rest".
func beforeColon(in interceptors.Inbound) string {
	id, _, _ := strings.Cut(string(in.Data), ":")
	return id
}

func TestDedupByConnection(t *testing.T) {
	in, n := handled(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon}))
	a, b := userConn(t, "ann"), userConn(t, "ann")
	require.NoError(t, in(a, text("1: x")))
	require.NoError(t, in(a, text("1: y")))
	assert.Equal(t, 1, *n, "a duplicate is dropped, and the peer told nothing")
	require.NoError(t, in(a, text("2: x")))
	require.NoError(t, in(b, text("1: x")))
	assert.Equal(t, 3, *n, "connections are apart")
	require.NoError(t, in(a, text(": no id")))
	require.NoError(t, in(a, text(": no id")))
	assert.Equal(t, 5, *n)
}

func TestDedupAnswer(t *testing.T) {
	in, _ := handled(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon, Answer: true}))
	c := newConn(t)
	require.NoError(t, in(c, text("1")))
	require.Equal(t, interceptors.Refuse(409, "duplicate"), in(c, text("1")))
	require.NoError(t, in(t.Context(), text("1")), "without a connection, too")
	require.Error(t, in(t.Context(), text("1")))
}

func TestDedupPerUser(t *testing.T) {
	in, n := handled(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon, PerUser: true, MaxUsers: 2}))
	send := func(user, id string) bool {
		before := *n
		require.NoError(t, in(userConn(t, user), text(id)))
		return *n > before
	}
	assert.True(t, send("ann", "1"))
	assert.False(t, send("ann", "1"), "sent once more after a reconnect")
	assert.True(t, send("ben", "1"))
	assert.False(t, send("ann", "1"))
	assert.True(t, send("eve", "1"), "ben has been quiet for the longest time, and is forgotten")
	assert.False(t, send("ann", "1"))
	assert.True(t, send("ben", "1"))
	assert.True(t, send("", "1"))
	assert.True(t, send("", "1"), "who has no user is known by the connection alone")
}

// However many users come, and however long their ids are.
func TestDedupIsBounded(t *testing.T) {
	const users, ids = 100, 10
	in, n := handled(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon, PerUser: true, MaxUsers: users, Window: ids}))
	before := heapInUse()
	c := newConn(t)
	long := strings.Repeat("x", 1000)
	for i := range 20_000 {
		if i%20 == 0 {
			interceptors.SetUser(c, fmt.Sprint("user ", i))
		}
		require.NoError(t, in(c, text(fmt.Sprint(i, long))))
	}
	assert.Equal(t, 20_000, *n)
	assert.Less(t, heapInUse()-before, int64(users*(ids*150+1000)))
	runtime.KeepAlive(in)
}

func TestDedupAge(t *testing.T) {
	virtual(t, func(t *testing.T) {
		in, n := handled(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon}))
		c := newConn(t)
		require.NoError(t, in(c, text("1")))
		time.Sleep(5*time.Minute - 1)
		require.NoError(t, in(c, text("1")))
		assert.Equal(t, 1, *n)
		time.Sleep(time.Nanosecond)
		require.NoError(t, in(c, text("1")))
		assert.Equal(t, 2, *n)
		time.Sleep(time.Minute)
		require.NoError(t, in(c, text("1")))
		assert.Equal(t, 2, *n)
	})
}

// What failed may be sent again, after a panic, too.
func TestDedupForgetsWhatFailed(t *testing.T) {
	failed := errors.New("failed")
	outcome := failed
	n := 0
	in := interceptors.NewChain(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon})).Inbound(func(context.Context, interceptors.Inbound) error {
		n++
		if outcome == nil {
			return nil
		}
		if n == 2 {
			panic("boom")
		}
		return outcome
	})
	c := newConn(t)
	require.Equal(t, failed, in(c, text("1")))
	require.Panics(t, func() { _ = in(c, text("1")) })
	outcome = nil
	require.NoError(t, in(c, text("1")))
	require.NoError(t, in(c, text("1")))
	assert.Equal(t, 3, n)
}

// Of one message that comes on two connections of a user at once, one is handled.
func TestDedupConcurrently(t *testing.T) {
	var n atomic.Int64
	in := interceptors.NewChain(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon, PerUser: true, Window: 5000})).
		Inbound(func(context.Context, interceptors.Inbound) error { n.Add(1); return nil })
	var wait sync.WaitGroup
	for range 8 {
		c := userConn(t, "ann")
		wait.Go(func() {
			for i := range 1000 {
				_ = in(c, text(fmt.Sprint(i)))
			}
		})
	}
	wait.Wait()
	assert.EqualValues(t, 1000, n.Load())
}

// The window against a list that is searched from its end.
func TestDedupWindowAgainstAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	virtual(t, func(t *testing.T) {
		const size, age = 7, 50 * time.Millisecond
		fails := false
		n := 0
		in := interceptors.NewChain(interceptors.Dedup(interceptors.DedupConfig{ID: beforeColon, Window: size, Age: age})).
			Inbound(func(context.Context, interceptors.Inbound) error {
				n++
				if fails {
					return errors.New("failed")
				}
				return nil
			})
		type entry struct {
			id   string
			at   time.Time
			gone bool
		}
		var model []entry // the latest size are remembered
		c := newConn(t)
		for step := range 20_000 {
			id := fmt.Sprint(r.IntN(12))
			fails = r.IntN(5) == 0
			want := true
			for _, e := range model[max(0, len(model)-size):] {
				if e.id == id && !e.gone && time.Since(e.at) < age {
					want = false
				}
			}
			before := n
			_ = in(c, text(id))
			require.Equal(t, want, n > before, "step %d, id %s", step, id)
			if want {
				for i := range model {
					model[i].gone = model[i].gone || model[i].id == id
				}
				model = append(model, entry{id, time.Now(), fails})
				model = model[max(0, len(model)-size):]
			}
			time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
		}
	})
}

func TestDedupMistakes(t *testing.T) {
	for want, config := range map[string]interceptors.DedupConfig{
		"DedupConfig.ID is nil":      {},
		"DedupConfig.Window is -1":   {ID: beforeColon, Window: -1},
		"DedupConfig.MaxUsers is -1": {ID: beforeColon, MaxUsers: -1},
		"DedupConfig.Age is -1ns":    {ID: beforeColon, Age: -1},
	} {
		assert.Contains(t, panicOf(t, func() { interceptors.Dedup(config) }), want)
	}
}
