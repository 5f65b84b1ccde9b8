//go:build !race

package deflate_test

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame/deflate"
)

// sync.Pool drops at random under the race detector.
func TestAllocatesNothing(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, n := range []int{128, 16 * kib} {
		payload := text(n)
		for _, level := range []int{-2, 0, 1, 6, 9} {
			for _, bits := range []int{9, 15} {
				at := fmt.Sprintf("%d bytes, level %d, %d bits", n, level, bits)
				src, dst := make([]byte, 0, 2*n+10), make([]byte, 0, n)
				assert.Zero(t, testing.AllocsPerRun(20, func() { src = deflate.AppendMessage(src[:0], payload, level, bits) }), at)
				assert.Zero(t, testing.AllocsPerRun(20, func() {
					w := deflate.NewWriter(level, bits)
					src = w.Append(src[:0], payload[:n/2])
					src = w.Finish(w.Append(src, payload[n/2:]))
					w.Close()
				}), at)
				assert.Zero(t, testing.AllocsPerRun(20, func() { _, _ = deflate.Inflate(dst, src, n, 100, nil) }), at)
			}
		}
	}
}

// klauspost/compress counts positions in 31 bits and starts over when they run
// out, after some 30000 messages of one Writer.
func TestWriterLivesLong(t *testing.T) {
	payload := text(200)
	for _, row := range []struct{ level, bits int }{{1, 15}, {3, 15}, {6, 15}, {1, 10}} {
		w := deflate.NewWriter(row.level, row.bits)
		want := string(w.Finish(w.Append(nil, payload)))
		var dst []byte
		for range 70_000 {
			if dst = w.Finish(w.Append(dst[:0], payload)); string(dst) != want {
				t.Fatalf("level %d: %q", row.level, dst)
			}
		}
		w.Close()
	}
}
