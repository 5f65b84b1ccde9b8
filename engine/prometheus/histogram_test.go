package penstockprometheus

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

// What a histogram exposes is what client_golang's would.
func TestHistogramIsAsClientGolangs(t *testing.T) {
	var edges []time.Duration // of buckets
	for _, bound := range defaultBuckets {
		edges = append(edges, time.Duration(bound*1e9))
	}
	for i := -160; i <= 96; i++ {
		edges = append(edges, time.Duration(math.Exp2(float64(i)/8)*1e9))
	}
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		mine, theirs := newHistogram(newScale(defaultBuckets), prometheus.NewDesc("h", "", nil, nil)), prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "h", Buckets: defaultBuckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: nativeMost,
		})
		spread := random.Float64() * 30 // few buckets, or many
		for range random.IntN(3000) {
			d := time.Duration(math.Exp2(10 + spread*random.Float64()))
			if random.IntN(2) == 0 {
				d = edges[random.IntN(len(edges))] + time.Duration(random.IntN(3)-1)
			}
			d = min(max(d, time.Microsecond), 4096*time.Second)
			mine.observe(d)
			theirs.Observe(d.Seconds())
		}
		want, got := written(t, theirs), written(t, mine)
		require.Equal(t, want.GetSampleCount(), got.GetSampleCount())
		require.InDelta(t, want.GetSampleSum(), got.GetSampleSum(), 1e-6+want.GetSampleSum()*1e-9)
		require.Equal(t, classicOf(want), classicOf(got), "seed %d", seed)
		require.Equal(t, want.GetSchema(), got.GetSchema(), "seed %d", seed)
		require.Equal(t, nativeOf(want), nativeOf(got), "seed %d", seed)
		require.Equal(t, want.GetZeroThreshold(), got.GetZeroThreshold())
		require.Zero(t, got.GetZeroCount())
		require.Positive(t, got.GetCreatedTimestamp().GetSeconds())
	}
}

// No duration is lost, and none has a wrong place, however short or long.
func TestHistogramTakesEveryDuration(t *testing.T) {
	s := newScale(defaultBuckets)
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 2, 7, 8, 15, 16, 17, time.Hour, 30 * time.Hour, math.MaxInt64} {
		h := newHistogram(s, prometheus.NewDesc("h", "", nil, nil))
		h.observe(d)
		got := written(t, h)
		require.EqualValues(t, 1, got.GetSampleCount(), "%v", d)
		require.Len(t, nativeOf(got), 1, "%v", d)
		require.InDelta(t, max(0, d).Seconds(), got.GetSampleSum(), 1e-9)
	}
	for range 200_000 {
		d := int64(rand.Uint64() >> 1 >> rand.IntN(63))
		i := s.bucket(d)
		require.True(t, i == len(s.bounds)-1 || d <= s.bounds[i], "%d in bucket %d, which ends at %d", d, i, s.bounds[i])
		require.True(t, i == 0 || d > s.bounds[i-1], "%d in bucket %d", d, i)
	}
}

// A bound may be longer than any duration.
func TestHistogramWithAVastBucket(t *testing.T) {
	for _, vast := range []float64{1e300, math.MaxInt64 / 1e9, math.Nextafter(math.MaxInt64/1e9, 0)} {
		h := newHistogram(newScale([]float64{1, vast}), prometheus.NewDesc("h", "", nil, nil))
		h.observe(time.Second)
		h.observe(math.MaxInt64 - 1<<20)
		require.Equal(t, [][2]float64{{1, 1}, {vast, 2}}, classicOf(written(t, h)))
	}
}

func written(t *testing.T, m prometheus.Metric) *dto.Histogram {
	var out dto.Metric
	require.NoError(t, m.Write(&out))
	return out.Histogram
}

func classicOf(h *dto.Histogram) (list [][2]float64) {
	for _, b := range h.Bucket {
		list = append(list, [2]float64{b.GetUpperBound(), float64(b.GetCumulativeCount())})
	}
	return list
}

// nativeOf returns the counts of the buckets that are not empty, by index.
func nativeOf(h *dto.Histogram) map[int32]int64 {
	counts := make(map[int32]int64)
	var index int32
	var count int64
	deltas := h.PositiveDelta
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			if count != 0 {
				counts[index] = count
			}
			index++
		}
	}
	return counts
}
