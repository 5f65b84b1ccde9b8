package hub

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// newKeeping returns a hub whose rooms have a history, if their name begins with h.
func newKeeping(t testing.TB, limits History) (*Hub, *engine.Engine) {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	require.NoError(t, err)
	return New(e, Config{
		User: func(*engine.Conn) string { return "" },
		History: func(room string) History {
			if strings.HasPrefix(room, "h") {
				return limits
			}
			return History{}
		},
		Envelope: func(dst []byte, m Published) []byte { return append(dst, m.Payload...) },
		Gap:      func(dst []byte, _ string, _, _ Position) ([]byte, Opcode) { return dst, frame.Text },
		Logger:   slog.New(slog.DiscardHandler),
	}), e
}

func (h *Hub) publish(t testing.TB, room string) Position {
	at, err := h.Room(room).Publish(context.Background(), frame.Text, []byte("x"))
	require.NoError(t, err)
	return at
}

func (h *Hub) count() (n int) {
	for range h.Rooms() {
		n++
	}
	return n
}

// TestSweeper: messages are kept for Age, then the room is forgotten and the timer
// rests, but for rooms with members.
func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := newKeeping(t, History{Messages: 10, Age: time.Minute})
		defer func() { _ = e.Shutdown(context.Background()) }()
		c := new(engine.Conn)
		h.enter(c)
		h.Room("h2").Join(c)
		first := h.publish(t, "h1")
		time.Sleep(50 * time.Second)
		synctest.Wait()
		second := h.publish(t, "h1")
		require.Equal(t, Position{first.Epoch, 2}, second)
		g := h.rooms.find("h1")
		time.Sleep(11*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, uint64(1), g.log.gone.Load(), "the first has been kept for too long")
		require.True(t, h.sweeper.armed.Load())
		time.Sleep(50 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, h.count(), "the room has been kept for too long, or the other not")
		require.Equal(t, uint64(2), g.log.gone.Load())
		require.False(t, h.sweeper.armed.Load(), "nothing can age, and the timer runs")
		require.NotEqual(t, first.Epoch, h.publish(t, "h1").Epoch, "a new life has its own epoch")
		h.Room("h2").Leave(c)
		require.Equal(t, 1, h.count(), "a room of which nothing was published goes with its last member")
		h.exit(c)
	})
}

// A room that has been forgotten does not take along the next of its name.
func TestForgottenTwice(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	c := new(engine.Conn)
	h.enter(c)
	room := h.Room("h")
	room.Join(c)
	old := h.rooms.find("h")
	room.Leave(c)
	require.Zero(t, h.count())
	room.Join(c)
	require.False(t, h.rooms.shard("h").drop(old)) // the sweeper has still had it on its list
	require.True(t, room.Has(c))
	room.Leave(c)
}

// Neither a room nor its history keeps who has left in memory.
func TestLeftIsForgotten(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	h.publish(t, "h")
	func() {
		c := new(engine.Conn)
		h.enter(c)
		h.Identify(c, "user")
		for _, room := range []string{"h", "plain"} {
			h.Room(room).Join(c)
			h.Room(room).snapshot()
		}
		h.rooms.find("h").log.live.freeze()
		h.All().snapshot()
		h.exit(c)
	}()
	l := h.rooms.find("h").log
	require.Empty(t, l.followers)
	require.Nil(t, l.live.members)
	require.Nil(t, l.live.frozen)
	require.Nil(t, h.all.set.frozen)
	require.Equal(t, 1, h.count())
	require.Nil(t, h.rooms.find("plain"))
	require.Nil(t, h.users.find("user"))
	for i := range h.members.shards {
		require.Empty(t, h.members.shards[i].list)
	}
}

// Nor does the sweeper's timer keep a hub.
func TestHubIsForgotten(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10, Age: time.Hour})
	h.publish(t, "h")
	require.True(t, h.sweeper.armed.Load())
	pointer := weak.Make(h)
	require.NoError(t, e.Shutdown(context.Background()))
	h, e = nil, nil
	for range 100 {
		runtime.GC()
		if pointer.Value() == nil {
			return
		}
	}
	t.Fatal("the hub is still there")
}

// TestHistoryBounds: number, bytes with cost, and one that is kept whatever its size.
func TestHistoryBounds(t *testing.T) {
	for name, c := range map[string]struct {
		limits History
		want   int
	}{
		"messages":      {History{Messages: 3}, 3},
		"bytes":         {History{Messages: 100, Bytes: 4 * (cost + 1)}, 4},
		"a byte less":   {History{Messages: 100, Bytes: 4*(cost+1) - 1}, 3},
		"too few bytes": {History{Messages: 100, Bytes: 1}, 1},
		"any bytes":     {History{Messages: 15, Bytes: -1}, 15},
		"for ever":      {History{Messages: 15, Age: -1}, 15},
	} {
		t.Run(name, func(t *testing.T) {
			h, e := newKeeping(t, c.limits)
			defer func() { _ = e.Shutdown(context.Background()) }()
			for range 20 {
				h.publish(t, "h")
			}
			l := h.rooms.find("h").log
			require.Len(t, l.entries, c.want)
			require.Equal(t, c.want, l.bytes)
			require.Equal(t, uint64(20-c.want), l.gone.Load())
			require.Zero(t, l.waiting.Load())
			require.Equal(t, c.limits.Age >= 0, h.sweeper.armed.Load())
		})
	}
}

// Also when no message of the room can be sent: a room of holes would grow for ever.
func TestHistoryBoundsHoles(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 3, Age: -1})
	defer func() { _ = e.Shutdown(context.Background()) }()
	h.cfg.Envelope = func([]byte, Published) []byte { panic("the program's") }
	for range 20 {
		h.publish(t, "h")
	}
	l := h.rooms.find("h").log
	require.LessOrEqual(t, len(l.entries), 3)
	require.Equal(t, l.last-uint64(len(l.entries)), l.gone.Load())
}

// What the history has forgotten is not kept by the slice that it was in.
func TestForgottenEntries(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 3})
	defer func() { _ = e.Shutdown(context.Background()) }()
	for range 3 {
		h.publish(t, "h")
	}
	l := h.rooms.find("h").log
	require.Greater(t, cap(l.entries), 3, "the next one is not appended in place")
	first := &l.entries[0]
	h.publish(t, "h")
	require.Equal(t, entry{}, *first)
}

// Nor is an errand that is done, while others wait.
func TestErrandsForget(t *testing.T) {
	var e errands[*int]
	for range 3 {
		e.add(new(int))
	}
	first := &e.list[0]
	require.True(t, e.begin())
	_, ok := e.next()
	require.True(t, ok)
	require.Nil(t, *first)
	require.Len(t, e.list, 2)
	require.False(t, e.begin(), "two at a time")
}

func TestNoHistory(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	c := new(engine.Conn)
	h.enter(c)
	_, err := h.Room("plain").Publish(context.Background(), frame.Text, nil)
	require.ErrorIs(t, err, ErrNoHistory)
	require.Zero(t, h.count(), "it has made a room")
	h.Room("plain").Join(c)
	_, err = h.Room("plain").Publish(context.Background(), frame.Text, nil)
	require.ErrorIs(t, err, ErrNoHistory)
	require.Equal(t, Position{}, h.Room("plain").Position())
	require.Equal(t, Position{}, h.Room("none").Position())
	h.Room("h").Join(c)
	at := h.Room("h").Position()
	require.NotZero(t, at.Epoch, "or the first message would be lost to who comes back with it")
	require.Zero(t, at.Seq)
	h.exit(c)
	require.Zero(t, h.count())
}

// A join that meets the end of its connection leaves nobody in the room.
func TestJoinMeetsTheEnd(t *testing.T) {
	h, e := newKeeping(t, History{Messages: 10})
	defer func() { _ = e.Shutdown(context.Background()) }()
	c := new(engine.Conn)
	h.enter(c)
	h.cfg.History = func(string) History { // asked when the member has been found
		h.exit(c)
		return History{}
	}
	require.False(t, h.Room("plain").Join(c))
	require.Zero(t, h.count())
	require.False(t, h.Identify(c, "user"))
}
