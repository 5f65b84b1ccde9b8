package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// summaryColumns are the figures of a line.
var summaryColumns = []Metric{MetricThroughput, MetricP50, MetricP99, MetricP999, MetricServerCPU, MetricServerMemory}

// WriteSummary writes results as a table for people: a single one with all its
// figures, several with a line for each load, in the order of their first. Of rounds
// it has the medians.
func WriteSummary(out io.Writer, results []*Result) error {
	if len(results) == 1 {
		return results[0].WriteTable(out)
	}
	all := byName(NewFile(results...))
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "messages/s\tp50\tp99\tp99.9\tCPU/message\tmemory\tloop\t  load\n")
	for _, name := range all.names {
		for _, m := range summaryColumns {
			fmt.Fprintf(t, "%s\t", m.middle(all.rounds[name]))
		}
		fmt.Fprintf(t, "%s\t  %s\n", loopOf(all.rounds[name][0]), name)
	}
	t.Flush()
	text.WriteString(columnNotes(results))
	text.WriteString(besides(all))
	text.WriteString(allNotes(results))
	_, err := io.WriteString(out, text.String())
	return err
}

// loopOf says in a word what the latency of a line was counted from.
func loopOf(r *Result) string {
	switch r.LatencyMode {
	case ClosedLoop:
		return "closed"
	case OpenLoop:
		return "open"
	case BothLoops:
		return "both"
	}
	return "-"
}

// columnNotes say where a column holds something else than its heading.
func columnNotes(results []*Result) (text string) {
	if slices.ContainsFunc(results, func(r *Result) bool { return r.Deliveries > 0 }) {
		text += "\nOf fan-out, messages/s and CPU/message are those of deliveries."
	}
	if slices.ContainsFunc(results, func(r *Result) bool { return r.Memory != nil }) {
		text += "\nOf idle, memory is that of one connection; else it is the server's."
	}
	if text != "" {
		text += "\n"
	}
	return text
}

// middle is the median of the rounds that know the metric, in words.
func (m Metric) middle(rounds []*Result) string {
	var list []float64
	for _, r := range rounds {
		if x := m.of(r); x > 0 {
			list = append(list, x)
		}
	}
	if len(list) == 0 {
		return "-"
	}
	slices.Sort(list)
	return m.format(median(list))
}

// besides compares loads that hostile peers were beside with the same loads alone,
// round by round.
func besides(all named) string {
	var text strings.Builder
	for _, name := range all.names {
		alone, _, beside := strings.Cut(name, besideMark)
		controls := all.rounds[alone]
		if !beside || len(controls) == 0 {
			continue
		}
		var ratios []float64
		for i, r := range all.rounds[name][:min(len(all.rounds[name]), len(controls))] {
			if control := controls[i].Latency.P99; control > 0 {
				ratios = append(ratios, float64(r.Latency.P99)/float64(control))
			}
		}
		if len(ratios) == 0 {
			continue
		}
		slices.Sort(ratios)
		fmt.Fprintf(&text, "\np99 beside them is %.2f times that of the control before it (%.2f to %.2f in %d rounds).\n",
			median(ratios), ratios[0], ratios[len(ratios)-1], len(ratios))
	}
	return text.String()
}

// allNotes are what a reader must know to read the figures right.
func allNotes(results []*Result) string {
	var text strings.Builder
	seen := make(map[string]bool)
	for _, r := range results {
		for _, n := range r.notes() {
			if len(results) > 1 && (r.Partial || r.Errors > 0) {
				n = r.Name + ": " + n
			}
			if !seen[n] {
				seen[n] = true
				text.WriteString("\n" + n)
			}
		}
	}
	if text.Len() > 0 {
		text.WriteString("\n")
	}
	return text.String()
}
