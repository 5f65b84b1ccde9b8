package engine

import (
	"crypto/tls"
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much the kernel may hold of what it has not sent yet. More
// would wait where neither a control frame nor a close can pass it; with less
// the writer is woken more often than the network needs.
const unsentBytes = 128 << 10

// boundUnsent sets TCP_NOTSENT_LOWAT, under TLS as well. Without it the kernel
// takes megabytes from us for a peer that does not read.
func boundUnsent(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
