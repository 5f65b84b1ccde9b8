//go:build unix && !linux

package engine

import "syscall"

// boundUnsent has nothing to set here.
func boundUnsent(syscall.RawConn) {}
