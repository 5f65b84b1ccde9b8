//go:build !linux

package bench

import "syscall"

// smallBuffer leaves a socket's receive buffer as it is.
func smallBuffer(_, _ string, _ syscall.RawConn) error { return nil }
