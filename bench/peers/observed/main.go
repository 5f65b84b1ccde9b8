// Command observed is Penstock's echo with something to see inside, for what that
// costs: with interceptors that do nothing, with metrics, with traces that are not
// sampled. In the mode "echo" it has none, and is what the others are held against.
//
// Package peer says how it is run.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/penstock-ws/penstock/bench/peers/peer"
	"github.com/penstock-ws/penstock/engine"
	penstockotel "github.com/penstock-ws/penstock/engine/otel"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
	"github.com/penstock-ws/penstock/interceptors"
)

func main() {
	peer.Main("observed",
		peer.Mode{Name: "echo", Handler: func() http.Handler { return echo() }},
		peer.Mode{Name: "echo-inbound-noops", Handler: func() http.Handler { return echo(noops(interceptors.Inbounds)...) }},
		peer.Mode{Name: "echo-noops", Handler: func() http.Handler { return echo(noops(interceptors.Inbounds | interceptors.Outbounds)...) }},
		peer.Mode{Name: "echo-metrics", Handler: withMetrics},
		peer.Mode{Name: "echo-traces", Handler: func() http.Handler { return echo(traces(false)) }},
		peer.Mode{Name: "echo-traces-writes", Handler: func() http.Handler { return echo(traces(true)) }},
	)
}

// echo is the engine as it comes.
func echo(list ...interceptors.Interceptor) *engine.Engine {
	e, err := engine.New(engine.Config{Interceptors: list}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}})
	must(err)
	return e
}

// noop sees everything and does nothing.
type noop struct{ interceptors.Passthrough }

func noops(kinds interceptors.Kinds) (five []interceptors.Interceptor) {
	for range 5 {
		five = append(five, interceptors.Only(kinds, noop{}))
	}
	return five
}

// withMetrics has the histograms, and a collector that nobody scrapes.
func withMetrics() http.Handler {
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	must(err)
	e := echo(timings.Interceptor())
	collector, err := penstockprometheus.NewCollector(e, penstockprometheus.CollectorConfig{})
	must(err)
	prometheus.MustRegister(timings, collector)
	return e
}

// traces throws dice for each message, and hardly ever wins.
func traces(writes bool) interceptors.Interceptor {
	tracing, err := penstockotel.New(penstockotel.Config{
		TracerProvider: trace.NewTracerProvider(),
		Propagator:     propagation.TraceContext{},
		Ratio:          1e-9,
		Writes:         writes,
	})
	must(err)
	return tracing.Interceptor()
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "observed:", err)
		os.Exit(1)
	}
}
