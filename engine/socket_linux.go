package engine

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much the kernel may hold of what it has not sent yet. More
// would wait where neither a control frame nor a close can pass it; with less
// the writer is woken more often than the network needs.
const unsentBytes = 128 << 10

// boundUnsent sets TCP_NOTSENT_LOWAT. Without it the kernel takes megabytes
// from us for a peer that does not read.
func boundUnsent(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
