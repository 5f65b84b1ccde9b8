package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/penstock-ws/penstock/engine"
	penstockotel "github.com/penstock-ws/penstock/engine/otel"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
	"github.com/penstock-ws/penstock/interceptors"
)

// BenchmarkObserved is an echo of 128 bytes without a kernel: what a message takes more
// with interceptors, metrics and traces, than with "nothing". One message comes with each
// read, which is when the clock costs most. Against an echo with sockets:
//
//	cd bench/peers && go run ./versus -work observed
func BenchmarkObserved(b *testing.B) {
	noops := func(kinds interceptors.Kinds) (five []interceptors.Interceptor) {
		for range 5 {
			five = append(five, interceptors.Only(kinds, interceptors.Passthrough{}))
		}
		return five
	}
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	require.NoError(b, err)
	traces := func(writes bool) []interceptors.Interceptor {
		tracing, err := penstockotel.New(penstockotel.Config{
			TracerProvider: sdk.NewTracerProvider(), Propagator: propagation.TraceContext{}, Ratio: 1e-9, Writes: writes,
		})
		require.NoError(b, err)
		return []interceptors.Interceptor{tracing.Interceptor()}
	}
	for _, row := range []struct {
		name string
		list []interceptors.Interceptor
	}{
		{"nothing", nil},
		{"five no-ops inbound", noops(interceptors.Inbounds)},
		{"five no-ops", noops(interceptors.Inbounds | interceptors.Outbounds)},
		{"metrics", []interceptors.Interceptor{timings.Interceptor()}},
		{"traces unsampled", traces(false)},
		{"traces with writes unsampled", traces(true)},
	} {
		b.Run(row.name, func(b *testing.B) {
			e, err := engine.New(engine.Config{IO: engine.IOGoroutines, Interceptors: row.list}, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
			require.NoError(b, err)
			defer func() { require.NoError(b, e.Shutdown(context.Background())) }()
			b.ReportAllocs()
			engine.Treadmill(e, 128, b.N)
			require.EqualValues(b, b.N, e.Stats().MessagesOut)
		})
	}
}
