package bench

import "golang.org/x/sys/unix"

// An alarm tells a loop when messages are due: to the microsecond, where epoll_wait
// counts in milliseconds.
type alarm struct {
	timer int   // a timerfd; 0: the loop needs none
	armed int64 // when it rings, or has rung
	heap  []dueLink
}

// dueLink is a link and when it has something to send.
type dueLink struct {
	at    int64
	index int32
}

// alarmIndex stands for the timer among the links of a loop's events.
const alarmIndex = -1

// open makes the timer wake a loop's epoll. Its edge needs no read.
func (a *alarm) open(poll int) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return // the loop's ticks have to do; latency, which counts from the due time, will show it
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: alarmIndex}
	if unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &event) != nil {
		unix.Close(fd)
		return
	}
	a.timer = fd
}

func (a *alarm) close() {
	if a.timer > 0 {
		unix.Close(a.timer)
	}
}

// set makes the timer ring when the next message is due.
func (a *alarm) set(now int64) {
	if a.timer == 0 || len(a.heap) == 0 || a.heap[0].at == a.armed {
		return
	}
	a.armed = a.heap[0].at
	wait := max(a.armed-now, 1) // zero would stop it
	_ = unix.TimerfdSettime(a.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(wait)}, nil)
}

// add notes when a link has something to send.
func (a *alarm) add(at int64, index int32) {
	a.heap = append(a.heap, dueLink{at, index})
	h := a.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			break
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

// next takes out the link that has been due the longest, if one is.
func (a *alarm) next(now int64) (index int32, ok bool) {
	h := a.heap
	if len(h) == 0 || h[0].at > now {
		return 0, false
	}
	index = h[0].index
	last := len(h) - 1
	h[0] = h[last]
	a.heap = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return index, true
		}
		if child+1 < last && h[child+1].at < h[child].at {
			child++
		}
		if h[i].at <= h[child].at {
			return index, true
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
