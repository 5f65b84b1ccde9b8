package engine

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/frame"
)

// A loop waits for the sockets of many connections with one epoll descriptor, and
// reads them on one goroutine: a connection that waits has neither a goroutine nor
// a stack nor a buffer.
//
// gws's read loop runs on the loop's stack, over a lane that the connections share:
// when gws asks for more bytes and the message at hand is over, the loop goes on
// with the next connection of which a whole message has come. So gws's loop is
// entered once, and left when a connection ends instead of after every message.
// What has come in part cannot be given to gws on this stack: a small frame waits
// for its rest, and anything else is read by a side lane.
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
	lane      lane        // of its own stack
	worker    worker      // for handlers that run inline
	current   *loopSocket // whose turn it is
	events    [128]unix.EpollEvent
	n, at     int           // events[at:n] are to be served
	work      []*loopSocket // to be served in this turn
	list      []*loopSocket // the memory of work
	again     []*loopSocket // to be served in the next: their turn ended before they were drained
	collected bool          // what was posted has been served, and epoll is to be asked
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

// loopBuffer is the size of the bufio.Reader under the gws.Conn of a loop: a frame of
// up to so many bytes is asked for once instead of twice. There is one for each loop.
const loopBuffer = 512

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
	l.poll = l.pollOnce
	l.lane.source, l.lane.buffer = l.read, loopBuffer
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

// read is the source of the loop's lane: it gives gws whole messages, one
// connection after the other. It never gives bytes of two frames at once, so that
// gws holds nothing of a connection when its turn ends.
func (l *loop) read(p []byte) (int, error) {
	for {
		s := l.current
		if s == nil {
			if s = l.take(); s == nil {
				return 0, errLaneOver
			}
		}
		if l.lane.conn != nil {
			t := &s.conn.transport
			if t.pos < int(s.frameEnd) {
				n := copy(p, t.buf.B[t.pos:s.frameEnd])
				t.pos += n
				return n, nil
			}
			if l.mayGoOn(s) {
				s.nextFrame(t.buf.B[t.pos:])
				continue
			}
			l.lane.conn = nil
			l.settle(s)
		}
		if l.lane.conn == nil {
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

// mayGoOn reports whether gws may have the next frame. Inside a message it must:
// what gws has of one would meet the next connection's. At the end it need not wait
// for the peer (see fullLocked).
func (l *loop) mayGoOn(s *loopSocket) bool {
	c := s.conn
	if c.transport.pos >= c.transport.cut {
		return false
	}
	return s.inMessage || !s.full && (!c.onLoop() || !c.queue.Congested() || c.ending())
}

// take returns the next connection whose turn it is, nil when the loop is to end.
// If gws is to have bytes of it the lane is set.
func (l *loop) take() *loopSocket {
	for {
		switch {
		case l.at < l.n:
			ev := &l.events[l.at]
			l.at++
			if ev.Fd == wakeSlot {
				l.drainWake()
				continue
			}
			if s := l.slots[ev.Fd]; s != nil && s.generation == ev.Pad {
				l.current = s
				l.event(s, ev.Events)
			}
		case len(l.work) > 0:
			s := l.work[0]
			l.work = l.work[1:]
			l.current = s
			l.serve(s)
		case !l.turn():
			return nil
		}
		if l.lane.conn != nil {
			return l.current
		}
		l.current = nil
	}
}

// turn goes on when all that was at hand has been served: with what has been posted
// meanwhile, handlers that run inline among it, then with what epoll tells. It waits
// if there is nothing; false: the loop is to end.
func (l *loop) turn() bool {
	if !l.collected {
		l.collect()
		if len(l.work) > 0 {
			return true
		}
	}
	l.collected = false
	runtime.Gosched() // workers and side lanes
	l.mu.Lock()
	l.asleep = len(l.posted)+len(l.again) == 0
	wait, end := l.asleep, l.asleep && l.stopping && l.live == 0
	if end {
		l.closeLocked()
	}
	l.mu.Unlock()
	l.n, l.at = 0, 0
	switch {
	case end:
		l.over = true
		return false
	case !wait:
		l.pollOnce(uintptr(l.fd))
		return true
	}
	clear(l.list)          // some may have ended
	_ = l.raw.Read(l.poll) // fails only if it is closed, which is done here
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
	return true
}

// collect makes what has been posted the work of this turn.
func (l *loop) collect() {
	l.collected = true
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

// pollOnce asks for events without waiting; false has Go's poller wait. epoll tells
// it of every event that comes after an answer of none.
func (l *loop) pollOnce(fd uintptr) bool {
	l.n = epollNow(fd, l.events[:])
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

func (l *loop) closeLocked() {
	l.gone = true
	_ = l.epoll.Close()
	_ = unix.Close(l.wakeFD)
	for _, d := range l.idle {
		close(d.jobs)
	}
	l.idle = nil
}

func (l *loop) watch(fd int, events uint32, slot, generation int32) error {
	ev := unix.EpollEvent{Events: events, Fd: slot, Pad: generation}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev))
}

// event passes on what epoll tells.
func (l *loop) event(s *loopSocket, events uint32) {
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.roomInKernel()
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.hup.Store(true)
	} else if events&unix.EPOLLIN == 0 {
		return
	}
	if s.state == sideways {
		s.side.wakeUp()
		return
	}
	s.readable = true
	l.goOn(s)
}

// serve does what has been posted for a socket, and goes on where its turn ended.
func (l *loop) serve(s *loopSocket) {
	todo := s.todo.Swap(0)
	if todo&todoRun != 0 {
		if todo &^= todoRun; todo != 0 { // a handler may call runtime.Goexit
			s.todo.Or(todo)
			l.serveAgain(s)
		}
		l.handle(s)
		return
	}
	if todo&todoWatch != 0 {
		l.begin(s)
	}
	if todo&todoStart != 0 {
		l.start(s)
	}
	if todo&todoWrite != 0 {
		s.conn.queue.Resume(false)
	}
	if todo&todoSideOver != 0 {
		l.sideOver(s)
	}
	if todo&todoRoom != 0 && s.state == paused && !s.conn.pause() {
		s.state = reading
		l.feed(s)
	}
	if todo&todoNapOver != 0 && s.state == napping {
		s.state = dropping
	}
	if todo&todoInterrupt != 0 && s.interrupted.Load() {
		switch s.state {
		case sideways:
			s.side.wakeUp()
		case reading, paused:
			l.lane.conn = nil
			l.end(s)
		}
	}
	if todo&todoClose != 0 {
		l.lane.conn = nil
		l.close(s)
	}
	if l.lane.conn == nil {
		l.goOn(s)
	}
}

// handle runs the callbacks of a connection whose handlers run inline. If one ends
// the goroutine, that is no matter of the reading side.
func (l *loop) handle(s *loopSocket) {
	current := l.current
	l.current = nil
	l.worker.conn = s.conn
	l.worker.turn()
	l.current = current
}

// repair puts right what a handler has left that did not return: it has called
// runtime.Goexit, or what recovers its panic has panicked.
func (l *loop) repair() {
	if c := l.worker.conn; c != nil {
		c.shut(internalError(), false)
		l.worker.repair()
	}
}

// begin watches a socket, at first for room only: OnOpen may send.
func (l *loop) begin(s *loopSocket) {
	if s.state == released {
		return // cut off by Shutdown as soon as it was admitted; fd may be another's
	}
	if n := len(l.free); n > 0 {
		s.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		s.slot = int32(len(l.slots))
		l.slots = append(l.slots, nil)
	}
	l.slots[s.slot] = s
	l.live++
	s.generation = int32(s.conn.id)
	s.state = opening
	s.conn.transport.err = l.watch(s.fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, s.slot, s.generation)
}

// start reads a connection whose OnOpen has returned.
func (l *loop) start(s *loopSocket) {
	c := s.conn
	switch {
	case s.state == released: // closed before, by OnOpen say
		c.transport.err = errClosedSocket
		c.endReading()
		c.readEnded()
	case c.transport.err != nil:
		l.e.cfg.Logger.Error("penstock: cannot watch a socket", "error", c.transport.err)
		l.end(s)
	default:
		s.state = reading
		l.feed(s)
	}
}

// goOn reads if there is something to read and the connection wants it.
func (l *loop) goOn(s *loopSocket) {
	if !s.readable {
		return
	}
	switch s.state {
	case reading:
		l.readSocket(s)
	case dropping:
		l.drop(s)
	}
}

func (l *loop) readSocket(s *loopSocket) {
	c, t := s.conn, &s.conn.transport
	n, err := s.attempt(t)
	switch {
	case err != nil:
		t.err = err
		l.end(s)
		return
	case n == 0:
		if c.ending() {
			l.end(s)
		}
		return
	}
	t.count(n)
	t.read(n)
	t.arrived()
	if c.ending() {
		l.end(s)
		return
	}
	l.feed(s)
}

// feed gives the lane what there is of whole messages, if there is any.
func (l *loop) feed(s *loopSocket) {
	t := &s.conn.transport
	s.full, s.inMessage = false, false
	s.frameEnd = int32(t.pos)
	if t.pos < t.cut {
		s.waits = s.conn.onLoop() && s.conn.waits()
		l.lane.conn = s.conn
		return
	}
	l.settle(s)
}

// settle ends a turn, when gws has had all that it may have here.
func (l *loop) settle(s *loopSocket) {
	c, t := s.conn, &s.conn.transport
	if t.pos < t.cut { // the inbox is full, or the peer congested
		c.endInlineBurst()
		c.handOver()
		s.state = paused
		if !c.pause() {
			s.post(todoRoom)
		}
		return
	}
	rest := t.cut < t.safe || t.trickles()
	if !rest && t.kept == 0 {
		t.giveBack()
	}
	switch {
	case t.fault == nil && c.settle() && c.pause():
		s.state = paused
	case c.ending():
		l.end(s)
	case rest && (t.fault != nil || !t.keepFrame()):
		l.lend(s)
	case t.fault != nil:
		t.err = t.fault
		l.end(s)
	case s.readable:
		l.serveAgain(s)
	}
}

// end is called when gws gets no more of a connection. What came before that is
// handled first if handlers run here: a violation behind it does not undo it.
func (l *loop) end(s *loopSocket) {
	for s.conn.handlesOnLoop() {
		l.handle(s)
	}
	s.conn.endReading()
	s.conn.transport.dropAll()
	s.state = dropping
	s.readable = true
	l.serveAgain(s)
}

// drop reads what is for nobody, up to the peer's last (see transport.discard).
func (l *loop) drop(s *loopSocket) {
	t := &s.conn.transport
	if t.peerDone() {
		l.dropped(s)
		return
	}
	n, err := s.attempt(t)
	switch {
	case err != nil:
		l.dropped(s)
	case n == 0:
	case t.drop(n):
		s.state = napping
		time.AfterFunc(discardPause, func() { s.post(todoNapOver) })
	default:
		t.giveBack()
		if t.peerDone() {
			l.dropped(s)
		} else if s.readable {
			l.serveAgain(s)
		}
	}
}

func (l *loop) dropped(s *loopSocket) {
	s.conn.transport.giveBack()
	s.state = readOver
	s.conn.readEnded()
}

// close lets go of a socket that somebody has closed.
func (l *loop) close(s *loopSocket) {
	switch s.state {
	case sideways:
		s.side.wakeUp() // sideOver comes back to this
		return
	case released:
		return
	case reading, paused:
		s.conn.transport.err = errClosedSocket
		s.conn.endReading()
		l.dropped(s)
	case dropping, napping:
		l.dropped(s)
	}
	if s.state != unstarted {
		l.slots[s.slot] = nil
		l.free = append(l.free, s.slot)
		l.live--
	}
	s.state = released
	s.leave()
}

// lend has a side lane read a connection until the message that is coming in is
// over.
func (l *loop) lend(s *loopSocket) {
	s.conn.transport.side = true
	s.state = sideways
	s.drained = !s.readable
	l.mu.Lock()
	var d *sideLane
	if n := len(l.idle); n > 0 {
		d = l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
	}
	l.mu.Unlock()
	if d == nil {
		d = &sideLane{loop: l, jobs: make(chan *Conn, 1), wake: make(chan struct{}, 1)}
		d.lane.e, d.lane.source = l.e, d.read
		l.e.goroutines.spawn(d.run) // ends when enough others are idle, or with the loop
	}
	s.side = d
	d.jobs <- s.conn
}

// sideOver takes a connection back.
func (l *loop) sideOver(s *loopSocket) {
	s.side = nil
	s.state = reading
	s.readable = true
	switch {
	case s.sideEnded:
		l.end(s)
	case s.closed.Load():
	default:
		if s.conn.pause() {
			s.state = paused
		}
	}
	if s.closed.Load() {
		s.todo.Or(todoClose) // may have been served while the side lane had the connection
		l.serveAgain(s)
	}
}

// A sideLane is a goroutine that reads messages which do not come whole, in the way
// of goroutine mode: it may wait.
type sideLane struct {
	lane
	loop *loop
	jobs chan *Conn
	wake chan struct{}
}

// idleSideLanes is how many of a loop wait for their next message instead of ending.
const idleSideLanes = 64

func (d *sideLane) run() {
	defer func() {
		if d.conn != nil { // its handler has called runtime.Goexit
			d.giveBack(true)
		}
	}()
	for more := d.awaitJob(false); more; more = d.awaitJob(true) {
		d.lane.run()
		if d.conn == nil {
			return
		}
		d.giveBack(true)
	}
}

// read is the lane's source.
func (d *sideLane) read(p []byte) (int, error) {
	for {
		n, err := d.conn.transport.Read(p, &d.direct)
		if err != errAtRest {
			return n, err
		}
		c := d.conn
		c.transport.giveBack()
		c.settle()
		d.giveBack(false)
		if !d.awaitJob(true) {
			return 0, errLaneOver
		}
	}
}

// giveBack returns the connection to the loop; ended: gws gets no more of it.
func (d *sideLane) giveBack(ended bool) {
	s := d.conn.home
	if d.conn.aside { // its handler has not returned
		d.conn.endAside()
	}
	d.conn.transport.side = false
	d.conn = nil
	s.sideEnded = ended
	s.post(todoSideOver)
}

func (d *sideLane) awaitJob(idle bool) bool {
	if idle {
		l := d.loop
		l.mu.Lock()
		enough := l.gone || len(l.idle) >= idleSideLanes
		if !enough {
			l.idle = append(l.idle, d)
		}
		l.mu.Unlock()
		if enough {
			return false
		}
	}
	d.conn = <-d.jobs // nil: it is closed
	return d.conn != nil
}

func (d *sideLane) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
