package penstockprometheus_test

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-ws/penstock/engine"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
	"github.com/penstock-ws/penstock/interceptors"
)

// An engine whose figures and histograms are served at /metrics.
func Example() {
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	if err != nil {
		panic(err)
	}
	e, err := engine.New(
		engine.Config{Interceptors: []interceptors.Interceptor{timings.Interceptor()}},
		engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
		}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	collector, err := penstockprometheus.NewCollector(e, penstockprometheus.CollectorConfig{})
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector, timings)
	http.Handle("/ws", e)
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	// Output:
}
