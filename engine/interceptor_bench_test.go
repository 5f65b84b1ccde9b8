package engine_test

import (
	"context"
	"fmt"
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

// BenchmarkInterceptorFanout is a broadcast to 1000 connections that keep up, by a handler
// with as many messages waiting: shared, because no interceptor sees it or only what comes in
// is seen, and through an outbound chain that does nothing. The three take turns; what
// counts are the ratios of their medians to the first's.
func BenchmarkInterceptorFanout(b *testing.B) {
	const members = 1000
	for _, c := range []struct{ waiting, bytes int }{{1, 128}, {1, 16 << 10}, {16, 128}} {
		b.Run(fmt.Sprintf("waiting=%d/bytes=%d", c.waiting, c.bytes), func(b *testing.B) {
			rooms := []*room{
				newRoom(b, members, c.waiting),
				newRoom(b, members, c.waiting, interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 1 << 30})),
				newRoom(b, members, c.waiting, interceptors.Only(interceptors.Outbounds, interceptors.Passthrough{})),
			}
			for b.Loop() {
				for _, r := range rooms {
					r.round(b, c.bytes)
				}
			}
			shared := rooms[0].median()
			b.ReportMetric(float64(shared.Nanoseconds())/float64(members*c.waiting), "shared-ns/delivery")
			b.ReportMetric(float64(rooms[1].median())/float64(shared), "inbound/shared")
			b.ReportMetric(float64(rooms[2].median())/float64(shared), "outbound/shared")
		})
	}
}

// A room is an engine with members that read everything, and one that speaks.
type room struct {
	engine  *engine.Engine
	members []*engine.Conn
	speaker *enginetest.Client
	waiting int
	said    chan struct{}
	took    []time.Duration
}

func newRoom(b *testing.B, members, waiting int, list ...interceptors.Interceptor) *room {
	r := &room{waiting: waiting, said: make(chan struct{}, waiting)}
	open := make(conns, members+1)
	s := enginetest.Start(b, engine.Config{PingInterval: -1, IdleTimeout: -1}, with(engine.Handler{
		OnOpen: open.OnOpen,
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			defer func() { r.said <- struct{}{} }()
			p, err := c.Engine().Prepare(m.Type, m.Data)
			if err != nil {
				return err
			}
			if t := engine.Broadcast(ctx, slices.Values(r.members), p); t.Queued != len(r.members) {
				return fmt.Errorf("%+v", t)
			}
			return nil
		},
	}, list...))
	r.engine = s.Engine
	for range members {
		client := s.Dial()
		require.NoError(b, client.Conn.SetReadDeadline(time.Time{}))
		go func() { _, _ = io.Copy(io.Discard, client.Conn) }() // ends with the connection
		r.members = append(r.members, <-open)
	}
	r.speaker = s.Dial()
	<-open
	return r
}

// round times as many broadcasts as wait, until the sockets have all of it.
func (r *room) round(b *testing.B, size int) {
	var w []byte
	for range r.waiting {
		w = append(w, r.speaker.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))...)
	}
	start := time.Now()
	r.speaker.Write(w)
	for range r.waiting {
		<-r.said
	}
	enginetest.Await(b, func() bool { return r.engine.Stats().Pending == 0 }, "all should be sent")
	r.took = append(r.took, time.Since(start))
}

func (r *room) median() time.Duration {
	slices.Sort(r.took)
	return r.took[len(r.took)/2]
}
