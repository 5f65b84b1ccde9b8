//go:build linux

package engine

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pipe returns two ends of a non-blocking stream.
func pipe(t testing.TB) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fds[0]); _ = unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// Raw calls behave like those of x/sys: on both sides of rawLimit, with nothing
// to read, with nothing to write, at the end, and on a bad descriptor.
func TestRawIO(t *testing.T) {
	a, b := pipe(t)
	for _, n := range []int{1, rawLimit, rawLimit + 1} {
		sent := bytes.Repeat([]byte{byte(n)}, n)
		wrote, err := writeFD(a, sent)
		require.NoError(t, err)
		require.Equal(t, n, wrote)
		got := make([]byte, 2*rawLimit)
		read, err := readFD(b, got)
		require.NoError(t, err)
		require.Equal(t, sent, got[:read])
	}
	_, err := readFD(b, make([]byte, 1))
	require.Equal(t, unix.EAGAIN, err)
	n, err := readFD(b, nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = writeFD(a, nil)
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
	n, err = readFD(b, make([]byte, 1))
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = writeFD(a, []byte("x"))
	require.Equal(t, unix.EPIPE, err)
	_, err = readFD(-1, make([]byte, 1))
	require.Equal(t, unix.EBADF, err)
}

// BenchmarkRawIO is what rawio_linux.go's unsafe pays for: 128 bytes through a
// socket pair, by raw calls and by those that tell the scheduler.
func BenchmarkRawIO(b *testing.B) {
	for name, io := range map[string]struct {
		read, write func(int, []byte) (int, error)
	}{
		"raw":       {readFD, writeFD},
		"scheduler": {unix.Read, unix.Write},
	} {
		b.Run(name, func(b *testing.B) {
			from, to := pipe(b)
			buf := make([]byte, 128)
			for b.Loop() {
				_, _ = io.write(from, buf)
				_, _ = io.read(to, buf)
			}
		})
	}
}
