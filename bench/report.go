package bench

import (
	"fmt"
	"io"
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
	row("failed connections", grouped(float64(r.Errors)))
	t.Flush()
	_, err := io.WriteString(out, r.heading()+"\n\n"+text.String()+r.notes())
	return err
}

// heading says in a line what was measured.
func (r *Result) heading() string {
	return fmt.Sprintf("%s, %v counted", r.load(), time.Duration(r.WindowNS).Round(time.Millisecond))
}

// load says what was sent.
func (r *Result) load() string {
	s := r.Settings
	kind := "binary"
	if s["text"] == true {
		kind = "text"
	}
	connections, where := fmt.Sprintf("%v connections", s["connections"]), "on each"
	if stalled, ok := s["stalled"]; ok {
		where = "from one of them"
		if n := fmt.Sprint(stalled); n != "0" {
			connections += " and " + n + " stalled"
		}
	}
	return fmt.Sprintf("%s: %s, %v in flight %s, %v bytes %s",
		r.Scenario, connections, s["pipeline"], where, s["payload"], kind)
}

// notes are what a reader must know to read the figures right.
func (r *Result) notes() string {
	var notes strings.Builder
	note := func(format string, args ...any) { fmt.Fprintf(&notes, "\n"+format, args...) }
	if r.Partial {
		note("PARTIAL: the run ended before its time; the figures hold for %v.", time.Duration(r.WindowNS).Round(time.Millisecond))
	}
	for _, f := range r.Failures {
		note("FAILED (%v): %d, first %s", f.Kind, f.Count, f.First)
	}
	if r.LatencyMode == ClosedLoop {
		note("Latency is closed-loop: at the pace the server set, not at one that clients would keep up regardless.")
	}
	if r.Deliveries > 0 {
		note("Latency is counted at every receiver, from when the message was due to be sent.")
	}
	if limit := r.clientLimit(); limit > 0 && r.CPU.Client > busyClient*limit {
		note("The client used %.2f of its %.0f CPU: it may have been what limited the throughput.", r.CPU.Client, limit)
	}
	if notes.Len() > 0 {
		notes.WriteString("\n")
	}
	return notes.String()
}

// clientLimit is how many CPUs the client can fill; 0 if that is not known.
func (r *Result) clientLimit() float64 {
	if r.CPU.Driver != "epoll" {
		return 0
	}
	return float64(r.CPU.Loops)
}

// grouped writes x as a whole number with its thousands apart.
func grouped(x float64) string {
	s := strconv.FormatFloat(x, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
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
