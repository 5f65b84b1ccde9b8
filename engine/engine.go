package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Engine accepts WebSocket connections and runs their handlers. It is an
// http.Handler for the endpoint that New was given; Endpoint makes more that
// share its workers, limits and shutdown.
type Engine struct {
	// immutable
	*endpoint // the one that New was given
	cfg       Config
	outbound  *backpressure.Config
	origins   origins
	plain     parsing
	deflating parsing
	admission *admission
	executor  *executor
	ticker    *ticker
	sweeper   *sweeper

	pool       frame.Pool
	clock      clock
	registry   registry
	counters   counters
	goroutines group        // everything the engine has started, workers apart
	background atomic.Int64 // functions given to Conn.Go
	granted    atomic.Int64 // announced bytes that transports have let gws allocate, and that have not come

	draining atomic.Bool // no more upgrades
	stopOnce sync.Once
	empty    chan struct{} // closed when draining and the last connection has ended
	stopped  chan struct{}
	mu       sync.Mutex // orders the last removal against draining
}

// An endpoint is an Endpoint made ready.
type endpoint struct {
	e            *Engine
	handler      Handler
	inline       bool
	pull         bool // messages wait for Receive
	events       bool // somebody wants to see pings, pongs and closes
	subprotocols []string
	class        *backpressure.Class // nil: that of Config
	inbound      interceptors.InboundFunc
	direct       func(context.Context, *Conn, Message) error // the handler, if there is no chain
	outboundRun  interceptors.OutboundFunc                   // nil without interceptors
}

// New starts an engine whose own endpoint is ep. It returns every mistake in cfg,
// joined. The engine runs until Shutdown.
func New(cfg Config, ep Endpoint) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	cfg = cfg.withDefaults()
	if cfg.Budget == nil {
		cfg.Budget = backpressure.NewBudget(inUse(cfg.MemoryBudgetBytes))
	}
	x, err := newExecutor(cfg.Workers)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	e := &Engine{
		cfg:      cfg,
		origins:  newOrigins(cfg.AllowedOrigins),
		executor: x,
		empty:    make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	e.pool.Count = cfg.CountBuffers
	e.outbound = cfg.outbound(&e.pool, &e.counters.drops)
	e.clock.start = time.Now()
	e.clock.advance()
	e.admission = newAdmission(&e.cfg)
	e.plain = newParsing(cfg, false)
	e.deflating = newParsing(cfg, true)
	e.endpoint = e.newEndpoint(ep)
	e.ticker = newTicker(e)
	e.sweeper = newSweeper(e)
	e.goroutines.spawn(e.ticker.run)  // ends with Shutdown
	e.goroutines.spawn(e.sweeper.run) // ends with Shutdown
	return e, nil
}

// A parsing is how the bytes of a connection are read: by the scanner, and by gws.
type parsing struct {
	rules    *frame.Rules
	upgrader *gws.Upgrader
}

// newParsing is for connections with or without compression. What is compressed gws
// must not hold against UTF-8, and it may be a little longer than its message.
func newParsing(cfg Config, deflating bool) parsing {
	rules := &frame.Rules{ExpectMask: true, MaxMessage: int64(cfg.MaxMessageBytes), MaxFragments: cfg.MaxFragments}
	if deflating {
		rules.AllowRSV = frame.RSV1
		rules.MaxMessage += int64(deflateSlack(cfg.MaxMessageBytes))
	}
	return parsing{rules, gws.NewUpgrader(new(events), &gws.ServerOption{
		ReadMaxPayloadSize: max(int(rules.MaxMessage), frame.MaxControlPayload), // gws holds control frames against it, too
		ReadBufferSize:     gwsBuffer,
		CheckUtf8Enabled:   !deflating,
		ParallelGolimit:    1,
		NewSession:         func() gws.SessionStorage { return nil },
		Logger:             gwsLogger{},
	})}
}

// gwsLogger is silent: what gws logs, the engine reports in its own words.
type gwsLogger struct{}

// Error drops the message.
func (gwsLogger) Error(...any) {}

// Endpoint returns an http.Handler that upgrades requests for another use of the
// engine. It panics if an interceptor is nil.
func (e *Engine) Endpoint(ep Endpoint) http.Handler { return e.newEndpoint(ep) }

func (e *Engine) newEndpoint(ep Endpoint) *endpoint {
	chain := interceptors.NewChain(e.cfg.Interceptors...).Append(ep.Interceptors...)
	p := &endpoint{
		e:            e,
		handler:      ep.Handler,
		inline:       ep.Inline,
		pull:         ep.Handler.OnMessage == nil,
		events:       chain.Len() > 0,
		subprotocols: slices.Clone(ep.Subprotocols),
		class:        ep.SendClass,
	}
	p.inbound = chain.Inbound(p.receive)
	if chain.Len() == 0 {
		p.direct = ep.Handler.OnMessage
	} else {
		p.outboundRun = chain.Outbound(sendOut)
	}
	return p
}

// receive is the end of the inbound chain.
func (p *endpoint) receive(ctx context.Context, in Message) error {
	if in.Type != frame.Text && in.Type != frame.Binary {
		return nil
	}
	c := FromContext(ctx)
	if p.pull {
		c.pulled.passed, c.pulled.got = in, true
		return nil
	}
	return p.handler.OnMessage(ctx, c, in)
}

// start makes a connection of a hijacked socket. OnOpen runs first, so that the
// connection is where its handler wants it (in a room, say) before the client can
// know that it is open; then the response to the handshake leaves, with
// what OnOpen has sent behind it; then the reader starts.
func (e *Engine) start(p *endpoint, sock socket, deflateBits int, early, response []byte, scope *Scope) {
	c := &Conn{e: e, ep: p, sock: sock, id: e.registry.lastID.Add(1), scope: scope}
	c.call.conn = c
	if p.pull {
		c.pulled = new(pulled)
	}
	c.queue.Init(e.outbound, c.sock, c)
	if p.class != nil {
		c.queue.SetClass(p.class)
	}
	c.inbound = backpressure.NewAccount(e.cfg.Budget)
	c.queue.Preface(response)
	c.lastRead.Store(e.clock.now())
	c.watch.moved = e.clock.now() // or the response would be late before it has begun to leave
	c.busy.Store(true)            // until the reader first waits
	parsing := e.plain
	if c.deflateBits = deflateBits; deflateBits != 0 {
		parsing = e.deflating
	}
	c.transport.init(c, parsing.rules, early)
	socket, err := c.transport.attach(parsing.upgrader)
	if err != nil { // gws refuses nothing that attach asks
		e.cfg.Logger.Error("penstock: gws refused a connection", "error", err)
	}
	if err != nil || !e.admit(c) { // Shutdown has begun since the request was checked
		c.queue.Fail(net.ErrClosed) // closes the socket, by Finished
		c.transport.giveBack()
		e.admission.leave(scope)
		return
	}
	defer c.begin(socket) // deferred: OnOpen may end in runtime.Goexit
	c.open()
}

// begin lets an opened connection go.
func (c *Conn) begin(socket *gws.Conn) {
	c.received() // the idle clock starts here
	c.queue.Release()
	c.mu.Lock()
	c.opened = true
	c.kickLocked()
	c.e.goroutines.spawn(func() { c.read(socket) }) // ends with the connection
}

// admit registers a connection unless Shutdown has begun meanwhile.
func (e *Engine) admit(c *Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining.Load() {
		return false
	}
	e.registry.add(c)
	e.counters.opened.Add(1)
	return true
}

// remove forgets a connection whose OnClose has returned.
func (e *Engine) remove(c *Conn, err *CloseError) {
	e.counters.close(err, c)
	c.leaveBudget()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.registry.remove(c) == 0 && e.draining.Load() {
		e.signalEmpty()
	}
}

func (e *Engine) signalEmpty() {
	e.stopOnce.Do(func() { close(e.empty) })
}

// Serve accepts connections on ln, upgrades every request, and returns when ctx
// is done and Shutdown has ended, or with the listener's error.
func (e *Engine) Serve(ctx context.Context, ln net.Listener) error {
	return e.ServeWith(ctx, ln, e)
}

// ServeWith is Serve for a program whose handler h routes requests, some of them
// to the engine or its endpoints.
func (e *Engine) ServeWith(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: e.cfg.HandshakeTimeout,
		IdleTimeout:       e.cfg.HandshakeTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          serverLog(e.cfg.Logger),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }() // ends with srv.Close below
	select {
	case err := <-failed:
		return errors.Join(err, e.stopServing(srv))
	case <-ctx.Done():
	}
	err := e.stopServing(srv)
	<-failed
	return err
}

// stopServing ends the connections and lets the program's own requests end, all
// within ShutdownTimeout.
func (e *Engine) stopServing(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.ShutdownTimeout)
	defer cancel()
	err := e.Shutdown(ctx)
	_ = srv.Shutdown(ctx)
	_ = srv.Close() // whoever has not ended
	return err
}
