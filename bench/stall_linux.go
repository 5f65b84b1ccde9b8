package bench

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// smallBuffer gives a socket the smallest receive buffer there is. Before it
// connects, because the window that it offers then is not taken back.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var setErr error
	err := c.Control(func(fd uintptr) {
		setErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	})
	return errors.Join(err, setErr)
}
