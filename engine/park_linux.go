package engine

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A lot is where parked connections wait for their sockets: an epoll descriptor,
// beside Go's, whose events one goroutine reads. It is opened for the first connection.
//
// Whoever takes a connection out of the list, the lot's goroutine or who closes the
// socket, has it read again.
type lot struct {
	e     *Engine
	epoll *os.File // in Go's poller, which waits for it
	raw   syscall.RawConn
	poll  func(fd uintptr) bool // made once: a method value allocates

	useless atomic.Bool // the system gave no descriptor, or has no room for what one watches

	// lot goroutine
	events [128]unix.EpollEvent
	n      int

	mu     sync.Mutex
	fd     int          // epoll's
	list   []*tcpSocket // those of parked connections, by descriptor
	opened bool
}

func newLot(e *Engine) *lot { return &lot{e: e} }

// parks reports whether it is worth trying.
func (w *lot) parks() bool { return !w.useless.Load() }

// openLocked begins to watch, if it has not yet.
func (w *lot) openLocked() error {
	if w.opened {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(fd, true); err != nil { // os.NewFile asks for it
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		w.epoll = os.NewFile(uintptr(fd), "epoll")
		if w.raw, err = w.epoll.SyscallConn(); err != nil {
			_ = w.epoll.Close()
		}
	}
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	w.fd, w.opened = fd, true
	w.poll = w.pollOnce
	w.e.goroutines.spawn(w.run) // ends with Shutdown
	return nil
}

// giveUp: the system does not let connections be parked.
func (w *lot) giveUp(err error) {
	if !w.useless.Swap(true) {
		w.e.cfg.Logger.Warn("penstock: idle connections keep their goroutines", "error", err)
	}
}

// park waits for a socket that belongs to c. It returns false if it does not.
func (w *lot) park(s *tcpSocket, c *Conn) (ok bool) {
	var err error
	_ = s.raw.Control(func(fd uintptr) { ok, err = w.add(s, c, int(fd)) }) // fails on a closed socket
	if err != nil {
		w.giveUp(err) // here, because it logs: the logger is the program's
	}
	return ok
}

// add puts a socket into the list. err says that the system does not let it.
func (w *lot) add(s *tcpSocket, c *Conn, fd int) (ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.closed || w.useless.Load() {
		return false, nil
	}
	if err := w.openLocked(); err != nil {
		return false, err
	}
	// Edge-triggered it tells at once of what there is already.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd), Pad: int32(c.id)}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return false, os.NewSyscallError("epoll_ctl", err)
	}
	for len(w.list) <= fd {
		w.list = append(w.list, nil)
	}
	w.list[fd] = s
	s.fd, s.parked = int32(fd), c
	return true, nil
}

// release is called before a socket is closed. It returns the connection if it is
// parked.
func (w *lot) release(s *tcpSocket) (c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.closed = true
	if s.parked == nil {
		return nil
	}
	return w.takeLocked(s)
}

func (w *lot) takeLocked(s *tcpSocket) *Conn {
	c := s.parked
	s.parked, w.list[s.fd] = nil, nil
	return c
}

func (w *lot) run() {
	for w.raw.Read(w.poll) == nil {
		for _, ev := range w.events[:w.n] {
			if c := w.woken(ev); c != nil {
				c.unpark()
			}
		}
		runtime.Gosched() // those that have been woken
	}
}

// woken returns the connection that epoll tells of. What it tells of one that has
// been closed since means nothing. The descriptor is not closed before release.
func (w *lot) woken(ev unix.EpollEvent) *Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.list[ev.Fd]
	if s == nil || int32(s.parked.id) != ev.Pad {
		return nil
	}
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, int(ev.Fd), nil) // it is there
	return w.takeLocked(s)
}

// pollOnce asks for events without waiting; false has Go's poller wait. epoll tells it of
// every event that comes after an answer of none.
func (w *lot) pollOnce(fd uintptr) bool {
	w.n = epollNow(fd, w.events[:])
	return w.n > 0
}

// stop ends the goroutine, once no connection is left.
func (w *lot) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opened {
		_ = w.epoll.Close()
	}
	w.opened = false
	w.useless.Store(true)
}
