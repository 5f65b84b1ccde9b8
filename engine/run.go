package engine

import (
	"errors"
	"net"
	"runtime/debug"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// quantum is how many messages of one connection a worker handles before it
// turns to the next connection.
const quantum = 64

// runState says whether a connection waits for a worker.
type runState uint8

const (
	parked  runState = iota // nothing to do, or nothing that may be done now
	queued                  // in the executor's queue
	running                 // on a worker
)

// wantsLocked reports whether there is something for a worker to do.
func (c *Conn) wantsLocked() bool {
	switch {
	case c.ended:
		return false
	case !c.opened:
		return false
	case c.drainOwed, c.dropOwed:
		return true
	case c.handlesLocked():
		return c.closing.Load() || !c.queue.Congested()
	case c.answersLocked():
		return true
	}
	return c.overLocked()
}

// answersLocked reports whether everything that was received before the end has
// been handled, and the end is to be answered.
func (c *Conn) answersLocked() bool {
	return c.noMore && !c.answered && !c.handlesLocked() && !c.busy.Load() && (!c.ep.pull || c.pulledLocked())
}

// pulledLocked reports whether all that was received has been handled by a
// goroutine that calls Receive: it has come back for more, or it was given to Go
// and has returned, or there is none.
func (c *Conn) pulledLocked() bool {
	p := c.pulled
	return c.inbox.empty() && c.work.empty() && (p.end || c.background == 0 && !c.receiving && (p.returned || p.last.data == nil))
}

// handlesLocked reports whether messages wait for OnMessage.
func (c *Conn) handlesLocked() bool {
	return !c.ep.pull && !(c.inbox.empty() && c.work.empty())
}

// overLocked reports whether only OnClose is left to do.
func (c *Conn) overLocked() bool {
	return c.readDone && c.writeDone && c.background == 0
}

// waits reports whether messages have been received and not yet handled.
func (c *Conn) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages > 0 || c.pending != nil
}

// handlesOnLoop hands over what has been received, and reports whether the loop is to
// handle it.
func (c *Conn) handlesOnLoop() bool {
	if !c.onLoop() || c.ending() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handOverLocked()
	return c.handlesLocked() && !c.queue.Congested()
}

// kickLocked hands the connection to the executor if it wants a worker and has
// none. It unlocks.
func (c *Conn) kickLocked() {
	schedule := c.run == parked && c.wantsLocked()
	if schedule {
		c.run = queued
	}
	c.mu.Unlock()
	if schedule {
		c.schedule()
	}
}

// schedule has a worker see to the connection, or the loop that it is on if its
// handlers run inline.
func (c *Conn) schedule() {
	if c.onLoop() {
		c.home.schedule()
	} else {
		c.e.executor.schedule(c)
	}
}

// onLoop reports whether the handlers run on an event loop.
func (c *Conn) onLoop() bool { return c.ep.inline && c.home != nil }

func (c *Conn) kick() {
	c.mu.Lock()
	c.kickLocked()
}

// runOnce is a worker's turn with the connection. It returns true if there is
// more to do.
func (c *Conn) runOnce(b *burst) bool {
	c.mu.Lock()
	c.run = running
	c.work.append(&c.inbox)
	drain, drop := c.drainOwed, c.dropOwed
	c.drainOwed, c.dropOwed = false, false
	c.mu.Unlock()
	if drop {
		c.tellDrops()
	}
	if drain {
		c.guard(func() error { c.ep.handler.OnDrain(c); return nil })
	}
	n, bytes := 0, 0
	if !c.ep.pull {
		n, bytes = c.handleMessages(b)
	}
	return c.endTurn(n, bytes)
}

// handleMessages runs the chain over what is waiting, up to the quantum. While
// more than one message waits, replies are corked: they leave together, with the
// reply to the last one at the latest.
func (c *Conn) handleMessages(b *burst) (n, bytes int) {
	corked := false
	for n < quantum && !c.work.empty() && (n == 0 || !b.overdue()) {
		if c.queue.Congested() && !c.closing.Load() {
			break
		}
		if more := c.work.more(); more != corked {
			corked = more
			c.cork(b, more)
		}
		m, read := c.work.pop()
		n++
		bytes += m.data.Len()
		c.handle(m, read)
	}
	if corked {
		c.cork(b, false)
	}
	b.end()
	return n, bytes
}

// tellDrops calls OnDrop for each class of which messages have been dropped.
func (c *Conn) tellDrops() {
	for _, lost := range c.queue.TakeLost() {
		c.guard(func() error { c.ep.handler.OnDrop(c, lost); return nil })
	}
}

// cork starts or stops gathering the connection's replies.
func (c *Conn) cork(b *burst, on bool) {
	c.corked = on
	if on {
		b.begin(c)
		c.queue.Cork()
	} else {
		c.queue.Uncork()
	}
}

// endTurn gives back the room of what was handled and decides how to go on. It
// returns true if the connection wants another turn.
func (c *Conn) endTurn(n, bytes int) bool {
	c.mu.Lock()
	c.messages -= n
	c.bytes -= bytes
	c.settleInboundLocked()
	c.wakeReaderLocked()
	if c.answersLocked() {
		c.answerLocked()
		c.mu.Lock()
	}
	if c.overLocked() && !c.ended && !c.handlesLocked() {
		c.ended = true
		c.mu.Unlock()
		c.close()
		return false
	}
	again := c.wantsLocked()
	c.run = parked
	if again {
		c.run = queued
	}
	c.mu.Unlock()
	return again
}

// handle runs the chain over one message, which was read then, and frees it.
func (c *Conn) handle(m arrival, read int64) {
	if !c.closing.Load() {
		c.call.read = read
		c.deliver(m)
	}
	c.release(m)
}

// deliver runs the chain over one message or event and acts on its error. It is
// guard without the frames of closures: on the readers' stacks, of which there
// are as many as connections, depth costs cache misses.
func (c *Conn) deliver(m arrival) {
	returned := false
	defer func() {
		if !returned {
			c.crashed(recover())
		}
	}()
	b := m.data.Bytes()
	in := Message{Type: m.opcode, Final: true, Data: b[:len(b):len(b)]} // an append must not write behind it
	if c.deflateBits != 0 {
		if violation := c.unpack(m, &in); violation != nil {
			c.reject(violation)
			returned = true
			return
		}
	}
	c.seq += 2 // outbound runs have the odd numbers
	c.call.Again(c.seq)
	var err error
	if direct := c.ep.direct; direct != nil && !in.Type.IsControl() {
		err = direct(&c.call, c, in)
	} else {
		err = c.ep.inbound[in.Type].Run(&c.call, in)
	}
	if err != nil {
		c.outcome(err) // runs the outbound chain if it answers, so it may crash, too
	}
	returned = true
}

// deliverClose shows the end to the interceptors. A goroutine in Receive may be
// using c.call.
func (c *Conn) deliverClose(err *CloseError) {
	call := call{conn: c}
	call.Reset(c.Context(), c.id, 0)
	in := Message{Type: frame.Close, Final: true, CloseCode: err.Code, CloseReason: err.Reason}
	c.guard(func() error { return c.ep.inbound[in.Type].Run(&call, in) })
}

// tap shows what has been read to who wants to see it.
func (c *Conn) tap(b []byte) {
	if c.ep.handler.OnData != nil && len(b) > 0 {
		c.guard(func() error { c.ep.handler.OnData(c, b[:len(b):len(b)]); return nil })
	}
}

func (c *Conn) open() {
	if c.openAttended() && c.ep.handler.OnOpen != nil {
		c.guard(func() error { return c.ep.handler.OnOpen(c.Context(), c) })
	}
}

// close tells the chain and the handler that the connection has ended, and lets
// go of it.
func (c *Conn) close() {
	err := c.closeError()
	defer c.e.remove(c, err) // deferred: what comes before may end in runtime.Goexit
	all := c.attendants()
	if all != nil {
		defer c.closeAttended(all)
	}
	if c.ep.handler.OnClose != nil && (all == nil || !all.turnedAway) {
		defer c.guard(func() error { c.ep.handler.OnClose(c, err); return nil })
	}
	if c.ep.sees&interceptors.InboundClose != 0 {
		c.deliverClose(err)
	}
}

// guard calls a callback. A panic, or runtime.Goexit, ends this connection with
// 1011 and nothing else; after Goexit the worker repairs itself (see
// executor.exit).
func (c *Conn) guard(callback func() error) {
	returned := false
	defer func() {
		if !returned {
			c.crashed(recover())
		}
	}()
	if err := callback(); err != nil {
		c.outcome(err)
	}
	returned = true
}

// internalError is the end by a handler that failed, or by a fault of our own.
func internalError() *CloseError {
	return &CloseError{Code: frame.CloseInternalError, Reason: "internal error", Cause: CauseError}
}

// crashed deals with a callback that did not return: p is nil after Goexit.
func (c *Conn) crashed(p any) {
	c.e.counters.panics.Add(1)
	if p == nil {
		c.e.cfg.Logger.Error("penstock: a handler called runtime.Goexit", "conn", c.id)
	} else {
		c.e.cfg.Logger.Error("penstock: a handler panicked", "conn", c.id, "panic", p, "stack", string(debug.Stack()))
	}
	c.shut(internalError(), false)
}

// outcome acts on the error of a handler or interceptor, as Handler.OnMessage
// documents.
func (c *Conn) outcome(err error) {
	var refusal interceptors.Refusal
	var closed *CloseError
	switch {
	case errors.As(err, &refusal):
		c.answerRefusal(refusal)
	case errors.Is(err, ErrDropped):
	case errors.Is(err, ErrCongested):
		c.shut(&CloseError{Code: frame.CloseTryAgainLater, Reason: "congested", Cause: CauseOverflow}, false)
	case errors.As(err, &closed) && !c.closing.Load() && frame.ValidateClose(closed.Code, closed.Reason) == nil:
		c.shut(&CloseError{Code: closed.Code, Reason: closed.Reason}, false)
	case errors.Is(err, net.ErrClosed) && c.closing.Load(), errors.Is(err, ErrMessageTooBig) && c.closing.Load():
	default:
		c.e.cfg.Logger.Error("penstock: a handler failed", "conn", c.id, "error", err)
		c.shut(internalError(), false)
	}
}
