package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// side is what one file has of a load: the rounds, and what they are drawn as.
type side struct {
	label  string
	color  int
	rounds []*Result

	latency *hdrhistogram.Histogram   // of all sound rounds; of all if none is sound
	each    []*hdrhistogram.Histogram // of each; nil without messages
}

// newSide reads the rounds' histograms.
func newSide(label string, color int, rounds []*Result) (*side, error) {
	s := &side{label: label, color: color, rounds: rounds, latency: newHistogram()}
	counted := soundOrAll(rounds)
	for _, r := range rounds {
		var h *hdrhistogram.Histogram
		if r.Histogram != "" {
			var err error
			if h, err = hdrhistogram.Decode([]byte(r.Histogram)); err != nil {
				return nil, fmt.Errorf("bench: %s: %q, round %d: latency histogram: %w", label, r.Name, r.Round, err)
			}
			if slices.Contains(counted, r) {
				s.latency.Merge(h)
			}
		}
		s.each = append(s.each, h)
	}
	return s, nil
}

// soundOrAll are the rounds that figures of several come from.
func soundOrAll(rounds []*Result) []*Result {
	if whole := sound(rounds); whole != nil {
		return whole
	}
	return rounds
}

// opacity lets many rounds be seen through each other, below what they have in common.
func (s *side) opacity() float64 {
	return min(0.5, max(0.15, 1/math.Sqrt(1.5*float64(len(s.rounds)))))
}

// figure is a chart with what is said about it.
type figure struct {
	*chart
	Title   string
	Aside   string // what the figure has to be read as
	Summary string // for those who do not see it
	XTitle  string
}

// percentiles are what a latency figure marks and its table lists.
var percentiles = []float64{50, 90, 99, 99.9, 99.99, 99.999}

// latencyFigure draws latency by percentile, on HdrHistogram's axis: each further nine takes
// as much room as the one before. It is nil without any latency.
func latencyFigure(sides []*side) *figure {
	c := &chart{Width: 1120, Height: 340, Left: 64, Right: 1112, Top: 12, Bottom: 300}
	for _, s := range sides { // room for the tags
		c.Right = min(c.Right, c.Width-24-tagWidth*float64(len([]rune(shortened(s.label, longestTag)))))
	}
	least, most, count := math.Inf(1), 0.0, int64(0)
	for _, s := range sides {
		if s.latency.TotalCount() > 0 {
			least = min(least, float64(s.latency.ValueAtPercentile(1)))
			count = max(count, s.latency.TotalCount())
		}
		for _, r := range s.rounds {
			most = max(most, float64(r.Latency.Max))
		}
	}
	if count == 0 {
		return nil
	}
	x := axis{high: min(max(math.Log10(float64(count)), 1), 6)}
	x.ticks = []float64{0}
	for _, p := range percentiles {
		if nines(p) <= x.high {
			x.ticks = append(x.ticks, nines(p))
		}
	}
	y := logAxis(max(least, 1), most)
	c.setAxes(x, y, func(v float64) string { return percentileText(100 * (1 - math.Pow(10, -v))) }, shortDuration)
	for _, s := range sides {
		c.addLatency(x, y, s)
	}
	c.spreadTags()
	f := &figure{chart: c, Title: "Latency by percentile", XTitle: "percentile", Aside: modesOfEach(sides)}
	f.Summary = latencySummary(sides)
	return f
}

// The tags' letters are about that wide; longer tags are cut.
const (
	tagWidth   = 8
	longestTag = 18
)

// nines is where a percentile stands on the axis.
func nines(p float64) float64 { return -math.Log10(1 - p/100) }

func percentileText(p float64) string { return fmt.Sprintf("%.6g", p) }

// addLatency draws a side: all its rounds as one curve, and each as a thin one.
func (c *chart) addLatency(x, y axis, s *side) {
	if s.latency.TotalCount() == 0 {
		return
	}
	if len(s.rounds) > 1 {
		for i, h := range s.each {
			if h != nil && h.TotalCount() > 0 {
				title := fmt.Sprintf("%s, round %d", s.label, s.rounds[i].Round)
				c.Lines = append(c.Lines, line{s.color, c.path(x, y, quantiles(h, s.rounds[i].Latency.Max, x.high)), true, s.opacity(), title})
			}
		}
	}
	curve := quantiles(s.latency, longest(s), x.high)
	c.Lines = append(c.Lines, line{Color: s.color, Path: c.path(x, y, curve), Title: s.label})
	for _, p := range percentiles {
		if nines(p) <= x.high && s.latency.TotalCount() >= int64(math.Pow(10, nines(p))) {
			v := s.within(p)
			mx, my := c.place(x, y, point{nines(p), float64(v)})
			c.Marks = append(c.Marks, mark{s.color, mx, my, fmt.Sprintf("%s: %s %% within %s", s.label, percentileText(p), duration(v))})
		}
	}
	px, py := c.place(x, y, curve[len(curve)-1])
	c.Tags = append(c.Tags, tag{s.color, px + 8, py, shortened(s.label, longestTag)})
}

// quantiles samples a histogram evenly along the axis, as far as it has values to tell. It
// rounds up, but not past the most that was measured.
func quantiles(h *hdrhistogram.Histogram, most int64, to float64) (curve []point) {
	const steps = 240
	end := min(to, math.Log10(float64(h.TotalCount())))
	at := make([]float64, 0, steps+1)
	for i := range steps + 1 {
		at = append(at, 100*(1-math.Pow(10, -end*float64(i)/steps)))
	}
	for i, v := range h.ValueAtPercentilesSlice(at) {
		curve = append(curve, point{end * float64(i) / steps, float64(min(v, most))})
	}
	return curve
}

// modes says in which ways the latencies were counted.
func modes(sides []*side) string {
	var all []string
	for _, s := range sides {
		for _, r := range s.rounds {
			if mode := orNone(r.LatencyMode); !slices.Contains(all, mode) {
				all = append(all, mode)
			}
		}
	}
	return strings.Join(all, " and ")
}

// modesOfEach says it file by file where they differ.
func modesOfEach(sides []*side) string {
	all := modes(sides)
	var each []string
	for _, s := range sides {
		each = append(each, s.label+": "+modes([]*side{s}))
	}
	if !strings.Contains(all, " and ") {
		return all
	}
	return strings.Join(each, " · ")
}

func latencySummary(sides []*side) string {
	var text strings.Builder
	text.WriteString("Latency by percentile.")
	for _, s := range sides {
		if s.latency.TotalCount() > 0 {
			fmt.Fprintf(&text, " %s: half within %s, 99 percent within %s, all within %s.", s.label,
				duration(s.within(50)), duration(s.within(99)), duration(longest(s)))
		}
	}
	return text.String()
}

// within is a percentile of all rounds.
func (s *side) within(p float64) int64 { return min(s.latency.ValueAtPercentile(p), longest(s)) }

// longest is exact, where the histogram rounds.
func longest(s *side) (ns int64) {
	for _, r := range soundOrAll(s.rounds) {
		ns = max(ns, r.Latency.Max)
	}
	return ns
}

// course is a figure over the time of the window.
type course struct {
	title string
	of    func(r *Result, from, to int) float64 // of intervals; 0: nothing known
	label func(float64) string
	log   bool
	unit  float64 // the axis has round numbers of it; 0: 1
	aside func([]*side) string
}

// courses are the figures over time, in the order in which they are shown.
func courses() []course {
	share := func(of func(Point) float64) func(*Result, int, int) float64 {
		return func(r *Result, from, _ int) float64 { return of(r.Series[from]) }
	}
	return []course{
		{title: "Throughput, messages/s", label: shortCount, of: func(r *Result, from, to int) float64 {
			return MetricThroughput.ofPart(r.Series, from, to)
		}},
		{title: "Slowest latency", label: shortDuration, log: true, aside: modes, of: share(func(p Point) float64 { return float64(p.Slowest) })},
		{title: "Server memory", label: shortMemory, unit: 1 << 20, of: share(func(p Point) float64 { return float64(p.ServerMemory) })},
		{title: "Server CPU, of one CPU", label: shortShare, of: share(func(p Point) float64 { return p.ServerCPU })},
		{title: "Client CPU, of one CPU", label: shortShare, of: share(func(p Point) float64 { return p.ClientCPU })},
		{title: "Server CPU per message", label: shortDuration, log: true, of: func(r *Result, from, to int) float64 {
			return MetricServerCPU.ofPart(r.Series, from, to)
		}},
	}
}

// figure draws the course; nil if nothing of it is known.
func (k course) figure(sides []*side) *figure {
	c := &chart{Width: 360, Height: 196, Left: 58, Right: 350, Top: 10, Bottom: 170}
	least, most, end := math.Inf(1), 0.0, 0.0
	for _, s := range sides {
		for _, r := range s.rounds {
			for _, p := range k.points(r) {
				if end = max(end, p.x); p.y > 0 {
					least, most = min(least, p.y), max(most, p.y)
				}
			}
		}
	}
	if most == 0 || end == 0 {
		return nil
	}
	x, y := linearAxis(end), k.axis(least, most)
	x.high = end // no room past the window's end
	for len(x.ticks) > 0 && x.ticks[len(x.ticks)-1] > end*1.001 {
		x.ticks = x.ticks[:len(x.ticks)-1]
	}
	c.setAxes(x, y, shortSeconds, k.label)
	for _, s := range sides {
		c.addCourse(x, y, k, s)
	}
	f := &figure{chart: c, Title: k.title, Summary: fmt.Sprintf("%s over time: between %s and %s.", k.title, k.label(least), k.label(most))}
	if k.aside != nil {
		f.Aside = k.aside(sides)
	}
	return f
}

// addCourse draws a side: each round, and of several the median as well.
func (c *chart) addCourse(x, y axis, k course, s *side) {
	var all [][]point
	counted := soundOrAll(s.rounds)
	for _, r := range s.rounds {
		points := k.points(r)
		if points == nil {
			continue
		}
		if slices.Contains(counted, r) {
			all = append(all, points)
		}
		l := line{Color: s.color, Path: c.path(x, y, points), Title: s.label}
		if len(s.rounds) > 1 {
			l.Thin, l.Opacity, l.Title = true, s.opacity(), fmt.Sprintf("%s, round %d", s.label, r.Round)
		}
		c.Lines = append(c.Lines, l)
	}
	if len(all) > 1 {
		c.Lines = append(c.Lines, line{Color: s.color, Path: c.path(x, y, medianCourse(all)), Title: s.label + ", median of the rounds"})
	}
}

// medianCourse is the median at each interval that all rounds have.
func medianCourse(rounds [][]point) (course []point) {
	length := len(rounds[0])
	for _, points := range rounds {
		length = min(length, len(points))
	}
	for i := range length {
		var at, values []float64
		for _, points := range rounds {
			at = append(at, points[i].x)
			if !math.IsNaN(points[i].y) {
				values = append(values, points[i].y)
			}
		}
		slices.Sort(at)
		slices.Sort(values)
		p := point{median(at), math.NaN()}
		if len(values) > 0 {
			p.y = median(values)
		}
		course = append(course, p)
	}
	return course
}

func (k course) axis(least, most float64) axis {
	if k.log {
		return logAxis(least, most)
	}
	unit := max(k.unit, 1)
	a := linearAxis(most / unit)
	a.high *= unit
	for i := range a.ticks {
		a.ticks[i] *= unit
	}
	return a
}

// points are the course's values, each in the middle of its interval, in seconds; nil
// if there are zeros only, which is what is not known.
func (k course) points(r *Result) (points []point) {
	begin, known := int64(0), false
	for i, p := range r.Series {
		y := k.of(r, i, i+1)
		known = known || y > 0
		if y <= 0 && k.log || math.IsNaN(y) || math.IsInf(y, 0) {
			y = math.NaN()
		}
		points = append(points, point{float64(begin+p.End) / 2e9, y})
		begin = p.End
	}
	if !known {
		return nil
	}
	return points
}

// shortened cuts a text that would run out of a figure.
func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
