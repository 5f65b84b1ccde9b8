package interceptors_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func blowUp(value any) { panic(value) }

func TestRecoverTurnsAPanicIntoAnError(t *testing.T) {
	for name, value := range map[string]any{
		"string":          "boom",
		"error":           errors.New("boom"),
		"ErrAbortHandler": http.ErrAbortHandler,
	} {
		t.Run(name, func(t *testing.T) {
			var records capture
			chain := interceptors.NewChain(interceptors.Recover(slog.New(&records)))
			var run interceptors.Context
			run.Reset(t.Context(), 3, 4)
			err := chain.Inbound(func(context.Context, interceptors.Inbound) error { blowUp(value); return nil })(&run, text("payload"))

			p, ok := errors.AsType[*interceptors.PanicError](err)
			require.True(t, ok)
			assert.Equal(t, value, p.Value)
			assert.Contains(t, string(p.Stack), "blowUp", "the stack must show where the panic came from")
			require.Len(t, records.list, 1)
			record := records.list[0]
			assert.Equal(t, slog.LevelError, record.level)
			assert.Equal(t, map[string]any{
				"direction": "inbound", "type": "text", "chain_id": "3-4",
				"panic": slog.AnyValue(value).String(), "stack": string(p.Stack),
			}, record.attrs)
		})
	}
}

func TestRecoverPanicInALaterInterceptorEitherDirection(t *testing.T) {
	var records capture
	bomb := hook{
		in: func(context.Context, interceptors.Inbound, *interceptors.InboundNext) error { panic("in") },
		out: func(context.Context, interceptors.Outbound, *interceptors.OutboundNext) error {
			panic("out")
		},
	}
	guard := interceptors.Recover(slog.New(&records))
	chain := interceptors.NewChain(guard, bomb, guard)

	p, ok := errors.AsType[*interceptors.PanicError](chain.Inbound(endInbound)(t.Context(), text("")))
	require.True(t, ok)
	assert.Equal(t, "in", p.Value)
	p, ok = errors.AsType[*interceptors.PanicError](chain.Outbound(endOutbound)(t.Context(), interceptors.Outbound{Type: frame.Ping}))
	require.True(t, ok)
	assert.Equal(t, "out", p.Value)
	require.Len(t, records.list, 2)
	assert.Equal(t, "outbound", records.list[1].attrs["direction"])
	assert.Equal(t, "ping", records.list[1].attrs["type"])
}

func TestRecoverLeavesOutcomesAlone(t *testing.T) {
	var records capture
	want := errors.New("as it was")
	chain := interceptors.NewChain(interceptors.Recover(slog.New(&records)))
	assert.Equal(t, want, chain.Inbound(func(context.Context, interceptors.Inbound) error { return want })(t.Context(), text("")))
	assert.NoError(t, chain.Outbound(endOutbound)(t.Context(), interceptors.Outbound{}))
	assert.Empty(t, records.list)
}

func TestRecoverPanicNil(t *testing.T) {
	var records capture
	in := interceptors.NewChain(interceptors.Recover(slog.New(&records))).
		Inbound(func(context.Context, interceptors.Inbound) error { panic(nil) })
	p, ok := errors.AsType[*interceptors.PanicError](in(t.Context(), text("")))
	require.True(t, ok)
	assert.IsType(t, (*runtime.PanicNilError)(nil), p.Value)
}

func TestRecoverPanicWithARefusalIsNoRefusal(t *testing.T) {
	var records capture
	in := interceptors.NewChain(interceptors.Recover(slog.New(&records))).
		Inbound(func(context.Context, interceptors.Inbound) error { panic(interceptors.Refuse(401, "who?")) })
	_, ok := errors.AsType[interceptors.Refusal](in(t.Context(), text("")))
	assert.False(t, ok)
}

func TestRecoverGoexitPasses(t *testing.T) {
	var records capture
	chain := interceptors.NewChain(interceptors.Recover(slog.New(&records)))
	in := chain.Inbound(func(context.Context, interceptors.Inbound) error { runtime.Goexit(); return nil })
	out := chain.Outbound(func(context.Context, interceptors.Outbound) error { runtime.Goexit(); return nil })
	for name, run := range map[string]func(){
		"inbound":  func() { _ = in(context.Background(), text("")) },
		"outbound": func() { _ = out(context.Background(), interceptors.Outbound{}) },
	} {
		t.Run(name, func(t *testing.T) {
			returned, ended := false, make(chan any)
			go func() {
				defer func() { ended <- recover() }()
				run()
				returned = true
			}()
			assert.Nil(t, <-ended)
			assert.False(t, returned, "Goexit was turned into a return")
		})
	}
	assert.Empty(t, records.list)
}
