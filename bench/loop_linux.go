package bench

import (
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// carriers splits the connections among loops, each to be run by a goroutine.
//
// A loop carries plain TCP for two system calls a message and a share of an
// epoll_wait; Go's own poller adds a goroutine switch. So one core of client
// can load one core of server. TLS needs a net.Conn and is carried by goroutines.
func (s *session) carriers(conns []*dialed) []func() {
	if !allTCP(conns) {
		return s.goroutines(conns)
	}
	s.driver = driverEpoll
	// Half of the CPUs: the other half is the server's when it is on this machine.
	n := min(max(1, runtime.GOMAXPROCS(0)/2), len(conns))
	if s.fans() {
		n = 1 // what is shared belongs to one loop
	}
	carry := make([]func(), n)
	for i := range carry {
		var mine []*dialed
		for j := i; j < len(conns); j += n {
			mine = append(mine, conns[j])
		}
		carry[i] = newLoop(s, mine).run
	}
	return carry
}

func allTCP(conns []*dialed) bool {
	for _, d := range conns {
		if _, ok := d.conn.(*net.TCPConn); !ok {
			return false
		}
	}
	return true
}

// loop carries many connections on one goroutine: it owns their descriptors.
// Registration is edge-triggered, which saves the kernel from polling each
// ready descriptor again.
type loop struct {
	s        *session
	rec      *recorder
	poll     int
	links    []link
	live     int     // links not yet closed
	again    []int32 // links with more to read, whose edge is spent
	turn     []int32 // again's other half
	buf      []byte
	events   []unix.EpollEvent
	phase    phase
	deadline int64 // of the drain
	alarm    alarm
}

// link is a connection in a loop.
type link struct {
	*flow
	id    int
	fd    int  // -1: closed
	timed bool // in the alarm's heap
}

const (
	loopBuffer = 256 << 10
	loopEvents = 256

	// loopTick bounds how late a loop without traffic notices a new phase, in milliseconds.
	loopTick = 20
)

// newLoop returns a loop that owns the sockets of conns, with all their
// messages encoded: what takes time is done before time is taken.
func newLoop(s *session, conns []*dialed) *loop {
	l := &loop{
		s:      s,
		rec:    s.recorder(),
		links:  make([]link, len(conns)),
		buf:    make([]byte, loopBuffer),
		events: make([]unix.EpollEvent, loopEvents),
	}
	var err error
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		l.poll = -1 // every adopt fails, and says so
	}
	if s.paced() {
		l.alarm.open(l.poll)
	}
	for i, d := range conns {
		l.adopt(i, d)
	}
	return l
}

// run carries the connections until all are done.
func (l *loop) run() {
	defer unix.Close(l.poll)
	defer l.alarm.close()
	for i := range l.links {
		l.kick(&l.links[i], int32(i))
	}
	for l.live > 0 && l.follow() {
		l.wait()
		l.due()
		for room := range l.s.sources {
			l.resume(room) // after the end of a connection that was waited for
		}
		l.rec.publish()
	}
	l.abandon()
}

// adopt takes a connection's socket out of Go's poller and into the loop.
func (l *loop) adopt(i int, d *dialed) {
	k := &l.links[i]
	k.id, k.fd = d.id, -1
	var fail *failure
	k.flow, fail = l.s.flow(d, l.rec)
	fd, err := detach(d.conn.(*net.TCPConn))
	if err != nil {
		fail = failf(FailureNetwork, "%v", err)
		l.s.failures.add(d.id, fail)
		k.leave(fail)
		return
	}
	k.fd = fd
	l.live++
	if fail != nil {
		l.close(k, fail)
		return
	}
	const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	event := unix.EpollEvent{Events: interest, Fd: int32(i)} // the index, not the descriptor
	if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		l.close(k, failf(FailureNetwork, "epoll_ctl: %v", err))
	}
}

// detach returns a descriptor of conn's socket, non-blocking as it was, and
// closes conn.
func detach(conn *net.TCPConn) (fd int, err error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	err = raw.Control(func(s uintptr) {
		fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = dupErr
	}
	return fd, err
}

// kick sends a connection's first messages.
func (l *loop) kick(k *link, index int32) {
	if k.fd >= 0 {
		l.refill(k, index, l.s.now())
		l.flush(k)
	}
}

// refill sends what there is room for and due, and sees to it that what will be due
// is sent then.
func (l *loop) refill(k *link, index int32, now int64) {
	k.refill(now)
	if at, ok := k.wake(); ok && !k.timed {
		k.timed = true
		l.alarm.add(at, index)
	}
}

// due sends what the clock says.
func (l *loop) due() {
	for {
		now := l.s.now()
		index, ok := l.alarm.next(now)
		if !ok {
			return
		}
		k := &l.links[index]
		k.timed = false
		if k.fd >= 0 {
			l.refill(k, index, now)
			l.flush(k)
		}
	}
}

// follow goes along with the session's phase; false: hang up.
func (l *loop) follow() bool {
	if l.s.lost() {
		return false
	}
	phase := l.s.phase.Load()
	if phase != l.phase && l.phase == phaseRun { // also when it is to stop: what is owed counts
		for i := range l.links {
			if k := &l.links[i]; k.fd >= 0 {
				k.drain(l.rec)
				l.flush(k)
			}
		}
		l.deadline = l.s.now() + int64(l.s.plan.settle)
	}
	l.phase = phase
	if phase == phaseDrain {
		return l.s.now() < l.deadline
	}
	return phase == phaseRun
}

// wait serves what is ready, for at most a tick.
func (l *loop) wait() {
	timeout := loopTick
	if len(l.again) > 0 {
		timeout = 0
	}
	l.alarm.set(l.s.now())
	n, err := unix.EpollWait(l.poll, l.events, timeout)
	if err != nil && err != unix.EINTR {
		time.Sleep(loopTick * time.Millisecond) // cannot happen; and must not spin
	}
	l.again, l.turn = l.turn[:0], l.again
	for _, i := range l.turn {
		l.read(&l.links[i], i, unix.EPOLLRDHUP) // until it is dry: its edge is spent
	}
	for i := range max(n, 0) {
		e := &l.events[i]
		if e.Fd == alarmIndex {
			continue
		}
		if k := &l.links[e.Fd]; k.fd >= 0 {
			l.serve(k, e.Fd, e.Events)
		}
	}
}

func (l *loop) serve(k *link, index int32, events uint32) {
	if events&^unix.EPOLLOUT != 0 {
		l.read(k, index, events)
		return // what it could not write, a later edge will
	}
	l.flush(k)
}

// read takes what has come, once: a connection that never runs dry must not
// keep the others waiting.
func (l *loop) read(k *link, index int32, events uint32) {
	if k.fd < 0 {
		return
	}
	n, err := unix.Read(k.fd, l.buf)
	switch {
	case err == unix.EAGAIN:
		l.flush(k)
		return
	case err == unix.EINTR:
		l.again = append(l.again, index)
		return
	case err != nil:
		l.close(k, k.ended(err))
		return
	case n == 0:
		l.close(k, k.ended(nil))
		return
	}
	now := l.s.now()
	l.rec.at(now)
	if fail := k.input(l.buf[:n], now, l.rec); fail != nil || k.stage == stageClosed {
		l.close(k, fail)
		return
	}
	if l.s.fans() {
		l.resume(l.s.room(int(index)))
	} else {
		l.refill(k, index, now)
	}
	// A short read has emptied the socket, unless its end came with the data.
	if n == len(l.buf) || events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0 {
		l.again = append(l.again, index)
	}
	l.flush(k)
}

// resume lets the sender of a fan-out's room go on when messages have been completed: by
// a read of whichever connection, or by the end of one that was waited for.
func (l *loop) resume(room int) {
	if sender := &l.links[room]; sender.fd >= 0 && sender.ready() {
		sender.refill(l.s.now())
		l.flush(sender)
	}
}

// flush writes what is pending, as far as the socket takes it.
func (l *loop) flush(k *link) {
	for k.fd >= 0 {
		a, b := k.pending()
		if len(a) == 0 {
			return
		}
		n, err := write(k.fd, a, b)
		switch err {
		case nil:
			k.wrote(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return // an edge will tell when there is room
		default:
			l.close(k, k.ended(err))
			return
		}
	}
}

func write(fd int, a, b []byte) (int, error) {
	if len(b) == 0 {
		return unix.Write(fd, a)
	}
	return unix.Writev(fd, [][]byte{a, b})
}

// close ends a connection, for a reason or at its proper end.
func (l *loop) close(k *link, fail *failure) {
	unix.Close(k.fd)
	k.fd = -1
	l.live--
	if fail != nil {
		l.s.failures.add(k.id, fail)
		k.leave(fail)
	}
}

// abandon hangs up on what is left when time is up.
func (l *loop) abandon() {
	for i := range l.links {
		k := &l.links[i]
		if k.fd < 0 {
			continue
		}
		var owed *failure
		if l.phase == phaseDrain && !k.lost {
			owed = k.unanswered()
		}
		l.close(k, owed)
	}
}
