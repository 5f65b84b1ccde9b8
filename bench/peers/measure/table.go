package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/bench"
)

// writeTable makes the page of r and puts it into the file, or on standard output.
func writeTable(r *Report, path string) error {
	page := r.page()
	if path == "" {
		_, err := os.Stdout.WriteString(page)
		return err
	}
	if old, err := os.ReadFile(path); err == nil {
		page = within(string(old), page)
	}
	return replaceFile(path, []byte(page))
}

// What stands between these in a file is written by this program.
const (
	tableBegin = "<!-- Written by bench/peers/measure; edit that, not this. -->"
	tableEnd   = "<!-- Here it ends. -->"
)

// replaceable refuses a file that holds something else than a table.
func replaceable(path string) error {
	if path == "" || special(path) {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) == 0 {
		return nil // there is nothing to lose
	}
	_, rest, ok := strings.Cut(string(text), tableBegin)
	if !ok || !strings.Contains(rest, tableEnd) {
		return fmt.Errorf("-md %s: it has no lines %q and %q, between which the table goes; name another file", path, tableBegin, tableEnd)
	}
	return nil
}

// within puts a page where the one before was, if a file has more than that.
func within(file, page string) string {
	before, rest, ok := strings.Cut(file, tableBegin)
	_, after, end := strings.Cut(rest, tableEnd)
	if !ok || !end {
		return page
	}
	_, page, _ = strings.Cut(page, tableBegin)
	page, _, _ = strings.Cut(page, tableEnd)
	return before + tableBegin + page + tableEnd + after
}

// page is the report for people, in Markdown.
func (r *Report) page() string {
	var b strings.Builder
	r.writeHeading(&b)
	for _, l := range allLoads(options{}) {
		if l.name != idleLoad {
			r.writeLoad(&b, l.name)
		}
	}
	r.writeIdle(&b)
	r.writePeers(&b)
	r.writeNotes(&b)
	b.WriteString("\n" + tableEnd + "\n")
	return b.String()
}

const howToRead = `
Each peer runs by itself and does the same work for the same client, which checks every reply. Figures
are medians of the rounds; in a round all peers take their turn, and ratios are the medians of
those within a round, because a machine's speed drifts. *Server CPU* is user and system time of the whole
process; it is what to compare. *Messages/s* and latency come from a closed loop: they hold at the pace that
server and client allowed together, on these CPUs. *Server busy* tells which of the two it was: what is missing
to 100 % the server spent waiting for the client, or for other programs that used its CPU.
`

func (r *Report) writeHeading(b *strings.Builder) {
	fmt.Fprintf(b, "# Penstock and its peers\n\n%s\n\n", tableBegin)
	if r.Partial {
		fmt.Fprintf(b, "**Partial: the measurement was interrupted; what was measured until then is true of fewer rounds.**\n\n")
	}
	m := r.Machine
	kernel, _, _ := strings.Cut(m.Kernel, "-") // what follows is the builder's
	fmt.Fprintf(b, "- Made by `%s` in `bench/peers`, on %s.\n", r.Command, r.Started.UTC().Format("2 January 2006, 15:04 UTC"))
	fmt.Fprintf(b, "- Machine: %s, %d CPUs; %s/%s, kernel %s; %s. %s\n", cmp.Or(m.CPU, "CPU not known"), m.CPUs, m.OS, m.Arch, cmp.Or(kernel, "not known"), m.Go, r.pinned())
	if r.LoadAverage != "" {
		fmt.Fprintf(b, "- The load average was %s before it began.\n", r.LoadAverage)
	}
	fmt.Fprintf(b, "- Rounds: %d; each run counts %v after a warm-up of %v.\n", r.Rounds, time.Duration(r.DurationNS), time.Duration(r.WarmupNS))
	if n := r.starved(); 4*n > len(r.Runs) {
		fmt.Fprintf(b, "- **The machine was busy with other things: in %d of %d runs neither server nor client had its CPU to itself.**\n"+
			"  Throughput and latency say little, CPU per message is less certain than its digits.\n", n, len(r.Runs))
	}
	b.WriteString(howToRead)
}

// fullShare is what at least one side of a closed loop uses of its CPU when
// nothing else does: while one waits the other works.
const fullShare = 0.7

// starved counts the runs in which neither side had that much.
func (r *Report) starved() (n int) {
	for _, run := range r.Runs {
		if r.ServerCPU != nil && run.Load != idleLoad && (run.Result == nil || max(run.Result.CPU.Server, run.Result.CPU.Client) < fullShare) {
			n++
		}
	}
	return n
}

func (r *Report) pinned() string {
	if r.ServerCPU == nil {
		return "Server and client shared all CPUs."
	}
	return fmt.Sprintf("The server had CPU %d, the client CPU %d.", *r.ServerCPU, *r.ClientCPU)
}

// row is a peer under a load: medians of its rounds.
type row struct {
	peer                   string
	cpu                    float64 // nanoseconds of the server's for a message, or for a delivery
	ratio                  float64 // of cpu, to the base; NaN is not known
	rate                   float64 // messages a second
	p50, p99               float64 // nanoseconds
	serverBusy, clientBusy float64 // shares of a CPU
}

// writeLoad writes one load's table; the least CPU comes first.
func (r *Report) writeLoad(b *strings.Builder, name string) {
	rows, unit := r.rows(name)
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s%s\n\n", strings.ToUpper(name[:1]), name[1:])
	fmt.Fprintf(b, "| peer | server CPU/%s | ÷ %s | messages/s | p50 | p99 | server busy | client busy |\n", unit, r.Base)
	b.WriteString("|:--|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range rows {
		fmt.Fprintf(b, "| %s | %s µs | %s | %s | %s | %s | %.0f %% | %.0f %% |\n",
			row.peer, digits(row.cpu/1e3), ratio(row.ratio), grouped(row.rate), microseconds(row.p50), microseconds(row.p99),
			100*row.serverBusy, 100*row.clientBusy)
	}
}

// rows are the peers that did the work, sorted by what they needed for one unit of it.
func (r *Report) rows(load string) (rows []row, unit string) {
	base := r.perRound(load, r.Base)
	for _, p := range r.Peers {
		var each struct{ cpu, ratio, rate, p50, p99, server, client []float64 }
		for round, result := range r.perRound(load, p.Name) {
			var cpu float64
			cpu, unit = serverCPU(result)
			each.cpu = append(each.cpu, cpu)
			if other := base[round]; other != nil {
				of, _ := serverCPU(other)
				each.ratio = append(each.ratio, cpu/of)
			}
			each.rate = append(each.rate, result.MessagesPerSecond)
			each.p50 = append(each.p50, float64(result.Latency.P50))
			each.p99 = append(each.p99, float64(result.Latency.P99))
			each.server = append(each.server, result.CPU.Server)
			each.client = append(each.client, result.CPU.Client)
		}
		if len(each.cpu) > 0 {
			rows = append(rows, row{
				p.Name, median(each.cpu), median(each.ratio), median(each.rate),
				median(each.p50), median(each.p99), median(each.server), median(each.client),
			})
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.cpu, b.cpu) })
	return rows, unit
}

// perRound are a peer's results under a load, by their round.
func (r *Report) perRound(load, peer string) map[int]*bench.Result {
	results := map[int]*bench.Result{}
	for _, run := range r.Runs {
		if run.Load == load && run.Peer == peer && run.Result != nil {
			results[run.Round] = run.Result
		}
	}
	return results
}

// serverCPU is a result's server CPU in nanoseconds, and of what; NaN where that
// cannot be read.
func serverCPU(r *bench.Result) (ns float64, unit string) {
	cpu, unit := r.ServerCPU, "message"
	if r.Deliveries > 0 {
		cpu, unit = r.ServerCPUPerDelivery, "delivery"
	}
	if cpu == nil {
		return math.NaN(), unit
	}
	return *cpu, unit
}

// writeIdle writes what connections cost that do nothing; the least comes first.
func (r *Report) writeIdle(b *strings.Builder) {
	type line struct {
		peer     string
		resident float64
	}
	var lines []line
	var slab []float64
	connections := int64(0)
	for _, p := range r.Peers {
		var resident []float64
		for _, result := range r.perRound(idleLoad, p.Name) {
			resident = append(resident, result.Memory.User)
			slab = append(slab, result.Memory.Kernel)
			connections = result.Messages
		}
		if len(resident) > 0 {
			lines = append(lines, line{p.Name, median(resident)})
		}
	}
	if len(lines) == 0 {
		return
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.resident, b.resident) })
	fmt.Fprintf(b, "\n### Idle connections\n\n| peer | KiB of the server's memory |\n|:--|--:|\n")
	for _, l := range lines {
		fmt.Fprintf(b, "| %s | %s |\n", l.peer, digits(l.resident/1024))
	}
	fmt.Fprintf(b, "\nResident memory that nine tenths of %s connections added to that of the first tenth, divided by their\n"+
		"number; each has exchanged one message and been quiet since. Garbage that a collector has not yet taken is in it. The\n"+
		"kernel's own memory is not: about %s KiB (slabs and socket buffers) for the two ends of a connection together,\n"+
		"whichever the server.\n", grouped(float64(connections)), digits(median(slab)/1024))
}

func (r *Report) writePeers(b *strings.Builder) {
	b.WriteString("\n### The peers\n\n| peer | version | what it is | how it is set up |\n|:--|:--|:--|:--|\n")
	for _, p := range r.Peers {
		version := cmp.Or(p.Version, "not known")
		if p.Absent != "" {
			version = "not measured: " + p.Absent
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", p.Name, strings.ReplaceAll(version, "|", "\\|"), p.What, p.Setup)
	}
}

// writeNotes tells what failed.
func (r *Report) writeNotes(b *strings.Builder) {
	var notes []string
	for _, run := range r.Runs {
		if run.Error != "" {
			notes = append(notes, fmt.Sprintf("%s, %s, round %d: %s", run.Load, run.Peer, run.Round, run.Error))
		}
	}
	if len(notes) == 0 {
		return
	}
	b.WriteString("\n### Runs that failed\n\nThey are in no figure above.\n\n")
	for _, note := range notes {
		fmt.Fprintf(b, "- %s\n", strings.Join(strings.Fields(note), " "))
	}
}

func ratio(x float64) string {
	if math.IsNaN(x) { // the base did not run in the same round
		return "–"
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

func microseconds(ns float64) string {
	if ns >= 1e6 {
		return digits(ns/1e6) + " ms"
	}
	return digits(ns/1e3) + " µs"
}

// digits writes x with three digits, or all of them before the point.
func digits(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return grouped(x)
}

// grouped writes x as a whole number with its thousands apart.
func grouped(x float64) string {
	s := strconv.FormatFloat(x, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
