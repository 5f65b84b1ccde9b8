package engine

import (
	"cmp"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// DefaultMemoryBudget returns the default of Config.MemoryBudgetBytes: the memory that
// the process may use, by GOMEMLIMIT, its cgroup, or the machine, whichever is least.
// Where none of them can be read it is 2 GiB.
func DefaultMemoryBudget() int {
	limit := debug.SetMemoryLimit(-1) // a negative value only asks
	if machine := machineMemory(); machine > 0 {
		limit = min(limit, machine)
	}
	if limit == math.MaxInt64 {
		limit = 2 << 30
	}
	return int(min(limit, math.MaxInt)) // which has 32 bits where there are no more addresses
}

// What inbound messages are counted with beside their payload: a buffer's header, what it is
// larger, gws's Message, the place in a batch.
const messageCost = 128

// settleInboundLocked tells the budget what the connection holds of what its peer
// has sent.
func (c *Conn) settleInboundLocked() {
	if c.ended {
		return // what nobody has received is not settled any more
	}
	holds := c.announced + c.bytes + c.messages*messageCost + c.inflatedHeld()
	c.inbound.Add(holds - c.inbound.Held())
}

// announce takes from the budget what a message that has not come in full will
// need, before gws allocates it. It returns false if that is too much.
func (c *Conn) announce(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if more := n - c.announced; more > 0 && !c.inbound.Take(more) {
		return false
	}
	c.announced = n
	c.settleInboundLocked()
	return true
}

// leaveBudget: the connection has ended.
func (c *Conn) leaveBudget() {
	c.mu.Lock()
	c.left = true
	c.inbound.Add(-c.inbound.Held())
	c.forgetInflatedLocked()
	c.mu.Unlock()
	c.e.admission.leave(c.scope)
}

// held is what a connection holds, in both directions.
func (c *Conn) held() int {
	out := max(c.queue.Held(), c.queue.Pending()) // what is shared with others counts here
	c.mu.Lock()
	defer c.mu.Unlock()
	return out + c.inbound.Held()
}

// An offender is a connection that holds more than its share of the budget.
type offender struct {
	c    *Conn
	held int
}

// relieve frees memory when the budget has become tight: first by what may be
// dropped, then by ending connections, those that hold the most first. Nobody
// who holds no more than an equal share is touched.
func (e *Engine) relieve() {
	excess := e.cfg.Budget.Excess()
	if excess == 0 {
		return
	}
	for _, o := range e.offenders() {
		if excess <= 0 {
			return
		}
		if o.c.closing.Load() {
			o.c.hurry()
			excess -= o.held
			continue
		}
		freed := o.c.queue.Shed()
		if excess -= freed; excess > 0 && o.c.held() > e.cfg.Budget.Share() {
			excess -= o.held - freed
			o.c.shed()
		}
	}
}

func (e *Engine) offenders() (list []offender) {
	share := e.cfg.Budget.Share()
	for _, c := range e.registry.all() {
		if held := c.held(); held > share {
			list = append(list, offender{c, held})
		}
	}
	slices.SortFunc(list, func(a, b offender) int { return cmp.Compare(b.held, a.held) })
	return list
}

func budgetError() *CloseError {
	return &CloseError{Code: frame.CloseTryAgainLater, Reason: "memory budget", Cause: CauseBudget}
}

// shed ends a connection to free what it holds.
func (c *Conn) shed() {
	c.e.counters.shed.Add(1)
	c.shut(budgetError(), true)
	c.interrupt()
}

// shedGrace is how long a connection that is closing may hold on to memory that others
// need: the frame under way belongs to a peer that may never read it.
const shedGrace = int64(time.Second)

// hurry frees what a closing connection holds: at first what has not begun to be
// written, then everything.
func (c *Conn) hurry() {
	c.mu.Lock()
	late := c.closeSince != 0 && c.e.clock.now()-c.closeSince > shedGrace
	cause := c.cause
	c.mu.Unlock()
	if late {
		c.abort(budgetError())
		return
	}
	c.queue.Close(cause.Code, cause.replyReason(), true) // whose close frame may not be queued yet
}

// interrupt makes the reader let go of a message that it has not received in full. The
// end must have begun: it tells an interrupt from a nudge.
func (c *Conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.discarding {
		_ = c.sock.setReadDeadline(longAgo) // fails if the socket is closed: then it is not needed
	}
}

// uninterrupted begins the part of a connection's life in which what is read is
// dropped.
func (c *Conn) uninterrupted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.discarding = true
	c.reader = readerStays
	_ = c.sock.setReadDeadline(time.Time{})
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)
