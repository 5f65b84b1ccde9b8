//go:build !race

package engine_test

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Memory while streaming 1 GiB does not grow with it.
func TestStreamMemory(t *testing.T) {
	const size = 1 << 30
	r := newStreamRig(t, engine.Config{MaxMessageBytes: size})
	require.NoError(t, r.c.Conn.SetReadDeadline(time.Time{}))
	done := make(chan error, 1)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go func() { done <- r.conn.SendStream(t.Context(), frame.Binary, io.LimitReader(new(endless), size)) }()
	b := make([]byte, 256<<10)
	read, most, next := 0, uint64(0), 0
	for whole := size + size/chunk*10; read < whole; { // headers of fragments are of 10 bytes
		n, err := r.c.Conn.Read(b)
		require.NoError(t, err)
		if read += n; read >= next {
			next += size / 64
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
		}
	}
	require.NoError(t, <-done)
	t.Logf("1 GiB: the heap has grown by %d KiB", (int64(most)-int64(before.HeapInuse))>>10)
	require.Less(t, int64(most), int64(before.HeapInuse)+4<<20)
	r.c.Reset()
}
