package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteSummary writes results as a table for people: a single one with all its
// figures, several with a line for each load, in the order of their first. Of rounds it has
// the medians.
func WriteSummary(out io.Writer, results []*Result) error {
	if len(results) == 1 {
		return results[0].WriteTable(out)
	}
	loads := roundsOf(results)
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "messages/s\tp50\tp99\tp99.9\tmax\tCPU/message\tmemory\t  load\n")
	for _, l := range loads {
		fmt.Fprintf(t, "%s\t  %s\n", strings.Join(l.cells(), "\t"), l.name)
	}
	t.Flush()
	text.WriteString(besides(loads))
	text.WriteString(allNotes(results))
	_, err := io.WriteString(out, text.String())
	return err
}

// rounds are the results of one load.
type rounds struct {
	name    string
	results []*Result
}

// roundsOf groups results by what was sent.
func roundsOf(results []*Result) (list []rounds) {
	for _, r := range results {
		i := slices.IndexFunc(list, func(l rounds) bool { return l.name == r.Name })
		if i < 0 {
			i = len(list)
			list = append(list, rounds{name: r.Name})
		}
		list[i].results = append(list[i].results, r)
	}
	return list
}

// median returns the middle of what f has for the rounds, of those that have it.
func (l rounds) median(f func(*Result) (float64, bool)) (float64, bool) {
	var list []float64
	for _, r := range l.results {
		if x, ok := f(r); ok {
			list = append(list, x)
		}
	}
	if len(list) == 0 {
		return 0, false
	}
	slices.Sort(list)
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2, true
}

// cells are the figures of a line.
func (l rounds) cells() []string {
	cell := func(format func(float64) string, f func(*Result) (float64, bool)) string {
		if x, ok := l.median(f); ok {
			return format(x)
		}
		return "-"
	}
	latency := func(f func(Latency) int64) string {
		return cell(func(x float64) string { return duration(int64(x)) },
			func(r *Result) (float64, bool) { return float64(f(r.Latency)), r.Latency.Max > 0 })
	}
	return []string{
		cell(grouped, func(r *Result) (float64, bool) { return r.rate(), r.Memory == nil }),
		latency(func(l Latency) int64 { return l.P50 }),
		latency(func(l Latency) int64 { return l.P99 }),
		latency(func(l Latency) int64 { return l.P999 }),
		latency(func(l Latency) int64 { return l.Max }),
		cell(func(x float64) string { return digits3(x/1e3) + " µs" }, (*Result).serverCPU),
		cell(memory, (*Result).memory),
	}
}

// rate is messages or, in a fan-out, deliveries per second.
func (r *Result) rate() float64 {
	if r.Deliveries > 0 {
		return r.DeliveriesPerSecond
	}
	return r.MessagesPerSecond
}

// serverCPU is nanoseconds of the server's per message or, in a fan-out, delivery.
func (r *Result) serverCPU() (float64, bool) {
	p := r.ServerCPU
	if r.Deliveries > 0 {
		p = r.ServerCPUPerDelivery
	}
	if p == nil || r.Memory != nil {
		return 0, false
	}
	return *p, true
}

// memory is the most bytes that the server had, or what a connection of an Idle takes.
func (r *Result) memory() (float64, bool) {
	if r.Memory != nil {
		return r.Memory.User, true
	}
	n := r.peakMemory()
	return float64(n), n > 0
}

// memory writes bytes in a unit that leaves three digits to read.
func memory(x float64) string {
	if x < 1<<20 {
		return digits3(x/(1<<10)) + " KiB"
	}
	return digits3(x/(1<<20)) + " MiB"
}

// besides compares loads that hostile peers were beside with the same loads alone,
// round by round.
func besides(loads []rounds) string {
	var text strings.Builder
	for _, l := range loads {
		if len(l.results[0].Beside) == 0 {
			continue
		}
		alone, _, _ := strings.Cut(l.name, "; beside ")
		i := slices.IndexFunc(loads, func(c rounds) bool { return c.name == alone })
		if i < 0 {
			continue
		}
		var ratios []float64
		for j, r := range l.results[:min(len(l.results), len(loads[i].results))] {
			if control := loads[i].results[j].Latency.P99; control > 0 {
				ratios = append(ratios, float64(r.Latency.P99)/float64(control))
			}
		}
		if len(ratios) == 0 {
			continue
		}
		slices.Sort(ratios)
		fmt.Fprintf(&text, "\np99 beside them is %.2f times that of the control before it (%.2f to %.2f in %d rounds).\n",
			ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], len(ratios))
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
