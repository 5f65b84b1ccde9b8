package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// work is a load that Penstock and its rivals are put under.
type work struct {
	name   string
	load   func(o options) scenario
	mode   string // of Penstock
	ours   string // which Penstock of the roster
	rivals []rival
	limits map[string]float64 // by rival, or best: the largest ratio that -check lets pass
}

// rival is a server to compare with: a peer of the roster in one of its modes.
type rival struct {
	name string
	peer string
	mode string
}

// fanoutRivals have gorilla in both its ways: which one is faster depends on the
// machine's mood, and the best is found anyhow.
var fanoutRivals = []rival{
	{"gws", "gws", roster.Fanout},
	{"gorilla", "gorilla", roster.Fanout},
	{"gorilla queued", "gorilla", roster.FanoutQueued},
	{"melody", "melody", roster.Fanout},
}

// best stands, among the limits, for whichever rival needs the least CPU in the same run.
const best = "best"

// scenario is a load with its times set.
type scenario interface {
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}

var works = []work{
	echoWork("1000 connections × 1 in flight × 128 B, event loops", 1000, 1, 128, "penstock-epoll-inline", 0.88),
	echoWork("10,000 connections × 1 in flight × 128 B, event loops", 10_000, 1, 128, "penstock-epoll-inline", 0.92),
	echoWork("100 connections × 32 in flight × 128 B, event loops", 100, 32, 128, "penstock-epoll-inline", 0.13),
	echoWork("100 connections × 32 in flight × 128 B, pool", 100, 32, 128, "penstock", 0.20),
	echoWork("1000 connections × 1 in flight × 128 B, inline", 1000, 1, 128, "penstock-inline", 1.25),
	echoWork("1000 connections × 1 in flight × 128 B, pool", 1000, 1, 128, "penstock", 1.25),
	echoWork("8 connections × 2 in flight × 1 MiB, pool", 8, 2, 1<<20, "penstock", 1.00),
	{
		name:   "fan-out 1000 connections × 1 in flight × 128 B",
		load:   fanout(bench.Fanout{Connections: 1000, InFlight: 1, PayloadBytes: 128}),
		mode:   roster.Fanout,
		ours:   "penstock",
		rivals: fanoutRivals,
		limits: map[string]float64{best: 1.05},
	},
	{
		name:   "fan-out 1000 connections × 16 in flight × 128 B",
		load:   fanout(bench.Fanout{Connections: 1000, InFlight: 16, PayloadBytes: 128}),
		mode:   roster.Fanout,
		ours:   "penstock",
		rivals: fanoutRivals,
		limits: map[string]float64{best: 0.25},
	},
	observed("nothing, which is how far this can be relied on", roster.Echo, 0),
	observed("five no-op interceptors", roster.EchoNoops, 1.03),
	observed("five no-op interceptors, inbound only", roster.EchoInboundNoops, 1.03),
	observed("metrics", roster.EchoMetrics, 1.05),
	observed("traces, not sampled", roster.EchoTraces, 1.02),
	observed("traces with writes, not sampled", roster.EchoTracesWrites, 0),
}

// observed is what it costs to have something to see inside: Penstock against itself.
// A limit of 0 is none.
func observed(what, mode string, limit float64) work {
	w := echoWork("observed: "+what, 100, 1, 128, "observed", limit)
	w.mode = mode
	w.rivals = []rival{{"without", "observed", roster.Echo}}
	w.limits = nil
	if limit > 0 {
		w.limits = map[string]float64{"without": limit}
	}
	return w
}

// echoWork is an echo of so many bytes, against gws.
func echoWork(name string, connections, inFlight, bytes int, ours string, limit float64) work {
	e := bench.Echo{Connections: connections, InFlight: inFlight, PayloadBytes: bytes}
	return work{
		name: name,
		load: func(o options) scenario {
			e.Warmup, e.Duration = o.warmup, o.duration
			return e
		},
		mode:   roster.Echo,
		ours:   ours,
		rivals: []rival{{"gws", "gws", roster.Echo}},
		limits: map[string]float64{"gws": limit},
	}
}

func fanout(f bench.Fanout) func(options) scenario {
	return func(o options) scenario {
		f.Warmup, f.Duration = o.warmup, o.duration
		return f
	}
}

// chosen are the works whose names contain part.
func chosen(part string) []work {
	return slices.DeleteFunc(slices.Clone(works), func(w work) bool { return !strings.Contains(w.name, part) })
}

// build makes the programs that works need in dir, by the names of the roster.
func build(ctx context.Context, dir string, works []work, o options) (map[string]*roster.Program, error) {
	sources, err := roster.FindSources()
	if err != nil {
		return nil, err
	}
	peers, err := roster.Named(needed(works)...)
	if err != nil {
		return nil, err
	}
	b := &roster.Builder{Sources: sources, Dir: dir, Penstock: o.penstock, Log: os.Stderr}
	programs := map[string]*roster.Program{}
	for _, p := range peers {
		if programs[p.Name], err = b.Build(ctx, p); err != nil {
			return nil, err
		}
	}
	return programs, nil
}

// needed are the names of all peers in works.
func needed(works []work) (names []string) {
	for _, w := range works {
		names = append(names, w.ours)
		for _, r := range w.rivals {
			names = append(names, r.peer)
		}
	}
	return names
}
