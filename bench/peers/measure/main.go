// Command measure runs the peers of the roster, Penstock among them, under the same
// loads by the same harness (package bench), and makes a table of what each
// needs: server CPU per message, throughput, latency, memory per idle connection.
// Run it in bench/peers; it needs Go alone, and goes on without the peers that want
// Node or npm where those are missing:
//
//	go run ./measure                                # all peers; the table to standard output
//	go run ./measure -peers penstock,gws -load echo # two of them, under some of the loads
//	go run ./measure -json raw.json -md table.md    # and keep the raw results
//	go run ./measure -from raw.json                 # the table again, without measuring
//
// One server runs at a time, on one CPU, and the client on another, where there are two. A
// round is one run of every peer, in turn, under every load, because a machine's speed
// drifts by more than the differences at stake: what counts is the median of
// the rounds, and for ratios the median of those within a round.
//
// Raw results come first, the table is made from them: after each run the file of
// -json holds what there is. Ctrl-C ends the run, leaves no server behind, and
// gives the table of what has been measured, marked as partial.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// options are the command line.
type options struct {
	peers    string
	load     string
	rounds   int
	duration time.Duration
	warmup   time.Duration
	idle     int
	base     string
	pin      bool
	penstock string
	json     string
	markdown string
	from     string
	dir      string
}

const (
	exitUsage       = 2
	exitInterrupted = 130 // as if the interrupt signal had ended the process
)

func main() {
	var o options
	flag.StringVar(&o.peers, "peers", "", "names of peers, with commas; empty: all")
	flag.StringVar(&o.load, "load", "", "only the loads with this in their name")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each peer under each load; at least 1")
	flag.DurationVar(&o.duration, "duration", 900*time.Millisecond, "counted window of each run")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "uncounted time before it")
	flag.IntVar(&o.idle, "idle", 3000, "idle connections whose memory is measured; 0: none, or 10 to 19000")
	flag.StringVar(&o.base, "base", "gws", "the peer that ratios are to")
	flag.BoolVar(&o.pin, "pin", true, "servers on the first CPU and the client on the second, if there are two")
	flag.StringVar(&o.penstock, "penstock", "", "penstock's executable; empty: build it")
	flag.StringVar(&o.json, "json", "", "file for the raw results; empty: they are not kept")
	flag.StringVar(&o.markdown, "md", "", "file for the table; empty: standard output")
	flag.StringVar(&o.from, "from", "", "make the table from this file of raw results, and measure nothing")
	flag.StringVar(&o.dir, "C", "", "the folder bench/peers, if this is not it; other files are named from here")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once; its server dies with it
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

var (
	errInterrupted = errors.New("interrupted: the result is partial")
	errNothing     = errors.New("interrupted before anything was measured")
	errFailed      = errors.New("some runs failed; see above and the notes of the table")
)

// usageError is a mistake on the command line.
type usageError struct{ error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errInterrupted), errors.Is(err, errNothing):
		return exitInterrupted
	}
	return 1
}

func run(ctx context.Context, o options) error {
	chosen, err := o.validate()
	if err == nil {
		err = o.enter()
	}
	if err != nil {
		return usageError{err}
	}
	if o.from != "" {
		report, err := readReport(o.from)
		if err != nil {
			return err
		}
		if err := replaceable(o.markdown); err != nil {
			return usageError{err}
		}
		return writeTable(report, o.markdown)
	}
	// Found out now rather than after minutes of measuring.
	for _, path := range []string{o.json, o.markdown} {
		if err := writable(path); err != nil {
			return usageError{err}
		}
	}
	if err := replaceable(o.markdown); err != nil {
		return usageError{err}
	}
	report, err := measure(ctx, o, chosen)
	if report == nil || len(report.Runs) == 0 {
		return err
	}
	return errors.Join(writeTable(report, o.markdown), err)
}

// enter goes to the folder that -C names.
func (o *options) enter() error {
	if o.dir == "" {
		return nil
	}
	for _, path := range []*string{&o.json, &o.markdown, &o.from, &o.penstock} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = full
	}
	return os.Chdir(o.dir)
}

// validate returns the peers that are to be measured.
func (o options) validate() ([]roster.Peer, error) {
	var names []string
	for name := range strings.SplitSeq(o.peers, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	chosen, err := roster.Named(names...)
	mistakes := []error{err}
	if _, err := roster.Named(o.base); err != nil {
		mistakes = append(mistakes, fmt.Errorf("-base: %w", err))
	}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			mistakes = append(mistakes, fmt.Errorf(format, args...))
		}
	}
	check(flag.NArg() == 0, "%q: only flags are allowed", flag.Args())
	check(o.rounds >= 1, "-rounds %d: allowed: at least 1", o.rounds)
	check(o.duration >= time.Millisecond, "-duration %v: allowed: at least 1ms", o.duration)
	check(o.warmup >= 0, "-warmup %v: allowed: not less than 0", o.warmup)
	check(o.idle == 0 || o.idle >= 10 && o.idle <= 19_000, "-idle %d: allowed: 0, or 10 to 19000", o.idle)
	check(len(loads(o)) > 0, "-load %q: there are %s", o.load, strings.Join(loadNames(), ", "))
	return chosen, errors.Join(mistakes...)
}
