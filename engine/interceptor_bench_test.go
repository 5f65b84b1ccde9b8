package engine_test

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// BenchmarkInterceptorFanout is a broadcast to 1000 connections that keep up: shared,
// because no interceptor sees it or only what comes in is seen, and through an outbound chain
// that does nothing. The three take turns; what counts are the ratios of their medians to
// the first's.
func BenchmarkInterceptorFanout(b *testing.B) {
	const members = 1000
	for _, size := range []struct {
		name  string
		bytes int
	}{{"128B", 128}, {"16KiB", 16 << 10}} {
		b.Run(size.name, func(b *testing.B) {
			rooms := []*room{
				newRoom(b, members),
				newRoom(b, members, interceptors.RateLimit(interceptors.RateLimitConfig{})),
				newRoom(b, members, interceptors.Passthrough{}),
			}
			for b.Loop() {
				for _, r := range rooms {
					r.broadcast(b, size.bytes)
				}
			}
			shared := rooms[0].median()
			b.ReportMetric(float64(shared.Nanoseconds())/members, "shared-ns/delivery")
			b.ReportMetric(float64(rooms[1].median())/float64(shared), "inbound/shared")
			b.ReportMetric(float64(rooms[2].median())/float64(shared), "outbound/shared")
		})
	}
}

// A room is an engine with members that read everything.
type room struct {
	engine  *engine.Engine
	members []*engine.Conn
	took    []time.Duration
}

func newRoom(b *testing.B, members int, list ...interceptors.Interceptor) *room {
	open := make(conns, members)
	s := enginetest.Start(b, engine.Config{PingInterval: -1, IdleTimeout: -1}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}, list...))
	r := &room{engine: s.Engine}
	for range members {
		client := s.Dial()
		require.NoError(b, client.Conn.SetReadDeadline(time.Time{}))
		go func() { _, _ = io.Copy(io.Discard, client.Conn) }() // ends with the connection
		r.members = append(r.members, <-open)
	}
	return r
}

// broadcast times the call, which encodes and writes to the sockets, and waits for what it
// has left to others.
func (r *room) broadcast(b *testing.B, size int) {
	start := time.Now()
	p, err := r.engine.Prepare(frame.Binary, pattern(size))
	if err != nil {
		b.Fatal(err)
	}
	t := engine.Broadcast(b.Context(), slices.Values(r.members), p)
	r.took = append(r.took, time.Since(start))
	if t.Queued != len(r.members) {
		b.Fatalf("%+v", t)
	}
	enginetest.Await(b, func() bool { return r.engine.Stats().Pending == 0 }, "all should be sent")
}

func (r *room) median() time.Duration {
	slices.Sort(r.took)
	return r.took[len(r.took)/2]
}
