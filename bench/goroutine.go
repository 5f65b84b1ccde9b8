package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// carrierBuffer is what a carrier reads or writes at once, in bytes.
const carrierBuffer = 32 << 10

// goroutines carries connections on net.Conn, with a reader and a writer each:
// where there is no epoll, and for TLS. The two are apart because a reader that
// stopped to write could wait for a server that waits to be read from.
func (s *session) goroutines(conns []*dialed) []func() {
	s.driver = driverGoroutines
	// A recorder for each connection would take 200 KB each.
	groups := make([]group, min(4*runtime.GOMAXPROCS(0), len(conns)))
	if s.fans() {
		groups = groups[:1] // what is shared belongs to one lock
	}
	for i := range groups {
		groups[i].rec = s.recorder()
		groups[i].lost = make(chan struct{})
	}
	carry := make([]func(), len(conns))
	senders := make([]*carrier, len(s.sources))
	for i, d := range conns {
		c := &carrier{s: s, g: &groups[i%len(groups)], id: d.id, conn: d.conn, kick: make(chan struct{}, 1)}
		c.sender = c
		if s.fans() {
			room := s.room(i)
			if i == room {
				senders[room] = c
			}
			c.sender = senders[room]
		}
		var fail *failure
		c.flow, fail = s.flow(d, c.g.rec)
		carry[i] = func() { c.run(fail) }
	}
	return carry
}

// group is some connections that share a lock and a recorder.
type group struct {
	lost chan struct{} // closed when a fan-out's sender has failed
	once sync.Once     // closes it
	mu   sync.Mutex
	rec  *recorder // guarded by mu, and so are the flows of the group's carriers
}

// carrier is one connection.
type carrier struct {
	s    *session
	g    *group
	id   int
	conn net.Conn
	kick chan struct{} // tells the writer that something is pending
	due  *time.Timer   // fires when something is due; the writer's
	flow *flow         // guarded by g.mu

	sender *carrier // goes on when this one has read: itself, or a fan-out's first
}

// run carries the connection until it is done; at once, if it has failed already.
func (c *carrier) run(fail *failure) {
	over := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { c.write(over) })  // until over is closed or a write fails
	helpers.Go(func() { c.follow(over) }) // until over is closed
	if fail == nil {
		c.begin()
		fail = c.read()
	}
	close(over)
	c.conn.Close()
	helpers.Wait()
	if fail != nil {
		c.s.failures.add(c.id, fail)
		c.leave(fail)
	}
}

// leave lets the others go on without this one, or ends them if it was their sender.
func (c *carrier) leave(why *failure) {
	c.g.mu.Lock()
	c.flow.leave(why)
	lost := c.flow.lost
	c.sender.flow.refill(c.s.now())
	c.g.mu.Unlock()
	c.sender.wake()
	if lost && c.s.fans() && c.sender == c {
		c.g.once.Do(func() { close(c.g.lost) })
	}
}

// begin sends the first messages.
func (c *carrier) begin() {
	c.g.mu.Lock()
	c.flow.refill(c.s.now())
	c.g.mu.Unlock()
	c.wake()
}

// read takes replies until the connection's end, and returns what was wrong with it.
func (c *carrier) read() *failure {
	buf := make([]byte, carrierBuffer)
	for {
		n, err := c.conn.Read(buf)
		if fail, over := c.take(buf[:n], err); over {
			return fail
		}
		c.wake()
		c.sender.wake()
	}
}

// take handles the outcome of one read.
func (c *carrier) take(b []byte, err error) (fail *failure, over bool) {
	now := c.s.now()
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	c.g.rec.at(now)
	fail = c.flow.input(b, now, c.g.rec)
	c.g.rec.publish()
	if fail != nil || c.flow.stage == stageClosed {
		return fail, true
	}
	if err != nil {
		return c.endedLocked(err), true
	}
	c.sender.flow.refill(now)
	return nil, false
}

// endedLocked judges a read error, of which some are this side's doing.
func (c *carrier) endedLocked(err error) *failure {
	switch {
	case c.s.phase.Load() == phaseStop, c.s.fans() && c.s.lost():
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded): // set by follow
		return c.flow.unanswered()
	case errors.Is(err, io.EOF):
		err = nil
	}
	return c.flow.ended(err)
}

// write writes what is pending whenever it is woken. A write that fails leaves
// the reporting to the reader, which sees the same connection end.
func (c *carrier) write(over <-chan struct{}) {
	var buf []byte
	c.due = time.NewTimer(time.Hour)
	defer c.due.Stop()
	for {
		c.setDue()
		select {
		case <-over:
			return
		case <-c.kick:
		case <-c.due.C:
			c.g.mu.Lock()
			c.flow.refill(c.s.now())
			c.g.mu.Unlock()
		}
		for {
			if buf = c.copyPending(buf[:0]); len(buf) == 0 {
				break
			}
			if _, err := c.conn.Write(buf); err != nil {
				return
			}
			c.g.mu.Lock()
			c.flow.wrote(len(buf))
			c.g.mu.Unlock()
		}
	}
}

// setDue has the writer woken when the next message is due.
func (c *carrier) setDue() {
	c.g.mu.Lock()
	at, ok := c.flow.wake()
	c.g.mu.Unlock()
	if ok {
		c.due.Reset(time.Duration(at - c.s.now()))
	}
}

// copyPending appends what is to be written next. It is a copy because a reply
// may come, and its slot be filled anew, before Write has returned.
func (c *carrier) copyPending(dst []byte) []byte {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	a, b := c.flow.pending()
	dst = append(dst, a[:min(len(a), carrierBuffer)]...)
	return append(dst, b[:min(len(b), carrierBuffer-len(dst))]...)
}

// follow goes along with the session's phase.
func (c *carrier) follow(over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-c.g.lost:
		c.conn.Close()
		return
	case <-c.s.draining:
	}
	c.g.mu.Lock()
	c.flow.drain(c.g.rec)
	c.g.mu.Unlock()
	c.conn.SetReadDeadline(time.Now().Add(c.s.plan.settle))
	c.wake()
	select {
	case <-over:
	case <-c.g.lost:
		c.conn.Close()
	case <-c.s.stopped:
		c.conn.Close()
	}
}

func (c *carrier) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}
