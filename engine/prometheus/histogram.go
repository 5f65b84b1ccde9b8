package penstockprometheus

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A scale divides durations into buckets. Each bound of a classic bucket and each of a
// native one is a bound here, so that one counter serves both. It is immutable.
type scale struct {
	bounds  []int64   // the last duration of each bucket, in nanoseconds, increasing; what is longer is in the last
	first   []int     // by rank of a duration: the first bucket that may hold it
	native  []int32   // by bucket: its index in a native histogram of nativeSchema
	classic []float64 // bounds of the classic buckets, in seconds
	upTo    []int     // by classic bucket: how many buckets are below its bound
}

// Native buckets grow by 2^(1/8), about a tenth, from below a microsecond to over an
// hour. What is shorter is counted with the shortest, and what is longer with the longest.
const (
	nativeSchema   = 3
	nativeShortest = -20 << nativeSchema
	nativeLongest  = 12 << nativeSchema
	nativeMost     = 160 // in an exposition: with more, neighbours are joined
)

func newScale(classic []float64) *scale {
	s := &scale{classic: slices.Clone(classic)}
	for i := nativeShortest; i <= nativeLongest; i++ {
		s.bounds = append(s.bounds, longest(nativeBound(i)))
	}
	for _, bound := range classic {
		s.bounds = append(s.bounds, longest(bound))
	}
	slices.Sort(s.bounds)
	s.bounds = slices.Compact(s.bounds)
	index := int32(nativeShortest)
	for _, bound := range s.bounds {
		for index < nativeLongest && bound > longest(nativeBound(int(index))) {
			index++
		}
		s.native = append(s.native, index)
	}
	for _, bound := range classic {
		at, _ := slices.BinarySearch(s.bounds, longest(bound))
		s.upTo = append(s.upTo, at+1)
	}
	for r := range ranks {
		at, _ := slices.BinarySearch(s.bounds, shortestOf(r))
		s.first = append(s.first, min(at, len(s.bounds)-1))
	}
	return s
}

// nativeBound is the upper bound of a native bucket, in seconds, inclusive.
func nativeBound(index int) float64 { return math.Exp2(float64(index) / (1 << nativeSchema)) }

// longest returns the longest duration, in nanoseconds, that is not above bound seconds.
func longest(bound float64) int64 {
	if bound >= math.MaxInt64/1e9 {
		return math.MaxInt64
	}
	d := int64(bound * 1e9)
	for d < math.MaxInt64 && time.Duration(d+1).Seconds() <= bound {
		d++
	}
	for d > 0 && time.Duration(d).Seconds() > bound {
		d--
	}
	return d
}

// rank is the length of a duration and the three bits behind its first: those of a rank
// are within an eighth of each other, which is not more than two native buckets.
func rank(d int64) int {
	length := bits.Len64(uint64(d))
	return length<<3 | int(uint64(d)<<(64-length)>>60&7)
}

const ranks = 64 << 3

// shortestOf returns the shortest duration of a rank, or one below it.
func shortestOf(rank int) int64 {
	length := rank >> 3
	if length == 0 {
		return 0
	}
	return int64(uint64(8|rank&7) << 60 >> (64 - length))
}

func (s *scale) bucket(d int64) int {
	i := s.first[rank(d)]
	for last := len(s.bounds) - 1; i < last && d > s.bounds[i]; {
		i++
	}
	return i
}

// A histogram counts durations, as a prometheus.Metric with classic and native buckets.
// client_golang's own takes four times as long to observe, which for a metric of each
// message is too long.
type histogram struct {
	scale  *scale
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	since  *timestamppb.Timestamp

	sum    atomic.Int64 // nanoseconds: overflows after 292 years of them
	counts []atomic.Uint64
}

func newHistogram(s *scale, desc *prometheus.Desc, labels ...string) *histogram {
	return &histogram{
		scale: s, desc: desc, labels: prometheus.MakeLabelPairs(desc, labels), since: timestamppb.Now(),
		counts: make([]atomic.Uint64, len(s.bounds)),
	}
}

// observe counts a duration, a negative one as none. It does not allocate.
func (h *histogram) observe(d time.Duration) {
	d = max(0, d)
	h.counts[h.scale.bucket(int64(d))].Add(1)
	h.sum.Add(int64(d))
}

// Desc implements prometheus.Metric.
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements prometheus.Metric. The sum may have some durations more than the
// buckets, which agree with each other.
func (h *histogram) Write(to *dto.Metric) error {
	counts := make([]uint64, len(h.counts))
	var total uint64
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
		total += counts[i]
	}
	out := &dto.Histogram{
		SampleCount:      proto.Uint64(total),
		SampleSum:        proto.Float64(time.Duration(h.sum.Load()).Seconds()),
		CreatedTimestamp: h.since,
	}
	h.scale.writeClassic(out, counts)
	h.scale.writeNative(out, counts)
	to.Label, to.Histogram = h.labels, out
	return nil
}

// writeClassic adds cumulative buckets; that of all is known by the count.
func (s *scale) writeClassic(out *dto.Histogram, counts []uint64) {
	var total uint64
	from := 0
	for i, bound := range s.classic {
		for ; from < s.upTo[i]; from++ {
			total += counts[from]
		}
		out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(total), UpperBound: proto.Float64(bound)})
	}
}

// writeNative adds sparse buckets, of a coarser schema if there would be too many.
func (s *scale) writeNative(out *dto.Histogram, counts []uint64) {
	schema := int32(nativeSchema)
	filled := s.filled(counts)
	for ; len(filled) > nativeMost; schema-- {
		filled = joined(filled)
	}
	out.Schema = proto.Int32(schema)
	out.ZeroThreshold = proto.Float64(prometheus.DefNativeHistogramZeroThreshold)
	out.ZeroCount = proto.Uint64(0)
	var before int64
	var next int32
	for _, b := range filled {
		if n := len(out.PositiveSpan); n > 0 && b.index == next {
			*out.PositiveSpan[n-1].Length++
		} else {
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(b.index - next), Length: proto.Uint32(1)})
		}
		out.PositiveDelta = append(out.PositiveDelta, int64(b.count)-before)
		before, next = int64(b.count), b.index+1
	}
	if len(filled) == 0 { // or it would pass for a classic one
		out.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
}

type nativeBucket struct {
	index int32
	count uint64
}

// filled returns the native buckets that are not empty.
func (s *scale) filled(counts []uint64) (list []nativeBucket) {
	for i, n := range counts {
		if n > 0 {
			list = add(list, s.native[i], n)
		}
	}
	return list
}

// joined returns the buckets of the schema below: each is two.
func joined(fine []nativeBucket) (list []nativeBucket) {
	for _, b := range fine {
		list = add(list, (b.index+1)>>1, b.count)
	}
	return list
}

// add counts n in the bucket of index, which is that of the last or a later one.
func add(list []nativeBucket, index int32, n uint64) []nativeBucket {
	if last := len(list) - 1; last >= 0 && list[last].index == index {
		list[last].count += n
		return list
	}
	return append(list, nativeBucket{index, n})
}
