package bench

import (
	"math"
	"slices"
)

// ratio is how many times a figure is what it was, with a confidence interval.
type ratio struct {
	value     float64
	low, high float64 // 0: too few samples for an interval
}

// exactSamples is up to how many samples a side the exact distribution is counted out;
// beyond it the normal one is as good to four digits.
const exactSamples = 40

// ratioOf compares two samples of logarithms: the estimate is the Hodges-Lehmann one, the
// median of all differences, and the interval Moses' one, which inverts the Mann-Whitney
// test. It assumes no distribution, bears an outlier in five, and is exact for the three
// to ten rounds that there are, where a bootstrap's interval is too narrow. golang.org/x/perf
// has the test but no interval for a ratio. Both want samples that are independent of each other.
func ratioOf(old, new []float64, confidence float64) ratio {
	differences := make([]float64, 0, len(old)*len(new))
	for _, a := range old {
		for _, b := range new {
			differences = append(differences, b-a)
		}
	}
	if len(differences) == 0 {
		return ratio{}
	}
	slices.Sort(differences)
	r := ratio{value: math.Exp(median(differences))}
	if k := tailRank(len(old), len(new), (1-confidence)/2); k > 0 {
		r.low = math.Exp(differences[k-1])
		r.high = math.Exp(differences[len(differences)-k])
	}
	return r
}

// widened moves both bounds apart, by a factor whose logarithm is given.
func (r ratio) widened(by float64) ratio {
	r.low *= math.Exp(-by)
	r.high *= math.Exp(by)
	return r
}

// tailRank is the number of Mann-Whitney's statistics from 0 on that together are no
// likelier than tail, for samples of n and m; 0 if the first is likelier already.
func tailRank(n, m int, tail float64) int {
	if n > exactSamples || m > exactSamples {
		mean := float64(n*m) / 2
		deviation := math.Sqrt(mean * float64(n+m+1) / 6)
		return max(0, int(mean-deviation*math.Sqrt2*math.Erfinv(1-2*tail)))
	}
	ways := orders(n, m)
	all := 0.0
	for _, w := range ways {
		all += w
	}
	k, sum := 0, 0.0
	// The tolerance: with three samples a side, 1 in 20 is meant to be a tail of 5 %.
	for sum+ways[k] <= tail*all*(1+1e-9) {
		sum += ways[k]
		k++
	}
	return k
}

// orders counts in how many orders n and m samples can stand so that u pairs stand
// the wrong way round, for every u: the coefficients of Gauss's binomial.
func orders(n, m int) []float64 {
	ways := make([]float64, n*m+1)
	ways[0] = 1
	for i := 1; i <= n; i++ {
		for u := len(ways) - 1; u >= m+i; u-- {
			ways[u] -= ways[u-m-i]
		}
		for u := i; u < len(ways); u++ {
			ways[u] += ways[u-i]
		}
	}
	return ways
}

// median is that of sorted numbers; 0 of none.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// covaried is a sample of a figure that follows another one; both are logarithms.
type covaried struct{ figure, yardstick float64 }

// The figure is expected to move in proportion to its yardstick, give or take, unless
// the samples tell otherwise; what is left then is expected to spread by leftOver.
const (
	expectedSlope  = 1.0
	slopeDeviation = 0.1
	leftOver       = 0.03
)

// adjustedRatio is ratioOf for the figures less what their yardsticks account for: an
// analysis of covariance. The slope is fitted within each side, never between the two,
// so that what a side has of its own is not taken for the yardstick's doing. Where the yardsticks
// of the sides lie apart, the slope's own uncertainty widens the interval.
func adjustedRatio(old, new []covaried, confidence float64) ratio {
	prior := leftOver * leftOver / (slopeDeviation * slopeDeviation)
	square, product := prior, prior*expectedSlope
	for _, side := range [][]covaried{old, new} {
		var mean covaried
		for _, s := range side {
			mean.figure += s.figure / float64(len(side))
			mean.yardstick += s.yardstick / float64(len(side))
		}
		for _, s := range side {
			square += (s.yardstick - mean.yardstick) * (s.yardstick - mean.yardstick)
			product += (s.yardstick - mean.yardstick) * (s.figure - mean.figure)
		}
	}
	slope, deviation := product/square, leftOver/math.Sqrt(square)
	split := func(side []covaried) (left, yardsticks []float64) {
		for _, s := range side {
			left = append(left, s.figure-slope*s.yardstick)
			yardsticks = append(yardsticks, s.yardstick)
		}
		slices.Sort(yardsticks)
		return left, yardsticks
	}
	a, ya := split(old)
	b, yb := split(new)
	apart := math.Abs(median(yb) - median(ya))
	return ratioOf(a, b, confidence).widened(apart * deviation * math.Sqrt2 * math.Erfinv(confidence))
}
