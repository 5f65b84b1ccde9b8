// Command versus compares Penstock's server with rival servers: CPU per message,
// or per delivery of a fan-out, on the same work, measured by package bench, one
// server on one CPU and the client on another. Run it in bench/peers:
//
//	go run ./versus                  # print the table
//	go run ./versus -check           # and exit 1 if a ratio is past its limit
//	go run ./versus -work fan-out    # only the works with that in their name
//
// The servers of a round are started together and measured in turn, because a
// machine's speed drifts by more than the differences at stake, and a process may
// be faster than another of the same program; what counts is the median of the
// ratios of the turns of all rounds. For a difference of a few per cent take many short
// turns, and look at "observed: nothing", which compares the same with the same:
//
//	go run ./versus -work observed -pairs 16 -turns 15 -duration 250ms -warmup 80ms
//
// A limit is for one rival, or for the best of them: the one with the lowest median
// CPU in the same turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// options are the command line.
type options struct {
	work      string
	pairs     int
	turns     int
	duration  time.Duration
	warmup    time.Duration
	serverCPU int
	clientCPU int
	check     bool
	penstock  string
}

func main() {
	var o options
	flag.StringVar(&o.work, "work", "", "only the works with this in their name")
	flag.IntVar(&o.pairs, "pairs", 3, "rounds for each work, of servers started anew; at least 1")
	flag.IntVar(&o.turns, "turns", 3, "runs of each server in a round; at least 1")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "counted window of each run")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "uncounted time before it")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU for the servers; -1: any")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU for the client; -1: any")
	flag.BoolVar(&o.check, "check", false, "exit 1 if a ratio is past its limit")
	flag.StringVar(&o.penstock, "penstock", "", "penstock's executable; empty: build it")
	flag.Parse()
	if flag.NArg() > 0 || o.pairs < 1 || o.turns < 1 {
		fmt.Fprintln(os.Stderr, "versus: takes flags only, and -pairs and -turns of at least 1")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "versus:", err)
		stop()
		os.Exit(1)
	}
}

// errPastLimit is what -check reports.
var errPastLimit = errors.New("a ratio is past its limit")

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "versus-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	works := chosen(o.work)
	if len(works) == 0 {
		return fmt.Errorf("-work %q: no work has that in its name", o.work)
	}
	programs, err := build(ctx, dir, works, o)
	if err != nil {
		return err
	}
	if o.clientCPU >= 0 {
		if err := bench.Pin(o.clientCPU); err != nil {
			return err
		}
	}
	matches, err := measureAll(ctx, programs, works, o)
	if err != nil {
		return err
	}
	printTable(matches, o)
	past := func(m *match) bool { return slices.ContainsFunc(m.rows(), row.past) }
	if o.check && slices.ContainsFunc(matches, past) {
		return errPastLimit
	}
	return nil
}

func measureAll(ctx context.Context, programs map[string]*roster.Program, works []work, o options) (matches []*match, err error) {
	for _, w := range works {
		m := newMatch(w)
		for round := range o.pairs {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", w.name, round+1, o.pairs)
			if err := m.measure(ctx, programs, o); err != nil {
				return nil, err
			}
		}
		matches = append(matches, m)
	}
	return matches, nil
}

func printTable(matches []*match, o options) {
	fmt.Printf("server CPU per message (fan-out: per delivery), median of %d rounds of %d turns of %v\n\n", o.pairs, o.turns, o.duration)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "work\tpenstock\trival\tits CPU\tratio\tmin..max\tlimit\tclient CPU\t")
	for _, m := range matches {
		for _, r := range m.rows() {
			ratios := r.ratios()
			fmt.Fprintf(t, "%s\t%.0f ns\t%s\t%.0f ns\t%.3f\t%.3f..%.3f\t%s\t%.0f, %.0f ns\t\n",
				m.work.name, median(r.ours.server), r.rival, median(r.theirs.server),
				median(ratios), slices.Min(ratios), slices.Max(ratios), r.verdict(),
				median(r.ours.client), median(r.theirs.client))
		}
	}
	t.Flush()
}

// verdict is a row's limit and whether it is kept.
func (r row) verdict() string {
	limit, ok := r.limit()
	switch {
	case !ok:
		return "-"
	case r.past():
		return fmt.Sprintf("%.2f PAST", limit)
	}
	return fmt.Sprintf("%.2f ok", limit)
}
