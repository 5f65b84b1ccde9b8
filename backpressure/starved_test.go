package backpressure_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A queue that the budget refused a prepared message waits for that much.
func TestStarvedByPrepared(t *testing.T) {
	budget := backpressure.NewBudget(4 << 20)
	r := newRig(t, backpressure.Config{HighWater: 4 << 20, Budget: budget})
	r.wire.setRoom(0)
	r.mustSend([]byte("the socket is full"))
	filler := backpressure.NewAccount(budget)
	filler.Add(4<<20 - 100<<10)
	p := backpressure.Prepare(frame.Binary, 0, pattern(1, 512<<10), budget)
	require.Equal(t, backpressure.Congested, r.Send(prep(p, false)))
	r.Relieve()
	assert.True(t, r.Congested(), "there is no room for it yet")
	filler.Add(-2 << 20)
	r.Relieve()
	assert.False(t, r.Congested())
	require.Equal(t, backpressure.Queued, r.Send(prep(p, false)))
	filler.Add(-(2<<20 - 100<<10))
	r.Fail(errBroken)
	assert.Zero(t, budget.Used())
}

// Of a key only the newest value waits, also when it had to make room by dropping
// others because it did not fit in the place of the one before.
func TestKeyThatGrows(t *testing.T) {
	class := &backpressure.Class{Overflow: backpressure.DropOldest}
	r := newRig(t, backpressure.Config{HighWater: 110, Class: class})
	r.wire.setRoom(0)
	r.mustSend([]byte("w")) // begins, and stays
	send := func(n int, key string) {
		require.Equal(t, backpressure.Queued, r.Send(backpressure.Message{Opcode: frame.Binary, Payload: pattern(n, n), Key: key}))
	}
	send(40, "")
	send(20, "a")
	send(30, "")
	send(50, "a")
	lost := r.TakeLost()
	require.Len(t, lost, 1)
	assert.Equal(t, 1, lost[0].Replaced)
	r.allow(unlimited, true)
	for _, m := range r.transcript().messages {
		assert.NotEqual(t, pattern(20, 20), m.payload, "an old value")
	}
	assert.Equal(t, pattern(50, 50), r.transcript().messages[len(r.transcript().messages)-1].payload)
}
