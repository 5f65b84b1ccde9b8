package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Conn is one WebSocket connection. Any goroutine may call any method at any
// time; no method waits for the peer except those that take a context.
type Conn struct {
	// The groups stand in the order of how often they are used: with many
	// connections every cache line counts.

	// immutable
	e    *Engine
	ep   *endpoint
	sock socket
	home *loopSocket // the same, if a loop reads it

	// reader
	transport   transport
	pending     *batch // received and not yet handed over
	inlineBurst *burst
	inlineN     int32 // messages handled inline and not yet counted
	inlineB     int32 // their payload

	// atomic
	lastRead atomic.Int64          // engine clock
	burst    atomic.Pointer[burst] // of the worker that runs this connection
	closing  atomic.Bool           // our close frame is queued, or the socket has failed
	deaf     atomic.Bool           // what the peer still sends is dropped
	busy     atomic.Bool           // the reader has read what it has not handed over or, inline, handled

	deflateBits uint8 // immutable: the window of what is compressed for the peer; 0: nothing is
	corked      bool  // worker: the queue is, for a batch

	// guarded by mu; mu may be held while taking the queue's lock, never the
	// other way round
	mu         sync.Mutex
	run        runState
	opened     bool // OnOpen has returned
	drainOwed  bool // OnDrain is to be called
	dropOwed   bool // OnDrop is to be called
	noMore     bool // no message will be handed over any more; cause is set
	answered   bool // the closing handshake has been begun by us, or answered
	readDone   bool // the reader has seen the end
	writeDone  bool // the queue has
	ended      bool // OnClose has been called
	paused     bool // the reader waits for room
	receiving  bool // a goroutine is in Receive
	discarding bool // what the reader still reads is dropped
	reader     readerState
	sockState  sockState
	cancelled  bool
	left       bool                 // the budget; what is inflated from here on is the garbage collector's
	messages   int                  // received and not yet handled
	bytes      int                  // their payload
	slow       *slowness            // nil: no message has ever been waited for
	announced  int                  // what the message that is coming in needs
	inbound    backpressure.Account // for what is announced, waits or is inflated
	inbox      batches              // handed over by the reader, not yet taken by a worker
	receivedN  uint64               // messages, over the connection's life
	receivedB  uint64               // bytes of payload, likewise
	cause      *CloseError
	closeSince int64 // engine clock when closing began; 0: it has not
	seldom     *seldom

	// locks itself
	queue backpressure.Queue

	// worker: whoever runs the callbacks, one at a time
	seq      uint64
	call     call
	inflated *frame.Buffer // of the message that is being handled; nil: it is not compressed
	work     batches       // handed over and not yet handled

	// executor's lock
	nextRunnable *Conn

	// immutable
	id    uint64
	scope *Scope

	// sweeper
	watch watch

	position   int32 // registry shard's lock
	background int32 // mu: functions given to Go that run

	// the goroutine in Receive; nil if the endpoint has an OnMessage
	pulled *pulled

	// locks nothing; nil until something is sent through a chain
	outRuns atomic.Pointer[outRuns]
}

// seldom is what most connections never need, and every byte of them counts. It is
// guarded by the connection's mu, and nil until it is needed.
type seldom struct {
	room    chan struct{} // not nil: the reader waits for room
	arrival chan struct{} // not nil: Receive waits for a message
	done    chan struct{} // closed when the context ends; made when asked for
	values  values
}

func (c *Conn) needSeldomLocked() *seldom {
	if c.seldom == nil {
		c.seldom = new(seldom)
	}
	return c.seldom
}

// pulled is what Receive has taken.
type pulled struct {
	// the goroutine in Receive
	passed   Message // by the chain
	got      bool    // passed is set
	rejected bool    // a message could not be unpacked

	// guarded by the connection's mu
	last     arrival // its memory is valid until the next Receive; without data: there is none
	end      bool    // Receive has found nothing more
	returned bool    // the functions given to Go have returned
}

// ID returns the connection's number, unique in its engine.
func (c *Conn) ID() uint64 { return c.id }

// Engine returns the engine that the connection belongs to.
func (c *Conn) Engine() *Engine { return c.e }

// Scope returns the handshake that opened the connection.
func (c *Conn) Scope() *Scope { return c.scope }

// Context returns the context that ends with the connection: when it is closed by
// this side, when it fails, or when all has been handled that came before its
// orderly end. FromContext finds the connection in it.
func (c *Conn) Context() context.Context { return (*connContext)(c) }

// Go runs fn on a goroutine of its own, for work that may wait: a long stream, a
// call to a slow service. ctx ends with the connection, and OnClose is called
// only when fn has returned. If fn panics the connection is closed with 1011.
// It returns ErrTooMuchBackground if Config.MaxBackground functions run already,
// or the connection's *CloseError if it has ended.
func (c *Conn) Go(fn func(ctx context.Context)) error {
	if c.e.background.Add(1) > int64(c.e.cfg.MaxBackground) {
		c.e.background.Add(-1)
		return ErrTooMuchBackground
	}
	c.mu.Lock()
	if c.cancelled {
		c.mu.Unlock()
		c.e.background.Add(-1)
		return c.closeError()
	}
	c.background++
	if c.ep.pull {
		c.pulled.returned = false
	}
	c.mu.Unlock()
	c.e.goroutines.spawn(func() { c.runBackground(fn) }) // ends when fn returns
	return nil
}

func (c *Conn) runBackground(fn func(context.Context)) {
	returned := false
	defer func() {
		if !returned {
			c.crashed(recover())
		}
		c.e.background.Add(-1)
		c.mu.Lock()
		c.background--
		if c.ep.pull && c.background == 0 {
			c.pulled.returned = true
		}
		c.kickLocked()
	}()
	fn(c.Context())
	returned = true
}

// A call is the context of one run of a connection's inbound chain.
type call struct {
	interceptors.Context
	conn *Conn
	read int64 // when the message was: transport.lastWait
}

type callKey struct{}

// Value knows the run itself, besides what the connection and interceptors know.
func (r *call) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return r
	}
	return r.Context.Value(key)
}

// ReceivedAt returns when the message whose chain ctx belongs to was read from the
// socket, its last byte if it came in parts. The time from there to the
// start of the chain it has waited: for a worker, for messages before it, or, without
// OnMessage, for Receive. Inline, too, those before it of the same read delay it.
//
// It is measured, by one reading of the clock for each read, where an interceptor is
// interceptors.Timed; elsewhere the time is zero. Like interceptors.Context it is
// for the goroutine that runs the chain, until that returns.
func ReceivedAt(ctx context.Context) time.Time {
	r, ok := ctx.(*call)
	if !ok {
		r, ok = ctx.Value(callKey{}).(*call)
	}
	if !ok || r.read == 0 || !r.conn.ep.timed {
		return time.Time{}
	}
	return r.conn.e.clock.at(r.read)
}

// mayWait returns ErrOnLoop for the context of a handler that runs on an event loop.
func mayWait(ctx context.Context) error {
	if r, ok := ctx.Value(callKey{}).(*call); ok && r.conn.onLoop() {
		return ErrOnLoop
	}
	return nil
}

// A connContext is the connection as a context.Context.
type connContext Conn

type connKey struct{}

// FromContext returns the connection of a context that a callback or Conn.Context
// gave, however it was wrapped, or nil.
func FromContext(ctx context.Context) *Conn {
	if run, ok := ctx.(*call); ok {
		return run.conn
	}
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Deadline: there is none.
func (cc *connContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done returns a channel that is closed when the connection ends.
func (cc *connContext) Done() <-chan struct{} {
	c := (*Conn)(cc)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.needSeldomLocked()
	if s.done == nil {
		s.done = make(chan struct{})
		if c.cancelled {
			close(s.done)
		}
	}
	return s.done
}

// Err returns context.Canceled once the connection has ended.
func (cc *connContext) Err() error {
	c := (*Conn)(cc)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancelled {
		return context.Canceled
	}
	return nil
}

// Value knows the connection only.
func (cc *connContext) Value(key any) any {
	switch key.(type) {
	case connKey, interceptors.StoreKey, interceptors.SenderKey:
		return (*Conn)(cc)
	}
	return nil
}

func (c *Conn) cancelLocked() {
	if c.cancelled {
		return
	}
	c.cancelled = true
	if c.seldom != nil && c.seldom.done != nil {
		close(c.seldom.done)
	}
}
