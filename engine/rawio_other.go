//go:build unix && !linux

package engine

import "golang.org/x/sys/unix"

// readFD is read(2).
func readFD(fd int, b []byte) (int, error) { return unix.Read(fd, b) }

// writeFD is write(2).
func writeFD(fd int, b []byte) (int, error) { return unix.Write(fd, b) }
