package deflate_test

import (
	"runtime"
	"runtime/debug"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame/deflate"
)

// What is pooled, or waits for more of a message, keeps none of the caller's
// memory. (A pool itself survives one collection.)
func TestKeepsNoMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	use := func(f func(memory []byte)) weak.Pointer[byte] {
		memory := make([]byte, 0, 64*kib)
		p := weak.Make(&memory[:1][0])
		f(memory)
		return p
	}
	w := deflate.NewWriter(1, 15)
	dst := use(func(b []byte) { w.Append(w.Flush(b), nil) })
	piece := use(func(b []byte) { w.Append(nil, append(b, "piece"...)) })
	src := use(func(b []byte) { _, _ = deflate.Inflate(nil, deflate.AppendMessage(b, text(100), 6, 15), mib, 0, nil) })
	runtime.GC()
	assert.Nil(t, dst.Value(), "Flush's dst")
	assert.Nil(t, piece.Value(), "Append's piece")
	assert.Nil(t, src.Value(), "Inflate's src")
	w.Close()
}
