package interceptors_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/interceptors"
)

func TestContextDelegatesToItsParent(t *testing.T) {
	type key struct{}
	why := errors.New("why")
	deadline := time.Now().Add(time.Hour)
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	parent, stop := context.WithDeadline(parent, deadline)
	defer stop()

	var c interceptors.Context
	c.Reset(parent, 1, 1)
	got, ok := c.Deadline()
	assert.True(t, ok)
	assert.Equal(t, deadline, got)
	assert.Equal(t, "value", c.Value(key{}))
	assert.Nil(t, c.Value("user"))
	assert.NoError(t, c.Err())

	child, stopChild := context.WithCancel(&c)
	defer stopChild()
	cancel(why)
	<-c.Done()
	<-child.Done()
	assert.ErrorIs(t, c.Err(), context.Canceled)
	assert.Equal(t, why, context.Cause(&c))
	assert.Equal(t, why, context.Cause(child))
}

func TestContextZeroValueIsARunWithoutParent(t *testing.T) {
	var c interceptors.Context
	_, ok := c.Deadline()
	assert.False(t, ok)
	assert.Nil(t, c.Done())
	assert.NoError(t, c.Err())
	assert.Nil(t, c.Value("k"))
	assert.Equal(t, "0-0", c.ChainID())
	_, ok = c.Get("k")
	assert.False(t, ok)
	var none context.Context
	c.Reset(none, 1, 2)
	assert.NoError(t, c.Err())
}

func TestContextMetadataAgainstAMap(t *testing.T) {
	var c interceptors.Context
	for run, keys := range []int{0, 1, 8, 9, 40, 3} { // 8 keys stand in a slice, more of them in a map
		c.Reset(t.Context(), 1, uint64(run))
		model := map[string]any{}
		for i := range 3 * keys {
			key := strconv.Itoa(i % keys)
			value := any(i)
			if i%5 == 0 {
				value = nil
			}
			c.Set(key, value)
			model[key] = value
		}
		for i := range 50 {
			key := strconv.Itoa(i)
			want, wantOK := model[key]
			got, ok := c.Get(key)
			assert.Equal(t, wantOK, ok, "run %d key %s", run, key)
			assert.Equal(t, want, got, "run %d key %s", run, key)
		}
	}
}

func TestContextResetKeepsSmallMemory(t *testing.T) {
	var c interceptors.Context
	parent := t.Context()
	run := func() {
		c.Reset(parent, 1, 1)
		c.Set("user", "ann")
		c.Set("room", "lobby")
	}
	run()
	assert.Zero(t, testing.AllocsPerRun(100, run))
}

func TestContextResetLetsGoOfValues(t *testing.T) {
	var c interceptors.Context
	value := new([64]byte)
	held := weak.Make(value)
	c.Set("k", value)
	c.Reset(t.Context(), 1, 2)
	runtime.GC()
	assert.Nil(t, held.Value(), "an idle connection would hold what its last message's metadata referred to")
	runtime.KeepAlive(&c)
}

func TestContextIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(interceptors.Context{}), uintptr(40), "every connection embeds one")
}

func TestChainIDIsUnique(t *testing.T) {
	numbers := []uint64{0, 1, 2, 11, 12, 111, 112, 1112, math.MaxUint64}
	seen := map[string]string{}
	var c interceptors.Context
	for _, conn := range numbers {
		for _, seq := range numbers {
			c.Reset(t.Context(), conn, seq)
			pair := fmt.Sprint(conn, seq)
			require.NotContains(t, seen, c.ChainID(), "%s and %s", pair, seen[c.ChainID()])
			seen[c.ChainID()] = pair
		}
	}
	assert.Equal(t, "18446744073709551615-18446744073709551615", c.ChainID())
}

// A handler may leave a goroutine behind that holds a derived context
// (database/sql and net/http do). The next run must not pull the parent out
// from under it. It is the race detector that fails this test.
func TestContextLeftBehindDoesNotRaceWithTheNextRun(t *testing.T) {
	type key struct{}
	parent := context.WithValue(t.Context(), key{}, "v")
	var c interceptors.Context
	c.Reset(parent, 1, 0)
	derived, cancel := context.WithCancel(&c)
	defer cancel()

	var left sync.WaitGroup
	left.Go(func() {
		for range 1000 {
			assert.Equal(t, "v", derived.Value(key{}))
			assert.NoError(t, c.Err())
			_ = c.Done()
		}
	})
	for seq := range uint64(1000) {
		c.Again(seq)
		c.Set("k", seq)
	}
	left.Wait()
}
