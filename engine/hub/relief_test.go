package hub

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// measured is what the hub's rooms keep, counted anew.
func (h *Hub) measured() (bytes int64) {
	for room := range h.Rooms() {
		bytes += h.rooms.find(room).log.measured()
	}
	return bytes
}

func (l *log) measured() int64 {
	l.events.mu.Lock() // nobody begins meanwhile, and nobody is at them: all of the bubble waits
	defer l.events.mu.Unlock()
	if len(l.entries) == 0 {
		return 0
	}
	return int64(l.bytes + cost*len(l.entries) + roomCost + len(l.room))
}

// What all rooms keep has a bound, whatever each may keep and for how long. The oldest
// messages go, of all rooms, and not many more than must.
func TestHistoryBytes(t *testing.T) {
	for name, limits := range map[string]History{
		"five minutes": {Messages: 1000},
		"for ever":     {Messages: 1000, Age: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 100 * (cost + roomCost + 7) // so many rooms with a message
				h, e := newKeeping(t, limits)
				defer func() { _ = e.Shutdown(context.Background()) }()
				h.cfg.HistoryBytes = most
				c := new(engine.Conn)
				h.enter(c)
				h.Room("h").Join(c)
				h.publish(t, "h")
				for i := range 1000 {
					time.Sleep(10 * time.Millisecond)
					h.publish(t, fmt.Sprintf("h%05d", i))
					synctest.Wait()
					require.Equal(t, h.measured(), h.kept.bytes.Load())
					require.LessOrEqual(t, h.kept.bytes.Load(), int64(most))
					if i > 100 {
						require.Greater(t, h.kept.bytes.Load(), int64(most/2))
					}
				}
				require.Zero(t, h.rooms.find("h").log.measured())
				require.Nil(t, h.rooms.find("h00000"))
				for i := 951; i < 1000; i++ { // the latest
					require.NotNil(t, h.rooms.find(fmt.Sprintf("h%05d", i)))
				}
				require.Equal(t, uint64(2), h.publish(t, "h").Seq, "a room with members lives on")
				h.exit(c)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if limits.Age == 0 {
					require.Zero(t, h.kept.bytes.Load())
				}
			})
		})
	}
}

// One message may be more than all may keep.
func TestHistoryBytesTooFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := newKeeping(t, History{Messages: 10})
		defer func() { _ = e.Shutdown(context.Background()) }()
		h.cfg.HistoryBytes = 1
		for range 10 {
			h.publish(t, "h")
			synctest.Wait()
			require.Zero(t, h.kept.bytes.Load())
			require.Zero(t, h.count())
		}
	})
}

// A negative bound is none, and zero the default.
func TestHistoryBytesNone(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	require.Equal(t, 256<<20, h.cfg.HistoryBytes)
	h.cfg.HistoryBytes = -1
	for i := range 1000 {
		h.publish(t, fmt.Sprint("h", i))
	}
	require.Equal(t, 1000, h.count())
	require.False(t, h.kept.relieving.Load())
}

// What a room is said to take is what it takes, so that the bound is one of memory.
func TestRoomCost(t *testing.T) {
	const rooms = 50_000
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	before := heap()
	for i := range rooms {
		h.publish(t, fmt.Sprintf("h%09d", i))
	}
	takes := float64(heap()-before) / rooms
	said := float64(h.kept.bytes.Load()) / rooms
	t.Logf("a room with a message of 1 byte takes %.0f bytes, and counts %.0f", takes, said)
	require.InDelta(t, 1, takes/said, 0.25)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
