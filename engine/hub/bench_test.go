package hub_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// BenchmarkFanOut compares three ways to send 128 bytes to 500 members: a broadcast to
// a plain slice, one in a room, and a publish in a room with a history. They take
// turns; a round is thirty of each. of-slice and publish-of-slice are medians of
// the rounds' ratios: run it with -benchtime=7x or more.
func BenchmarkFanOut(b *testing.B) {
	const members, each = 500, 30
	f := start(b, engine.Config{}, hub.Config{
		History: func(room string) hub.History {
			if room == "kept" {
				return hub.History{Messages: 100}
			}
			return hub.History{}
		},
		Envelope: func(dst []byte, m hub.Published) []byte { return append(dst, m.Payload...) },
		Gap: func(dst []byte, _ string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, "%v %v", from, to), frame.Text
		},
	}).connect(members)
	f.drain(0)
	kept := f.hub.Room("kept")
	for _, c := range f.conns {
		kept.Join(c)
	}
	ctx, payload := context.Background(), make([]byte, 128)
	ways := [3]func(){
		func() {
			p, _ := f.engine.Prepare(frame.Binary, payload)
			engine.Broadcast(ctx, slices.Values(f.conns), p)
		},
		func() { _, _ = f.room.Broadcast(ctx, frame.Binary, payload) },
		func() { _, _ = kept.Publish(ctx, frame.Binary, payload) },
	}
	var ratios [2][]float64
	var total time.Duration
	b.ReportAllocs()
	for b.Loop() {
		var spent [3]time.Duration
		for i := range each * len(ways) {
			way := (i + i/len(ways)) % len(ways) // each as often the first as the last
			begin := time.Now()
			ways[way]()
			spent[way] += time.Since(begin)
		}
		total += spent[1]
		ratios[0] = append(ratios[0], float64(spent[1])/float64(spent[0]))
		ratios[1] = append(ratios[1], float64(spent[2])/float64(spent[0]))
	}
	b.ReportMetric(float64(total)/float64(len(ratios[0])*each*members), "ns/delivery")
	b.ReportMetric(median(ratios[0]), "of-slice")
	b.ReportMetric(median(ratios[1]), "publish-of-slice")
	require.Zero(b, f.hub.Totals().Congested, "clients were too slow: the figures mean nothing")
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkPublish is what a message of 128 bytes costs a room without members: what
// Publish does beside sending.
func BenchmarkPublish(b *testing.B) {
	w := gather(b, engine.Config{}, numbered(hub.History{Messages: 100}), engine.Handler{})
	room, payload := w.hub.Room("room"), make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		_, err := room.Publish(context.Background(), frame.Binary, payload)
		require.NoError(b, err)
	}
}

// BenchmarkMembership is a join and a leave of one of 1000 members.
func BenchmarkMembership(b *testing.B) {
	for _, kind := range []string{"plain", "history"} {
		b.Run(kind, func(b *testing.B) {
			cfg := numbered(hub.History{Messages: 10})
			if kind == "plain" {
				cfg = hub.Config{}
			}
			w := gather(b, engine.Config{}, cfg, engine.Handler{})
			room := w.hub.Room("room")
			var last *engine.Conn
			for range 1000 {
				last = w.mailbox().far
				room.Join(last)
			}
			b.ReportAllocs()
			for b.Loop() {
				room.Leave(last)
				room.Join(last)
			}
		})
	}
}

// BenchmarkMemory reports what the hub keeps for a connection, and for a membership in
// rooms of ten, with and without a history: bytes of heap.
func BenchmarkMemory(b *testing.B) {
	const people, rooms = 2000, 10
	for b.Loop() {
		cfg := numbered(hub.History{Messages: 10})
		keep := cfg.History
		cfg.History = func(room string) hub.History {
			if room[0] == 'h' {
				return keep(room)
			}
			return hub.History{}
		}
		var w *crowd
		conns := make([]*engine.Conn, people)
		w = gather(b, engine.Config{}, hub.Config{}, engine.Handler{})
		for i := range conns {
			conns[i] = w.mailbox().far
		}
		h := hub.New(conns[0].Engine(), cfg) // a second one, of which only the memory counts
		ctx := context.Background()
		handler := h.Handler(engine.Handler{})
		base := heap()
		for _, c := range conns {
			_ = handler.OnOpen(ctx, c)
		}
		entered := heap()
		b.ReportMetric(float64(entered-base)/people, "B/connection")
		for _, kind := range []string{"plain", "history"} {
			before := heap()
			for i, c := range conns {
				for r := range rooms {
					h.Room(fmt.Sprint(kind, (i/10)*10+r)).Join(c)
				}
			}
			b.ReportMetric(float64(heap()-before)/(people*rooms), "B/"+kind+"-membership")
		}
		runtime.KeepAlive(h)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
