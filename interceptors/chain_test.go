package interceptors_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// noop overrides both directions and adds nothing.
type noop struct {
	interceptors.Passthrough
	_ byte
}

func (*noop) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	return next.Run(ctx, in)
}

func (*noop) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return next.Run(ctx, out)
}

func noops(n int) interceptors.Chain {
	list := make([]interceptors.Interceptor, n)
	for i := range list {
		list[i] = new(noop)
	}
	return interceptors.NewChain(list...)
}

func endInbound(context.Context, interceptors.Inbound) error   { return nil }
func endOutbound(context.Context, interceptors.Outbound) error { return nil }

func TestChainNilInterceptorPanicsWithItsPosition(t *testing.T) {
	assert.PanicsWithValue(t, "interceptors: interceptor 1 of 3 (counted from 0) is nil: leave it out, or use Passthrough{}", func() {
		interceptors.NewChain(interceptors.Passthrough{}, nil, interceptors.Passthrough{})
	})
	assert.Panics(t, func() { interceptors.NewChain().Append(nil) })
	assert.Panics(t, func() { interceptors.NewChain().Inbound(nil) })
	assert.Panics(t, func() { interceptors.NewChain().Outbound(nil) })
	assert.Panics(t, func() { interceptors.NewChain().InboundFor(frame.Text, nil) })
	assert.Panics(t, func() { interceptors.NewChain().OutboundFor(frame.Text, nil) })
}

func TestChainAllocatesNothing(t *testing.T) {
	disabled := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	stock := interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: disabled}), interceptors.Recover(disabled))
	data, peer := make([]byte, 128), &interceptors.Peer{Target: "wss://x.example/"}
	for name, chain := range map[string]interceptors.Chain{
		"0":                          noops(0),
		"5":                          noops(5),
		"pass-through":               interceptors.NewChain(interceptors.Passthrough{}, inboundOnly{seen: new(int)}),
		"disabled Logging + Recover": stock,
	} {
		t.Run(name, func(t *testing.T) {
			var run interceptors.Context
			run.Reset(t.Context(), 1, 0)
			in, out := chain.Inbound(endInbound), chain.Outbound(endOutbound)
			assert.Zero(t, testing.AllocsPerRun(100, func() {
				run.Again(1)
				_ = in(&run, interceptors.Inbound{Type: frame.Text, Final: true, Data: data})
			}))
			assert.Zero(t, testing.AllocsPerRun(100, func() {
				run.Again(1)
				_ = out(&run, interceptors.Outbound{Peer: peer, Type: frame.Text, Data: data})
			}))
		})
	}
}

func BenchmarkChain(b *testing.B) {
	disabled := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	enabled := slog.New(slog.NewTextHandler(io.Discard, nil))
	passthroughs := make([]interceptors.Interceptor, 5)
	for i := range passthroughs {
		passthroughs[i] = interceptors.Passthrough{}
	}
	in := interceptors.Inbound{Type: frame.Text, Final: true, Data: make([]byte, 128)}
	out := interceptors.Outbound{Peer: &interceptors.Peer{Target: "wss://x.example/"}, Type: frame.Text, Data: make([]byte, 128)}
	for _, c := range []struct {
		name  string
		chain interceptors.Chain
	}{
		{"noop=0", noops(0)},
		{"noop=1", noops(1)},
		{"noop=5", noops(5)},
		{"passthrough=5", interceptors.NewChain(passthroughs...)},
		{"recover", interceptors.NewChain(interceptors.Recover(disabled))},
		{"logging=off", interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: disabled}))},
		{"logging=on", interceptors.NewChain(interceptors.Logging(interceptors.LoggingConfig{Logger: enabled}))},
	} {
		var run interceptors.Context
		b.Run(c.name+"/inbound", func(b *testing.B) {
			b.ReportAllocs()
			f := c.chain.Inbound(endInbound)
			for b.Loop() {
				run.Reset(b.Context(), 1, 1)
				_ = f(&run, in)
			}
		})
		b.Run(c.name+"/outbound", func(b *testing.B) {
			b.ReportAllocs()
			f := c.chain.Outbound(endOutbound)
			for b.Loop() {
				run.Reset(b.Context(), 1, 1)
				_ = f(&run, out)
			}
		})
	}
}
