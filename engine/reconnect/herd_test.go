package reconnect_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/reconnect"
)

// A server with a thousand clients restarts: all come back, spread over MinWait: their calls are,
// for how fast they are answered is another matter.
func TestHerd(t *testing.T) {
	const clients = 1000
	const window, slot = 2 * time.Second, 100 * time.Millisecond
	first := enginetest.Start(t, engine.Config{}, silent(new(tally)))
	var mu sync.Mutex
	var times []time.Duration // at which they call the second; when it answers depends on the processor, too
	var began time.Time
	second := enginetest.Start(t, engine.Config{}, silent(new(tally)))
	var address atomic.Pointer[string]
	at := func(s *enginetest.Server) { a := s.Addr(); address.Store(&a) }
	at(first)
	e := newEngine(t, engine.Config{})
	list := make([]*reconnect.Client, clients)
	for i := range list {
		list[i] = start(t, reconnect.Config{
			Target: "ws://server.invalid/", MinWait: window,
			Dial: engine.DialConfig{Engine: e, NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				mu.Lock()
				if !began.IsZero() {
					times = append(times, time.Since(began))
				}
				mu.Unlock()
				return new(net.Dialer).DialContext(ctx, network, *address.Load())
			}},
		})
	}
	first.AwaitOpen(clients)
	for _, c := range list {
		awaitState(t, c, reconnect.Connected)
	}

	mu.Lock()
	began = time.Now()
	mu.Unlock()
	at(second)
	require.NoError(t, first.Shutdown(enginetest.Patience))
	down := time.Since(began)
	second.AwaitOpen(clients)
	for _, c := range list {
		awaitState(t, c, reconnect.Connected)
	}

	mu.Lock()
	defer mu.Unlock()
	slots := make(map[time.Duration]int)
	for _, at := range times {
		slots[at/slot]++
	}
	most := 0
	for _, n := range slots {
		most = max(most, n)
	}
	t.Logf("%d clients: the shutdown took %v; %d slots of %v, at most %d in one", len(times), down, len(slots), slot, most)
	require.Len(t, times, clients)
	require.LessOrEqual(t, most, 3*clients*int(slot)/int(window), "three times the even share")
	require.GreaterOrEqual(t, len(slots), int(window/slot)*3/4)
	var wg sync.WaitGroup
	for _, c := range list {
		wg.Go(func() {
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
