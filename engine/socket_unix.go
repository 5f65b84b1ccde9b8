//go:build unix

package engine

import (
	"io"
	"math"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/backpressure"
)

// A tcpSocket is plain TCP on Go's own poller. The raw descriptor gives what
// net.Conn does not: a write that never waits, and a wait for reading that
// holds no memory.
type tcpSocket struct {
	conn *net.TCPConn
	kernel
	e *Engine

	// reader
	tryRead func(fd uintptr) bool // made once: a method value allocates
	into    memory
	n       int
	err     error
	yield   yield

	// the lot's lock
	closed bool
	fd     int32 // set while it is parked
	parked *Conn // nil: it is not
}

func (e *Engine) newTCPSocket(conn *net.TCPConn, k kernel) socket {
	if k.raw == nil {
		return nil
	}
	s := &tcpSocket{conn: conn, kernel: k, e: e}
	s.tryRead = s.readOnce
	return s
}

func (s *tcpSocket) read(m memory) (int, error) {
	s.into = m
	s.yield.before()
	if err := s.raw.Read(s.tryRead); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// readOnce makes one attempt; false asks the poller to wait. Every wait must
// follow a fresh EAGAIN, or readiness that came before it is lost.
func (s *tcpSocket) readOnce(fd uintptr) bool {
	s.n, s.err = tryRead(int(fd), s.into.lend(math.MaxInt))
	s.yield.after(s.n > 0)
	if s.n > 0 {
		return true
	}
	s.into.giveBack()
	return s.err != nil
}

// tryRead reads what there is at once: 0 and no error if there is nothing, io.EOF at
// the end.
func tryRead(fd int, b []byte) (int, error) {
	for {
		n, err := readFD(fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, nil
		case err == nil:
			err = io.EOF
		}
		return 0, err
	}
}

// tryWrite writes what the kernel takes at once, which may be nothing.
func tryWrite(fd int, bufs [][]byte) (n int, err error) {
	for {
		if len(bufs) == 1 {
			n, err = writeFD(fd, bufs[0])
		} else {
			n, err = writeFDs(fd, bufs)
		}
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, nil
		}
		return 0, err
	}
}

// A yield lets other goroutines run before a read that is expected to find
// nothing: on a busy server they are readers of other connections, and when they
// have had their turn the peer has often sent its next message. Then the read
// succeeds, and a read in vain, a wait and a wake-up are saved: a tenth of an
// echo's instructions, measured with 100 connections.
//
// On a server that is not busy it finds nothing but costs a switch, and the
// waking of an idle processor. So it backs off where it fails.
type yield struct {
	skip    uint8 // reads to go without
	backoff uint8
	tried   bool
}

func (y *yield) before() {
	if y.skip > 0 {
		y.skip--
		return
	}
	y.tried = true
	runtime.Gosched()
}

// after takes note of the first attempt's outcome.
func (y *yield) after(found bool) {
	switch {
	case !y.tried:
		return
	case found:
		y.backoff = 0
	default:
		y.backoff = y.backoff<<1 | 1
		y.skip = y.backoff
	}
	y.tried = false
}

// A writeOp is one call of Write: what the raw connection's callbacks need. They
// are made with the op, for a method value allocates.
type writeOp struct {
	bufs [][]byte
	n    int
	err  error
	now  func(fd uintptr)
	wait func(fd uintptr) bool
}

var writeOps = sync.Pool{New: func() any {
	op := new(writeOp)
	op.now = op.attempt
	op.wait = op.attemptOrWait
	return op
}}

// attempt writes what the kernel takes at once.
func (op *writeOp) attempt(fd uintptr) { op.n, op.err = tryWrite(int(fd), op.bufs) }

// attemptOrWait has the poller wait after an attempt in vain.
func (op *writeOp) attemptOrWait(fd uintptr) bool {
	op.attempt(fd)
	return op.n > 0 || op.err != nil
}

// Write uses the poller only if it may wait: Control, unlike RawConn.Write,
// neither resets it nor queues behind a writer that it has parked.
func (s *tcpSocket) Write(bufs [][]byte, wait bool) (n int, err error) {
	op := writeOps.Get().(*writeOp)
	op.bufs = bufs
	if wait {
		err = s.raw.Write(op.wait)
	} else {
		err = s.raw.Control(op.now)
	}
	if err == nil {
		err = op.err
	}
	n = op.n
	op.bufs, op.n, op.err = nil, 0, nil
	writeOps.Put(op)
	return n, err
}

func (s *tcpSocket) Await(q *backpressure.Queue) {
	s.e.goroutines.spawn(func() { q.Resume(true) })
}

func (s *tcpSocket) setReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }
func (s *tcpSocket) closeWrite() error                 { return s.conn.CloseWrite() }
func (s *tcpSocket) parks() bool                       { return s.e.lot.parks() }
func (s *tcpSocket) park(c *Conn) bool                 { return s.e.lot.park(s, c) }

func (s *tcpSocket) close() error {
	parked := s.e.lot.release(s)
	err := s.conn.Close()
	if parked != nil {
		parked.unpark() // it reads that the socket is closed
	}
	return err
}
