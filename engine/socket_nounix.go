//go:build !unix

package engine

import "net"

// newTCPSocket: there is no raw descriptor to work with here.
func newTCPSocket(*net.TCPConn, kernel, *group) socket { return nil }
