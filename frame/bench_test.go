package frame_test

import (
	"testing"

	"github.com/penstock-ws/penstock/frame"
)

// One small client frame per call, whole; then in two pieces, cut in the header.
func BenchmarkScanner(b *testing.B) {
	wire := masked(head(true, frame.Binary, 100), 1, 2, 3, 4)
	stream := append(frame.AppendHeader(nil, wire), zeros(100)...)
	rules := &frame.Rules{ExpectMask: true, MaxMessage: mib, MaxFragments: 100}
	for _, row := range []struct {
		name   string
		pieces [][]byte
	}{
		{"whole", [][]byte{stream}},
		{"split", [][]byte{stream[:3], stream[3:]}},
	} {
		b.Run(row.name, func(b *testing.B) {
			s := frame.NewScanner(rules)
			b.ReportAllocs()
			for b.Loop() {
				for _, piece := range row.pieces {
					_, n, ok, err := s.Next(piece)
					if err != nil {
						b.Fatal(err)
					}
					if ok {
						s.Skip(int64(len(piece) - n))
					}
				}
			}
		})
	}
}

// 64 KiB of the smallest frames, as a reader gets them from one full buffer.
func BenchmarkScannerBatch(b *testing.B) {
	one := append(frame.AppendHeader(nil, masked(head(true, frame.Binary, 10), 1, 2, 3, 4)), zeros(10)...)
	var stream []byte
	for len(stream) < 64<<10 {
		stream = append(stream, one...)
	}
	frames := len(stream) / len(one)
	s := frame.NewScanner(&frame.Rules{ExpectMask: true, MaxMessage: mib})
	for b.Loop() {
		for rest := stream; len(rest) > 0; {
			_, n, _, err := s.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/frame")
}

func BenchmarkMask(b *testing.B) {
	for _, row := range []struct {
		name string
		size int
	}{{"16", 16}, {"128", 128}, {"16K", 16 << 10}} {
		b.Run(row.name, func(b *testing.B) {
			payload := zeros(row.size)
			b.SetBytes(int64(row.size))
			pos := 0
			for b.Loop() {
				pos = frame.Mask(payload, [4]byte{1, 2, 3, 4}, pos+1)
			}
		})
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	for _, row := range []struct {
		name string
		h    frame.Header
	}{
		{"server/100", head(true, frame.Binary, 100)},
		{"server/1M", head(true, frame.Binary, mib)},
		{"client/100", masked(head(true, frame.Binary, 100), 1, 2, 3, 4)},
	} {
		b.Run(row.name, func(b *testing.B) {
			dst := make([]byte, 0, frame.MaxHeaderSize)
			b.ReportAllocs()
			for b.Loop() {
				dst = frame.AppendHeader(dst[:0], row.h)
			}
		})
	}
}

func BenchmarkPool(b *testing.B) {
	for _, row := range []struct {
		name string
		n    int
	}{{"128", 128}, {"4K", 4096}, {"64K", 64 << 10}} {
		b.Run(row.name, func(b *testing.B) {
			var p frame.Pool
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p.Put(p.Get(row.n))
				}
			})
		})
	}
}
