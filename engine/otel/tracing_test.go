package penstockotel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	penstockotel "github.com/penstock-ws/penstock/engine/otel"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// The caller's span, sampled and not.
const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	sampled     = "00-" + callerTrace + "-" + callerSpan + "-01"
	unsampled   = "00-" + callerTrace + "-" + callerSpan + "-00"
)

// A rig is a server whose spans are kept.
type rig struct {
	*enginetest.Server
	t     *testing.T
	spans *tracetest.InMemoryExporter
}

// newRig starts a server that does what messages say, traced as cfg has it.
func newRig(t *testing.T, cfg penstockotel.Config, inline bool) *rig {
	t.Helper()
	r := &rig{t: t, spans: tracetest.NewInMemoryExporter()}
	provider := sdk.NewTracerProvider(sdk.WithSyncer(r.spans), sdk.WithSampler(sdk.AlwaysSample())) // what is left out is left out here
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	cfg.TracerProvider, cfg.Propagator = provider, propagation.TraceContext{}
	tracing, err := penstockotel.New(cfg)
	require.NoError(t, err)
	r.Server = enginetest.Start(t, engine.Config{Interceptors: []interceptors.Interceptor{tracing.Interceptor()}},
		engine.Endpoint{Inline: inline, Handler: engine.Handler{OnMessage: obey}})
	return r
}

type secret struct{}

func (*secret) Error() string { return "sesame is wrong" }

func obey(ctx context.Context, c *engine.Conn, m engine.Message) error {
	switch string(m.Data) {
	case "refuse":
		return interceptors.Refuse(http.StatusTeapot, "sesame")
	case "fail":
		return fmt.Errorf("sesame: %w", new(secret))
	case "panic":
		panic("sesame")
	case "close":
		return &engine.CloseError{Code: 4001, Reason: "sesame"}
	case "span":
		return c.SendText(trace.SpanContextFromContext(ctx).TraceID().String())
	}
	return c.Send(m.Type, m.Data)
}

// dial connects a real client with a traceparent.
func (r *rig) dial(traceparent string) *websocket.Conn {
	r.t.Helper()
	header := http.Header{}
	if traceparent != "" {
		header.Set("traceparent", traceparent)
	}
	ws, _, err := websocket.DefaultDialer.Dial(r.URL(), header)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// say sends messages and reads as many answers.
func say(t *testing.T, ws *websocket.Conn, messages ...string) (last string) {
	t.Helper()
	for _, m := range messages {
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(m)))
		_, b, err := ws.ReadMessage()
		require.NoError(t, err)
		last = string(b)
	}
	return last
}

// take waits for n spans of a name.
func (r *rig) take(n int, name string) (list tracetest.SpanStubs) {
	r.t.Helper()
	enginetest.Await(r.t, func() bool {
		list = nil
		for _, s := range r.spans.GetSpans() {
			if s.Name == name {
				list = append(list, s)
			}
		}
		return len(list) >= n
	}, "there should be %d spans %q", n, name)
	require.Len(r.t, list, n, name)
	return list
}

func attributes(list []attribute.KeyValue) map[string]any {
	m := map[string]any{}
	for _, a := range list {
		m[string(a.Key)] = a.Value.AsInterface()
	}
	return m
}

func event(t *testing.T, s tracetest.SpanStub, name string) sdk.Event {
	t.Helper()
	for _, e := range s.Events {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no event %q among %v", name, s.Events)
	return sdk.Event{}
}

// The handshake's span is the caller's child; messages and the end are traces of their
// own that are linked to it, with wait, handler and write as events.
func TestParentsAndLinks(t *testing.T) {
	for _, inline := range []bool{false, true} {
		r := newRig(t, penstockotel.Config{Ratio: 1, Writes: true}, inline)
		ws := r.dial(sampled)
		inHandler := say(t, ws, "hello", "span")
		handshake := r.take(1, "websocket handshake")[0]
		require.Equal(t, callerTrace, handshake.SpanContext.TraceID().String())
		require.Equal(t, callerSpan, handshake.Parent.SpanID().String())
		require.True(t, handshake.Parent.IsRemote())
		require.Equal(t, trace.SpanKindServer, handshake.SpanKind)

		messages := r.take(2, "websocket message")
		require.NotEqual(t, messages[0].SpanContext.TraceID(), messages[1].SpanContext.TraceID())
		require.Equal(t, messages[1].SpanContext.TraceID().String(), inHandler, "the handler's context has the span")
		for i, m := range messages {
			require.False(t, m.Parent.IsValid(), "a connection that lasts for days would be one trace")
			require.Len(t, m.Links, 1)
			require.Equal(t, handshake.SpanContext, m.Links[0].SpanContext)
			require.Equal(t, trace.SpanKindConsumer, m.SpanKind)
			require.Equal(t, codes.Unset, m.Status.Code)
			require.Equal(t, map[string]any{
				"network.protocol.name": "websocket", "penstock.message.type": "text",
				"penstock.message.size": int64([]int{5, 4}[i]), "penstock.connection.id": int64(1),
			}, attributes(m.Attributes))

			wait, write, handler := event(t, m, "queue wait"), event(t, m, "write"), event(t, m, "handler")
			require.Len(t, m.Events, 3)
			require.False(t, wait.Time.Before(m.StartTime), "the span begins when the message is read")
			require.False(t, write.Time.Before(wait.Time))
			require.False(t, handler.Time.Before(write.Time))
			require.Equal(t, m.EndTime, handler.Time)
			require.InDelta(t, wait.Time.Sub(m.StartTime).Seconds(), attributes(wait.Attributes)["penstock.queue_wait"], 1e-6)
			require.InDelta(t, handler.Time.Sub(wait.Time).Seconds(), attributes(handler.Attributes)["penstock.handler.duration"], 1e-6)
			require.Equal(t, map[string]any{"penstock.message.type": "text", "penstock.message.size": int64([]int{5, 32}[i]), "penstock.write.verdict": "queued"},
				attributes(write.Attributes))
		}

		require.NoError(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4002, "sesame")))
		end := r.take(1, "websocket close")[0]
		require.Equal(t, handshake.SpanContext, end.Links[0].SpanContext)
		require.Equal(t, int64(4002), attributes(end.Attributes)["penstock.close.code"])
	}
}

// Outcomes are attributes; and nothing in any span is what a peer or an error has said.
func TestOutcomesWithoutPayloads(t *testing.T) {
	r := newRig(t, penstockotel.Config{Ratio: 1, Writes: true}, false)
	for _, m := range []string{"refuse", "fail", "panic", "close"} {
		ws := r.dial("")
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(m)))
		_, _, _ = ws.ReadMessage()
		_ = ws.Close()
	}
	for i, want := range []struct {
		key    string
		value  any
		status codes.Code
	}{
		{"penstock.refusal.status", int64(418), codes.Unset},
		{"error.type", "*fmt.wrapError", codes.Error},
		{"error.type", "panic", codes.Error},
		{"penstock.close.code", int64(4001), codes.Unset},
	} {
		m := r.take(4, "websocket message")[i]
		require.Equal(t, want.value, attributes(m.Attributes)[want.key], "%v", m.Attributes)
		require.Equal(t, want.status, m.Status.Code)
		event(t, m, "handler")
	}
	r.take(4, "websocket close")
	all, err := json.Marshal(r.spans.GetSpans())
	require.NoError(t, err)
	require.NotContains(t, string(all), "sesame")
	require.NotContains(t, string(all), r.Addr())
}

// Who decides whether a message has a span.
func TestSampling(t *testing.T) {
	for name, row := range map[string]struct {
		cfg         penstockotel.Config
		traceparent string
		least, most int // of 400 messages
	}{
		"default":                         {penstockotel.Config{}, sampled, 0, 20},
		"all":                             {penstockotel.Config{Ratio: 1}, unsampled, 400, 400},
		"none":                            {penstockotel.Config{Ratio: -1}, sampled, 0, 0},
		"half":                            {penstockotel.Config{Ratio: .5}, "", 120, 280},
		"peers that trace":                {penstockotel.Config{Ratio: -1, PeerRatio: 1}, sampled, 400, 400},
		"peers that do not":               {penstockotel.Config{Ratio: -1, PeerRatio: 1}, unsampled, 0, 0},
		"peers that say nothing":          {penstockotel.Config{Ratio: -1, PeerRatio: 1}, "", 0, 0},
		"peers that trace, switched off":  {penstockotel.Config{Ratio: 1, PeerRatio: -1}, sampled, 0, 0},
		"peers that do not, switched off": {penstockotel.Config{Ratio: 1, PeerRatio: -1}, unsampled, 400, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, row.cfg, false)
			ws := r.dial(row.traceparent)
			for range 400 {
				say(t, ws, "x")
			}
			_ = ws.Close()
			r.AwaitOpen(0)
			n := 0
			for _, s := range r.spans.GetSpans() {
				if s.Name == "websocket message" {
					n++
				}
			}
			require.GreaterOrEqual(t, n, row.least)
			require.LessOrEqual(t, n, row.most)
		})
	}
}

// envelope reads {"traceparent": …} of a message.
func envelope(in interceptors.Inbound) propagation.TextMapCarrier {
	var m propagation.MapCarrier
	if json.Unmarshal(in.Data, &m) != nil {
		return nil
	}
	return m
}

// What a message carries makes its span the sender's child, still linked to the
// handshake; an unsampled sender has none, and without a sender the ratio decides.
func TestPropagationInMessages(t *testing.T) {
	r := newRig(t, penstockotel.Config{Ratio: -1, Carrier: envelope}, false)
	ws := r.dial("")
	say(t, ws, `{"traceparent": "`+unsampled+`"}`, `{}`, `no JSON`, `{"traceparent": "nonsense"}`, `{"traceparent": "`+sampled+`"}`)
	m := r.take(1, "websocket message")[0]
	require.Equal(t, callerSpan, m.Parent.SpanID().String())
	require.Equal(t, callerTrace, m.SpanContext.TraceID().String())
	require.Equal(t, r.take(1, "websocket handshake")[0].SpanContext, m.Links[0].SpanContext)

	r = newRig(t, penstockotel.Config{Ratio: 1, Carrier: envelope}, false)
	say(t, r.dial(""), `{"traceparent": "`+unsampled+`"}`, `{}`, `no JSON`)
	for _, m := range r.take(2, "websocket message") {
		require.False(t, m.Parent.IsValid())
	}
}

// A span around the handler, as otelhttp makes one, is the handshake's.
func TestSpanAroundTheHandshake(t *testing.T) {
	r := newRig(t, penstockotel.Config{Ratio: 1}, false)
	provider := sdk.NewTracerProvider(sdk.WithSyncer(r.spans))
	around := make(chan trace.SpanContext, 1)
	r.HandleHTTP("/traced", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		ctx, span := provider.Tracer("test").Start(q.Context(), "HTTP GET")
		defer span.End()
		around <- span.SpanContext()
		r.Engine.ServeHTTP(w, q.WithContext(ctx))
	}))
	ws, _, err := websocket.DefaultDialer.Dial(r.URL()+"traced", http.Header{"Traceparent": {sampled}})
	require.NoError(t, err)
	defer ws.Close()
	say(t, ws, "x")
	require.Equal(t, <-around, r.take(1, "websocket message")[0].Links[0].SpanContext)
	r.take(0, "websocket handshake")
}

// A client's request is given the context of a span.
func TestAdmitOnAClient(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracing, err := penstockotel.New(penstockotel.Config{
		TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(spans)), Propagator: propagation.TraceContext{},
	})
	require.NoError(t, err)
	q, err := http.NewRequest(http.MethodGet, "https://x.example/", nil)
	require.NoError(t, err)
	require.NoError(t, tracing.Interceptor().Admit(q))
	span := spans.GetSpans()[0]
	require.Equal(t, trace.SpanKindClient, span.SpanKind)
	require.Equal(t, "00-"+span.SpanContext.TraceID().String()+"-"+span.SpanContext.SpanID().String()+"-01", q.Header.Get("traceparent"))

	server := httptest.NewRequest(http.MethodGet, "/", nil)
	require.NoError(t, tracing.Interceptor().Admit(server), "without a store")
	require.Empty(t, server.Header.Get("traceparent"))
}

// Many connections at once: each write is told to the span of its own connection.
func TestWritesOfManyConnections(t *testing.T) {
	r := newRig(t, penstockotel.Config{Ratio: .5, Writes: true}, false)
	var clients sync.WaitGroup
	for i := range 8 {
		ws := r.dial("")
		clients.Go(func() {
			for range 100 {
				if err := ws.WriteMessage(websocket.BinaryMessage, make([]byte, i)); err != nil {
					t.Error(err)
					return
				}
				if _, _, err := ws.ReadMessage(); err != nil {
					t.Error(err)
					return
				}
			}
			_ = ws.Close()
		})
	}
	clients.Wait()
	r.AwaitOpen(0)
	n := 0
	for _, s := range r.spans.GetSpans() {
		if s.Name != "websocket message" {
			continue
		}
		n++
		require.Len(t, s.Events, 3)
		require.Equal(t, attributes(s.Attributes)["penstock.message.size"], attributes(event(t, s, "write").Attributes)["penstock.message.size"])
	}
	require.Greater(t, n, 100)
}

// A write when nothing is handled belongs to no span.
func TestWriteOutsideOfHandlers(t *testing.T) {
	r := newRig(t, penstockotel.Config{Ratio: 1, Writes: true}, false)
	open := make(chan *engine.Conn, 1)
	r.Handle("/push", engine.Endpoint{Handler: engine.Handler{
		OnOpen:    func(_ context.Context, c *engine.Conn) error { open <- c; return nil },
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil },
	}})
	ws, _, err := websocket.DefaultDialer.Dial(r.URL()+"push", nil)
	require.NoError(t, err)
	defer ws.Close()
	c := <-open
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, nil))
	r.take(1, "websocket message")
	require.NoError(t, c.SendText("pushed"))
	_, _, err = ws.ReadMessage()
	require.NoError(t, err)
	require.Len(t, r.take(1, "websocket message")[0].Events, 2)
}

// Without Writes, outbound messages pass by: a broadcast stays shared.
func TestKinds(t *testing.T) {
	for writes, want := range map[bool]interceptors.Kinds{
		false: interceptors.InboundData | interceptors.InboundClose,
		true:  interceptors.InboundData | interceptors.InboundClose | interceptors.OutboundData,
	} {
		tracing, err := penstockotel.New(penstockotel.Config{Writes: writes})
		require.NoError(t, err)
		require.Equal(t, want, interceptors.NewChain(tracing.Interceptor()).Kinds())
	}
}

// What a Config cannot mean is told, all at once.
func TestConfigMistakes(t *testing.T) {
	_, err := penstockotel.New(penstockotel.Config{Ratio: 1.01, PeerRatio: math.NaN()})
	require.ErrorContains(t, err, "Ratio is 1.01")
	require.ErrorContains(t, err, "PeerRatio is NaN")
}

// What is not sampled allocates nothing.
func TestUnsampledAllocatesNothing(t *testing.T) {
	for name, cfg := range map[string]penstockotel.Config{
		"plain":           {Ratio: -1},
		"writes":          {Ratio: -1, Writes: true},
		"peers":           {Ratio: -1, PeerRatio: 1},
		"without carrier": {Ratio: -1, Carrier: func(interceptors.Inbound) propagation.TextMapCarrier { return nil }},
	} {
		tracing, err := penstockotel.New(cfg)
		require.NoError(t, err)
		chain := interceptors.NewChain(tracing.Interceptor())
		in := chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })
		out := chain.Outbound(func(context.Context, interceptors.Outbound) error { return nil })
		var run interceptors.Context
		run.Reset(context.WithValue(t.Context(), interceptors.StoreKey{}, interceptors.Store(noStore{})), 1, 1)
		message := interceptors.Inbound{Type: frame.Text, Data: make([]byte, 128)}
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			_ = in(&run, message)
			_ = out(&run, interceptors.Outbound{Type: frame.Text, Data: message.Data})
		}), name)
	}
}

type noStore struct{}

func (noStore) Get(any) any  { return nil }
func (noStore) Set(_, _ any) {}

// A span that another interceptor has begun does not become the message's parent.
func TestMessageIsARoot(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	tracing, err := penstockotel.New(penstockotel.Config{TracerProvider: provider, Propagator: propagation.TraceContext{}, Ratio: 1})
	require.NoError(t, err)
	ctx, span := provider.Tracer("test").Start(t.Context(), "outer")
	defer span.End()
	in := interceptors.NewChain(tracing.Interceptor()).Inbound(func(context.Context, interceptors.Inbound) error { return nil })
	require.NoError(t, in(ctx, interceptors.Inbound{Type: frame.Text}))
	require.False(t, spans.GetSpans()[0].Parent.IsValid())
	require.NotEqual(t, span.SpanContext().TraceID(), spans.GetSpans()[0].SpanContext.TraceID())
}
