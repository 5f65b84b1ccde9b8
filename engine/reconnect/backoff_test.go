package reconnect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// However often it has failed, the wait stays what it is at most.
func TestBackoffStaysAtMost(t *testing.T) {
	b := backoff{min: 500 * time.Millisecond, max: 30 * time.Second, stable: time.Second}
	for range 1000 {
		b.fail(-1)
		require.Positive(t, b.most())
		require.LessOrEqual(t, b.most(), b.max)
	}
	require.Equal(t, b.max, b.most())
}
