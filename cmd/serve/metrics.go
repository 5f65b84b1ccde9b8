package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-ws/penstock/engine"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
)

// metricsEnv is the variable of --metrics-addr.
const metricsEnv = "WS_METRICS_ADDR"

// metricsAddr returns the flag's value or else the environment's, which must be right
// even then. Its errors are *UsageError.
func (s *settings) metricsAddr() (string, error) {
	var env string
	if v := os.Getenv(metricsEnv); v != "" {
		if (hostPort{&env}).Set(v) != nil {
			return "", usage(&engine.EnvError{Name: metricsEnv, Value: v, Allowed: hostPortAllowed})
		}
	}
	if s.metrics != "" {
		return s.metrics, nil
	}
	return env, nil
}

// metrics serve what Prometheus scrapes, on a listener of their own: who may
// connect to the one need not reach the other. nil serves nothing.
type metrics struct {
	ln       net.Listener
	logger   *slog.Logger
	registry *prometheus.Registry
	timings  *penstockprometheus.Timings
}

// newMetrics listens on addr, unless that is empty, and adds the interceptor to cfg.
func newMetrics(addr string, cfg *engine.Config) (*metrics, error) {
	if addr == "" {
		return nil, nil
	}
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics-addr: %w", err)
	}
	cfg.Interceptors = append(cfg.Interceptors, timings.Interceptor())
	return &metrics{ln: ln, logger: cfg.Logger, registry: prometheus.NewRegistry(), timings: timings}, nil
}

// serve shows e until stop is called.
func (m *metrics) serve(e *engine.Engine) (stop func(), err error) {
	if m == nil {
		return func() {}, nil
	}
	collector, err := penstockprometheus.NewCollector(e, penstockprometheus.CollectorConfig{})
	if err != nil {
		return nil, err
	}
	m.registry.MustRegister(collector, m.timings, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	m.logger.Info("metrics", "url", "http://"+m.ln.Addr().String()+"/metrics")
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		if err := srv.Serve(m.ln); !errors.Is(err, http.ErrServerClosed) {
			m.logger.Error("metrics are not served any more", "error", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		_ = srv.Close()
		<-ended
	}, nil
}

// close is for those that have not been served.
func (m *metrics) close() {
	if m != nil {
		_ = m.ln.Close()
	}
}
