package engine_test

import (
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A witness notes what it sees.
type witness struct {
	interceptors.Passthrough
	mu   sync.Mutex
	seen []string
}

func (r *witness) note(way string, op frame.Opcode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, way+op.String())
}

func (r *witness) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func (r *witness) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	r.note("in ", in.Type)
	return next.Run(ctx, in)
}

func (r *witness) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	r.note("out ", out.Type)
	return next.Run(ctx, out)
}

// The promise of these two is that the other direction passes them by, whatever they
// have methods for.
type (
	onlyIn struct {
		interceptors.InboundOnly
		*witness
	}
	onlyOut struct {
		interceptors.OutboundOnly
		*witness
	}
)

func (o onlyIn) Admit(r *http.Request) error { return nil }

func (o onlyIn) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	return o.witness.InterceptInbound(ctx, in, next)
}

func (o onlyIn) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return o.witness.InterceptOutbound(ctx, out, next)
}

func (o onlyOut) Admit(r *http.Request) error { return nil }

func (o onlyOut) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	return o.witness.InterceptInbound(ctx, in, next)
}

func (o onlyOut) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return o.witness.InterceptOutbound(ctx, out, next)
}

// foreign wraps an interceptor as another package may: it knows nothing of kinds.
type foreign struct{ interceptors.Interceptor }

// everything has one of each kind pass.
func everything(t *testing.T, list ...interceptors.Interceptor) {
	t.Helper()
	modes(t, func(t *testing.T, inline bool) {
		open, handled := make(conns, 1), make(chan struct{}, 2)
		ep := with(engine.Handler{OnOpen: open.OnOpen, OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
			handled <- struct{}{}
			return nil
		}}, list...)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		c := s.Dial()
		conn := <-open
		c.SendText("t")
		c.Send(frame.Ping, nil)
		c.Send(frame.Pong, nil)
		c.Send(frame.Binary, nil)
		<-handled
		<-handled
		require.NoError(t, conn.SendText("t"))
		require.NoError(t, conn.SendBytes(nil))
		require.NoError(t, conn.Ping(nil))
		require.Equal(t, "t", c.ReadText())
		require.Equal(t, frame.Binary, c.ReadMessage().Op)
		require.NoError(t, conn.Close(frame.CloseNormal, ""))
		c.ExpectClose(frame.CloseNormal)
		s.AwaitOpen(0)
	})
}

// Each sees its own kind and no other.
func TestKindsOnly(t *testing.T) {
	for kind, want := range map[interceptors.Kinds]string{
		interceptors.InboundText: "in text", interceptors.InboundBinary: "in binary", interceptors.InboundClose: "in close",
		interceptors.InboundPing: "in ping", interceptors.InboundPong: "in pong",
		interceptors.OutboundText: "out text", interceptors.OutboundBinary: "out binary", interceptors.OutboundClose: "out close",
		interceptors.OutboundPing: "out ping",
	} {
		t.Run(want, func(t *testing.T) {
			var r, none witness
			everything(t, interceptors.Only(kind, &r), interceptors.Only(0, &none), interceptors.Only(kind, interceptors.Only(0, &none)))
			require.Equal(t, []string{want, want}, r.all(), "once in each mode")
			require.Empty(t, none.all())
		})
	}
}

var (
	allInbound  = []string{"in text", "in ping", "in pong", "in binary", "in close"}
	allOutbound = []string{"out text", "out binary", "out ping", "out close"}
)

// Embedding says it as well; and wrapped by another package, which hides what it says,
// the same messages pass.
func TestKindsEmbedded(t *testing.T) {
	twice := func(list []string) []string { return slices.Sorted(slices.Values(append(slices.Clone(list), list...))) }
	for name, c := range map[string]struct {
		of   func(*witness) interceptors.Interceptor
		want []string
	}{
		"InboundOnly":  {func(r *witness) interceptors.Interceptor { return onlyIn{witness: r} }, allInbound},
		"OutboundOnly": {func(r *witness) interceptors.Interceptor { return onlyOut{witness: r} }, allOutbound},
		"wrapped":      {func(r *witness) interceptors.Interceptor { return foreign{onlyIn{witness: r}} }, slices.Concat(allInbound, allOutbound)},
		"wrapped pass-through": {func(r *witness) interceptors.Interceptor {
			return interceptors.Only(interceptors.InboundText, foreign{r})
		}, []string{"in text"}},
		"all": {func(r *witness) interceptors.Interceptor { return r }, slices.Concat(allInbound, allOutbound)},
	} {
		t.Run(name, func(t *testing.T) {
			var r witness
			everything(t, c.of(&r), foreign{interceptors.Heartbeat(interceptors.HeartbeatConfig{Ping: "never"})})
			require.Equal(t, twice(c.want), slices.Sorted(slices.Values(r.all())))
		})
	}
}

// With nobody to see what comes in, no chain runs: the handler is called by the engine.
func TestKindsOutboundOnlyRunsTheHandlerDirectly(t *testing.T) {
	for name, c := range map[string]struct {
		list  []interceptors.Interceptor
		chain bool
	}{
		"none":          {nil, false},
		"outbound only": {[]interceptors.Interceptor{onlyOut{witness: new(witness)}, interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"t": "u"}})}, false},
		"pings":         {[]interceptors.Interceptor{interceptors.Only(interceptors.InboundPing, new(witness))}, false},
		"text":          {[]interceptors.Interceptor{interceptors.Only(interceptors.InboundText, new(witness))}, true},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := with(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
					if strings.Contains(string(debug.Stack()), "(*chainEnd).InterceptInbound") {
						return c.SendText("through the chain")
					}
					return c.SendText("directly")
				}}, c.list...)
				ep.Inline = inline
				client := enginetest.Start(t, engine.Config{}, ep).DialWith(enginetest.Handshake{Target: "/?token=t"})
				client.SendText("how?")
				require.Equal(t, map[bool]string{false: "directly", true: "through the chain"}[c.chain], client.ReadText())
				client.Hangup()
			})
		})
	}
}

// A prepared message that waits for slow peers is in memory once, unless somebody sees
// what goes out of its type.
func TestKindsPreparedBroadcastIsShared(t *testing.T) {
	const peers, size = 8, 512 << 10
	for name, c := range map[string]struct {
		i      interceptors.Interceptor
		shared bool
	}{
		"none":           {nil, true},
		"inbound only":   {onlyIn{witness: new(witness)}, true},
		"outbound text":  {interceptors.Only(interceptors.OutboundText, new(witness)), true},
		"outbound":       {interceptors.Only(interceptors.OutboundBinary, new(witness)), false},
		"foreign":        {foreign{onlyIn{witness: new(witness)}}, false},
		"stock, inbound": {interceptors.RateLimit(interceptors.RateLimitConfig{}), true},
		"stock, both":    {interceptors.Dump(interceptors.DumpConfig{Writer: new(strings.Builder)}), false},
	} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, peers)
			var list []interceptors.Interceptor
			if c.i != nil {
				list = append(list, c.i)
			}
			s := enginetest.Start(t, engine.Config{HighWaterBytes: 1 << 29, WriteStallTimeout: -1, MemoryBudgetBytes: 1 << 29}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}, list...))
			all := make([]*engine.Conn, peers)
			for i := range all {
				s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				all[i] = <-open
				stallFully(t, all[i])
			}
			p, err := s.Engine.Prepare(frame.Binary, pattern(size))
			require.NoError(t, err)
			before := s.Engine.Stats().BudgetUsed
			require.Equal(t, engine.Tally{Queued: peers}, engine.Broadcast(t.Context(), slices.Values(all), p))
			grown := s.Engine.Stats().BudgetUsed - before
			if c.shared {
				require.Less(t, grown, 2*size)
			} else {
				require.Greater(t, grown, (peers-1)*size)
			}
		})
	}
}

// stallFully queues so much that the peer's kernel has taken all that it will.
func stallFully(t *testing.T, c *engine.Conn) {
	t.Helper()
	last := -1
	enginetest.Await(t, func() bool {
		if err := c.SendBytes(pattern(256 << 10)); err != nil {
			t.Fatal(err)
		}
		now := c.PendingBytes()
		grew := now - last
		last = now
		return grew >= 256<<10
	}, "the connection should be stalled")
}
