//go:build !linux

package engine

import (
	"errors"
	"net"
)

// Event loops are Linux's; see loop_linux.go.
type (
	loop       struct{}
	loopSocket struct {
		socket
		conn *Conn
	}
)

func newLoops(*Engine, int) (*loops, error) { return nil, errors.ErrUnsupported }

func (*loop) stop() {}

func newLoopSocket(*loop, *net.TCPConn, kernel) (*loopSocket, error) {
	return nil, errors.ErrUnsupported
}

func (*loopSocket) watch()    {}
func (*loopSocket) start()    {}
func (*loopSocket) makeRoom() {}
func (*loopSocket) noRoom()   {}
func (*loopSocket) schedule() {}

func (*loopSocket) handlesNow() bool { return false }
