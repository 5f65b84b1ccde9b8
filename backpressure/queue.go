package backpressure

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/penstock-ws/penstock/frame"
)

// ErrClosed says that a queue writes nothing any more. It satisfies
// errors.Is(err, net.ErrClosed).
var ErrClosed = fmt.Errorf("backpressure: queue closed: %w", net.ErrClosed)

// Config is shared by the queues of an engine and must not change while they
// live. All sizes are in bytes; all must be positive, LowWater < HighWater.
type Config struct {
	// HighWater is the mark above which a queue has no room. A queue holds at most
	// HighWater, or one message of the class policy Congest more.
	HighWater int

	// LowWater is the mark at which a congested queue takes messages again.
	LowWater int

	// ChunkSize is the largest payload of one frame. A larger message is sent
	// as fragments of at most this size (RFC 6455 §5.4).
	ChunkSize int

	// CorkSize is how much a corked queue gathers before it writes all the same.
	CorkSize int

	// Mask makes every frame carry a masking key of its own, as a client's must and
	// a server's must not (RFC 6455 §5.1, §5.3): 4 bytes a frame, which count like the
	// rest of its header. Payloads are then copied before they are masked: a large
	// message costs its size in memory also while the socket keeps up, and a Prepared
	// on each queue, where without Mask senders' memory is lent and a Prepared's
	// shared. Neither is ever written to. The default, false, is for servers.
	Mask bool

	// Class is that of messages which name none.
	Class *Class

	// Pool lends the memory for queued bytes.
	Pool *frame.Pool

	// Budget bears that memory; nil: there is no limit to it.
	Budget *Budget

	// Drops counts what the queues drop.
	Drops *Drops
}

// Drops are the messages dropped by all queues of a Config, by reason.
type Drops struct {
	Newest, Oldest atomic.Uint64 // for lack of room, by what the class drops then
	Expired        atomic.Uint64
	Replaced       atomic.Uint64
}

// state says who may touch the socket.
type state uint8

const (
	idle    state = iota // nobody; whoever sends becomes the owner
	writing              // one goroutine, inside drive
	waiting              // nobody until the wire calls Resume
)

// A Queue is the outbound side of one connection. Every method may be called
// from any goroutine, and none waits for the socket except Drain, Room, SendWait
// and Stream.Write, which say so.
type Queue struct {
	// immutable
	cfg    *Config
	wire   Wire
	events Events

	over atomic.Bool // no room for Congest until LowWater; written under mu

	// guarded by mu
	mu       sync.Mutex
	state    state
	corks    int32
	held     bool // nothing is written before Release
	full     bool // the socket did not take all of a direct write
	notices  Notice
	starved  bool // over because the budget would not bear a message
	closing  bool // the close frame is queued: nothing may follow
	discard  bool // Close asked for it during a write: what that leaves is dropped, too
	lost     bool // bytes that were taken will not be written, and by no policy
	dead     bool // finished or failed: nothing will be written
	finished bool // Finished has been reported
	overflow frame.CloseCode
	class    *Class
	head     *item
	tail     *item
	lent     *item // aliases the memory of a sender that is inside Send
	backlog  *backlog
	control  controlLane
	pending  int    // bytes taken and not yet written
	written  uint64 // bytes the socket has taken
	messages uint64 // data messages taken
	account  Account
	seldom   *seldom // nil until it is needed
}

// seldom is what most queues never need, and every byte of them counts.
type seldom struct {
	wanted  int   // bytes that the budget would not bear
	err     error // of the socket
	waiters []waiter
}

func (q *Queue) needSeldomLocked() *seldom {
	if q.seldom == nil {
		q.seldom = new(seldom)
	}
	return q.seldom
}

// A waiter is a goroutine inside Drain or Room.
type waiter struct {
	level int
	room  bool // instead of level: until the queue is not congested
	ch    chan struct{}
}

// Init makes q ready. It is a method and not a constructor because a queue is
// embedded in its connection.
func (q *Queue) Init(cfg *Config, wire Wire, events Events) {
	q.cfg, q.wire, q.events, q.class = cfg, wire, events, cfg.Class
	q.account = NewAccount(cfg.Budget)
}

// SetClass changes the class of messages that name none; nil: back to that of Config.
func (q *Queue) SetClass(c *Class) {
	if c == nil {
		c = q.cfg.Class
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.class = c
}

// Send takes one data message, if there is room for it, and says what has become of it.
// Unless it stands behind others, or in a cork, it has been offered to the socket when
// Send returns.
func (q *Queue) Send(m Message) Verdict {
	q.mu.Lock()
	if m.Class == nil {
		m.Class = q.class
	}
	if q.cfg.Mask && m.Prepared != nil {
		m.unshare()
	}
	if !m.Hold && q.clearLocked() && q.sendDirectLocked(&m) {
		return Queued
	}
	v, old := q.admitLocked(&m)
	if v != Queued {
		q.refuseLocked(v, m.Hold)
		return v
	}
	q.messages++
	if old != nil {
		q.replaceLocked(old, &m)
	} else {
		q.pushLocked(&m)
	}
	if m.Hold && q.pending < q.cfg.CorkSize {
		q.settleLocked()
		q.unlockAndTell()
		return Queued
	}
	q.flushLocked(q.cfg.trainSize(m.len()))
	return Queued
}

// SendWait is Send for callers that may wait: while it would answer Congested it
// waits for Room. It returns Queued, or what else became of the message, or
// ctx's error.
func (q *Queue) SendWait(ctx context.Context, m Message) (Verdict, error) {
	for {
		v := q.Send(m)
		if v != Congested {
			return v, nil
		}
		if err := q.Room(ctx); err != nil {
			return v, err
		}
	}
}

// SendControl takes a ping or pong of at most frame.MaxControlPayload bytes. It
// passes all data that is not yet on its way and is exempt from the water
// marks; see controlLane for its own bound.
func (q *Queue) SendControl(op frame.Opcode, payload []byte) Verdict {
	q.mu.Lock()
	if q.closing || q.dead {
		q.mu.Unlock()
		return Closed
	}
	q.pending += q.control.push(q.cfg, op, payload)
	q.fellLocked() // older ones may have given way
	q.flushLocked(0)
	return Queued
}

// Close queues the close frame behind everything taken so far; later sends
// answer Closed. A stream under way may still be finished. With discard true,
// messages of which nothing has been written are dropped and a message under way
// is cut after its current fragment, so that the close frame leaves as early as
// the protocol allows. With frame.CloseAbnormal no frame is sent: the queue only
// finishes. A second Close can still discard, but changes neither code nor
// reason. The return value reports whether this call was the first.
func (q *Queue) Close(code frame.CloseCode, reason string, discard bool) bool {
	q.mu.Lock()
	if q.dead {
		q.mu.Unlock()
		return false
	}
	first := !q.closing
	if discard {
		q.discardLocked()
	}
	if first {
		q.pushCloseLocked(code, reason)
	}
	q.flushNowLocked(0)
	return first
}

// Fail ends the queue at once: what it holds is dropped and Finished(err)
// follows, unless the queue has already finished.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	q.failLocked(err)
	q.unlockAndTell()
}

// Cork makes sends append and write nothing until CorkSize bytes are pending or
// Flush is called. Uncork ends it, and writes nothing either: every Cork needs one,
// and a Flush.
func (q *Queue) Cork() {
	q.mu.Lock()
	q.corks++
	q.mu.Unlock()
}

// Uncork ends the effect of one Cork.
func (q *Queue) Uncork() {
	q.mu.Lock()
	q.corks--
	q.mu.Unlock()
}

// Flush writes what is pending, corked or not, as far as the socket takes it.
func (q *Queue) Flush() {
	q.mu.Lock()
	q.flushNowLocked(0)
}

// Congested reports whether messages of the policy Congest are refused: pending
// bytes have been above the high-water mark and not yet at the low-water mark
// again, or the budget would not bear a message.
func (q *Queue) Congested() bool { return q.over.Load() }

// Overflow returns the code with which the policy Disconnect has closed the
// queue, 0 if it has not.
func (q *Queue) Overflow() frame.CloseCode {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.overflow
}

// Pending returns the bytes taken and not yet handed to the socket, frame
// headers included.
func (q *Queue) Pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// Status is how a queue is getting on.
type Status struct {
	Written uint64 // bytes the socket has taken
	Pending int    // bytes it has still to take
	Blocked bool   // it waits for the socket: with the same Written for too long it is stalled
	Starved bool   // it waits for the budget: see Relieve
}

// Status returns the state of the moment.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{Written: q.written, Pending: q.pending, Blocked: q.state != idle && !q.dead, Starved: q.starved}
}

// Relieve lets a starved queue go on if the budget now bears what it would not.
func (q *Queue) Relieve() {
	q.mu.Lock()
	if q.starved && q.account.Fits(q.seldom.wanted) {
		q.starved = false
		q.fellLocked()
	}
	q.unlockAndTell()
}

// Totals are a queue's figures.
type Totals struct {
	Messages uint64 // data messages taken
	Written  uint64 // bytes the socket has taken, frame headers included
	Pending  int    // as Pending
}

// Totals returns the figures of the moment.
func (q *Queue) Totals() Totals {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Totals{Messages: q.messages, Written: q.written, Pending: q.pending}
}

// Drain waits until at most n bytes are pending. It returns nil then, ctx's
// error, or ErrClosed if bytes that were taken have been dropped by a discard, an
// overflow or a failure.
func (q *Queue) Drain(ctx context.Context, n int) error {
	return q.await(ctx, waiter{level: n})
}

// Room waits until Congest messages are taken again. Its errors are Drain's.
func (q *Queue) Room(ctx context.Context) error {
	return q.await(ctx, waiter{room: true})
}

func (q *Queue) await(ctx context.Context, w waiter) error {
	q.mu.Lock()
	if q.reachedLocked(w) {
		defer q.mu.Unlock()
		return q.endLocked()
	}
	q.held = false
	w.ch = make(chan struct{})
	s := q.needSeldomLocked()
	s.waiters = append(s.waiters, w)
	q.flushNowLocked(0) // what waits in a cork must not wait for the waiter
	select {
	case <-w.ch:
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.endLocked()
	case <-ctx.Done():
		q.forget(w)
		return ctx.Err()
	}
}

// reachedLocked reports whether w need not wait.
func (q *Queue) reachedLocked(w waiter) bool {
	if q.dead {
		return true
	}
	if w.room {
		return !q.over.Load()
	}
	return q.pending <= w.level
}

// endLocked returns ErrClosed if bytes that were taken have not been written and
// never will be.
func (q *Queue) endLocked() error {
	if q.lost {
		return ErrClosed
	}
	return nil
}
