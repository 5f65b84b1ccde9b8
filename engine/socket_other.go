//go:build !linux

package engine

import "net"

// boundUnsent has nothing to set here.
func boundUnsent(net.Conn) {}
