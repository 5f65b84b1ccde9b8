//go:build linux || darwin || netbsd || openbsd

package engine

import "golang.org/x/sys/unix"

// writeFDs is writev(2).
func writeFDs(fd int, bufs [][]byte) (int, error) { return unix.Writev(fd, bufs) }
