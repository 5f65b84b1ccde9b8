package reconnect

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/interceptors"
)

// gates has "first" wait on its way out, and "second" not taken before it may be.
type gates struct {
	interceptors.OutboundOnly
	begun, over chan struct{}
	open        *atomic.Bool
}

func (g gates) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	switch string(out.Data) {
	case "first":
		close(g.begun)
		<-g.over
	case "second":
		if !g.open.Load() {
			return engine.ErrCongested
		}
	}
	return next.Run(ctx, out)
}

// A message that is handed over beside the outbox does not count as one of those in it.
func TestDrainBesidePass(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil }}})
	g := gates{begun: make(chan struct{}), over: make(chan struct{}), open: new(atomic.Bool)}
	c, err := New(Config{Target: s.URL(), Dial: engine.DialConfig{Endpoint: engine.Endpoint{Interceptors: []interceptors.Interceptor{g}}}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), enginetest.Patience)
	defer cancel()
	c.Start()
	enginetest.Await(t, func() bool { return c.Status().State == Connected }, "connected")
	sent := make(chan error, 1)
	go func() { sent <- c.SendText("first") }()
	<-g.begun
	require.NoError(t, c.SendText("second"))
	left := make(chan int, 1)
	go func() {
		_ = c.Drain(ctx)
		left <- c.Status().Messages
	}()
	enginetest.Await(t, func() bool { return locked(c, func() bool { return c.changed != nil }) }, "Drain waits")
	close(g.over)
	require.NoError(t, <-sent)
	enginetest.Await(t, func() bool { return locked(c, func() bool { return c.flow.blocked && !c.pumping }) }, "the second is not taken")
	select {
	case n := <-left:
		t.Errorf("Drain has returned, and the outbox holds %d", n)
	case <-time.After(100 * time.Millisecond): // more would find no more
	}
	g.open.Store(true)
	c.drained(c.flow)
	if !t.Failed() {
		require.Zero(t, <-left)
	}
	require.NoError(t, c.Close(ctx))
}

func locked(c *Client, is func() bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return is()
}
