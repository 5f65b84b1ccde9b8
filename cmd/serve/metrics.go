package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-ws/penstock/engine"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
)

// metrics serve what Prometheus scrapes, on a listener of their own: who may
// connect to the one need not reach the other. nil serves nothing.
type metrics struct {
	logger   *slog.Logger
	registry *prometheus.Registry
	timings  *penstockprometheus.Timings
}

// newMetrics adds the interceptor to the engine's, unless addr is empty.
func newMetrics(addr string, cfg *engine.Config) (*metrics, error) {
	if addr == "" {
		return nil, nil
	}
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	if err != nil {
		return nil, err
	}
	cfg.Interceptors = append(cfg.Interceptors, timings.Interceptor())
	return &metrics{logger: cfg.Logger, registry: prometheus.NewRegistry(), timings: timings}, nil
}

// serve shows e on ln until stop is called.
func (m *metrics) serve(e *engine.Engine, ln net.Listener) (stop func(), err error) {
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
	m.logger.Info("metrics", "url", "http://"+ln.Addr().String()+"/metrics")
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
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
