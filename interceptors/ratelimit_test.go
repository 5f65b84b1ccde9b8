package interceptors_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func byData(_ context.Context, in interceptors.Inbound) string { return string(in.Data) }

func tooMany(after time.Duration) error {
	return interceptors.Refusal{Status: 429, Message: "too many messages", RetryAfter: after}
}

// A11: so many messages in a window, and the time after which the next would pass.
func TestA11RateLimitByConnection(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 5, Window: 10 * time.Second})
		in, n := handled(limit)
		ann, ben := newConn(t), newConn(t)
		for range 5 {
			require.NoError(t, in(ann, text("m")))
		}
		require.Equal(t, tooMany(2*time.Second), in(ann, text("m")))
		require.Equal(t, tooMany(2*time.Second), in(ann, ofType(frame.Binary, 1)), "a refused message uses nothing up")
		require.NoError(t, in(ann, ofType(frame.Ping, 0)), "control frames pass it by")
		require.NoError(t, in(ben, text("m")), "connections are apart")
		assert.Equal(t, 7, *n)
		time.Sleep(2*time.Second - 1)
		require.Error(t, in(ann, text("m")))
		time.Sleep(2 * time.Nanosecond)
		require.NoError(t, in(ann, text("m")))
		require.Error(t, in(ann, text("m")))
		assert.Zero(t, limit.Len(), "no table for connections")
	})
}

func TestRateLimitDefaults(t *testing.T) {
	virtual(t, func(t *testing.T) {
		in, _ := handled(interceptors.RateLimit(interceptors.RateLimitConfig{}))
		c := newConn(t)
		for range 100 {
			require.NoError(t, in(c, text("m")))
		}
		require.Equal(t, tooMany(100*time.Millisecond), in(c, text("m")))
	})
}

func TestRateLimitBurstMessageAndClose(t *testing.T) {
	virtual(t, func(t *testing.T) {
		in, _ := handled(interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 60, Window: time.Minute, Burst: 2, Message: "slower", Close: true}))
		c := newConn(t)
		require.NoError(t, in(c, text("m")))
		require.NoError(t, in(c, text("m")))
		require.Equal(t, interceptors.Refusal{Status: 429, Message: "slower", RetryAfter: time.Second, Close: true}, in(c, text("m")))
	})
}

// A11: per user and window, over all connections of the user; who has no user is limited
// alone.
func TestA11RateLimitByUser(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 2, Window: time.Second, Key: interceptors.ByUser})
		in, _ := handled(limit)
		phone, laptop, ben, nobody, noone := userConn(t, "ann"), userConn(t, "ann"), userConn(t, "ben"), newConn(t), newConn(t)
		require.NoError(t, in(phone, text("m")))
		require.NoError(t, in(laptop, text("m")))
		require.Error(t, in(phone, text("m")))
		require.Error(t, in(laptop, text("m")))
		require.NoError(t, in(ben, text("m")))
		for range 2 {
			require.NoError(t, in(nobody, text("m")))
			require.NoError(t, in(noone, text("m")))
		}
		require.Error(t, in(nobody, text("m")))
		assert.Equal(t, 2, limit.Len())
	})
}

// Without a connection there is one allowance, not none.
func TestRateLimitWithoutConnection(t *testing.T) {
	limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 1, Window: time.Hour})
	in, _ := handled(limit)
	require.NoError(t, in(t.Context(), text("m")))
	require.Error(t, in(t.Context(), text("m")))
	assert.Equal(t, 1, limit.Len())
}

// A11 (fix): one million keys keep the table bounded, and its memory.
func TestA11RateLimitMillionKeysKeepTheTableBounded(t *testing.T) {
	const keys, most = 1_000_000, 10_000
	limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 10, Window: time.Hour, Key: byData, MaxKeys: most})
	in, _ := handled(limit)
	before := heapInUse()
	key := append(make([]byte, 0, 1020), make([]byte, 1000)...) // long: it must not be kept
	message := interceptors.Inbound{Type: frame.Text, Final: true}
	for i := range keys {
		message.Data = strconv.AppendInt(key, int64(i), 10)
		require.NoError(t, in(t.Context(), message))
		if i%100_000 == 0 {
			require.LessOrEqual(t, limit.Len(), most)
		}
	}
	grown := heapInUse() - before
	t.Logf("%d keys remembered in %d KiB", limit.Len(), grown>>10)
	assert.LessOrEqual(t, limit.Len(), most)
	assert.Greater(t, limit.Len(), most*9/10, "the table is used")
	assert.Less(t, grown, int64(most*400))
	runtime.KeepAlive(limit)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Nobody gets his allowance anew by filling the table with other keys.
func TestRateLimitFloodDoesNotEvictTheExhausted(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 5, Window: time.Hour, Key: byData, MaxKeys: 1000})
		in, _ := handled(limit)
		for range 5 {
			require.NoError(t, in(t.Context(), text("attacker")))
		}
		require.Error(t, in(t.Context(), text("attacker")))
		for i := range 50_000 {
			require.NoError(t, in(t.Context(), text(fmt.Sprint(i))))
			time.Sleep(time.Millisecond)
		}
		assert.LessOrEqual(t, limit.Len(), 1000)
		require.Error(t, in(t.Context(), text("attacker")), "a flood of new keys has pushed out a key that had used everything up")
	})
}

// It is the fullest that makes place, not the oldest.
func TestRateLimitEvictsTheFullest(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 10, Window: time.Hour, Key: byData, MaxKeys: 3})
		in, _ := handled(limit)
		send := func(key string, n int) (passed int) {
			for range n {
				if in(t.Context(), text(key)) == nil {
					passed++
				}
			}
			return passed
		}
		require.Equal(t, 3, send("three", 3))
		require.Equal(t, 1, send("one", 1))
		require.Equal(t, 5, send("five", 5))
		require.Equal(t, 4, send("new", 4)) // in place of one
		require.Equal(t, 3, limit.Len())
		require.Equal(t, 5, send("five", 10))
		require.Equal(t, 6, send("new", 10))
		require.Equal(t, 7, send("three", 10))
		require.Equal(t, 10, send("one", 20))
	})
}

// What is whole again is forgotten, with the messages of others.
func TestRateLimitSweepsLazily(t *testing.T) {
	virtual(t, func(t *testing.T) {
		limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 10, Window: 10 * time.Second, Key: byData, MaxKeys: 100})
		in, _ := handled(limit)
		for i := range 100 {
			require.NoError(t, in(t.Context(), text(fmt.Sprint(i))))
		}
		require.Equal(t, 100, limit.Len())
		time.Sleep(time.Second - 1) // one of ten in ten seconds is not back yet
		require.NoError(t, in(t.Context(), text("0")))
		require.Equal(t, 100, limit.Len(), "what is not whole again is kept")
		time.Sleep(2 * time.Second)
		for range 5 {
			require.NoError(t, in(t.Context(), text("active")))
			require.NoError(t, in(t.Context(), text("another")))
		}
		assert.Less(t, limit.Len(), 100-2*10+4)
		for range 50 {
			_ = in(t.Context(), text("active"))
		}
		assert.Equal(t, 2, limit.Len())
	})
}

func TestRateLimitConcurrently(t *testing.T) {
	limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 50, Window: time.Hour, Key: byData, MaxKeys: 256})
	var passed atomic.Int64
	in := interceptors.NewChain(limit).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		if string(in.Data) == "shared" {
			passed.Add(1)
		}
		return nil
	})
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 500 {
				_ = in(t.Context(), text("shared"))
				_ = in(t.Context(), text(fmt.Sprint(w, i)))
			}
		})
	}
	wait.Wait()
	assert.EqualValues(t, 50, passed.Load())
	assert.LessOrEqual(t, limit.Len(), 256)
}

func TestRateLimitMistakes(t *testing.T) {
	for field, config := range map[string]interceptors.RateLimitConfig{
		"Messages is -1": {Messages: -1}, "Burst is -2": {Burst: -2}, "MaxKeys is -3": {MaxKeys: -3}, "Window is -1s": {Window: -time.Second},
	} {
		assert.Contains(t, panicOf(t, func() { interceptors.RateLimit(config) }), field)
	}
}

func panicOf(t *testing.T, f func()) (message string) {
	t.Helper()
	defer func() { message, _ = recover().(string) }()
	f()
	t.Error("no panic")
	return ""
}

func BenchmarkRateLimit(b *testing.B) {
	for name, config := range map[string]interceptors.RateLimitConfig{
		"connection": {Messages: 1 << 30},
		"key":        {Messages: 1 << 30, Key: byData},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			in := interceptors.NewChain(interceptors.RateLimit(config)).Inbound(endInbound)
			c := &fakeConn{Context: b.Context(), values: map[any]any{}}
			message := text("a key")
			for b.Loop() {
				_ = in(c, message)
			}
		})
	}
}
