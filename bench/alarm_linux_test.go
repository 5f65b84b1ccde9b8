package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The alarm gives back in order of time what was put in.
func TestAlarm(t *testing.T) {
	var a alarm
	for i := range int32(1000) {
		a.add(int64(i*7919%1000), i)
	}
	_, ok := a.next(-1)
	require.False(t, ok)
	for at := range int64(1000) {
		index, ok := a.next(at)
		require.True(t, ok)
		require.Equal(t, at, int64(index*7919%1000))
		_, ok = a.next(at)
		require.False(t, ok)
	}
}
