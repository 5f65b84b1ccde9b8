package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"syscall"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A server is one run of the command.
type server struct {
	settings
	registry       *filters.Registry
	stdout, stderr io.Writer
}

// run serves until ctx is done or a signal comes. Usage is checked first: after a
// *UsageError nothing has been started.
func run(ctx context.Context, s server) error {
	logger := slog.New(slog.NewTextHandler(s.stderr, nil))
	cfg, err := s.engineConfig(logger)
	if err != nil {
		return err
	}
	if err := s.registry.Check(s.filters.orDefault()); err != nil {
		return usage(err)
	}
	metricsAddr, err := s.metricsAddr()
	if err != nil {
		return err
	}
	ln, err := listen(s.host, s.port)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }() // if nobody has served it
	m, err := newMetrics(metricsAddr, &cfg)
	if err != nil {
		return err
	}
	defer m.close()
	return untilSignal(ctx, logger, func(ctx context.Context) error { return s.serve(ctx, cfg, ln, m) })
}

// listen explains the errors that another flag would help against.
func listen(host string, port int) (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return nil, usagef("--host=%q: allowed is %s (%w)", host, hostAllowed, unknown)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w; choose another with --port, or 0 for a free one", err)
	}
	return ln, err
}

// serve runs an engine with the filters on ln, and shows it to m.
func (s *server) serve(ctx context.Context, cfg engine.Config, ln net.Listener, m *metrics) error {
	e, err := engine.New(cfg, engine.Endpoint{})
	if err != nil {
		return err
	}
	stop, err := m.serve(e)
	if err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	defer stop()
	h := hub.New(e, hub.Config{})
	ep, err := s.registry.Build(s.filters.orDefault(), filters.Env{Engine: e, Hub: h, Logger: cfg.Logger})
	if err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	ep.Inline = s.inline
	if _, err := fmt.Fprintf(s.stdout, "listening on %s\n", address(ln)); err != nil {
		return errors.Join(err, e.Shutdown(context.Background()))
	}
	err = e.ServeWith(ctx, ln, withHealth(e.Endpoint(ep)))
	if t := h.Totals(); t.Congested > 0 {
		cfg.Logger.Warn("slow connections have missed broadcasts", "missed", t.Congested, "delivered", t.Queued)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("the connections that had not ended within WS_SHUTDOWN_TIMEOUT were cut off")
	}
	return err
}

// address returns the URL that a listener can be reached at.
func address(ln net.Listener) string {
	u := url.URL{Scheme: "ws", Host: ln.Addr().String(), Path: "/"}
	return u.String()
}
