package enginetest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// Patience is how long the kit waits for anything before it fails the test:
// long, because it only ever passes when something is broken. In a bubble of
// testing/synctest, where waiting is free, it is an hour, so that a test may wait for any
// timeout.
const Patience = 20 * time.Second

// bubblePatience is what Patience says of bubbles.
const bubblePatience = time.Hour

func patience() time.Duration {
	if inBubble() {
		return bubblePatience
	}
	return Patience
}

// inBubble goes by the clock: that of a bubble starts with the year 2000.
func inBubble() bool { return time.Now().Year() == 2000 }

// Server is an engine that serves a loopback port, or memory.
type Server struct {
	// immutable
	Engine *engine.Engine
	t      testing.TB
	addr   string
	memory *memory     // nil: it serves a port
	trust  *tls.Config // of clients; nil: no TLS
	mux    *http.ServeMux
	before holdings
	cancel context.CancelFunc
	served chan error
	stats  func() engine.Stats // Engine.Stats; canary tests replace it

	// locks itself
	ledger ledger
}

// Start serves ep on a loopback port until the test ends. Then it shuts the
// engine down and fails the test unless each connection was opened and closed
// exactly once, callbacks came in order, nothing is queued, and no buffer,
// goroutine or descriptor is left (where several servers run, the last tells). Clients and everything else that a test opens
// must be closed by then: with Cleanup, after Start. Without a logger of its own
// the engine logs to the test.
func Start(t testing.TB, cfg engine.Config, ep engine.Endpoint) *Server {
	t.Helper()
	return start(t, cfg, ep, nil, nil)
}

// StartTLS is Start behind TLS, with a certificate that only its clients trust.
func StartTLS(t testing.TB, cfg engine.Config, ep engine.Endpoint) *Server {
	t.Helper()
	return start(t, cfg, ep, nil, newIdentity(t))
}

func start(t testing.TB, cfg engine.Config, ep engine.Endpoint, m *memory, id *identity) *Server {
	t.Helper()
	require.True(t, m != nil || !inBubble(), "in a bubble of testing/synctest sockets stop the clock: use StartMemory")
	s := &Server{t: t, memory: m, mux: http.NewServeMux(), served: make(chan error, 1)}
	cfg.CountBuffers = true
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s.begins()
	e, err := engine.New(cfg, s.ledger.watch(ep))
	if err != nil {
		s.ends()
	}
	require.NoError(t, err)
	s.Engine, s.stats = e, e.Stats
	s.mux.Handle("/", e)
	ln := s.listen()
	s.addr = ln.Addr().String()
	if id != nil {
		ln, s.trust = tls.NewListener(ln, id.server), id.client
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.served <- e.ServeWith(ctx, ln, s.mux) }() // ends with cancel
	t.Cleanup(s.stop)
	return s
}

func (s *Server) listen() net.Listener {
	s.t.Helper()
	if s.memory != nil {
		return s.memory
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	return ln
}

// Handle serves another endpoint of the engine under path.
func (s *Server) Handle(path string, ep engine.Endpoint) {
	s.HandleHTTP(path, s.Engine.Endpoint(s.ledger.watch(ep)))
}

// HandleHTTP serves any handler under path, also one that misbehaves, for clients to be
// tested with; the connections of an endpoint of the engine that is inside are not watched.
func (s *Server) HandleHTTP(path string, h http.Handler) { s.mux.Handle(path, h) }

// Addr returns the host and port that the server listens on; in memory an address that no
// socket can have.
func (s *Server) Addr() string { return s.addr }

// URL returns the server's ws:// or wss:// URL. In memory it is for engine.Dial with
// NetDial.
func (s *Server) URL() string {
	if s.trust != nil {
		return "wss://" + s.addr + "/"
	}
	return "ws://" + s.addr + "/"
}

// ClientTLS returns the configuration with which a client trusts the server; nil
// if it serves without TLS.
func (s *Server) ClientTLS() *tls.Config { return s.trust }

// Open returns the number of connections whose OnOpen has been called and whose
// OnClose has not.
func (s *Server) Open() int {
	opens, closes := s.ledger.count()
	return opens - closes
}

// AwaitOpen waits until exactly n connections are open, and fails the test if they are not
// within Patience.
func (s *Server) AwaitOpen(n int) {
	s.t.Helper()
	Await(s.t, func() bool { return s.Open() == n }, "open connections should be %d", n)
}

// Shutdown shuts the engine down before the test ends, cuts off what has not ended within
// the time, and returns what Engine.Shutdown does.
func (s *Server) Shutdown(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return s.Engine.Shutdown(ctx)
}

// stop is the end of the test.
func (s *Server) stop() {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.served:
		if err != nil && !errors.Is(err, engine.ErrShutdown) { // the test may have shut it down
			s.t.Errorf("%v", finding{unfinished, err.Error()})
		}
	case <-time.After(patience()):
		s.t.Errorf("%v", finding{unfinished, "Serve has not returned"})
	}
	for _, f := range s.findings(s.ends()) {
		s.t.Errorf("%v", f)
	}
}

// Await polls until ok returns true, and fails the test with the message if it does not
// within Patience. In a bubble synctest.Wait often says more.
func Await(t testing.TB, ok func() bool, format string, args ...any) {
	t.Helper()
	if !poll(patience(), ok) {
		t.Fatalf("still not so after %v: "+format, append([]any{patience()}, args...)...)
	}
}

// poll calls ok until it returns true, and reports whether that was within d.
func poll(d time.Duration, ok func() bool) bool {
	pause := 100 * time.Microsecond
	for deadline := time.Now().Add(d); !ok(); pause = min(2*pause, 5*time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}
