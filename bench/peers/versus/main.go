// Command versus compares Penstock's server with rival servers: CPU per message
// on the same work, measured by package bench, one server on one CPU and the
// client on another. Run it in bench/peers:
//
//	go run ./versus          # print the table
//	go run ./versus -check   # and exit 1 if a ratio is past its limit
//
// Runs are interleaved, Penstock and rival in turn, because a machine's
// speed drifts by more than the differences at stake; what counts is the
// median of the ratios of neighbours.
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
)

// options are the command line.
type options struct {
	pairs     int
	duration  time.Duration
	warmup    time.Duration
	serverCPU int
	clientCPU int
	check     bool
	penstock  string
}

func main() {
	var o options
	flag.IntVar(&o.pairs, "pairs", 7, "pairs of runs for each row; at least 1")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "counted window of each run")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "uncounted time before it")
	flag.IntVar(&o.serverCPU, "server-cpu", 0, "CPU for the servers; -1: any")
	flag.IntVar(&o.clientCPU, "client-cpu", 1, "CPU for the client; -1: any")
	flag.BoolVar(&o.check, "check", false, "exit 1 if a ratio is past its limit")
	flag.StringVar(&o.penstock, "penstock", "", "penstock's executable; empty: build it")
	flag.Parse()
	if flag.NArg() > 0 || o.pairs < 1 {
		fmt.Fprintln(os.Stderr, "versus: takes flags only, and -pairs of at least 1")
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
	if err := build(ctx, dir, &o); err != nil {
		return err
	}
	if o.clientCPU >= 0 {
		if err := bench.Pin(o.clientCPU); err != nil {
			return err
		}
	}
	rows, err := measureAll(ctx, dir, o)
	if err != nil {
		return err
	}
	printTable(rows, o)
	if o.check && slices.ContainsFunc(rows, row.past) {
		return errPastLimit
	}
	return nil
}

func measureAll(ctx context.Context, dir string, o options) (rows []row, err error) {
	for _, w := range works {
		for _, r := range rivals {
			row := row{work: w, rival: r}
			for pair := range o.pairs {
				fmt.Fprintf(os.Stderr, "%s, %s: pair %d of %d\n", w.name, r.name, pair+1, o.pairs)
				if err := row.measure(ctx, dir, o); err != nil {
					return nil, err
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func printTable(rows []row, o options) {
	fmt.Printf("server CPU per message, median of %d pairs of %v\n\n", o.pairs, o.duration)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "work\tpenstock\trival\tits CPU\tratio\tmin..max\tlimit\tclient CPU\t")
	for _, r := range rows {
		ratios := r.ratios()
		verdict := "-"
		if limit, ok := r.limit(); ok {
			verdict = fmt.Sprintf("%.2f ok", limit)
			if r.past() {
				verdict = fmt.Sprintf("%.2f PAST", limit)
			}
		}
		fmt.Fprintf(t, "%s\t%.0f ns\t%s\t%.0f ns\t%.3f\t%.3f..%.3f\t%s\t%.0f, %.0f ns\t\n",
			r.work.name, median(r.ours.server), r.rival.name, median(r.theirs.server),
			median(ratios), slices.Min(ratios), slices.Max(ratios), verdict,
			median(r.ours.client), median(r.theirs.client))
	}
	t.Flush()
}
