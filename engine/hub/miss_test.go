package hub_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// What the program knows to be missing is a gap: for who is there, and for who resumes
// from before, but not for who comes from behind it.
func TestMiss(t *testing.T) {
	a := startArchive(t, engine.Config{}, withHistory(hub.History{Messages: 100}))
	r := a.client("join")
	a.publish("one")
	before := a.room.Position()
	a.room.Miss()
	a.publish("two")
	require.NoError(t, r.read())
	require.NoError(t, r.read())
	require.True(t, r.gap)
	require.NoError(t, r.read())
	require.Equal(t, []string{"one", "two"}, r.got)

	back := a.client(before.String())
	back.at = before
	require.NoError(t, back.read())
	require.True(t, back.gap)
	require.NoError(t, back.read())
	require.Equal(t, []string{"two"}, back.got)

	after := a.client(r.at.String())
	a.publish("three")
	require.NoError(t, after.read())
	require.False(t, after.gap)
	require.Equal(t, []string{"three"}, after.got)

	a.hub.Room("nobody knows it").Miss()
	require.Zero(t, a.hub.Room("nobody knows it").Position())
}

// A room without a history has nothing that could be missing.
func TestMissWithoutHistory(t *testing.T) {
	f := start(t, engine.Config{}).connect(1)
	f.room.Miss()
	_, err := f.room.Publish(context.Background(), frame.Text, nil)
	require.ErrorIs(t, err, hub.ErrNoHistory)
	f.broadcast("end")
	require.Empty(t, f.read(0, "end"))
}
