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
	// HighWater is the mark above which a queue is congested: the message that
	// crosses it is still taken, later ones are not. A queue therefore holds at
	// most HighWater plus one message.
	HighWater int

	// LowWater is the mark at which a congested queue takes messages again.
	LowWater int

	// ChunkSize is the largest payload of one frame. A larger message is sent
	// as fragments of at most this size (RFC 6455 §5.4).
	ChunkSize int

	// CorkSize is how much a corked queue gathers before it writes all the same.
	CorkSize int

	// Disconnect, unless zero, makes overflow terminal: instead of answering
	// Congested the queue drops what it holds and closes with this code.
	Disconnect frame.CloseCode

	// Pool lends the memory for queued bytes.
	Pool *frame.Pool
}

// state says who may touch the socket.
type state uint8

const (
	idle    state = iota // nobody; whoever sends becomes the owner
	writing              // one goroutine, inside drive
	waiting              // nobody until the wire calls Resume
)

// A Queue is the outbound side of one connection. Every method may be called
// from any goroutine, and none waits for the socket except Drain, SendWait and
// Stream.Write, which say so.
type Queue struct {
	// immutable
	cfg    *Config
	wire   Wire
	events Events

	over atomic.Bool // crossed HighWater and not yet back at LowWater; written under mu

	// guarded by mu
	mu       sync.Mutex
	state    state
	corked   bool
	held     bool // nothing is written before Release
	full     bool // the socket did not take all of a direct write
	drained  bool // Drained is owed
	closing  bool // the close frame is queued: nothing may follow
	discard  bool // Close asked for it during a write: what that leaves is dropped, too
	lost     bool // bytes that were taken will not be written
	dead     bool // finished or failed: nothing will be written
	finished bool // Finished has been reported
	err      error
	head     *item
	tail     *item
	lent     *item // aliases the memory of a sender that is inside Send
	control  controlLane
	pending  int    // bytes taken and not yet written
	written  uint64 // bytes the socket has taken
	messages uint64 // data messages taken
	waiters  []waiter
}

// A waiter is a goroutine inside Drain.
type waiter struct {
	level int
	ch    chan struct{}
}

// Init makes q ready. It is a method and not a constructor because a queue is
// embedded in its connection.
func (q *Queue) Init(cfg *Config, wire Wire, events Events) {
	q.cfg, q.wire, q.events = cfg, wire, events
}

// Send takes one data message, op being frame.Text or frame.Binary. The caller
// keeps payload and may reuse it when Send has returned.
func (q *Queue) Send(op frame.Opcode, payload []byte) Verdict {
	q.mu.Lock()
	if v := q.admitLocked(); v != Queued {
		q.refuseLocked(v)
		return v
	}
	q.messages++
	if len(payload) <= q.smallest() && q.clearLocked() {
		q.sendDirectLocked(op, payload)
		return Queued
	}
	q.pushLocked(op, payload)
	q.flushLocked(trainSize(len(payload), q.cfg.ChunkSize))
	return Queued
}

// SendPrepared takes a message that many queues share. With hold true the
// message is only appended and the caller owes a Flush, which lets a broadcast
// of several messages leave in one write for each connection.
func (q *Queue) SendPrepared(p *Prepared, hold bool) Verdict {
	q.mu.Lock()
	if v := q.admitLocked(); v != Queued {
		q.refuseLocked(v)
		return v
	}
	q.messages++
	if !hold && p.Len() <= q.cfg.ChunkSize && q.clearLocked() {
		q.sendPreparedDirectLocked(p)
		return Queued
	}
	q.pushPreparedLocked(p, hold)
	if hold && q.pending < q.cfg.CorkSize {
		q.mu.Unlock()
		return Queued
	}
	q.flushLocked(trainSize(p.Len(), q.cfg.ChunkSize))
	return Queued
}

// SendWait is Send for callers that may wait: while the queue is congested it
// waits until pending bytes are at the low-water mark. It returns ctx's error,
// or the reason for which the queue takes nothing any more.
func (q *Queue) SendWait(ctx context.Context, op frame.Opcode, payload []byte) error {
	for {
		switch q.Send(op, payload) {
		case Queued:
			return nil
		case Congested:
			if err := q.Drain(ctx, q.cfg.LowWater); err != nil {
				return err
			}
		default:
			return ErrClosed
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
	q.pending += q.control.push(q.cfg.Pool, op, payload)
	q.fellLocked() // older ones may have given way
	q.flushLocked(0)
	return Queued
}

// Close queues the close frame behind everything taken so far; later sends
// answer Closed. A stream under way may still be finished. With discard true, messages of which nothing has been written
// are dropped and a message under way is cut after its current fragment, so
// that the close frame leaves as early as the protocol allows. With
// frame.CloseAbnormal no frame is sent: the queue only finishes. A second Close
// can still discard, but changes neither code nor reason. The return value
// reports whether this call was the first.
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

// SetCorked switches gathering on or off: while a queue is corked, sends append
// and write nothing until CorkSize bytes are pending or Flush is called.
// Switching it off writes nothing either.
func (q *Queue) SetCorked(on bool) {
	q.mu.Lock()
	q.corked = on
	q.mu.Unlock()
}

// Flush writes what is pending, corked or not, as far as the socket takes it.
func (q *Queue) Flush() {
	q.mu.Lock()
	q.flushNowLocked(0)
}

// Congested reports whether the queue is between its water marks on the way
// down: sends are refused.
func (q *Queue) Congested() bool { return q.over.Load() }

// Pending returns the bytes taken and not yet handed to the socket, frame
// headers included.
func (q *Queue) Pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending
}

// Progress returns how many bytes the socket has taken so far and whether the
// queue is waiting for it to take more. A queue that waits and shows the same
// count for too long is stalled.
func (q *Queue) Progress() (written uint64, blocked bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.written, q.state != idle && !q.dead
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
	q.mu.Lock()
	if q.pending <= n || q.dead {
		defer q.mu.Unlock()
		return q.endLocked()
	}
	q.held = false
	w := waiter{level: n, ch: make(chan struct{})}
	q.waiters = append(q.waiters, w)
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

// endLocked returns ErrClosed if bytes that were taken have not been written and
// never will be.
func (q *Queue) endLocked() error {
	if q.lost {
		return ErrClosed
	}
	return nil
}
