package engine

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/frame"
)

// A loop waits for the sockets of many connections with one epoll descriptor, and
// reads them on one goroutine: a connection that waits has neither a goroutine nor
// a stack nor a buffer.
//
// Whole messages and pings it takes from the buffers that they were read into. Fragments and
// the peer's close are gws's, whose read loop runs on the loop's stack, over a lane that the
// connections share: when gws asks for more bytes and the message at hand is over, the loop goes
// on with the other connections. So gws's loop is entered once, and left when a connection ends.
// What has come in part cannot be given to gws on this stack: a frame waits for its
// rest, a large one as a bulk, and a message in fragments is read by a side lane.
//
// Only the loop, or the side lane that it has lent a connection to, touches a
// connection's reading side; everyone else posts.
type loop struct {
	e     *Engine
	fd    int      // epoll's
	epoll *os.File // the same in Go's poller, which waits for it while there is nothing to do
	raw   syscall.RawConn
	poll  func(fd uintptr) bool // made once: a method value allocates

	// loop goroutine
	lane      lane         // of its own stack
	worker    worker       // for handlers that run inline
	place     bytes.Buffer // the message that is being handled where it was read
	current   *loopSocket  // whose turn it is
	events    [128]unix.EpollEvent
	n, at     int           // events[at:n] are to be served
	alone     []*loopSocket // alone[handled:] have a message to be handled when the others' have been read
	handled   int
	work      []*loopSocket // to be served in this turn
	list      []*loopSocket // the memory of work
	again     []*loopSocket // to be served in the next: their turn ended before they were drained
	collected bool          // what was posted has been served, and epoll is to be asked
	naps      []nap         // in the order of their ends
	slots     []*loopSocket
	free      []int32
	live      int
	over      bool

	mu       sync.Mutex
	wakeFD   int // an eventfd, for those who post while the loop is asleep
	posted   []*loopSocket
	asleep   bool
	stopping bool
	gone     bool
	idle     []*sideLane
}

// wakeSlot is the place of the eventfd among the slots.
const wakeSlot = -1

// newLoops starts n loops.
func newLoops(e *Engine, n int) (*loops, error) {
	set := new(loops)
	for range n {
		l, err := newLoop(e)
		if err != nil {
			set.stop()
			return nil, err
		}
		set.list = append(set.list, l)
		e.goroutines.spawn(l.run) // ends with Shutdown
	}
	return set, nil
}

func newLoop(e *Engine) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &loop{e: e, fd: fd}
	l.lane.e = e
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile asks for it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	l.epoll = os.NewFile(uintptr(fd), "epoll")
	l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = l.epoll.Close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	err = l.watch(l.wakeFD, unix.EPOLLIN|unix.EPOLLET, wakeSlot, 0)
	if err == nil {
		l.raw, err = l.epoll.SyscallConn()
	}
	if err != nil {
		_ = l.epoll.Close()
		_ = unix.Close(l.wakeFD)
		return nil, err
	}
	l.poll = l.woken
	l.lane.source = l.read
	return l, nil
}

// run is the loop's goroutine. It ends with Shutdown, or is replaced when an inline
// handler calls runtime.Goexit.
func (l *loop) run() {
	ended := false
	defer func() {
		if !ended {
			l.e.goroutines.spawn(l.run)
		}
	}()
	for !l.over {
		l.repair()
		if s := l.current; s != nil { // gws has left it
			l.current, l.lane.conn = nil, nil
			l.end(s)
			continue
		}
		l.lane.run()
	}
	ended = true
}

// read is the source of the loop's lane: it gives gws the frames that takeWhole leaves, of
// one connection after the other. It never gives bytes of two frames at once, so that
// gws holds nothing of a connection when its turn ends.
func (l *loop) read(p []byte) (int, error) {
	for {
		if l.lane.conn == nil && !l.awaitLane() {
			return 0, errLaneOver
		}
		s := l.current
		if t := &s.conn.transport; t.pos < int(s.frameEnd) {
			n := copy(p, t.buf.B[t.pos:s.frameEnd])
			t.pos += n
			return n, nil
		}
		l.lane.conn = nil
		if l.goThrough(s); l.lane.conn == nil {
			l.current = nil
		}
	}
}

// frameSize returns the length of the frame that b begins with. It has passed the
// scanner.
func frameSize(b []byte) int {
	if n := int(b[1] & 0x7f); n < 126 {
		return 2 + 4 + n
	}
	h, n, _ := frame.ParseHeader(b)
	return n + int(h.Length)
}

// mayGoOn reports whether the next frame may be taken. Inside a message it must be:
// what gws has of one would meet the next connection's. At the end it need not wait
// for the peer (see fullLocked).
func (l *loop) mayGoOn(s *loopSocket) bool {
	c := s.conn
	if c.transport.pos >= c.transport.cut {
		return false
	}
	return s.inMessage || !s.full && (!c.onLoop() || !c.queue.Congested() || c.ending())
}

// awaitLane goes on until gws is to have a frame of the current connection. It returns
// false if the loop is to end.
func (l *loop) awaitLane() bool {
	for !l.goAhead() {
		l.wait()
		if l.lane.conn != nil || l.over {
			break
		}
	}
	if l.over {
		l.letGo()
	}
	return !l.over
}

// wait returns when there is something that woken cannot deal with, or when a nap is over.
// That may be so at the outset, without woken having been called: with naps without end epoll would
// never be asked.
func (l *loop) wait() {
	if l.raw.Read(l.poll) != nil {
		l.awake()
		l.pollOnce()
	}
}

// woken is called by Go's poller, at first and when epoll has told of something. While it
// returns false the wait stays open: what epoll tells of meanwhile is not forgotten, and
// there is no need to ask once more before sleep. So all is served in here, up to a frame
// for gws, which is not to be had on this stack.
func (l *loop) woken(uintptr) bool {
	if !l.pollOnce() {
		return false
	}
	l.awake()
	return l.goAhead()
}

func (l *loop) awake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = false
}

// goAhead serves all that there is. It returns false if there is nothing to do but to wait,
// true if gws is to have a frame, or the loop to end.
func (l *loop) goAhead() bool {
	for {
		for l.serveNext() {
			if l.lane.conn != nil {
				return true
			}
			l.current = nil
		}
		if !l.collected {
			l.collect()
			continue
		}
		l.collected = false
		if l.mayRest() {
			return l.over
		}
		runtime.Gosched() // workers and side lanes
		l.pollOnce()
	}
}

// serveNext serves the next of those that are to be served in this turn. It returns false if
// there is none.
func (l *loop) serveNext() bool {
	switch {
	case l.at < l.n:
		ev := &l.events[l.at]
		l.at++
		if ev.Fd == wakeSlot {
			l.drainWake()
		} else if s := l.slots[ev.Fd]; s != nil && s.generation == ev.Pad {
			l.current = s
			l.event(s, ev.Events)
		}
	case len(l.alone) > 0:
		l.handleAlone()
	case len(l.work) > 0:
		s := l.work[0]
		l.work = l.work[1:]
		l.current = s
		l.serve(s)
	default:
		return false
	}
	return true
}

// fewEvents is how many events are so few that no more are to be expected while they are
// served: then the loop waits, and otherwise asks once more.
const fewEvents = 1

// mayRest reports whether there is nothing to do but to wait, or to end.
func (l *loop) mayRest() bool {
	if l.n > fewEvents || len(l.again) > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posted) > 0 {
		return false
	}
	clear(l.list) // some may have ended
	l.over = l.stopping && l.live == 0
	l.gone = l.over
	l.asleep = !l.over
	return true
}

// collect makes what has been posted the work of this turn.
func (l *loop) collect() {
	l.collected = true
	if len(l.naps) > 0 {
		l.endNaps()
	}
	clear(l.list)
	l.list = append(l.list[:0], l.again...)
	for _, s := range l.again {
		s.again = false
	}
	clear(l.again)
	l.again = l.again[:0]
	l.mu.Lock()
	l.list = append(l.list, l.posted...)
	clear(l.posted)
	l.posted = l.posted[:0]
	l.mu.Unlock()
	l.work = l.list
}

// serveAgain gives a connection a turn after the others, and one only, however often
// it is asked for.
func (l *loop) serveAgain(s *loopSocket) {
	if !s.again {
		s.again = true
		l.again = append(l.again, s)
	}
}

// pollOnce asks for events without waiting, and reports whether there are any.
func (l *loop) pollOnce() bool {
	l.n, l.at = epollNow(uintptr(l.fd), l.events[:]), 0
	return l.n > 0
}

func (l *loop) drainWake() {
	var b [8]byte
	_, _ = unix.Read(l.wakeFD, b[:]) // edge-triggered: it need not be empty
}

// post has the loop see to a socket.
func (l *loop) post(s *loopSocket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		if s.state == unstarted { // it was not admitted any more
			s.state = released
			s.leave()
		}
		return
	}
	l.posted = append(l.posted, s)
	l.wakeLocked()
}

func (l *loop) wakeLocked() {
	if l.asleep {
		l.asleep = false
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(l.wakeFD, one[:]) // fails only if it has been written four billion times
	}
}

// stop has the loop end when its last connection has.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	l.wakeLocked()
}

// letGo gives back what a loop has when the loop is over.
func (l *loop) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.epoll.Close()
	_ = unix.Close(l.wakeFD)
	for _, d := range l.idle {
		close(d.jobs)
	}
	l.idle, l.naps = nil, nil
}

func (l *loop) watch(fd int, events uint32, slot, generation int32) error {
	ev := unix.EpollEvent{Events: events, Fd: slot, Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev))
}
