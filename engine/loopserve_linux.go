package engine

import (
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What a loop does with one connection: what epoll tells of it, what has been posted for
// it, and what follows from its state.

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
	if todo&todoWrite != 0 {
		s.conn.queue.Resume(false)
	}
	if todo&todoStart != 0 { // may run a handler, which may call runtime.Goexit: behind todoWrite
		l.start(s)
	}
	if todo&todoSideOver != 0 {
		l.sideOver(s)
	}
	if todo&todoRoom != 0 && s.state == paused && !s.conn.pause() {
		s.state = reading
		l.feed(s)
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
	s.begin()
	if s.isAlone() && len(l.alone)*cap(t.buf.B) < aloneMost {
		l.alone = append(l.alone, s) // nothing is done for s before its message is handled
		return
	}
	l.goThrough(s)
}

// feed begins a turn with what there is.
func (l *loop) feed(s *loopSocket) {
	s.begin()
	l.goThrough(s)
}

// goThrough deals with what there is of whole messages. If gws must have a frame of them the
// lane is set.
func (l *loop) goThrough(s *loopSocket) {
	if s.takeWhole() {
		s.nextFrame()
		l.lane.conn = s.conn
		return
	}
	l.settle(s)
}

// largeBatch is how much is handed over at least that a worker should not be kept waiting for.
const largeBatch = 64 << 10

// settle ends a turn, when all has been taken that may be.
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
	large := c.pending != nil && c.pending.bytes >= largeBatch
	rest := t.cut < t.safe || t.trickles()
	if !rest && t.kept == 0 {
		t.giveBack()
	}
	switch {
	case t.err == nil && t.fault == nil && c.settle() && c.pause():
		s.state = paused
	case t.err != nil, c.ending():
		l.end(s)
	case rest && (t.fault != nil || !t.keepFrame()):
		l.lend(s)
	case t.fault != nil:
		t.err = t.fault
		l.end(s)
	case s.readable:
		l.serveAgain(s)
	}
	if large {
		runtime.Gosched() // a worker takes it while it is in the processor's cache
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
	if err != nil {
		l.dropped(s)
		return
	}
	if n == 0 {
		return
	}
	switch pause := t.drop(n); {
	case pause > 0:
		l.nap(s, pause)
	case t.peerDone():
		l.dropped(s)
	case s.readable:
		l.serveAgain(s)
	}
}

// A nap is a connection that is not read from for a while.
type nap struct {
	s     *loopSocket
	until time.Time
}

// nap has a connection rest. All pauses are of one length, so the first to begin ends first.
func (l *loop) nap(s *loopSocket, pause time.Duration) {
	s.state = napping
	l.naps = append(l.naps, nap{s, time.Now().Add(pause)})
	if len(l.naps) == 1 {
		l.alarm()
	}
}

// endNaps gives those a turn whose naps are over.
func (l *loop) endNaps() {
	now, n := time.Now(), 0
	for n < len(l.naps) && !l.naps[n].until.After(now) {
		if s := l.naps[n].s; s.state == napping {
			s.state = dropping
			l.serveAgain(s)
		}
		n++
	}
	if n > 0 {
		l.naps = slices.Delete(l.naps, 0, n)
		l.alarm()
	}
}

// alarm has the loop's wait end when the first nap does.
func (l *loop) alarm() {
	var at time.Time
	if len(l.naps) > 0 {
		at = l.naps[0].until
	}
	_ = l.epoll.SetReadDeadline(at) // fails only if it is closed, which is done here
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
