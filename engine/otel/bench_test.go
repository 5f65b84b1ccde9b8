package penstockotel_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	penstockotel "github.com/penstock-ws/penstock/engine/otel"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// BenchmarkTracing is the time that a message takes more, in and out, by how it is
// sampled: subtract "nothing".
func BenchmarkTracing(b *testing.B) {
	for _, row := range []struct {
		name string
		cfg  *penstockotel.Config
	}{
		{"nothing", nil},
		{"unsampled", &penstockotel.Config{Ratio: -1}},
		{"unsampled, 1 in 1000000 is", &penstockotel.Config{Ratio: 1e-6}},
		{"unsampled, peers asked", &penstockotel.Config{Ratio: -1, PeerRatio: 1}},
		{"unsampled, writes", &penstockotel.Config{Ratio: -1, Writes: true}},
		{"sampled", &penstockotel.Config{Ratio: 1}},
	} {
		b.Run(row.name, func(b *testing.B) {
			chain := interceptors.NewChain()
			if row.cfg != nil {
				row.cfg.TracerProvider, row.cfg.Propagator = sdk.NewTracerProvider(), propagation.TraceContext{}
				tracing, err := penstockotel.New(*row.cfg)
				require.NoError(b, err)
				chain = interceptors.NewChain(tracing.Interceptor())
			}
			in := chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })
			out := chain.Outbound(func(context.Context, interceptors.Outbound) error { return nil })
			var run interceptors.Context
			parent := context.WithValue(b.Context(), interceptors.StoreKey{}, interceptors.Store(noStore{}))
			data := make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				run.Reset(parent, 1, 1)
				_ = in(&run, interceptors.Inbound{Type: frame.Text, Data: data})
				_ = out(&run, interceptors.Outbound{Type: frame.Text, Data: data})
			}
		})
	}
}
