package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// shown is roundOf with latencies to draw: evenly spread up to most.
func shown(round int, server float64, most time.Duration) *Result {
	r := roundOf(round, server, 2500)
	h := newHistogram()
	for i := range 10_000 {
		_ = h.RecordValue(int64(most) * int64(i+1) / 10_000)
	}
	encoded, _ := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	r.Histogram, r.Latency.Max = string(encoded), int64(most)
	return r
}

func pageOf(t *testing.T, files ...ReportFile) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, WriteHTML(&out, "The title", files...))
	checkPage(t, out.String())
	return out.String()
}

// checkPage holds every page to what it promises: it loads nothing, runs nothing, and its
// drawings are well-formed, named, and within their edges.
func checkPage(t *testing.T, page string) {
	t.Helper()
	for _, loads := range []string{"<script", `<link rel="stylesheet`, "@import", "url(", "<iframe", "<object", "<base"} {
		require.NotContains(t, page, loads)
	}
	bare := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(page, `""`) // in texts " is escaped
	require.NotRegexp(t, `<[^>]*\s(src|srcset|data|on[a-z]+)=`, bare)
	for _, reference := range regexp.MustCompile(`(?:href|action|xlink:href)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		require.Regexp(t, `^(#load-\d+|data:,)$`, reference[1])
	}
	require.Contains(t, page, `content="default-src 'none'; style-src 'unsafe-inline'`)
	require.NotContains(t, page, "NaN")
	require.NotContains(t, page, "ZgotmplZ")
	require.NotContains(t, page, "%!")
	for _, drawing := range drawings(page) {
		checkDrawing(t, drawing)
	}
	// Every header cell has a scope, every figure a caption.
	require.Equal(t, strings.Count(page, "<th "), strings.Count(page, "<th scope="))
	require.Equal(t, strings.Count(page, "<figure"), strings.Count(page, "<figcaption"))
}

func drawings(page string) []string {
	return regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
}

var number = regexp.MustCompile(`-?[0-9.]+`)

func checkDrawing(t *testing.T, drawing string) {
	t.Helper()
	var width, height float64
	decoder := xml.NewDecoder(strings.NewReader(drawing))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attributes := map[string]string{}
		for _, a := range e.Attr {
			attributes[a.Name.Local] = a.Value
		}
		switch e.Name.Local {
		case "svg":
			box := number.FindAllString(attributes["viewBox"], -1)
			width, _ = strconv.ParseFloat(box[2], 64)
			height, _ = strconv.ParseFloat(box[3], 64)
			require.Equal(t, "img", attributes["role"])
			require.NotEmpty(t, attributes["aria-label"])
		case "path":
			for i, n := range number.FindAllString(attributes["d"], -1) {
				x, err := strconv.ParseFloat(n, 64)
				require.NoError(t, err)
				require.True(t, 0 <= x && x <= []float64{width, height}[i%2], "%v is outside %v × %v", x, width, height)
			}
		case "circle":
			require.NotContains(t, attributes["cx"]+attributes["cy"], "-")
		}
	}
}

// The figures are on the page, those of both files in one section.
func TestHTML(t *testing.T) {
	old := NewFile(shown(0, 3000, time.Millisecond), shown(1, 3100, 2*time.Millisecond), shown(2, 3200, time.Millisecond))
	new := NewFile(shown(0, 4000, 8*time.Millisecond))
	page := pageOf(t, ReportFile{"before", old}, ReportFile{"after", new})
	for _, want := range []string{
		"<title>The title</title>", "<h1>The title</h1>", "1970-01-01 00:00 UTC", "echo: some", ">before<", ">after<",
		"3,100 ns", "3,000 ns – 3,200 ns", "4,000 ns", "2,500 ns", "100,000", "20.0 MiB", "3 rounds, closed loop", "1 round, closed loop",
		"some CPU", "payload", "Latency by percentile", "closed loop</span>", "after: 99 % within 7.92 ms", "Throughput, messages/s",
		"Slowest latency", "Server memory", "Server CPU, of one CPU", "Server CPU per message", "Latency is closed-loop",
		"before, round 1", "before, median of the rounds",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "Not all runs are sound")
	require.NotContains(t, page, "after, round 0") // a single round is no thin line
	require.Len(t, drawings(page), 7)
	require.Equal(t, 1, strings.Count(page, `<section class="load" aria-labelledby="load-`))
	require.Equal(t, page, pageOf(t, ReportFile{"before", old}, ReportFile{"after", new})) // the same each time
}

// The curve goes through the percentiles, on an axis on which each nine is as wide as the last.
func TestLatencyFigure(t *testing.T) {
	s, err := newSide("a", 0, []*Result{shown(0, 1, time.Second)})
	require.NoError(t, err)
	f := latencyFigure([]*side{s})
	require.Equal(t, []string{"0", "50", "90", "99", "99.9", "99.99"}, labels(f.X)) // 10,000 values have no fifth nine
	require.InDelta(t, f.X[3].At-f.X[2].At, f.X[5].At-f.X[4].At, 0.01)
	require.Equal(t, []string{"10 ms", "20 ms", "50 ms", "100 ms", "200 ms", "500 ms", "1 s"}, labels(f.Y))
	at := map[string]float64{}
	for _, y := range f.Y {
		at[y.Label] = y.At
	}
	require.InDelta(t, f.X[1].At, f.Marks[0].X, 0.01)
	require.InDelta(t, at["500 ms"], f.Marks[0].Y, 0.1) // half of what is spread up to 1 s
	require.Less(t, at["1 s"], at["500 ms"])            // more is further up
	require.InDelta(t, at["1 s"], f.Marks[4].Y, 0.1)
	require.InDelta(t, at["1 s"], f.Tags[0].Y, 0.005) // the histogram's own end lies 0.03 % further
	require.Contains(t, f.Summary, "a: half within 500 ms, 99 percent within 990 ms, all within 1.00 s.")
}

func labels(ticks []axisTick) (all []string) {
	for _, t := range ticks {
		all = append(all, t.Label)
	}
	return all
}

// Names, labels, settings and failures come from files that others wrote.
func TestHTMLHostile(t *testing.T) {
	const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)></style>&{{.}}`
	r := shown(0, 3000, time.Millisecond)
	r.Name, r.Scenario, r.LatencyMode = hostile, hostile, hostile
	r.Settings = map[string]any{hostile: hostile, "url": "javascript:" + hostile}
	r.Machine.CPU = hostile
	r.Errors, r.Failures = 1, []Failures{{FailureClosed, 1, hostile}}
	var out strings.Builder
	require.NoError(t, WriteHTML(&out, hostile, ReportFile{hostile, NewFile(r, shown(0, 1, 1))}, ReportFile{hostile, NewFile(r)}))
	page := out.String()
	checkPage(t, page)
	require.NotContains(t, page, "<script")
	require.NotContains(t, page, "<img")
	require.NotContains(t, page, `"'>`)
	require.Contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
	require.Equal(t, 1, strings.Count(page, "</style>"))
}

// What failed or ended early stands first, and is not in the medians.
func TestHTMLProblems(t *testing.T) {
	bad, part := shown(1, 9000, time.Hour), shown(2, 9000, time.Millisecond)
	bad.Errors, bad.Failures = 3, []Failures{{FailureUnanswered, 3, "connection 7: 1 message"}}
	part.Partial = true
	page := pageOf(t, ReportFile{"a", NewFile(shown(0, 3000, time.Millisecond), bad, part)})
	require.Less(t, strings.Index(page, "Not all runs are sound"), strings.Index(page, "Summary"))
	require.Contains(t, page, "<strong>echo: some, round 1 of a</strong>: FAILED (unanswered): 3, first connection 7: 1 message")
	require.Contains(t, page, "<strong>echo: some, round 2 of a</strong>: PARTIAL")
	require.NotContains(t, page, "3,000 ns – 9,000 ns")
	require.Contains(t, page, "2 failed or partial left out")
	require.Contains(t, page, "<td>3,000 ns</td>")
	require.Equal(t, 2, strings.Count(page, `<tr class="failed">`))
	require.Contains(t, page, "a: 99 % within 990 µs") // not within the bad round's hour

	page = pageOf(t, ReportFile{"a", NewFile(bad)})
	require.Contains(t, page, `<span class="bad">failed or partial</span>`)
}

// How latency was counted stands at each latency figure; where files differ, of which is what.
func TestHTMLModes(t *testing.T) {
	open := shown(0, 3000, time.Millisecond)
	open.LatencyMode = "open loop"
	page := pageOf(t, ReportFile{"a", NewFile(shown(0, 3000, time.Millisecond))}, ReportFile{"b", NewFile(open)})
	require.Contains(t, page, `Latency by percentile <span class="aside">a: closed loop · b: open loop</span>`)
	require.Contains(t, page, `Slowest latency <span class="aside">closed loop and open loop</span>`)
	page = pageOf(t, ReportFile{"b", NewFile(open)})
	require.Contains(t, page, `Latency by percentile <span class="aside">open loop</span>`)
}

// Results without messages, series, CPU or memory have fewer figures, and break nothing.
func TestHTMLSparse(t *testing.T) {
	empty := &Result{Name: "nothing"}
	zero := shown(0, 3000, 1)
	zero.Name = "unknown server"
	zero.ServerCPU = nil
	for i := range zero.Series {
		p := &zero.Series[i]
		p.ServerCPU, p.ServerMemory = 0, 0
		if i%3 == 0 {
			p.Messages, p.Slowest = 0, 0
		}
	}
	one := shown(0, 3000, time.Millisecond)
	one.Series = one.Series[:1]
	page := pageOf(t, ReportFile{"a", NewFile(empty, zero, one)}, ReportFile{"b", NewFile(empty)})
	require.NotContains(t, strings.Split(page, "unknown server</h2>")[1][:strings.Index(strings.Split(page, "unknown server</h2>")[1], "</section>")], "Server memory")
	require.Len(t, drawings(page), 0+4+7)
}

// What one file does not know is no line at zero beside another's.
func TestHTMLUnknownBesideKnown(t *testing.T) {
	r := shown(0, 3000, time.Millisecond)
	for i := range r.Series {
		r.Series[i].ServerMemory = 0
	}
	page := pageOf(t, ReportFile{"a", NewFile(r)}, ReportFile{"b", NewFile(shown(0, 3000, time.Millisecond))})
	for _, d := range drawings(page) {
		want := 2
		if strings.Contains(d, `aria-label="Server memory`) {
			want = 1
		}
		require.Equal(t, want, strings.Count(d, "<path"), d)
	}
}

// A file may claim what it likes: the page gets done.
func TestHTMLAbsurd(t *testing.T) {
	r := shown(0, math.MaxFloat64, time.Millisecond)
	r.Latency.Max, r.WindowNS, r.MessagesPerSecond = 0, -1, math.MaxFloat64
	for i := range r.Series {
		r.Series[i] = Point{
			End: int64(i+1) * math.MaxInt64 / 30, Messages: math.MaxInt64, Slowest: math.MaxInt64,
			ServerCPU: math.MaxFloat64, ClientCPU: math.SmallestNonzeroFloat64, ServerMemory: math.MaxInt64,
		}
	}
	r.Series[3].End = -5
	var out strings.Builder
	require.NoError(t, WriteHTML(&out, "x", ReportFile{"a", NewFile(r)}))
	require.NotContains(t, out.String(), "NaN")
}

func TestHTMLBadHistogram(t *testing.T) {
	for _, text := range []string{"!", "AAAA", "HISTFAAAAAAAAAAA", strings.Repeat("A", 1000)} {
		r := shown(4, 1, 1)
		r.Histogram = text
		var out strings.Builder
		err := WriteHTML(&out, "x", ReportFile{"some file", NewFile(r)})
		require.ErrorContains(t, err, `some file: "echo: some", round 4: latency histogram`)
		require.Empty(t, out.String())
	}
}

func TestAxes(t *testing.T) {
	for _, c := range []struct {
		most, high float64
		ticks      int
	}{{0, 1, 3}, {1, 1, 3}, {97, 100, 3}, {101, 150, 4}, {330e3, 400e3, 5}, {0.003, 0.003, 4}} {
		a := linearAxis(c.most)
		require.InDelta(t, c.high, a.high, 1e-9, c.most)
		require.Len(t, a.ticks, c.ticks, c.most)
		require.GreaterOrEqual(t, a.high, c.most)
	}
	for _, c := range []struct {
		least, most, low, high float64
		ticks                  int
	}{{150, 900, 100, 1000, 4}, {1, 1, 1, 2, 2}, {3, 4e6, 2, 5e6, 6}, {999, 1001, 500, 2000, 3}} {
		a := logAxis(c.least, c.most)
		require.InDelta(t, c.low, a.low, 1e-6, c)
		require.InDelta(t, c.high, a.high, 1e-6, c)
		require.Len(t, a.ticks, c.ticks, "%v: %v", c, a.ticks)
		require.Zero(t, a.at(0)) // below the axis is at its end
		require.InDelta(t, 1, a.at(a.high), 1e-9)
	}
}

// Tags that would overlap make room for each other, in their order.
func TestSpreadTags(t *testing.T) {
	c := &chart{Tags: []tag{{Y: 100}, {Y: 101}, {Y: 100.5}, {Y: 200}}}
	c.spreadTags()
	require.Equal(t, 200.0, c.Tags[3].Y)
	y := []float64{c.Tags[0].Y, c.Tags[2].Y, c.Tags[1].Y}
	for i := range 2 {
		require.Greater(t, y[i+1]-y[i], 14.5)
	}
}

// A gap in a course is a gap in its line.
func TestPathGap(t *testing.T) {
	c := &chart{Right: 10, Bottom: 10}
	d := c.path(axis{high: 2}, axis{high: 1}, []point{{0, 0}, {1, math.NaN()}, {2, 1}})
	require.Equal(t, "M0.0 10.0M10.0 0.0", d)
}
