package engine_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Twice as many echo peers as workers that send and do not read leave the others'
// latency alone: they hold no worker.
func TestFrozenPool(t *testing.T) {
	const workers = 4
	cfg := engine.Config{Workers: workers, HighWaterBytes: 128 << 10, WriteStallTimeout: -1}
	open := make(conns, 200)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	healthy := make([]*enginetest.Client, 100)
	for i := range healthy {
		healthy[i] = s.Dial()
		<-open
	}
	roundTrips(healthy, 5) // warm up
	for attempt := 1; ; attempt++ {
		var without, with []time.Duration
		for range 5 {
			without = append(without, roundTrips(healthy, 20))
			thaw := freeze(t, s, open, 2*workers)
			with = append(with, roundTrips(healthy, 20))
			thaw()
		}
		slices.Sort(without)
		slices.Sort(with)
		t.Logf("p99 without stalled peers %v, with %v", without, with)
		if with[2] <= 2*without[2] {
			return
		}
		require.Less(t, attempt, 8, "the healthy ones' p99 with stalled peers is %v, without %v", with[2], without[2])
	}
}

// roundTrips returns the 99th percentile.
func roundTrips(clients []*enginetest.Client, n int) time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var wait sync.WaitGroup
	for _, c := range clients {
		wait.Go(func() {
			mine := make([]time.Duration, n)
			for i := range mine {
				start := time.Now()
				c.SendText("ping-pong")
				c.ReadText()
				mine[i] = time.Since(start)
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wait.Wait()
	slices.Sort(all)
	return all[len(all)*99/100]
}

// freeze adds echo peers that do not read, each with more sent than fits.
func freeze(t *testing.T, s *enginetest.Server, open conns, n int) (thaw func()) {
	t.Helper()
	before := s.Open()
	var writers sync.WaitGroup
	var peers []*enginetest.Client
	for range n {
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
		<-open
		peers = append(peers, c)
		message := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(16<<10))
		writers.Go(func() {
			for c.TryWrite(message) == nil { // until the reset
			}
		})
		enginetest.Await(t, func() bool { return s.Engine.Stats().Congested == len(peers) }, "the peers should be congested")
	}
	return func() {
		for _, c := range peers {
			c.Reset()
		}
		writers.Wait()
		s.AwaitOpen(before)
	}
}
