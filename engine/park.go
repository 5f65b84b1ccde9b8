package engine

import (
	"sync"
	"time"
)

// A connection that has been silent for parkAfter is parked: the goroutine that reads
// it lets go of it, and with it go the goroutine's stack and gws's memory, two thirds
// of what an idle connection costs. That can be because gws knows nothing of a
// connection between two messages (see lane), so its lane can go on with another.
//
// The sweeper nudges the reader out of its wait, with a deadline (nudge). The reader
// parks the connection with its socket, if no part of a message has come, and waits
// for the next one to serve, or ends. When the socket tells of something to read, or
// is closed, a lane takes the connection over (unpark).

// parkAfter is the silence after which a connection is parked, at the sweeper's next
// visit. Parking and waking together take 7 µs of CPU (BenchmarkPark), about as much as
// an echo with its client; a connection that speaks every other second pays that each
// time.
const parkAfter = int64(time.Second)

// parksPerSecond bounds for each processor how many connections are parked: when very
// many fall silent at once, or speak just seldom enough, it takes a tenth of the CPU.
const parksPerSecond = 10_000

// idleLanes is how many readers wait for a connection instead of ending.
const idleLanes = 64

// A readerState says what is done about a connection's reading side.
type readerState uint8

const (
	readerStays  readerState = iota // a goroutine, to the end; or an event loop
	readerReads                     // a goroutine, until it is nudged
	readerNudged                    // it has been asked to let go, by a deadline
	readerGone                      // nobody reads: the connection is parked
)

// nudge asks the reader to let go of the connection.
func (c *Conn) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.restsLocked() {
		c.reader = readerNudged
		_ = c.sock.setReadDeadline(longAgo) // fails if the socket is closed: then the reader knows
	}
}

// restsLocked reports whether the reader waits, as far as is known, for the first byte
// of a message.
func (c *Conn) restsLocked() bool {
	return c.reader == readerReads && !c.noMore && !c.paused && !c.busy.Load() && (c.slow == nil || c.slow.since == 0)
}

// nudged is called by the reader when a deadline has ended its wait: it takes the nudge
// back, and from here on there is no other if the reader will let go. It returns false
// if there was none: then it is an interrupt.
func (c *Conn) nudged(letsGo bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader != readerNudged {
		return false
	}
	c.reader = readerReads
	if letsGo {
		c.reader = readerGone
	}
	_ = c.sock.setReadDeadline(time.Time{})
	return true
}

// park has the socket wait without a goroutine. If it returns true somebody else may
// have the connection already.
func (c *Conn) park() bool {
	if c.sock.park(c) {
		return true
	}
	c.mu.Lock()
	c.reader = readerStays // it would be nudged again and again
	c.mu.Unlock()
	return false
}

// unpark has a lane read the connection from here on.
func (c *Conn) unpark() {
	c.mu.Lock()
	c.reader = readerReads
	c.mu.Unlock()
	if l := c.e.lanes.take(); l != nil {
		l.jobs <- c
		return
	}
	c.e.goroutines.spawn(c.read) // ends when it lets go of a connection and enough others are idle, or with one
}

// next is Read for a lane whose connection is to be parked: it goes on with another.
func (l *lane) next(p []byte) (n int, err error) {
	for err = errAtRest; err == errAtRest; n, err = l.conn.transport.Read(p, &l.direct) {
		c := l.conn
		l.conn = nil
		if !c.park() {
			l.conn = c
		} else if !l.e.lanes.await(l) {
			return 0, errLaneOver
		}
	}
	return n, err
}

// lanes are those of an engine's readers that have no connection.
type lanes struct {
	mu   sync.Mutex
	idle []*lane
	gone bool
}

// take returns the one that has waited for the shortest time, nil if there is none.
func (s *lanes) take() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	l := s.idle[n-1]
	s.idle[n-1] = nil
	s.idle = s.idle[:n-1]
	return l
}

// await waits for the lane's next connection. It returns false if the lane is to end.
func (s *lanes) await(l *lane) bool {
	s.mu.Lock()
	enough := s.gone || len(s.idle) >= idleLanes
	if !enough {
		if l.jobs == nil {
			l.jobs = make(chan *Conn, 1)
		}
		s.idle = append(s.idle, l)
	}
	s.mu.Unlock()
	if enough {
		return false
	}
	l.conn = <-l.jobs // nil: it is closed
	return l.conn != nil
}

// stop ends those that wait, once no connection is left.
func (s *lanes) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for _, l := range s.idle {
		close(l.jobs)
	}
	s.idle = nil
}

// neverParks is for sockets that wait in a goroutine, or never, and do not know what
// has not been read.
type neverParks struct{}

func (neverParks) parks() bool     { return false }
func (neverParks) park(*Conn) bool { return false }
func (neverParks) unread() bool    { return false }
