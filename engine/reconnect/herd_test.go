package reconnect_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/reconnect"
)

// A server with a thousand clients restarts: all come back, their calls spread over
// MinWait. In virtual time, in which calls come when they are due.
func TestHerd(t *testing.T) { synctest.Test(t, testHerd) }

func testHerd(t *testing.T) {
	const clients = 1000
	const window, slot = 2 * time.Second, 100 * time.Millisecond
	first := enginetest.StartMemory(t, engine.Config{}, silent(new(tally)))
	second := enginetest.StartMemory(t, engine.Config{}, silent(new(tally)))
	var mu sync.Mutex
	var times []time.Duration // of the calls to the second
	var began time.Time
	e := newEngine(t, engine.Config{})
	list := make([]*reconnect.Client, clients)
	for i := range list {
		list[i] = start(t, reconnect.Config{
			Target: "ws://server.invalid/", MinWait: window,
			Dial: engine.DialConfig{Engine: e, NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				if began.IsZero() {
					return first.NetDial(ctx, network, address)
				}
				times = append(times, time.Since(began))
				return second.NetDial(ctx, network, address)
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
