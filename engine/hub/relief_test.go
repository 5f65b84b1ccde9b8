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
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// measured is what the hub's rooms keep, counted anew.
func (h *Hub) measured() (bytes int64) {
	for room := range h.Rooms() {
		bytes += h.rooms.find(room).log.measured()
	}
	return bytes
}

func (l *log) measured() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// Not many more than must go, also if all came at once, long ago.
func TestHistoryBytesAfterAPause(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "in a second": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const rooms = 100
				h, e := newKeeping(t, History{Messages: 1000})
				defer func() { _ = e.Shutdown(context.Background()) }()
				h.cfg.HistoryBytes = rooms * (cost + roomCost + 7)
				for i := range rooms {
					h.publish(t, fmt.Sprintf("h%05d", i))
					time.Sleep(pause)
					time.Sleep(time.Nanosecond) // or all would be equally old
				}
				time.Sleep(4 * time.Second)
				h.publish(t, "h99999")
				synctest.Wait()
				require.InDelta(t, rooms*7/8, h.count(), rooms/16+1)
				require.NotNil(t, h.rooms.find("h99999"))
			})
		})
	}
}

// A clock of elsewhere that is wrong, either way, neither keeps messages nor the relief
// from its end.
func TestHistoryBytesForeignClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := newKeeping(t, History{Messages: 1000, Age: -1, Shared: true})
		defer func() { _ = e.Shutdown(context.Background()) }()
		h.cfg.HistoryBytes = 20 * (cost + 1)
		c := new(engine.Conn)
		h.enter(c)
		h.Room("h").Join(c)
		for i, when := range []time.Time{time.Now().Add(time.Hour).Round(0), {}, time.Now().Round(0), time.Now().Add(-time.Hour).Round(0)} {
			for k := range 25 {
				h.Room("h").Restore(Position{1, uint64(25*i + k + 1)}, when, frame.Text, []byte("x"))
				time.Sleep(time.Millisecond)
				synctest.Wait()
				require.LessOrEqual(t, h.kept.bytes.Load(), int64(h.cfg.HistoryBytes))
			}
		}
		require.Equal(t, h.measured(), h.kept.bytes.Load())
		h.exit(c)
	})
}

// Nor does the age of what is kept change with the clock on the wall of this machine.
func TestHistoryKeepsItsTime(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 1000, Shared: true})
	defer func() { _ = e.Shutdown(context.Background()) }()
	c := new(engine.Conn)
	h.enter(c)
	defer h.exit(c)
	h.Room("h").Join(c)
	h.Room("h").Restore(Position{1, 1}, time.Now().Add(-time.Minute).Round(0), frame.Text, []byte("x")) // Round: as from elsewhere
	at, ok := h.rooms.find("h").log.oldest()
	require.True(t, ok)
	require.InDelta(t, time.Minute, time.Since(at), float64(10*time.Second))
	require.Contains(t, at.String(), " m=", "it is not on the process's clock")
}

// A room whose callback waits is relieved like others, and holds up nobody's relief.
func TestHistoryBytesWhileACallbackWaits(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 1000})
	defer func() { _ = e.Shutdown(context.Background()) }()
	h.cfg.HistoryBytes = 100_000
	inside, over := make(chan struct{}), make(chan struct{})
	h.cfg.Envelope = func(dst []byte, m Published) []byte {
		if string(m.Payload) == "wait" {
			close(inside)
			<-over
		}
		return append(dst, m.Payload...)
	}
	for range 50 {
		h.publish(t, "h waits")
	}
	go func() { _, _ = h.Room("h waits").Publish(context.Background(), frame.Text, []byte("wait")) }()
	<-inside
	for i := range 1000 {
		h.publish(t, fmt.Sprint("h", i))
	}
	enginetest.Await(t, func() bool { return h.over() == 0 && !h.kept.relieving.Load() }, "the others should be relieved")
	require.Nil(t, h.rooms.find("h waits"))
	close(over)
}

// Publishers that are faster than the relief are refused, and not for good.
func TestHistoryBytesRefuses(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 1000})
	defer func() { _ = e.Shutdown(context.Background()) }()
	h.cfg.HistoryBytes = 1 << 20
	h.kept.relieving.Store(true) // one that does not get on
	big := make([]byte, 100_000)
	refused := false
	for i := 0; !refused; i++ {
		_, err := h.Room(fmt.Sprint("h", i)).Publish(context.Background(), frame.Binary, big)
		if refused = err != nil; refused {
			require.Equal(t, engine.ErrCongested, err)
		}
		require.Less(t, h.kept.bytes.Load(), int64(18<<20+200_000))
	}
	require.Greater(t, h.kept.bytes.Load(), int64(17<<20))
	require.Nil(t, h.rooms.find("h"))
	h.kept.relieving.Store(false) // as one that has ended too early
	_, err := h.Room("h").Publish(context.Background(), frame.Text, []byte("x"))
	require.Equal(t, engine.ErrCongested, err)
	require.Nil(t, h.rooms.find("h"), "a room without anything")
	enginetest.Await(t, func() bool { return h.over() == 0 && !h.kept.relieving.Load() }, "it should be relieved")
	h.publish(t, "h")
}

// A room does not keep the memory of its best days.
func TestForgottenMemory(t *testing.T) {
	const rooms, burst = 50, 4000
	h, e := newKeeping(t, History{Messages: burst, Bytes: -1, Age: -1})
	defer func() { _ = e.Shutdown(context.Background()) }()
	h.cfg.HistoryBytes = 2 << 20
	publish := func(room string) { // which is refused if relief does not keep up
		for {
			_, err := h.Room(room).Publish(context.Background(), frame.Text, []byte("x"))
			if err == nil {
				return
			}
			require.Equal(t, engine.ErrCongested, err)
			time.Sleep(time.Millisecond)
		}
	}
	before := heap()
	for i := range rooms {
		room := fmt.Sprint("h", i)
		for range burst {
			publish(room)
		}
		for k := range i { // the others live on
			publish(fmt.Sprint("h", k))
		}
	}
	enginetest.Await(t, func() bool { return h.over() == 0 && !h.kept.relieving.Load() }, "it should be relieved")
	t.Logf("%d bytes take %d", h.kept.bytes.Load(), heap()-before)
	require.Less(t, heap()-before, 2*h.kept.bytes.Load())
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
	require.Less(t, takes, said)
	require.Greater(t, takes, said/2)
	runtime.KeepAlive(h)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
