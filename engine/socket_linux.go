package engine

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much the kernel may hold of what it has not sent yet. More
// would wait where neither a control frame nor a close can pass it; with less
// the writer is woken more often than the network needs.
const unsentBytes = 128 << 10

// deadAfter is how many write-stall timeouts the peer may leave unacknowledged
// what the kernel has sent. One would be hard on a network that is gone for a
// moment: retransmissions are seconds apart by then.
const deadAfter = 3

// tune sets TCP_NOTSENT_LOWAT, without which the kernel takes megabytes from us
// for a peer that does not read, and TCP_USER_TIMEOUT, without which it goes on
// sending to one that is gone for a quarter of an hour.
func (k kernel) tune(writeStall time.Duration) {
	if k.raw == nil {
		return
	}
	_ = k.raw.Control(func(fd uintptr) { // neither is vital
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
		if writeStall > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(deadAfter*writeStall/time.Millisecond, math.MaxInt32)))
		}
	})
}

// tcpClose is the state of a connection that has been reset, has timed out, or has been
// ended by both sides (TCP_CLOSE in the kernel's tcp_states.h).
const tcpClose = 7

// unsent asks with SIOCOUTQNSD: SIOCOUTQ also counts what is on its way.
func (k kernel) unsent() (n, lost int) {
	if k.raw == nil {
		return 0, 0
	}
	_ = k.raw.Control(func(fd uintptr) { n, lost = unsentOf(int(fd)) }) // fails on a closed socket, which sends nothing
	return n, lost
}

// unread asks with FIONREAD.
func (k kernel) unread() (some bool) {
	if k.raw != nil {
		_ = k.raw.Control(func(fd uintptr) { some = unreadOf(int(fd)) }) // fails on a closed socket, for which it is too late
	}
	return some
}

func unreadOf(fd int) bool {
	n, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n > 0
}

func unsentOf(fd int) (n, lost int) {
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.State == tcpClose {
		lost, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQ) // which goes on counting what has been thrown away
		return 0, lost
	}
	n, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQNSD)
	return n, 0
}
