package penstockotel_test

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/penstock-ws/penstock/engine"
	penstockotel "github.com/penstock-ws/penstock/engine/otel"
	"github.com/penstock-ws/penstock/interceptors"
)

// One message in a thousand is traced, and all of connections whose caller traces:
// here callers are trusted.
func Example() {
	provider := sdk.NewTracerProvider() // with an exporter of the program's choice
	defer func() { _ = provider.Shutdown(context.Background()) }()
	tracing, err := penstockotel.New(penstockotel.Config{
		TracerProvider: provider,
		Propagator:     propagation.TraceContext{},
		Ratio:          0.001,
		PeerRatio:      1,
	})
	if err != nil {
		panic(err)
	}
	e, err := engine.New(engine.Config{Interceptors: []interceptors.Interceptor{tracing.Interceptor()}}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	_ = e.Shutdown(context.Background())
	// Output:
}
