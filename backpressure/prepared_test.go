package backpressure_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A prepared message is in the budget once, while at least one queue has it waiting;
// if the budget does not bear it, the message is refused by whoever would have been
// the first.
func TestPreparedInBudget(t *testing.T) {
	const size = 512 << 10
	for _, class := range []*backpressure.Class{{}, {Overflow: backpressure.DropNewest}, {Overflow: backpressure.DropOldest}} {
		t.Run(class.Overflow.String(), func(t *testing.T) {
			budget := backpressure.NewBudget(4 << 20)
			var rigs []*rig
			for range 50 {
				r := newRig(t, backpressure.Config{HighWater: 8 << 20, Class: class, Budget: budget})
				r.wire.setRoom(0)
				rigs = append(rigs, r)
			}
			for _, r := range rigs {
				r.Send(data(frame.Binary, []byte("the socket is full")))
			}
			before := budget.Used()
			p := backpressure.Prepare(frame.Binary, 0, pattern(1, size), budget)
			for _, r := range rigs {
				require.Equal(t, backpressure.Queued, r.Send(prep(p, false)))
			}
			assert.InDelta(t, before+size, budget.Used(), 100, "shared by all")

			verdicts := make(map[backpressure.Verdict]int)
			for i, r := range rigs {
				own := backpressure.Prepare(frame.Binary, 0, pattern(i, size), budget)
				verdicts[r.Send(prep(own, false))]++
				require.LessOrEqual(t, budget.Used(), budget.Limit())
			}
			assert.Greater(t, verdicts[backpressure.Queued], 3)
			assert.Greater(t, verdicts[backpressure.Congested]+verdicts[backpressure.Dropped], 40)

			for _, r := range rigs {
				r.Fail(errBroken)
			}
			assert.Zero(t, budget.Used())
		})
	}
}

// Queues that take and let go of the same message at the same time leave nothing
// behind in the budget, and never take more than one for it.
func TestPreparedConcurrent(t *testing.T) {
	budget := backpressure.NewBudget(100 << 20)
	p := backpressure.Prepare(frame.Binary, 0, pattern(1, 100_000), budget)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 300 {
				r := newRig(t, backpressure.Config{Budget: budget})
				r.wire.setRoom(0)
				r.Send(prep(p, false))
				if used := budget.Used(); used < 0 || used > 8*64<<10+101_000 {
					t.Errorf("%d used", used)
				}
				r.Fail(errBroken)
			}
		})
	}
	all.Wait()
	assert.Zero(t, budget.Used())
}
