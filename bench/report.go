package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// busyClient is the share of its CPUs beyond which a client may be what limits
// the throughput, rather than the server.
const busyClient = 0.95

// WriteTable writes r as a table for people.
func (r *Result) WriteTable(out io.Writer) error {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, value string) { fmt.Fprintf(t, "%s\t%s\t\n", name, value) }
	if m := r.Memory; m != nil {
		return r.writeMemory(out)
	}
	row("messages", grouped(float64(r.Messages)))
	row("messages/s", grouped(r.MessagesPerSecond))
	unit, server, client := "message", r.ServerCPU, r.ClientCPU
	if r.Deliveries > 0 {
		unit, server, client = "delivery", r.ServerCPUPerDelivery, r.ClientCPUPerDelivery
		row("deliveries", grouped(float64(r.Deliveries)))
		row("deliveries/s", grouped(r.DeliveriesPerSecond))
	}
	row("latency p50", duration(r.Latency.P50))
	row("p90", duration(r.Latency.P90))
	row("p99", duration(r.Latency.P99))
	row("p99.9", duration(r.Latency.P999))
	row("max", duration(r.Latency.Max))
	if server != nil {
		row("server CPU/"+unit, grouped(*server)+" ns")
	}
	if client != nil {
		row("client CPU/"+unit, grouped(*client)+" ns")
	}
	if n := len(r.Series); n > 0 && r.Series[n-1].ServerMemory > 0 {
		row("server memory", grouped(float64(r.peakMemory())/(1<<10))+" KiB")
	}
	row("failed connections", grouped(float64(r.Errors)))
	t.Flush()
	_, err := io.WriteString(out, r.heading()+"\n\n"+text.String()+r.groupTable()+allNotes([]*Result{r}))
	return err
}

// writeMemory writes the table of an Idle.
func (r *Result) writeMemory(out io.Writer) error {
	text := fmt.Sprintf("%s\n\n  server memory/connection  %s bytes\n", r.Name, grouped(r.Memory.User))
	if r.Memory.Kernel > 0 {
		text += fmt.Sprintf("  kernel memory/connection  %s bytes, of both ends\n", grouped(r.Memory.Kernel))
	}
	_, err := io.WriteString(out, text+allNotes([]*Result{r}))
	return err
}

// groupTable is a line for each group of a Mixed.
func (r *Result) groupTable() string {
	if len(r.Groups) == 0 {
		return ""
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "group\tmessages/s\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, g := range r.Groups {
		l := g.Latency
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", g.Name, grouped(g.MessagesPerSecond),
			duration(l.P50), duration(l.P90), duration(l.P99), duration(l.P999), duration(l.Max))
	}
	t.Flush()
	return "\n" + text.String()
}

// peakMemory is the most that the server had resident when it was looked at.
func (r *Result) peakMemory() (most int64) {
	for _, p := range r.Series {
		most = max(most, p.ServerMemory)
	}
	return most
}

// ends says how the peers ended, the most frequent way first.
func (h HostileResult) ends() string {
	ways := slices.SortedFunc(maps.Keys(h.Ends), func(a, b string) int {
		return cmp.Or(cmp.Compare(h.Ends[b], h.Ends[a]), cmp.Compare(a, b))
	})
	for i, way := range ways {
		ways[i] = fmt.Sprintf("%s %s", grouped(float64(h.Ends[way])), way)
	}
	return strings.Join(ways, ", ")
}

// heading says in a line what was measured.
func (r *Result) heading() string {
	return fmt.Sprintf("%s, %v counted", r.Name, time.Duration(r.WindowNS).Round(time.Millisecond))
}

// notes are what a reader must know to read the figures right.
func (r *Result) notes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if r.Partial {
		note("PARTIAL: the run ended before its time; the figures hold for %v.", time.Duration(r.WindowNS).Round(time.Millisecond))
	}
	for _, f := range r.Failures {
		note("FAILED (%v): %d, first %s", f.Kind, f.Count, f.First)
	}
	switch r.LatencyMode {
	case ClosedLoop:
		note("Latency is closed-loop: at the pace the server set, not at one that clients would keep up regardless.")
	case OpenLoop:
		note("Latency is open-loop: from when each message was due, whatever the server did.")
	case BothLoops:
		note("Latency is that of all groups; some send at a pace of their own, some at the server's.")
	}
	if r.Owed > 0 {
		note("%s messages were due and had not come when the window ended; they count in the latency with their wait until then.", grouped(float64(r.Owed)))
	}
	if r.Uncompressed > 0 {
		note("%s replies came uncompressed: the server has saved itself the work of compressing them.", grouped(float64(r.Uncompressed)))
	}
	for _, h := range r.Beside {
		note("Beside it, %d peers at a time (%v), %s in all: %s.", h.Count, h.Kind, grouped(float64(h.Attempts)), h.ends())
	}
	if r.Deliveries > 0 {
		note("Latency is counted at every receiver, from when the message was due to be sent.")
	}
	if text := r.clientBound(); text != "" {
		note("%s: it may have been what limited the throughput, and what latency tells of.", text)
	}
	return notes
}

// clientBound says why the client, rather than the server, may be what was measured;
// empty if nothing tells of that.
func (r *Result) clientBound() string {
	cpu, limit := r.CPU, float64(r.CPU.ClientCPUs)
	if cpu.Driver == driverEpoll {
		limit = float64(cpu.Loops)
	}
	switch both := cpu.Client + cpu.Server; {
	case limit == 0: // of a file from before that was kept
	case cpu.Client > busyClient*limit:
		return fmt.Sprintf("The client used %.2f of its %.0f CPU", cpu.Client, limit)
	case cpu.Driver == driverGoroutines && cpu.Client > cpu.Server && both > busyClient*limit:
		return fmt.Sprintf("The client used %.2f CPU and the server %.2f, of %.0f", cpu.Client, cpu.Server, limit)
	}
	return ""
}

// grouped writes x as a whole number with its thousands apart.
func grouped(x float64) string {
	s := strconv.FormatFloat(x, 'f', 0, 64)
	sign := len(s) - len(strings.TrimPrefix(s, "-"))
	for i := len(s) - 3; i > sign; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// duration writes ns in a unit that leaves three digits to read.
func duration(ns int64) string {
	switch x := float64(ns); {
	case ns < 1e3:
		return strconv.FormatInt(ns, 10) + " ns"
	case ns < 1e6:
		return digits3(x/1e3) + " µs"
	case ns < 1e9:
		return digits3(x/1e6) + " ms"
	default:
		return digits3(x/1e9) + " s"
	}
}

func digits3(x float64) string {
	switch {
	case x < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}
