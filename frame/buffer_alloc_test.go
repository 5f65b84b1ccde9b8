//go:build !race

package frame_test

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame"
)

// sync.Pool drops at random under the race detector.
func TestPoolAllocatesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, n := range []int{1, 512, 4096, 16 << 10, mib} {
		var p frame.Pool
		assert.Zero(t, testing.AllocsPerRun(100, func() { p.Put(p.Get(n)) }), "Get(%d)", n)
	}
}
