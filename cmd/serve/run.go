package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/engine/session"
)

// A server is one run of the command.
type server struct {
	// immutable
	*settings
	registry       *filters.Registry
	stdout, stderr io.Writer
	getenv         func(string) string
	asked          *asked // what getenv has been asked for
	logger         *slog.Logger
	certificate    *certificate // nil: no TLS
	manifests      []app.Manifest

	// atomic
	ended atomic.Bool // a shutdown is about to begin
}

// run serves until ctx is done or a signal comes. Usage is checked first: after a
// *UsageError nothing has been started.
func (s *server) run(ctx context.Context) error {
	s.logger = newLogger(s.stderr, s.settings)
	s.engine.Logger = s.logger
	if err := s.load(); err != nil {
		return err
	}
	m, err := newMetrics(s.metricsAddr, &s.engine)
	if err != nil {
		return err
	}
	e, err := engine.New(s.engine, engine.Endpoint{})
	if err != nil {
		return err
	}
	defer endNow(e)
	sources, stop := context.WithCancel(context.Background())
	defer stop()
	all := &nodes{settings: s.settings, e: e, named: make(map[string]int)}
	store, end, err := all.sessions()
	if err != nil {
		return err
	}
	defer end()
	h, handler, err := s.handler(sources, e, all, store)
	if err != nil {
		return err
	}
	for _, name := range s.asked.unknown(os.Environ()) {
		s.logger.Warn("no setting has this name; see penstock serve --help", "variable", name)
	}
	handler, endPage, err := s.withPage(e, handler)
	if err != nil {
		return err
	}
	defer endPage()
	ln, err := s.listen()
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // if nobody has served it
	others, err := s.listenBeside()
	if err != nil {
		return err
	}
	defer others.close()
	defer servePprof(others.pprof, s.logger)()
	stopMetrics, err := m.serve(e, others.metrics)
	if err != nil {
		return err
	}
	defer stopMetrics()
	leave := all.run()
	defer leave()
	return s.untilSignal(ctx, func(ctx context.Context) error { return s.serve(ctx, e, h, ln, handler) })
}

// load reads the files that the settings name. Its errors are *UsageError.
func (s *server) load() (err error) {
	if s.cert != "" {
		if s.certificate, err = loadCertificate(s.cert, s.key, s.logger); err != nil {
			return usagef("%s, %s: %w", s.source("cert"), s.source("key"), err)
		}
	}
	s.manifests, err = loadManifests(s.settings)
	return err
}

// endNow ends an engine that has not been ended, at once.
func endNow(e *engine.Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.Shutdown(ctx) // engine.ErrShutdown: it has been
}

// handler makes what answers requests, and the hub of its connections. A filter's error
// is one of usage, unless it asks for an exit status itself.
func (s *server) handler(sources context.Context, e *engine.Engine, all *nodes, store session.Store) (*hub.Hub, http.Handler, error) {
	env := filters.Env{Engine: e, Sessions: store, Logger: s.logger, Stdout: s.stdout, Getenv: s.getenv, Context: sources}
	if err := s.join(&env, all); err != nil {
		return nil, nil, err
	}
	ep, err := s.registry.Build(s.filters, env)
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		return nil, nil, err
	case err != nil:
		return nil, nil, usage(err)
	}
	ep.Inline = s.inline
	handler, err := mount(e, s.settings, s.manifests, s.logger, e.Endpoint(ep))
	if err != nil {
		return nil, nil, err
	}
	return env.Hub, s.withHealth(handler), nil
}

// join gives filters a hub, that of a node if there is a broker.
func (s *server) join(env *filters.Env, all *nodes) (err error) {
	if !s.nodes.some() {
		env.Hub = hub.New(env.Engine, hub.Config{Logger: s.logger})
		return nil
	}
	if env.Node, err = all.join("serve", cluster.Config{Hub: hub.Config{Logger: s.logger}}); err != nil {
		return err
	}
	env.Hub, env.Channels, env.Join = env.Node.Hub(), s.nodes.channels, all.join
	return nil
}

// listen takes systemd's socket, or else makes one, and explains the errors that
// another flag would help against.
func (s *server) listen() (net.Listener, error) {
	ln, err := inherited(s.getenv)
	switch {
	case err != nil:
		return nil, usage(err)
	case ln != nil:
		s.logger.Info("the socket is systemd's; host and port are not used")
	default:
		ln, err = net.Listen("tcp", net.JoinHostPort(s.host, strconv.Itoa(s.port)))
	}
	switch {
	case notHere(err):
		return nil, usagef("%s=%q: allowed is %s (%w)", s.source("host"), s.host, hostAllowed, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w; choose another with --port, or 0 for a free one", err)
	case err == nil && s.certificate != nil:
		ln = tls.NewListener(ln, s.certificate.config())
	}
	return ln, err
}

// serve runs the engine on ln.
func (s *server) serve(ctx context.Context, e *engine.Engine, h *hub.Hub, ln net.Listener, handler http.Handler) error {
	s.tellOfPage(ln) // before anybody who waits for the line below may send a signal
	if _, err := fmt.Fprintf(s.stdout, "listening on %s\n", s.address(ln)); err != nil {
		return err
	}
	s.tell("READY=1")
	err := e.ServeWith(ctx, ln, handler)
	if t := h.Totals(); t.Congested > 0 {
		s.logger.Warn("slow connections have missed broadcasts", "missed", t.Congested, "delivered", t.Queued)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the connections that had not ended within WS_SHUTDOWN_TIMEOUT were cut off")
	}
	return err
}

// stopping says that a shutdown is about to begin.
func (s *server) stopping() {
	s.ended.Store(true)
	s.tell("STOPPING=1")
}

// tell is for systemd. What it does not hear it notices by a timeout of its own.
func (s *server) tell(state string) {
	if err := notify(s.getenv, state); err != nil {
		s.logger.Warn("systemd cannot be told", "state", state, "error", err)
	}
}

// address returns the URL that a listener can be reached at.
func (s *server) address(ln net.Listener) string {
	u := url.URL{Scheme: "ws", Host: ln.Addr().String(), Path: "/"}
	if s.certificate != nil {
		u.Scheme = "wss"
	}
	if ln.Addr().Network() == "unix" {
		return u.Scheme + "+unix:" + ln.Addr().String()
	}
	return u.String()
}
