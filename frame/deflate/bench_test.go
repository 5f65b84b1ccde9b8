package deflate_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/penstock-ws/penstock/frame/deflate"
)

var benchSizes = []struct {
	name string
	n    int
}{{"128", 128}, {"16K", 16 * kib}, {"1M", mib}}

func BenchmarkAppendMessage(b *testing.B) {
	for _, size := range benchSizes {
		payload := text(size.n)
		for _, row := range []struct{ level, bits int }{{-2, 15}, {1, 15}, {3, 15}, {6, 15}, {9, 15}, {1, 12}, {1, 9}} {
			b.Run(fmt.Sprintf("%s/level=%d/bits=%d", size.name, row.level, row.bits), func(b *testing.B) {
				dst := make([]byte, 0, 2*size.n)
				b.SetBytes(int64(size.n))
				b.ReportAllocs()
				for b.Loop() {
					dst = deflate.AppendMessage(dst[:0], payload, row.level, row.bits)
				}
				b.ReportMetric(float64(len(dst))/float64(size.n), "out/in")
			})
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(size.name, func(b *testing.B) {
			src := deflate.AppendMessage(nil, text(size.n), 6, 15)
			dst := make([]byte, 0, size.n)
			b.SetBytes(int64(size.n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := deflate.Inflate(dst, src, size.n, 0, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a peer can make us work with one KiB, by kind.
func BenchmarkInflateHostile(b *testing.B) {
	zeros := deflate.AppendMessage(nil, make([]byte, mib-4*kib), 9, 15)
	for _, row := range []struct {
		name string
		src  []byte
	}{
		{"zeros", zeros[:min(len(zeros), kib)]},
		{"empty blocks", append(bytes.Repeat([]byte("\x02\x08\x20\x80\x00"), 205), 0)},
		{"BFINAL", append(bytes.Repeat([]byte("\x03\x00"), 512), 0)},
		{"tables", append(bytes.Repeat(tables(), kib/len(tables())), 0)},
	} {
		b.Run(row.name, func(b *testing.B) {
			dst := make([]byte, 0, 2*mib)
			b.SetBytes(int64(len(row.src)))
			b.ReportAllocs()
			for b.Loop() {
				_, err := deflate.Inflate(dst, row.src, 2*mib, 0, nil)
				if (err != nil) != (row.name == "zeros") {
					b.Fatal(err)
				}
			}
		})
	}
}

// tables is one short block with code tables of its own, that ends at a byte.
func tables() []byte {
	w := deflate.NewWriter(-2, 15)
	defer w.Close()
	return w.Flush(w.Append(nil, bytes.Repeat([]byte("abc"), 30)))
}
