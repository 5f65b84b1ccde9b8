package reconnect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

var (
	// ErrClosed: the client has ended, or is about to. It satisfies
	// errors.Is(err, net.ErrClosed).
	ErrClosed = fmt.Errorf("reconnect: the client has been closed: %w", net.ErrClosed)

	// ErrAck: the server acknowledges more than it has been sent, or greets with less
	// than it has acknowledged: it has forgotten, and messages are lost.
	ErrAck = errors.New("reconnect: the server's acknowledgement does not fit")
)

// State is how a client is getting on.
type State uint8

const (
	Idle       State = iota // Start has not been called
	Connecting              // an attempt is being made
	Connected               // messages flow
	Away                    // the connection is lost, or could not be made; it waits for the next attempt
	Closed                  // it has been closed, or has given up
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Idle:
		return "idle"
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	case Away:
		return "away"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A Client stays connected until it is closed, or gives up. Any goroutine may call any
// method at any time. While it is connected it has no goroutine of its own besides the
// connection's, unless there is much to send; while it is not, one.
type Client struct {
	// immutable
	cfg    Config
	engine *engine.Engine
	own    bool // the engine is this client's
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	// the run goroutine
	backoff backoff

	// guarded by mu
	mu          sync.Mutex
	state       State
	started     bool
	closing     bool // nothing more is accepted
	running     bool // there is a run goroutine
	pumping     bool // somebody hands over messages
	connections uint64
	flow        *session // to which messages are handed over; nil: there is none
	box         outbox
	changed     chan struct{} // closed at the next change; nil: nobody waits for one
	unwritten   error         // how a connection ended that has not written all that it had taken
	err         error         // why it has ended
}

// ownHighWater bounds what a connection takes and may lose. The kernel may hold as much
// of what it has not sent (TCP_NOTSENT_LOWAT): less would not help, and more would all be
// lost.
const ownHighWater = 128 << 10

// New returns a client, or every mistake in cfg, joined. Start makes it connect: until
// then its handlers, which may use it, are not called, and messages are kept.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("reconnect: %w", err)
	}
	c := &Client{engine: cfg.Dial.Engine, done: make(chan struct{})}
	if c.engine == nil {
		e, err := engine.New(engine.Config{HighWaterBytes: ownHighWater}, engine.Endpoint{})
		if err != nil {
			return nil, err
		}
		c.engine, c.own = e, true
	}
	c.cfg = cfg.withDefaults(c.engine.MaxMessageBytes())
	c.backoff = backoff{min: c.cfg.MinWait, max: c.cfg.MaxWait, stable: c.cfg.StableAfter}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Start begins to connect and returns at once. Calling it again does nothing. A client
// must be closed, unless it gives up: also one that was never started, if its engine is
// its own.
func (c *Client) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.started, c.running = true, true
		go c.run() // ends when there is a connection, and with the client
	}
}

// SendText sends a text message. It never waits: nil says that it has been accepted, with
// the promise of Config.Delivery. Otherwise it returns engine.ErrCongested if the
// outbox is full, engine.ErrMessageTooBig for one larger than the engine's MaxMessageBytes
// or OutboxBytes, engine.ErrInvalidUTF8, an interceptor's error, or what Err returns;
// engine.VerdictOf tells them apart.
func (c *Client) SendText(s string) error {
	return c.Send(frame.Text, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// SendBytes sends a binary message, as SendText does. The caller keeps p.
func (c *Client) SendBytes(p []byte) error { return c.Send(frame.Binary, p) }

// Send sends a message of type op, frame.Text or frame.Binary, as SendText does. The
// caller keeps p and may reuse it.
func (c *Client) Send(op frame.Opcode, p []byte) error {
	if err := c.check(op, p); err != nil {
		return err
	}
	c.mu.Lock()
	return c.sendLocked(op, p)
}

// SendWait is Send for callers that may wait: where Send would return
// engine.ErrCongested it waits until it would not.
func (c *Client) SendWait(ctx context.Context, op frame.Opcode, p []byte) error {
	if err := c.check(op, p); err != nil {
		return err
	}
	for {
		c.mu.Lock()
		changed := c.changeLocked()
		if err := c.sendLocked(op, p); err != engine.ErrCongested {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check refuses what no connection would take. It knows nothing of interceptors.
func (c *Client) check(op frame.Opcode, p []byte) error {
	switch {
	case !op.IsData() || op == frame.Continuation:
		return fmt.Errorf("reconnect: cannot send a %v message; text and binary are possible", op)
	case len(p) > c.engine.MaxMessageBytes(), c.cfg.OutboxMessages > 0 && len(p) > c.cfg.OutboxBytes:
		return engine.ErrMessageTooBig
	case op == frame.Text && !utf8.Valid(p):
		return engine.ErrInvalidUTF8
	}
	return nil
}

// Drain waits until everything accepted before has been acknowledged or, with
// AtMostOnce, has left this machine, as engine.Conn.Drain says. It returns ctx's error,
// what Err returns if the client ends before, or with AtMostOnce, once, the
// *engine.CloseError of a connection that has ended, since the last Drain, before it had
// sent all that it had taken. Of what had been sent nobody knows whether it came.
func (c *Client) Drain(ctx context.Context) error {
	s, err := c.awaitHanded(ctx)
	if err != nil || c.cfg.Delivery != AtMostOnce {
		return err
	}
	if s != nil {
		err = s.conn.Drain(ctx, 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ended := errors.AsType[*engine.CloseError](err); ended {
		if !s.handed || s.told { // nothing of this client's has been lost, as far as is known; or it has been said
			err = nil
		} else {
			s.told = true
		}
	}
	if c.unwritten != nil {
		err, c.unwritten = c.unwritten, nil
	}
	return err
}

// awaitHanded waits until the outbox has let go of what is in it, and returns the session that
// the last of it was handed to; nil if that has ended.
func (c *Client) awaitHanded(ctx context.Context) (*session, error) {
	c.mu.Lock()
	target := c.box.end() // one may be dropped; then this waits for one more, or for all
	for c.err == nil && c.box.base < target && c.box.len() > 0 {
		if err := c.awaitChangeLocked(ctx); err != nil {
			return nil, err
		}
	}
	defer c.mu.Unlock()
	return c.flow, c.err
}

// Close ends the client. Nothing more is accepted; what has been is drained as far as ctx
// allows, by connecting again if need be; then the connection is closed with 1000. It
// returns when everything has ended: with an engine that is shared at most its CloseTimeout
// after ctx. The error is Drain's, or says why the client had ended: then something was not
// delivered, and OnLost has been told of what the outbox held. It must not be called in a
// callback.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	c.changedLocked()
	starts := !c.started
	left := c.box.len() > 0
	c.started = true
	c.mu.Unlock()
	if starts { // there is nobody who would drain it
		c.end(nil)
		if left {
			return ErrClosed
		}
		return nil
	}
	err := c.Drain(ctx)
	c.hangUp()
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.own {
			_ = c.engine.Shutdown(ctx) // cuts off what there is
		}
		<-c.done
	}
	if err == ErrClosed { // by another Close
		return nil
	}
	return err
}

// hangUp ends attempts and the connection.
func (c *Client) hangUp() {
	c.cancel()
	c.mu.Lock()
	s := c.flow
	c.mu.Unlock()
	if s != nil {
		_ = s.conn.Close(frame.CloseNormal, "") // it may have ended
	}
}

// Conn returns the present connection, or nil. It is for what belongs to the
// connection and not to the client: what is sent on it by Conn.Send may pass what the outbox
// holds, and is never sent again.
func (c *Client) Conn() *engine.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flow == nil {
		return nil
	}
	return c.flow.conn
}

// Err returns why the client has ended: ErrClosed after Close, an error that is
// ErrClosed and what made it give up, or nil as long as it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Done returns a channel that is closed when the client has ended, and everything that
// it started.
func (c *Client) Done() <-chan struct{} { return c.done }

// Status is how a client is getting on.
type Status struct {
	State       State
	Connections uint64 // that have been Connected
	Messages    int    // in the outbox
	Bytes       int    // their payload
}

// Status returns the figures of the moment.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{c.state, c.connections, c.box.len(), c.box.bytes}
}

// changeLocked returns a channel that is closed at the next change.
func (c *Client) changeLocked() <-chan struct{} {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// changedLocked wakes who waits for a change.
func (c *Client) changedLocked() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// awaitChangeLocked waits without the lock. It returns unlocked with ctx's error.
func (c *Client) awaitChangeLocked(ctx context.Context) error {
	changed := c.changeLocked()
	c.mu.Unlock()
	select {
	case <-changed:
		c.mu.Lock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
