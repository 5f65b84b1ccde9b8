package engine

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// TestIdleMemory would notice, some minutes later: one byte more, and each connection is in
// the allocator's next size class, of 128 bytes more.
func TestConnSize(t *testing.T) {
	const class, header = 768, 8 // header: the allocator's, before what is larger than 512 bytes and has pointers
	if size := unsafe.Sizeof(Conn{}); unsafe.Sizeof(uintptr(0)) == 8 {
		require.LessOrEqual(t, int(size)+header, class)
	}
}
