//go:build unix

package engine

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/backpressure"
)

// A tcpSocket is plain TCP on Go's own poller. The raw descriptor gives what
// net.Conn does not: a write that never waits, and a wait for reading that
// holds no memory.
type tcpSocket struct {
	conn  *net.TCPConn
	raw   syscall.RawConn
	spawn func(func())

	// reader
	tryRead func(fd uintptr) bool // made once: a method value allocates
	into    memory
	n       int
	err     error
}

func newTCPSocket(conn *net.TCPConn, spawn func(func())) socket {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	boundUnsent(raw)
	s := &tcpSocket{conn: conn, raw: raw, spawn: spawn}
	s.tryRead = s.readOnce
	return s
}

func (s *tcpSocket) read(m memory) (int, error) {
	s.into = m
	if err := s.raw.Read(s.tryRead); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// readOnce makes one attempt; false asks the poller to wait. Every wait must
// follow a fresh EAGAIN, or readiness that came before it is lost.
func (s *tcpSocket) readOnce(fd uintptr) bool {
	b := s.into.lend()
	for {
		s.n, s.err = unix.Read(int(fd), b)
		if s.err != unix.EINTR {
			break
		}
	}
	if s.n > 0 {
		return true
	}
	s.n = 0
	s.into.giveBack()
	if s.err == unix.EAGAIN {
		return false
	}
	if s.err == nil {
		s.err = io.EOF
	}
	return true
}

// A writeOp is one call of Write: what the raw connection's callback needs.
type writeOp struct {
	bufs [][]byte
	wait bool
	n    int
	err  error
	try  func(fd uintptr) bool
}

var writeOps = sync.Pool{New: func() any {
	op := new(writeOp)
	op.try = op.once
	return op
}}

func (op *writeOp) once(fd uintptr) bool {
	for {
		if len(op.bufs) == 1 {
			op.n, op.err = unix.Write(int(fd), op.bufs[0])
		} else {
			op.n, op.err = unix.Writev(int(fd), op.bufs)
		}
		if op.err != unix.EINTR {
			break
		}
	}
	if op.err == nil {
		return true
	}
	op.n = 0
	if op.err == unix.EAGAIN {
		op.err = nil
		return !op.wait
	}
	return true
}

func (s *tcpSocket) Write(bufs [][]byte, wait bool) (int, error) {
	op := writeOps.Get().(*writeOp)
	op.bufs, op.wait = bufs, wait
	err := s.raw.Write(op.try)
	if err == nil {
		err = op.err
	}
	n := op.n
	op.bufs, op.n, op.err = nil, 0, nil
	writeOps.Put(op)
	return n, err
}

func (s *tcpSocket) Await(q *backpressure.Queue) {
	s.spawn(func() { q.Resume(true) })
}

func (s *tcpSocket) closeWrite() error { return s.conn.CloseWrite() }
func (s *tcpSocket) close() error      { return s.conn.Close() }
