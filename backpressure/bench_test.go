package backpressure_test

import (
	"strconv"
	"testing"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A sinkWire takes everything at once, or, when it is full, only in Resume.
type sinkWire struct {
	full  bool
	now   bool // inside Resume
	taken uint64
}

func (w *sinkWire) Write(bufs [][]byte, _ bool) (int, error) {
	if w.full && !w.now {
		return 0, nil
	}
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	w.taken += uint64(n)
	return n, nil
}

func (w *sinkWire) Await(*backpressure.Queue) {}

type bench struct {
	backpressure.Queue
	cfg  backpressure.Config
	wire sinkWire
}

func newBench(full, mask bool) *bench {
	b := &bench{cfg: backpressure.Config{
		HighWater: 1 << 20, LowWater: 1 << 18, ChunkSize: 16 << 10, CorkSize: 16 << 10, Pool: new(frame.Pool),
		Class: new(backpressure.Class), Drops: new(backpressure.Drops), Mask: mask,
	}}
	b.wire.full = full
	b.Init(&b.cfg, &b.wire, newFakeEvents())
	return b
}

func (b *bench) resume() {
	b.wire.now = true
	b.Resume(false)
	b.wire.now = false
}

var (
	small128     = pattern(1, 128)
	medium8K     = pattern(1, 8<<10)
	large256K    = pattern(1, 256<<10)
	prepared128  = prepare(frame.Binary, small128)
	prepared8K   = prepare(frame.Binary, medium8K)
	prepared256K = prepare(frame.Binary, large256K)
)

// The paths that a message takes, for allocations and for time. What is named by
// a number of messages does that many.
var paths = []struct {
	name     string
	messages int
	full     bool // the socket takes nothing until it is asked again
	do       func(b *bench)
}{
	{"send 128", 1, false, func(b *bench) { b.Send(data(frame.Binary, small128)) }},
	{"send 8K", 1, false, func(b *bench) { b.Send(data(frame.Binary, medium8K)) }},
	{"send 256K in 16K fragments", 1, false, func(b *bench) { b.Send(data(frame.Binary, large256K)) }},
	{"prepared 128", 1, false, func(b *bench) { b.Send(prep(prepared128, false)) }},
	{"prepared 8K", 1, false, func(b *bench) { b.Send(prep(prepared8K, false)) }},
	{"prepared 256K in 16K fragments", 1, false, func(b *bench) { b.Send(prep(prepared256K, false)) }},
	{"control", 1, false, func(b *bench) { b.SendControl(frame.Pong, small128[:4]) }},
	{"corked 16 of 128", 16, false, func(b *bench) {
		b.Cork()
		for range 16 {
			b.Send(data(frame.Binary, small128))
		}
		b.Uncork()
		b.Flush()
	}},
	{"prepared, held, 16 of 128", 16, false, func(b *bench) {
		for range 16 {
			b.Send(prep(prepared128, true))
		}
		b.Flush()
	}},
	{"drop oldest, clear", 1, false, func(b *bench) { b.Send(classed(frame.Binary, small128, dropOldest, "")) }},
	{"congested 16 of 128", 16, true, func(b *bench) {
		for range 16 {
			b.Send(data(frame.Binary, small128))
		}
		b.resume()
	}},
	{"congested 16 of 8K", 16, true, func(b *bench) {
		for range 16 {
			b.Send(data(frame.Binary, medium8K))
		}
		for b.Pending() > 0 {
			b.resume()
		}
	}},
}

func BenchmarkQueue(b *testing.B) { benchmarkPaths(b, false) }

func BenchmarkMaskingQueue(b *testing.B) { benchmarkPaths(b, true) }

func benchmarkPaths(b *testing.B, mask bool) {
	for _, row := range paths {
		b.Run(row.name, func(b *testing.B) {
			q := newBench(row.full, mask)
			b.ReportAllocs()
			for b.Loop() {
				row.do(q)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*row.messages), "ns/message")
		})
	}
}

// Senders that meet on one queue.
func BenchmarkQueueContended(b *testing.B) {
	q := newBench(false, false)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			q.Send(data(frame.Binary, small128))
		}
	})
}

var (
	dropOldest = &backpressure.Class{Overflow: backpressure.DropOldest}
	keyed      = new(backpressure.Class)
)

func classed(op frame.Opcode, p []byte, c *backpressure.Class, key string) backpressure.Message {
	return backpressure.Message{Opcode: op, Payload: p, Class: c, Key: key}
}

// full returns a queue that holds as many messages as fit and a socket that takes
// nothing.
func full(waiting int) *bench {
	b := newBench(true, false)
	b.cfg.HighWater = waiting * 132
	for range waiting {
		b.Send(classed(frame.Binary, small128, dropOldest, ""))
	}
	return b
}

// A full queue drops its oldest message in a time that does not depend on how many
// wait.
func BenchmarkDropOldest(b *testing.B) {
	for _, waiting := range []int{100, 10_000} {
		b.Run(strconv.Itoa(waiting), func(b *testing.B) {
			q := full(waiting)
			b.ReportAllocs()
			for b.Loop() {
				q.Send(classed(frame.Binary, small128, dropOldest, ""))
			}
		})
	}
}

func BenchmarkReplace(b *testing.B) {
	q := newBench(true, false)
	q.Send(classed(frame.Binary, small128, keyed, ""))
	b.ReportAllocs()
	for b.Loop() {
		q.Send(classed(frame.Binary, small128, keyed, "k"))
	}
}
