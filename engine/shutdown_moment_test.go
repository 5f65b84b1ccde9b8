package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMomentsOfAShutdown: each close comes within its share of the spread, anywhere in it, and
// without a spread all come at once.
func TestMomentsOfAShutdown(t *testing.T) {
	const n, share, spread = 10, time.Second, 10 * time.Second
	for i := range n {
		early, late := 0, 0
		for range 1000 {
			at := moment(i, n, spread) - time.Duration(i)*share
			require.GreaterOrEqual(t, at, time.Duration(0))
			require.Less(t, at, share)
			if at < share/2 {
				early++
			} else {
				late++
			}
		}
		require.Greater(t, early, 300)
		require.Greater(t, late, 300)
		require.Zero(t, moment(i, n, 0))
	}
}
