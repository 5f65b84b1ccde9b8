package engine

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// New leaves nothing behind if it cannot have all the loops that it is to have.
func TestLoopsThatCannotStart(t *testing.T) {
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	few := old
	few.Cur = 40
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }()
	before := runtime.NumGoroutine()
	for range 3 {
		_, err := New(Config{IO: IOLoops, Loops: 100, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
		require.ErrorIs(t, err, unix.EMFILE)
	}
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // some may be about to end
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}
