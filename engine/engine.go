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
	server    role // what the engine is to those who connect to it
	client    role // and to those that it dials
	single    bool // it was made for one dialled connection, and ends with it
	origins   origins
	upgrader  *gws.Upgrader
	admission *admission
	executor  *executor
	ticker    *ticker
	sweeper   *sweeper
	loops     *loops // nil: every connection has a reader goroutine
	lot       *lot

	pool         frame.Pool
	clock        clock
	registry     registry
	lanes        lanes
	counters     counters
	goroutines   group         // everything the engine has started, workers apart
	background   atomic.Int64  // functions given to Conn.Go
	bulkFrom     int64         // the constant, or what a test has set before the first connection
	discardPause time.Duration // likewise
	granted      atomic.Int64  // announced bytes that are allocated, and that have not come

	draining atomic.Bool // no more upgrades
	stopOnce sync.Once
	empty    chan struct{} // closed when draining and the last connection has ended
	stopped  chan struct{}
	mu       sync.Mutex // orders arrivals and the last removal against draining
	arriving int        // guarded by mu: connections that are promised to a client, and not registered yet
}

// An endpoint is an Endpoint made ready.
type endpoint struct {
	e            *Engine
	handler      Handler
	inline       bool
	pull         bool               // messages wait for Receive
	sees         interceptors.Kinds // of the interceptors
	timed        bool               // it is measured when messages are read
	chain        interceptors.Chain
	subprotocols []string
	class        *backpressure.Class // nil: that of Config
	ping, idle   time.Duration
	inbound      [opcodes]*interceptors.InboundNext
	outbound     [opcodes]*interceptors.OutboundNext
	direct       func(context.Context, *Conn, Message) error // the handler, if no interceptor sees data
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
		cfg:          cfg,
		origins:      newOrigins(cfg.AllowedOrigins),
		executor:     x,
		bulkFrom:     bulkFrom,
		discardPause: discardPause,
		empty:        make(chan struct{}),
		stopped:      make(chan struct{}),
	}
	e.pool.Count = cfg.CountBuffers
	e.server = e.newRole(false)
	e.client = e.newRole(true)
	e.clock.start = time.Now()
	e.clock.advance()
	e.admission = newAdmission(&e.cfg)
	e.upgrader = gws.NewUpgrader(new(events), gwsOptions(cfg))
	e.endpoint = e.newEndpoint(ep)
	e.ticker = newTicker(e)
	e.sweeper = newSweeper(e)
	e.lot = newLot(e)
	if err := e.startLoops(); err != nil {
		e.goroutines.wait() // of the loops that could be started
		return nil, errors.Join(err, x.stop(context.Background()))
	}
	e.goroutines.spawn(e.ticker.run)  // ends with Shutdown
	e.goroutines.spawn(e.sweeper.run) // ends with Shutdown
	return e, nil
}

// A role is an end of a connection: clients mask their frames, servers do not
// (RFC 6455 §5.1).
type role struct {
	plain, deflating *frame.Rules // for what comes in, without and with compression
	outbound         *backpressure.Config
}

func (e *Engine) newRole(client bool) role {
	outbound := e.cfg.outbound(&e.pool, &e.counters.drops)
	outbound.Mask = client
	return role{scanRules(e.cfg, !client, false), scanRules(e.cfg, !client, true), outbound}
}

// scanRules are for connections with or without compression. What is compressed may
// be a little longer than its message.
func scanRules(cfg Config, masked, deflating bool) *frame.Rules {
	rules := &frame.Rules{ExpectMask: masked, MaxMessage: int64(cfg.MaxMessageBytes), MaxFragments: cfg.MaxFragments}
	if deflating {
		rules.AllowRSV = frame.RSV1
		rules.MaxMessage += int64(deflateSlack(cfg.MaxMessageBytes))
	}
	return rules
}

// gwsOptions are for all connections, because an event loop's share a gws.Conn. What
// is compressed gws must not hold against UTF-8: see gwsChecksText.
func gwsOptions(cfg Config) *gws.ServerOption {
	return &gws.ServerOption{
		ReadMaxPayloadSize: gwsMaxPayload(cfg),
		ReadBufferSize:     gwsBuffer,
		CheckUtf8Enabled:   gwsChecksText(&cfg),
		ParallelGolimit:    1,
		NewSession:         noSession,
		Logger:             gwsLogger{},
	}
}

func noSession() gws.SessionStorage { return nil }

// gwsMaxPayload: gws holds control frames against it, too.
func gwsMaxPayload(cfg Config) int {
	return max(int(scanRules(cfg, true, true).MaxMessage), frame.MaxControlPayload)
}

// gwsChecksText reports whether gws finds text that is not UTF-8. Where some may be
// compressed, OnMessage and unpack do.
func gwsChecksText(cfg *Config) bool { return !cfg.Compress }

// gwsLogger is silent: what gws logs, the engine reports in its own words.
type gwsLogger struct{}

// Error drops the message.
func (gwsLogger) Error(...any) {}

// AllowedOrigins returns a copy of those of the engine's Config: whoever trusts cookies
// wants to know.
func (e *Engine) AllowedOrigins() []string { return slices.Clone(e.cfg.AllowedOrigins) }

// Endpoint returns an http.Handler that upgrades requests for another use of the
// engine. It panics if an interceptor is nil, or if IdleTimeout is not more than
// PingInterval.
func (e *Engine) Endpoint(ep Endpoint) http.Handler { return e.newEndpoint(ep) }

// MaxMessageBytes returns the bound of Config, defaults applied: who queues messages
// ahead of a connection must know what that will not take.
func (e *Engine) MaxMessageBytes() int { return e.cfg.MaxMessageBytes }

func (e *Engine) newEndpoint(ep Endpoint) *endpoint {
	chain := interceptors.NewChain(e.cfg.Interceptors...).Append(ep.Interceptors...)
	p := &endpoint{
		e:            e,
		handler:      ep.Handler,
		inline:       ep.Inline && ep.Handler.OnMessage != nil,
		pull:         ep.Handler.OnMessage == nil,
		chain:        chain,
		sees:         chain.Kinds(),
		timed:        chain.Timed(),
		subprotocols: slices.Clone(ep.Subprotocols),
		class:        ep.SendClass,
		ping:         ep.PingInterval,
		idle:         ep.IdleTimeout,
	}
	or(&p.ping, e.cfg.PingInterval)
	or(&p.idle, e.cfg.IdleTimeout)
	if p.ping > 0 && p.idle > 0 && p.idle <= p.ping {
		panic(fmt.Sprintf("engine: an Endpoint's IdleTimeout, %v, is not more than its PingInterval, %v: quiet peers would be ended before they are pinged", p.idle, p.ping))
	}
	end := &chainEnd{p: p}
	for op := range frame.Opcode(opcodes) {
		p.inbound[op], p.outbound[op] = chain.InboundFor(op, end), chain.OutboundFor(op, end)
	}
	if p.sees&interceptors.InboundData == 0 {
		p.direct = ep.Handler.OnMessage
	}
	return p
}

// opcodes is how many there are: they have 4 bits (RFC 6455 §5.2).
const opcodes = 16

// A chainEnd is what both chains of an endpoint lead to.
type chainEnd struct {
	interceptors.Passthrough
	p *endpoint
}

// InterceptInbound hands a message to the handler, or to who is in Receive.
func (e *chainEnd) InterceptInbound(ctx context.Context, in Message, _ *interceptors.InboundNext) error {
	p := e.p
	if in.Type != frame.Text && in.Type != frame.Binary {
		return nil
	}
	c := FromContext(ctx)
	if c == nil {
		return errForeignContext
	}
	if p.pull {
		c.pulled.passed, c.pulled.got = in, true
		return nil
	}
	return p.handler.OnMessage(ctx, c, in)
}

// A beginning is what a connection begins with.
type beginning struct {
	sock        socket
	deflateBits int
	early       []byte // what the peer has sent behind its handshake
	response    []byte // to the handshake; nil: it was ours
	scope       *Scope
	values      values
	arrived     bool // Shutdown waits for it
}

// start makes a connection. OnOpen runs first, so that the connection is where its
// handler wants it (in a room, say) before the client can
// know that it is open; then the response to the handshake leaves, with
// what OnOpen has sent behind it; then the reader starts. It returns nil if Shutdown
// has begun and o has not arrived before that.
func (e *Engine) start(p *endpoint, o beginning) *Conn {
	c := &Conn{e: e, ep: p, sock: o.sock, id: e.registry.lastID.Add(1), scope: o.scope}
	we := &e.server
	if o.scope.dialled {
		we = &e.client
	}
	if home, ok := o.sock.(*loopSocket); ok {
		home.conn, c.home = c, home
	}
	c.call.conn = c
	c.call.Reset(c.Context(), c.id, 0)
	if o.values != nil {
		c.seldom = &seldom{values: o.values}
	}
	if p.pull {
		c.pulled = new(pulled)
	}
	c.queue.Init(we.outbound, c.sock, c)
	if p.class != nil {
		c.queue.SetClass(p.class)
	}
	c.inbound = backpressure.NewAccount(e.cfg.Budget)
	if o.response != nil {
		c.queue.Preface(o.response)
	}
	c.lastRead.Store(e.clock.now())
	c.watch.moved = e.clock.now() // or the response would be late before it has begun to leave
	c.busy.Store(true)            // until the reader first waits
	rules := we.plain
	if c.deflateBits = uint8(o.deflateBits); o.deflateBits != 0 {
		rules = we.deflating
	}
	c.transport.init(c, rules, o.early)
	admitted, late := e.admit(c, o.arrived)
	if !admitted {
		c.queue.Fail(net.ErrClosed) // closes the socket, by Finished
		c.transport.release()
		c.leaveBudget()
		return nil
	}
	if c.home != nil {
		c.home.watch()
	}
	defer c.begin() // deferred: OnOpen may end in runtime.Goexit
	if late {
		defer c.goAway()
	}
	c.open()
	c.tap(o.early)
	return c
}

// begin lets an opened connection go.
func (c *Conn) begin() {
	c.received() // the idle clock starts here
	c.queue.Release()
	c.mu.Lock()
	c.opened = true
	if c.sock.parks() && !c.scope.dialled { // lanes that have let go of a connection are servers'
		c.reader = readerReads
	}
	c.kickLocked()
	if c.home != nil {
		c.home.start()
		return
	}
	c.e.goroutines.spawn(c.read) // ends with the connection
}

// arrive announces a connection that a client is about to be promised, unless Shutdown has
// begun: Shutdown waits for it.
func (e *Engine) arrive() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining.Load() {
		return false
	}
	e.arriving++
	return true
}

// turnBack is for one that does not come after all.
func (e *Engine) turnBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arriving--
	e.signalEmptyLocked()
}

// admit registers a connection: one that has arrived in any case, others unless Shutdown
// has begun. late: it has, and does not know of this one.
func (e *Engine) admit(c *Conn, arrived bool) (admitted, late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	late = e.draining.Load()
	if arrived {
		e.arriving--
	} else if late {
		return false, false
	}
	e.registry.add(c)
	e.counters.opened.Add(1)
	return true, late
}

// remove forgets a connection whose OnClose has returned.
func (e *Engine) remove(c *Conn, err *CloseError) {
	e.counters.close(err)
	c.leaveBudget()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.registry.remove(c)
	e.signalEmptyLocked()
	if e.single {
		go func() { _ = e.Shutdown(context.Background()) }() // ends with what the engine has started
	}
}

// signalEmptyLocked tells Shutdown when there is nothing more to wait for.
func (e *Engine) signalEmptyLocked() {
	if e.draining.Load() && e.arriving == 0 && e.registry.open.Load() == 0 {
		e.stopOnce.Do(func() { close(e.empty) })
	}
}

// Serve accepts connections on ln, upgrades every request, and returns when ctx
// is done and Shutdown has ended, or with the listener's error.
func (e *Engine) Serve(ctx context.Context, ln net.Listener) error {
	return e.ServeWith(ctx, ln, e)
}

// ServeWith is Serve for a program whose handler h routes requests, some of them
// to the engine or its endpoints.
func (e *Engine) ServeWith(ctx context.Context, ln net.Listener, h http.Handler) error {
	var waiting newcomers
	srv := &http.Server{
		Handler:           h,
		ConnState:         waiting.note,
		ReadHeaderTimeout: e.cfg.HandshakeTimeout,
		IdleTimeout:       e.cfg.HandshakeTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          serverLog(e.cfg.Logger),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }() // ends with srv.Close below
	select {
	case err := <-failed:
		return errors.Join(err, e.stopServing(srv, &waiting))
	case <-ctx.Done():
	}
	err := e.stopServing(srv, &waiting)
	<-failed
	return err
}

// stopServing ends the connections and lets the program's own requests end, all
// within ShutdownTimeout.
func (e *Engine) stopServing(srv *http.Server, waiting *newcomers) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.ShutdownTimeout)
	defer cancel()
	err := e.Shutdown(ctx)
	waiting.close()
	_ = srv.Shutdown(ctx)
	_ = srv.Close() // whoever has not ended
	return err
}
