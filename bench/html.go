package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

// ReportFile is a File under the name that a report calls it by.
type ReportFile struct {
	Label string
	*File
}

//go:embed html/report.html
var reportText string

// reportTemplate escapes by context: names, settings and failures come from files.
var reportTemplate = template.Must(template.New("report").Parse(reportText))

// WriteHTML writes one page that shows these files: a summary, and for each load the latency
// percentiles, the course of the window, and the settings. Results of the same name are overlaid.
// The page is whole in itself: it loads nothing, and runs nothing. Nothing is
// written on an error, which is a latency histogram that cannot be read.
func WriteHTML(out io.Writer, title string, files ...ReportFile) error {
	p := page{Title: title, Machines: machines(files)}
	for i, f := range files {
		p.Files = append(p.Files, swatch{i % colors, f.Label})
	}
	for _, name := range namesOf(files) {
		l, err := newLoadView(fmt.Sprintf("load-%d", len(p.Loads)+1), name, files)
		if err != nil {
			return err
		}
		p.Loads = append(p.Loads, l)
		p.Problems = append(p.Problems, l.Problems...)
	}
	p.When = when(files)
	var text bytes.Buffer
	if err := reportTemplate.Execute(&text, p); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	_, err := text.WriteTo(out)
	return err
}

// colors is how many the style has; further files begin anew.
const colors = 6

// page is what the template shows.
type page struct {
	Title    string
	When     string
	Files    []swatch
	Problems []problem
	Loads    []loadView
	Machines table
}

// Colors are those that the style has.
func (page) Colors() []int { return []int{0, 1, 2, 3, 4, 5} }

// swatch is a file's name and its colour.
type swatch struct {
	Color int
	Label string
}

// problem is what must not be overlooked.
type problem struct{ Where, What string }

// loadView is a section of the page.
type loadView struct {
	ID, Name    string
	Rows        []summaryRow
	Files       []swatch
	Latency     *figure
	Percentiles table
	Courses     []*figure
	Rounds      table
	Settings    table
	Notes       []string
	Problems    []problem
}

// table is a plain one; the cells of a row that Differ are marked.
type table struct {
	Head []string
	Rows []tableRow
}

type tableRow struct {
	Head    string
	Cells   []string
	Differs bool
}

// summaryRow is one file's figures of a load.
type summaryRow struct {
	Color int
	Label string
	About string // how many rounds, and how latency was counted
	Bad   string // what is wrong with rounds
	Cells []summaryCell
}

// summaryCell is a median of rounds, and the range of them.
type summaryCell struct{ Value, Range string }

// namesOf are all names, in their order.
func namesOf(files []ReportFile) (names []string) {
	for _, f := range files {
		for _, name := range byName(f.File).names {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func newLoadView(id, name string, files []ReportFile) (v loadView, err error) {
	v = loadView{ID: id, Name: name}
	var sides []*side
	for i, f := range files {
		rounds := byName(f.File).rounds[name]
		if rounds == nil {
			continue
		}
		s, err := newSide(f.Label, i%colors, rounds)
		if err != nil {
			return v, err
		}
		sides = append(sides, s)
		v.Files = append(v.Files, swatch{s.color, s.label})
		v.Rows = append(v.Rows, summaryOf(s))
		v.addNotes(s)
	}
	v.Latency = latencyFigure(sides)
	v.Percentiles = percentileTable(sides)
	for _, k := range courses() {
		if f := k.figure(sides); f != nil {
			v.Courses = append(v.Courses, f)
		}
	}
	v.Rounds = roundTable(sides)
	v.Settings = settingTable(sides)
	return v, nil
}

// addNotes takes over what a reader must know, each once; what went wrong is a problem.
func (v *loadView) addNotes(s *side) {
	for _, r := range s.rounds {
		for _, note := range r.notes() {
			bad := strings.HasPrefix(note, "PARTIAL") || strings.HasPrefix(note, "FAILED")
			switch {
			case bad:
				v.Problems = append(v.Problems, problem{fmt.Sprintf("%s, round %d of %s", v.Name, r.Round, s.label), note})
			case !slices.Contains(v.Notes, note):
				v.Notes = append(v.Notes, note)
			}
		}
	}
}

// summaryMetrics are the columns of the summary after the file's.
var summaryMetrics = []Metric{MetricThroughput, MetricP50, MetricP99, MetricP999, MetricServerCPU, MetricClientCPU, MetricServerMemory}

func summaryOf(s *side) summaryRow {
	counted := soundOrAll(s.rounds)
	row := summaryRow{Color: s.color, Label: s.label, About: fmt.Sprintf("%d rounds, %s", len(counted), modes([]*side{s}))}
	if len(counted) == 1 {
		row.About = "1 round, " + modes([]*side{s})
	}
	switch bad := len(badRounds("", s.rounds)); {
	case bad == len(s.rounds):
		row.Bad = "failed or partial"
	case bad > 0:
		row.Bad = fmt.Sprintf("%d failed or partial left out", bad)
	}
	for _, m := range summaryMetrics {
		row.Cells = append(row.Cells, summaryCellOf(m, counted))
	}
	return row
}

func summaryCellOf(m Metric, rounds []*Result) (c summaryCell) {
	var known []float64
	for _, r := range rounds {
		if x := m.of(r); x > 0 {
			known = append(known, x)
		}
	}
	if known == nil {
		return summaryCell{Value: "–"}
	}
	slices.Sort(known)
	c.Value = m.format(median(known))
	if least, most := m.format(known[0]), m.format(known[len(known)-1]); least != most {
		c.Range = least + " – " + most
	}
	return c
}

// percentileTable has the latency figure in numbers.
func percentileTable(sides []*side) table {
	t := table{Head: []string{"percentile"}}
	for _, s := range sides {
		t.Head = append(t.Head, s.label)
	}
	for _, p := range percentiles {
		row := tableRow{Head: percentileText(p) + " %"}
		for _, s := range sides {
			cell := "–"
			if float64(s.latency.TotalCount())*(1-p/100) >= 1 {
				cell = duration(s.within(p))
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	all := tableRow{Head: "all"}
	for _, s := range sides {
		all.Cells = append(all.Cells, duration(longest(s)))
	}
	t.Rows = append(t.Rows, all)
	return t
}

// roundTable lists every round.
func roundTable(sides []*side) table {
	t := table{Head: []string{"round", "started (UTC)", "counted", "throughput/s", "p50", "p90", "p99", "p99.9", "max", "server CPU", "client CPU", "failed"}}
	for _, s := range sides {
		for _, r := range s.rounds {
			cpu := func(m Metric) string {
				if x := m.of(r); x > 0 {
					return m.format(x)
				}
				return "–"
			}
			t.Rows = append(t.Rows, tableRow{Head: fmt.Sprintf("%s %d", s.label, r.Round), Cells: []string{
				r.Started.UTC().Format("2006-01-02 15:04:05"), time.Duration(r.WindowNS).Round(time.Millisecond).String(),
				grouped(MetricThroughput.of(r)), duration(r.Latency.P50), duration(r.Latency.P90), duration(r.Latency.P99),
				duration(r.Latency.P999), duration(r.Latency.Max), cpu(MetricServerCPU), cpu(MetricClientCPU), grouped(float64(r.Errors)),
			}, Differs: r.Partial || r.Errors > 0})
		}
	}
	return t
}

// settingTable has a row for each setting of any file.
func settingTable(sides []*side) table {
	var columns []map[string]string
	t := table{Head: []string{"setting"}}
	for _, s := range sides {
		t.Head = append(t.Head, s.label)
		columns = append(columns, valuesOf(s.rounds, func(r *Result) map[string]any { return r.Settings }))
	}
	t.addColumns(columns)
	for i := range t.Rows {
		if t.Rows[i].Head == addressKey {
			t.Rows[i].Differs = false
			for j, cell := range t.Rows[i].Cells {
				if first, others, several := strings.Cut(cell, ", "); several {
					t.Rows[i].Cells[j] = fmt.Sprintf("%s and %d others", first, 1+strings.Count(others, ", "))
				}
			}
		}
	}
	return t
}

func machines(files []ReportFile) table {
	var columns []map[string]string
	t := table{Head: []string{"machine"}}
	for _, f := range files {
		t.Head = append(t.Head, f.Label)
		columns = append(columns, valuesOf(f.Results, machineValues))
	}
	t.addColumns(columns)
	return t
}

// addColumns makes rows of what several files say under the same keys.
func (t *table) addColumns(columns []map[string]string) {
	var keys []string
	for _, c := range columns {
		for k := range c {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range slices.Compact(keys) {
		row := tableRow{Head: k}
		for _, c := range columns {
			row.Cells = append(row.Cells, orNone(c[k]))
			row.Differs = row.Differs || c[k] != columns[0][k]
		}
		t.Rows = append(t.Rows, row)
	}
}

// when is the span of time in which the results were measured.
func when(files []ReportFile) string {
	var first, last time.Time
	for _, f := range files {
		for _, r := range f.Results {
			if first.IsZero() || r.Started.Before(first) {
				first = r.Started
			}
			if r.Started.After(last) {
				last = r.Started
			}
		}
	}
	const layout = "2006-01-02 15:04"
	from, to := first.UTC().Format(layout), last.UTC().Format(layout)
	if from == to {
		return from + " UTC"
	}
	return from + " to " + to + " UTC"
}
