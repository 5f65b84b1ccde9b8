//go:build !unix

package engine

import "net"

// newTCPSocket: there is no raw descriptor to work with here.
func (*Engine) newTCPSocket(*net.TCPConn, kernel) socket { return nil }
