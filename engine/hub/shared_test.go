package hub_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// A shared archive is a room whose history is kept by the test.
func startShared(t *testing.T, messages int) *archive {
	return startArchive(t, engine.Config{}, withHistory(hub.History{Messages: messages, Shared: true}))
}

func position(epoch, seq uint64) hub.Position { return hub.Position{Epoch: epoch, Seq: seq} }

func (a *archive) put(epoch, seq uint64) bool {
	return a.room.Put(position(epoch, seq), time.Now(), frame.Text, fmt.Appendf(nil, "m%d", seq))
}

func (a *archive) restore(epoch uint64, seqs ...uint64) {
	for _, seq := range seqs {
		a.room.Restore(position(epoch, seq), time.Now(), frame.Text, fmt.Appendf(nil, "m%d", seq))
	}
}

// reads returns the next n messages.
func (r *reader) reads(n int) []string {
	r.t.Helper()
	r.got = nil
	for range n {
		require.NoError(r.t, r.read())
		if r.gap {
			r.got = append(r.got, "gap to "+r.at.String())
		}
	}
	return r.got
}

// Who joins before the room is ready gets nothing until then, and then what it asked for:
// all, what is behind its position, or what is new. A position that this hub has not seen
// yet is not forged: the client has it from another one.
func TestSharedJoinBeforeReady(t *testing.T) {
	a := startShared(t, 100)
	all, some, fresh, ahead := a.client("0-0"), a.client("7-2"), a.client("join"), a.client("7-5")
	require.Eventually(t, func() bool { return a.room.Len() == 4 }, 20*time.Second, time.Millisecond)
	require.False(t, a.put(7, 4), "it is not the next one")
	a.restore(7, 1, 2, 3)
	a.room.Ready(position(7, 3))
	for seq := uint64(4); seq <= 6; seq++ {
		require.True(t, a.put(7, seq))
		a.room.Ready(position(7, 3)) // which came late, and takes nothing back
	}
	some.at, ahead.at = position(7, 2), position(7, 5)
	require.Equal(t, []string{"m1", "m2", "m3", "m4", "m5", "m6"}, all.reads(6))
	require.Equal(t, []string{"m3", "m4", "m5", "m6"}, some.reads(4))
	require.Equal(t, []string{"m4", "m5", "m6"}, fresh.reads(3))
	require.Equal(t, []string{"m6"}, ahead.reads(1))
	require.Equal(t, position(7, 6), a.room.Position())
}

// Put takes the next message, passes over what is there, and refuses what comes too
// early; Restore takes that, and tells of what is lost.
func TestSharedGap(t *testing.T) {
	a := startShared(t, 100)
	r := a.client("0-0")
	require.Eventually(t, func() bool { return a.room.Len() == 1 }, 20*time.Second, time.Millisecond)
	a.room.Ready(hub.Position{})
	require.True(t, a.put(7, 1), "the first one of all")
	require.True(t, a.put(7, 1), "it is there")
	require.False(t, a.put(7, 4))
	a.restore(7, 2, 1, 4, 5)
	require.True(t, a.put(7, 6))
	require.Equal(t, []string{"m1", "m2", "gap to 7-3", "m4", "m5", "m6"}, r.reads(6))
	back := a.client("7-2")
	back.at = position(7, 2)
	require.Equal(t, []string{"gap to 7-3", "m4", "m5", "m6"}, back.reads(4))
}

// Another epoch is a gap for everybody who is there, those who were behind included.
func TestSharedNewEpoch(t *testing.T) {
	a := startShared(t, 100)
	r, ahead := a.client("0-0"), a.client("7-9")
	require.Eventually(t, func() bool { return a.room.Len() == 2 }, 20*time.Second, time.Millisecond)
	a.restore(7, 1, 2)
	a.room.Ready(position(7, 2))
	require.Equal(t, []string{"m1", "m2"}, r.reads(2))
	require.False(t, a.put(8, 1))
	a.restore(8, 1)
	require.True(t, a.put(8, 2))
	r.at, ahead.at = position(7, 2), position(7, 9)
	require.Equal(t, []string{"gap to 8-0", "m1", "m2"}, r.reads(3))
	require.Equal(t, []string{"gap to 8-0", "m1", "m2"}, ahead.reads(3))
	require.Equal(t, position(8, 2), a.room.Position())
}

// When the last member has left nobody keeps the copy up to date: the next one waits for
// it to be ready again, and gets what came between.
func TestSharedReadyAgain(t *testing.T) {
	a := startShared(t, 100)
	r := a.client("0-0")
	require.Eventually(t, func() bool { return a.room.Len() == 1 }, 20*time.Second, time.Millisecond)
	a.restore(7, 1)
	a.room.Ready(position(7, 1))
	require.Equal(t, []string{"m1"}, r.reads(1))
	require.NoError(t, r.ws.Close())
	require.Eventually(t, func() bool { return a.room.Len() == 0 }, 20*time.Second, time.Millisecond)
	back, fresh := a.client("7-1"), a.client("join")
	require.Eventually(t, func() bool { return a.room.Len() == 2 }, 20*time.Second, time.Millisecond)
	require.False(t, a.put(7, 3), "there may be more")
	a.restore(7, 2, 3)
	a.room.Ready(position(7, 3))
	require.True(t, a.put(7, 4))
	back.at = position(7, 1)
	require.Equal(t, []string{"m2", "m3", "m4"}, back.reads(3))
	require.Equal(t, []string{"m4"}, fresh.reads(1), "what was published before it came is not for it")
}

// A history that is only known to have been there is a gap for who has seen less, and
// nothing for who has not been there.
func TestSharedReadyWithoutMessages(t *testing.T) {
	a := startShared(t, 100)
	r := a.client("7-2")
	require.Eventually(t, func() bool { return a.room.Len() == 1 }, 20*time.Second, time.Millisecond)
	a.room.Ready(position(7, 5))
	require.True(t, a.put(7, 6))
	r.at = position(7, 2)
	require.Equal(t, []string{"gap to 7-5", "m6"}, r.reads(2))
}

// Positions are not this hub's to give.
func TestSharedPublish(t *testing.T) {
	a := startShared(t, 100)
	_, err := a.room.Publish(context.Background(), frame.Text, nil)
	require.ErrorIs(t, err, hub.ErrShared)
	require.True(t, a.put(7, 5), "a room that nobody is in needs nothing")
	require.Zero(t, a.room.Position())
	own := startArchive(t, engine.Config{}, withHistory(hub.History{Messages: 100}))
	own.publish("own")
	require.True(t, own.put(7, 5))
	require.EqualValues(t, 1, own.room.Position().Seq, "a history of its own takes nothing")
}
