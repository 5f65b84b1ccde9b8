package interceptors_test

// The rows of section A of the reference systems, each proved on the chain
// alone: over a socket they are proved in the engine.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// hook makes an interceptor of two functions; a nil one passes through.
type hook struct {
	interceptors.Passthrough
	in  func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error
	out func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error
}

func (h hook) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	if h.in == nil {
		return h.Passthrough.InterceptInbound(ctx, in, next)
	}
	return h.in(ctx, in, next)
}

func (h hook) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if h.out == nil {
		return h.Passthrough.InterceptOutbound(ctx, out, next)
	}
	return h.out(ctx, out, next)
}

// tracer notes when it was entered and left.
func tracer(name string, trace *[]string) interceptors.Interceptor {
	return hook{
		in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
			*trace = append(*trace, name+" in")
			defer func() { *trace = append(*trace, name+" in done") }()
			return next.Run(ctx, in)
		},
		out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			*trace = append(*trace, name+" out")
			defer func() { *trace = append(*trace, name+" out done") }()
			return next.Run(ctx, out)
		},
	}
}

func text(data string) interceptors.Inbound {
	return interceptors.Inbound{Type: frame.Text, Final: true, Data: []byte(data)}
}

// inboundOnly overrides one direction of the embedded pass-through.
type inboundOnly struct {
	interceptors.Passthrough
	seen *int
}

func (i inboundOnly) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	*i.seen++
	return next.Run(ctx, in)
}

func TestA1OneValueBothDirectionsEachOptional(t *testing.T) {
	var trace []string
	var inboundSeen, delivered, sent int
	chain := interceptors.NewChain(tracer("a", &trace), inboundOnly{seen: &inboundSeen}, interceptors.Passthrough{})
	in := chain.Inbound(func(context.Context, interceptors.Inbound) error { delivered++; return nil })
	out := chain.Outbound(func(context.Context, interceptors.Outbound) error { sent++; return nil })

	require.NoError(t, in(t.Context(), text("x")))
	require.NoError(t, out(t.Context(), interceptors.Outbound{Type: frame.Text}))

	assert.Equal(t, []string{"a in", "a in done", "a out", "a out done"}, trace)
	assert.Equal(t, 1, inboundSeen, "the direction that is not overridden must not reach the other one")
	assert.Equal(t, 1, delivered)
	assert.Equal(t, 1, sent)
}

func TestA2ResultOfNextIsVisibleAndReplaceable(t *testing.T) {
	failed, replaced := errors.New("failed"), errors.New("replaced")
	var saw []error
	replaceBy := func(outcome error) hook {
		return hook{
			in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
				saw = append(saw, next.Run(ctx, in))
				return outcome
			},
			out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
				saw = append(saw, next.Run(ctx, out))
				return outcome
			},
		}
	}

	in := interceptors.NewChain(replaceBy(nil), replaceBy(replaced)).Inbound(func(context.Context, interceptors.Inbound) error { return failed })
	assert.NoError(t, in(t.Context(), text("")), "the outermost has the last word")
	assert.Equal(t, []error{failed, replaced}, saw)

	saw = nil
	out := interceptors.NewChain(replaceBy(replaced), replaceBy(nil)).Outbound(func(context.Context, interceptors.Outbound) error { return failed })
	assert.NoError(t, out(t.Context(), interceptors.Outbound{}), "the outermost has the last word")
	assert.Equal(t, []error{failed, replaced}, saw)
}

func TestA3ShortCircuit(t *testing.T) {
	dropped := errors.New("dropped")
	stop := hook{
		in: func(context.Context, interceptors.Inbound, *interceptors.InboundNext) error {
			return interceptors.Refuse(http.StatusForbidden, "not yours")
		},
		out: func(context.Context, interceptors.Outbound, *interceptors.OutboundNext) error { return dropped },
	}
	var trace []string
	chain := interceptors.NewChain(tracer("a", &trace), stop, tracer("b", &trace))

	err := chain.Inbound(func(context.Context, interceptors.Inbound) error {
		t.Error("the handler saw a refused message")
		return nil
	})(t.Context(), text("secret"))
	refusal, ok := errors.AsType[interceptors.Refusal](err)
	require.True(t, ok)
	assert.Equal(t, interceptors.Refusal{Status: 403, Message: "not yours"}, refusal)
	assert.Equal(t, []string{"a in", "a in done"}, trace)

	trace = nil
	err = chain.Outbound(func(context.Context, interceptors.Outbound) error {
		t.Error("a stopped message was sent")
		return nil
	})(t.Context(), interceptors.Outbound{})
	assert.Equal(t, dropped, err)
	assert.Equal(t, []string{"b out", "b out done"}, trace)
}

func TestA3RefusalIsFoundAsValueAndAsPointer(t *testing.T) {
	want := interceptors.Refusal{Status: 429, Message: "too often"}
	for name, err := range map[string]error{
		"Refuse":  interceptors.Refuse(429, "too often"),
		"value":   want,
		"pointer": &want,
		"wrapped": fmt.Errorf("limiter: %w", interceptors.Refuse(429, "too often")),
		"joined":  errors.Join(errors.New("other"), &want),
	} {
		t.Run(name, func(t *testing.T) {
			value, ok := errors.AsType[interceptors.Refusal](err)
			assert.True(t, ok)
			assert.Equal(t, want, value)
			pointer, ok := errors.AsType[*interceptors.Refusal](err)
			assert.True(t, ok)
			assert.Equal(t, &want, pointer)
			_, ok = errors.AsType[*interceptors.PanicError](err)
			assert.False(t, ok)
		})
	}
	assert.ErrorIs(t, interceptors.Refuse(429, "too often"), want)
	assert.NotErrorIs(t, interceptors.Refuse(401, "too often"), want)
}

func TestA4ConditionalByTypeTargetAndContent(t *testing.T) {
	noEmptyText := hook{
		in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
			if in.Type == frame.Text && len(in.Data) == 0 {
				return interceptors.Refuse(http.StatusBadRequest, "empty")
			}
			return next.Run(ctx, in)
		},
		out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			if out.Peer.Target == "ws://plain.example/" {
				return errors.New("only over TLS")
			}
			return next.Run(ctx, out)
		},
	}
	var delivered, sent int
	chain := interceptors.NewChain(noEmptyText)
	in := chain.Inbound(func(context.Context, interceptors.Inbound) error { delivered++; return nil })
	out := chain.Outbound(func(context.Context, interceptors.Outbound) error { sent++; return nil })

	assert.Error(t, in(t.Context(), text("")))
	assert.Equal(t, 0, delivered)
	assert.NoError(t, in(t.Context(), text("x")))
	assert.NoError(t, in(t.Context(), interceptors.Inbound{Type: frame.Binary, Final: true}))
	assert.Equal(t, 2, delivered)

	assert.Error(t, out(t.Context(), interceptors.Outbound{Peer: &interceptors.Peer{Target: "ws://plain.example/"}}))
	assert.Equal(t, 0, sent)
	assert.NoError(t, out(t.Context(), interceptors.Outbound{Peer: &interceptors.Peer{Target: "wss://safe.example/"}}))
	assert.Equal(t, 1, sent)
}

func TestA4AttributesAreVisibleDownstreamOnly(t *testing.T) {
	looker := func(want any) hook {
		return hook{
			in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
				before, _ := in.Attr("user_id")
				err := next.Run(ctx, in)
				after, _ := in.Attr("user_id")
				assert.Equal(t, want, before)
				assert.Equal(t, want, after, "an attribute came upstream")
				return err
			},
			out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
				before, _ := out.Attr("user_id")
				err := next.Run(ctx, out)
				after, _ := out.Attr("user_id")
				assert.Equal(t, want, before)
				assert.Equal(t, want, after, "an attribute came upstream")
				return err
			},
		}
	}
	setter := func(id any) hook {
		return hook{
			in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
				return next.Run(ctx, in.With("other", true).With("user_id", id))
			},
			out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
				return next.Run(ctx, out.With("user_id", id).With("other", true))
			},
		}
	}
	inFinal := func(want any) interceptors.InboundFunc {
		return func(_ context.Context, in interceptors.Inbound) error {
			got, ok := in.Attr("user_id")
			assert.True(t, ok)
			assert.Equal(t, want, got, "the latest value must win")
			_, ok = in.Attr("never set")
			assert.False(t, ok)
			return nil
		}
	}
	in := interceptors.NewChain(looker(nil), setter(7), looker(7), setter(nil), looker(nil), setter("ann")).Inbound(inFinal("ann"))
	require.NoError(t, in(t.Context(), text("")))

	out := interceptors.NewChain(setter("ann"), looker(7), setter(7), looker(nil)).
		Outbound(func(_ context.Context, out interceptors.Outbound) error {
			got, ok := out.Attr("user_id")
			assert.True(t, ok)
			assert.Equal(t, "ann", got)
			return nil
		})
	require.NoError(t, out(t.Context(), interceptors.Outbound{}))
}

func TestA4AttributesOfBranchesAreApart(t *testing.T) {
	base := text("x").With("a", 1)
	left, right := base.With("b", "left"), base.With("b", "right")
	_, ok := base.Attr("b")
	assert.False(t, ok)
	for want, in := range map[string]interceptors.Inbound{"left": left, "right": right} {
		got, _ := in.Attr("b")
		assert.Equal(t, want, got)
		got, _ = in.Attr("a")
		assert.Equal(t, 1, got)
	}
	value, ok := base.With("nil", nil).Attr("nil")
	assert.Nil(t, value)
	assert.True(t, ok, "a nil value is a value")
}

func TestA5OrderInboundRegistrationOutboundReverse(t *testing.T) {
	var trace []string
	chain := interceptors.NewChain(tracer("1", &trace), tracer("2", &trace)).Append(tracer("3", &trace))

	require.NoError(t, chain.Inbound(func(context.Context, interceptors.Inbound) error {
		trace = append(trace, "handler")
		return nil
	})(t.Context(), text("")))
	assert.Equal(t, []string{"1 in", "2 in", "3 in", "handler", "3 in done", "2 in done", "1 in done"}, trace)

	trace = nil
	require.NoError(t, chain.Outbound(func(context.Context, interceptors.Outbound) error {
		trace = append(trace, "send")
		return nil
	})(t.Context(), interceptors.Outbound{}))
	assert.Equal(t, []string{"3 out", "2 out", "1 out", "send", "1 out done", "2 out done", "3 out done"}, trace)
}

func TestA6EngineChainAndEndpointChains(t *testing.T) {
	var trace []string
	engine := interceptors.NewChain(tracer("engine", &trace))
	chat := engine.Append(tracer("chat", &trace))
	news := engine.Append(tracer("news", &trace), tracer("audit", &trace))
	assert.Equal(t, []int{1, 2, 3, 0}, []int{engine.Len(), chat.Len(), news.Len(), interceptors.Chain{}.Len()})

	final := func(context.Context, interceptors.Inbound) error { return nil }
	for _, c := range []struct {
		chain interceptors.Chain
		want  []string
	}{
		{engine, []string{"engine in", "engine in done"}},
		{chat, []string{"engine in", "chat in", "chat in done", "engine in done"}},
		{news, []string{"engine in", "news in", "audit in", "audit in done", "news in done", "engine in done"}},
		{interceptors.Chain{}, nil},
	} {
		trace = nil
		require.NoError(t, c.chain.Inbound(final)(t.Context(), text("")))
		assert.Equal(t, c.want, trace)
	}
}

func TestA6EndpointChainsOfOneEngineChainAreApart(t *testing.T) {
	var trace []string
	var engine interceptors.Chain
	for range 5 { // one by one: a slice grown like this has spare capacity that two endpoints could share
		engine = engine.Append(interceptors.Passthrough{})
	}
	chat, news := engine.Append(tracer("chat", &trace)), engine.Append(tracer("news", &trace))
	for _, chain := range []interceptors.Chain{chat, news} {
		require.NoError(t, chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })(t.Context(), text("")))
	}
	assert.Equal(t, []string{"chat in", "chat in done", "news in", "news in done"}, trace)
}

func TestA6ChainDoesNotFollowTheSliceItWasMadeOf(t *testing.T) {
	var trace []string
	list := make([]interceptors.Interceptor, 1, 8)
	list[0] = tracer("first", &trace)
	chain := interceptors.NewChain(list...)
	list[0] = tracer("changed", &trace)
	require.NoError(t, chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })(t.Context(), text("")))
	assert.Equal(t, []string{"first in", "first in done"}, trace)
}

func TestA7ControlAndCloseEventsPassTheChain(t *testing.T) {
	events := []interceptors.Inbound{
		{Type: frame.Text, Final: true, Data: []byte("t")},
		{Type: frame.Binary, Final: true, Data: []byte{0xff}},
		{Type: frame.Ping, Final: true, Data: []byte("p")},
		{Type: frame.Pong, Final: true},
		{Type: frame.Close, Final: true, CloseCode: frame.CloseGoingAway, CloseReason: "bye"},
	}
	var seen, handled []interceptors.Inbound
	in := interceptors.NewChain(hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		seen = append(seen, in)
		return next.Run(ctx, in)
	}}).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		handled = append(handled, in)
		return nil
	})
	for _, e := range events {
		require.NoError(t, in(t.Context(), e))
	}
	assert.Equal(t, events, seen)
	assert.Equal(t, events, handled)

	sent := []interceptors.Outbound{
		{Peer: &interceptors.Peer{Target: "wss://x.example/"}, Type: frame.Ping, Data: []byte("p")},
		{Peer: &interceptors.Peer{Target: "wss://x.example/"}, Type: frame.Close, CloseCode: frame.CloseNormal, CloseReason: "done"},
	}
	var gone []interceptors.Outbound
	out := interceptors.NewChain(interceptors.Passthrough{}).Outbound(func(_ context.Context, out interceptors.Outbound) error {
		gone = append(gone, out)
		return nil
	})
	for _, o := range sent {
		require.NoError(t, out(t.Context(), o))
	}
	assert.Equal(t, sent, gone)
}

func TestA9ChangesAreInvisibleUpstreamAndToOtherDeliveries(t *testing.T) {
	buffer := append(make([]byte, 0, 64), "original"...)
	message := interceptors.Inbound{Type: frame.Text, Final: true, Data: buffer}
	var delivered []string
	change := hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		in.Type = frame.Binary
		in.Data = append(in.Data, " and more"...) // the buffer has room for it, and must not be given it
		return next.Run(ctx, in)
	}}
	watch := hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		err := next.Run(ctx, in)
		assert.Equal(t, frame.Text, in.Type)
		assert.Equal(t, "original", string(in.Data))
		return err
	}}
	final := func(_ context.Context, in interceptors.Inbound) error {
		delivered = append(delivered, in.Type.String()+" "+string(in.Data))
		return nil
	}
	require.NoError(t, interceptors.NewChain(watch, change).Inbound(final)(t.Context(), message))
	require.NoError(t, interceptors.NewChain(watch).Inbound(final)(t.Context(), message))
	assert.Equal(t, []string{"binary original and more", "text original"}, delivered)
	assert.Equal(t, make([]byte, 64-len("original")), buffer[len(buffer):cap(buffer)], "an append wrote into the borrowed buffer")
}

func TestA9OutboundChangesAreInvisibleToSenderAndOtherReceivers(t *testing.T) {
	message := interceptors.Outbound{
		Type: frame.Text, Data: []byte("data"),
		Peer: &interceptors.Peer{Target: "wss://x.example/", Header: http.Header{"X-Trace": {"1"}}, Subprotocols: []string{"chat"}},
	}
	before, peer := message.Clone(), *message.Peer
	other := &interceptors.Peer{Target: "wss://y.example/"}
	change := hook{out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		out.Data = append(out.Data, '!')
		out.Peer = other
		return next.Run(ctx, out)
	}}
	var got interceptors.Outbound
	final := func(_ context.Context, out interceptors.Outbound) error { got = out.Clone(); return nil }

	require.NoError(t, interceptors.NewChain(change).Outbound(final)(t.Context(), message))
	assert.Equal(t, interceptors.Outbound{Type: frame.Text, Data: []byte("data!"), Peer: other}, got)

	assert.Equal(t, before, message)
	assert.Equal(t, peer, *message.Peer)
	require.NoError(t, interceptors.NewChain().Outbound(final)(t.Context(), message))
	assert.Equal(t, before, got)
}

func TestA9CloneMayBeKept(t *testing.T) {
	in := text("keep me").With("k", 1)
	kept := in.Clone()
	copy(in.Data, "XXXXXXX")
	assert.Equal(t, "keep me", string(kept.Data))
	value, _ := kept.Attr("k")
	assert.Equal(t, 1, value)

	out := interceptors.Outbound{Data: []byte("a")}.With("k", 2)
	sent := out.Clone()
	out.Data[0] = 'X'
	assert.Equal(t, "a", string(sent.Data))
	value, _ = sent.Attr("k")
	assert.Equal(t, 2, value)

	assert.Equal(t, interceptors.Inbound{}, interceptors.Inbound{}.Clone())
	assert.Equal(t, interceptors.Outbound{}, interceptors.Outbound{}.Clone())
}

func TestA10ContextReachesEveryInterceptorAndTheHandler(t *testing.T) {
	type key struct{}
	wrap := hook{
		in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
			ctx, cancel := context.WithTimeout(context.WithValue(ctx, key{}, "v"), time.Hour)
			defer cancel()
			return next.Run(ctx, in)
		},
		out: func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return next.Run(ctx, out)
		},
	}
	var sawAfter any
	first := hook{in: func(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
		run := interceptors.FromContext(ctx)
		run.Set("user", "ann")
		err := next.Run(ctx, in)
		sawAfter, _ = run.Get("answered")
		return err
	}}
	chain := interceptors.NewChain(first, wrap)

	var run interceptors.Context
	run.Reset(t.Context(), 7, 42)
	require.NoError(t, chain.Inbound(func(ctx context.Context, _ interceptors.Inbound) error {
		found := interceptors.FromContext(ctx)
		require.Same(t, &run, found)
		user, ok := found.Get("user")
		assert.True(t, ok)
		assert.Equal(t, "ann", user)
		assert.Equal(t, "7-42", found.ChainID())
		assert.Equal(t, "v", ctx.Value(key{}))
		found.Set("answered", true)
		return nil
	})(&run, text("")))
	assert.Equal(t, true, sawAfter, "metadata, unlike an attribute, is visible upstream")

	require.NoError(t, chain.Outbound(func(ctx context.Context, _ interceptors.Outbound) error {
		assert.Same(t, &run, interceptors.FromContext(ctx))
		return nil
	})(&run, interceptors.Outbound{}))
}

func TestA10InnermostRunIsFound(t *testing.T) {
	var message, reply interceptors.Context
	message.Reset(t.Context(), 1, 1)
	reply.Reset(&message, 1, 2)
	assert.Same(t, &reply, interceptors.FromContext(context.WithoutCancel(&reply)))
	assert.Nil(t, interceptors.FromContext(t.Context()))
}
