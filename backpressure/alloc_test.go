//go:build !race

package backpressure_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame"
)

// No message costs an allocation on any of the usual ways. (The race detector
// makes sync.Pool forget on purpose, so this is not for it.)
func TestAllocs(t *testing.T) {
	for _, mask := range []bool{false, true} {
		for _, row := range paths {
			t.Run(fmt.Sprintf("%s, mask %v", row.name, mask), func(t *testing.T) {
				b := newBench(row.full, mask)
				run := func() { row.do(b) }
				run()
				assert.Zero(t, testing.AllocsPerRun(1000, run))
				assert.Zero(t, b.Pending())
				assert.Equal(t, b.Totals().Written, b.wire.taken)
			})
		}
	}
}

// Nor while the socket is full: what is dropped or replaced pays for what comes.
func TestAllocsCongested(t *testing.T) {
	q := full(100)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { q.Send(classed(frame.Binary, small128, dropOldest, "")) }))
	q.Send(classed(frame.Binary, small128, keyed, "k"))
	assert.Zero(t, testing.AllocsPerRun(1000, func() { q.Send(classed(frame.Binary, small128, keyed, "k")) }))
}
