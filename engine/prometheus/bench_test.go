package penstockprometheus_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// BenchmarkTimings is the time that a message takes more: subtract "off". The wait
// is not measured here, for want of an engine.
func BenchmarkTimings(b *testing.B) {
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	require.NoError(b, err)
	native, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{Buckets: []float64{}})
	require.NoError(b, err)
	for _, row := range []struct {
		name  string
		chain interceptors.Chain
	}{
		{"off", interceptors.NewChain()},
		{"on", interceptors.NewChain(timings.Interceptor())},
		{"native buckets only", interceptors.NewChain(native.Interceptor())},
	} {
		b.Run(row.name, func(b *testing.B) {
			in := row.chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })
			var run interceptors.Context
			data := make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				run.Reset(b.Context(), 1, 1)
				_ = in(&run, interceptors.Inbound{Type: frame.Text, Data: data})
			}
		})
	}
}

// TestTimingsAllocateNothing: a message that is timed costs no memory.
func TestTimingsAllocateNothing(t *testing.T) {
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	require.NoError(t, err)
	in := interceptors.NewChain(timings.Interceptor()).Inbound(func(context.Context, interceptors.Inbound) error { return nil })
	var run interceptors.Context
	run.Reset(t.Context(), 1, 1)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		_ = in(&run, interceptors.Inbound{Type: frame.Text})
	}))
}
