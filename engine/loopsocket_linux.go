package engine

import (
	"fmt"
	"math"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A loopSocket is a plain TCP socket on a loop.
type loopSocket struct {
	neverParks
	loop *loop
	conn *Conn
	fd   int

	users       atomic.Int32  // of fd, the loop among them; who is the last closes it
	room        atomic.Uint32 // see Await
	todo        atomic.Uint32 // why it is posted
	hup         atomic.Bool   // reads come to an end, or to an error
	closed      atomic.Bool
	interrupted atomic.Bool

	// the loop's
	state     loopState
	readable  bool // there may be something to read
	again     bool // it has a turn in the next round
	full      bool // there is no room for another message
	waits     bool // messages wait to be handled
	inMessage bool // gws has the first fragments of a message

	// the side lane's while it has the connection
	drained   bool // epoll will tell when there is more
	sideEnded bool

	// the loop's; here because they fill the struct to 80 bytes, a size that Go allocates
	slot       int32
	generation int32
	frameEnd   int32 // in the transport's buffer, of the frame that gws is having
	side       *sideLane
}

// loopState says what a loop does with a connection.
type loopState uint8

const (
	unstarted loopState = iota
	opening             // OnOpen has not returned
	reading
	paused   // until there is room
	sideways // lent to a side lane
	dropping // what comes is for nobody
	napping  // likewise, but not just now
	readOver // nothing more is read
	released // the socket is closed
)

// What is posted.
const (
	todoWatch uint32 = 1 << iota
	todoStart
	todoSideOver
	todoWrite
	todoRun
	todoRoom
	todoInterrupt
	todoClose
)

// errClosedSocket is what a read gets when this side has closed the socket.
var errClosedSocket = fmt.Errorf("engine: %w", net.ErrClosed)

// newLoopSocket takes a connection over from net: its descriptor is duplicated and
// the original closed, which takes it from Go's poller.
func newLoopSocket(l *loop, tcp *net.TCPConn, k kernel) (*loopSocket, error) {
	s := &loopSocket{fd: -1, loop: l}
	var err error
	if cerr := k.raw.Control(func(fd uintptr) { s.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	_ = tcp.Close() // the connection itself lives in the duplicate
	s.users.Store(1)
	s.room.Store(kernelRoom)
	return s, nil
}

// watch has the loop tell of room for writing.
func (s *loopSocket) watch() { s.post(todoWatch) }

// start has the loop read.
func (s *loopSocket) start() { s.post(todoStart) }

// makeRoom tells that a connection that was paused may go on.
func (s *loopSocket) makeRoom() { s.post(todoRoom) }

// schedule has the loop run the connection's callbacks.
func (s *loopSocket) schedule() { s.post(todoRun) }

// handlesNow reports whether a message that is handled inline has none before it, and
// others behind it: then the replies leave together whenever it is handled, and
// its memory is used again for the next.
func (s *loopSocket) handlesNow() bool {
	c := s.conn
	return s.mayHandle() && (c.inlineBurst != nil || c.transport.pos < c.transport.cut)
}

// mayHandle reports whether a message need not wait.
func (s *loopSocket) mayHandle() bool {
	if s.state != reading || s.waits {
		return false
	}
	s.waits = s.conn.queue.Congested() // then it waits, and those behind it
	return !s.waits
}

// begin is called when a turn with what has been read begins.
func (s *loopSocket) begin() {
	t := &s.conn.transport
	s.full, s.inMessage = false, false
	s.waits = t.pos < t.cut && s.conn.onLoop() && s.conn.waits()
}

// nextFrame is called when gws gets the next frame.
func (s *loopSocket) nextFrame() {
	t := &s.conn.transport
	b := t.buf.B[t.pos:t.cut]
	s.frameEnd = int32(t.pos + frameSize(b))
	if frame.Opcode(b[0] & 0xf).IsControl() {
		return
	}
	s.inMessage = b[0]&0x80 == 0
}

// noRoom has the loop stop behind the message at hand.
func (s *loopSocket) noRoom() { s.full = true }

func (s *loopSocket) post(what uint32) {
	if s.todo.Or(what) == 0 {
		s.loop.post(s)
	}
}

// enter is to be called before fd is used by anyone but the loop; false: it is
// closed.
func (s *loopSocket) enter() bool {
	for {
		n := s.users.Load()
		if n <= 0 {
			return false
		}
		if s.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave ends a use. epoll forgets a descriptor that is closed.
func (s *loopSocket) leave() {
	if s.users.Add(-1) == 0 {
		_ = unix.Close(s.fd)
	}
}

// attempt reads once. 0 and no error: there is nothing to read. After a read that
// did not fill the buffer there is nothing more, or epoll will tell of it; only the
// end of what the peer sends may have been told before.
func (s *loopSocket) attempt(t *transport) (n int, err error) {
	b := t.lend(math.MaxInt)
	n, err = tryRead(s.fd, b)
	s.readable = n > 0 && (n == len(b) || s.hup.Load())
	if n == 0 && t.kept == 0 {
		t.giveBack()
	}
	return n, err
}

// read is the side lane's.
func (s *loopSocket) read(m memory) (int, error) {
	for {
		switch {
		case s.closed.Load():
			return 0, errClosedSocket
		case s.interrupted.Load():
			return 0, os.ErrDeadlineExceeded
		}
		if !s.drained {
			b := m.lend(math.MaxInt)
			n, err := tryRead(s.fd, b)
			if n > 0 {
				s.drained = n < len(b) && !s.hup.Load()
				return n, nil
			}
			m.giveBack()
			if err != nil {
				return 0, err
			}
		}
		<-s.side.wake
		s.drained = false
	}
}

// setReadDeadline knows only whether there is one: see interrupt.
func (s *loopSocket) setReadDeadline(t time.Time) error {
	s.interrupted.Store(!t.IsZero())
	if !t.IsZero() {
		s.post(todoInterrupt)
	}
	return nil
}

// The states of room.
const (
	kernelRoom uint32 = 1 << iota // there may be room: none was missing yet, or epoll has told of some
	awaited                       // Await waits for room
)

// Write never waits: what the socket does not take goes out when the loop calls
// Resume. epoll tells of room if the kernel has had to refuse something, so before
// the attempt that is to find none the room is marked as used up.
func (s *loopSocket) Write(bufs [][]byte, _ bool) (n int, err error) {
	if !s.enter() {
		return 0, errClosedSocket
	}
	n, err = tryWrite(s.fd, bufs)
	if left := skip(bufs, n); err == nil && len(left) > 0 {
		s.room.And(^kernelRoom)
		var m int
		m, err = tryWrite(s.fd, left)
		n += m
		if len(skip(left, m)) == 0 {
			s.room.Or(kernelRoom)
		}
	}
	s.leave()
	return n, err
}

// skip returns what is left of bufs behind n bytes; it changes the elements of bufs.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if len(bufs) > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

// Await has the loop call Resume when epoll tells of room, or soon if it has done so
// already. Whoever comes second, this or epoll, sees what the other has noted.
func (s *loopSocket) Await(*backpressure.Queue) {
	if s.room.Or(awaited)&kernelRoom != 0 && s.room.And(^awaited)&awaited != 0 {
		s.post(todoWrite)
	}
}

// roomInKernel is called by the loop when epoll tells of room.
func (s *loopSocket) roomInKernel() {
	if s.room.Load() == kernelRoom {
		return // nobody waits
	}
	if s.room.Or(kernelRoom)&awaited != 0 && s.room.And(^awaited)&awaited != 0 {
		s.conn.queue.Resume(false)
	}
}

func (s *loopSocket) unsent() (n, lost int) {
	if !s.enter() {
		return 0, 0
	}
	defer s.leave()
	return unsentOf(s.fd)
}

func (s *loopSocket) unread() bool {
	if !s.enter() {
		return false
	}
	defer s.leave()
	return unreadOf(s.fd)
}

func (s *loopSocket) closeWrite() error {
	if !s.enter() {
		return errClosedSocket
	}
	defer s.leave()
	return os.NewSyscallError("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
}

func (s *loopSocket) close() error {
	s.closed.Store(true)
	s.post(todoClose)
	return nil
}
