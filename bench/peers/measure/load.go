package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// load is what every peer is put under.
type load struct {
	name     string
	mode     string
	scenario scenario
}

// scenario is one of package bench's.
type scenario interface {
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}

// idleLoad is the name of the one that measures memory.
const idleLoad = "idle connections"

// allLoads are those of the table, in its order.
func allLoads(o options) []load {
	echo := func(name string, e bench.Echo) load {
		e.Warmup, e.Duration = o.warmup, o.duration
		return load{"echo, " + name, roster.Echo, e}
	}
	fanout := func(name string, f bench.Fanout) load {
		f.Warmup, f.Duration = o.warmup, o.duration
		return load{"fan-out, " + name, roster.Fanout, f}
	}
	return []load{
		echo("100 connections × 1 in flight × 128 B", bench.Echo{Connections: 100}),
		echo("1000 connections × 1 in flight × 128 B", bench.Echo{Connections: 1000}),
		echo("100 connections × 32 in flight × 128 B", bench.Echo{Connections: 100, InFlight: 32}),
		echo("100 connections × 1 in flight × 16 KiB", bench.Echo{Connections: 100, PayloadBytes: 16 << 10}),
		fanout("1000 connections × 1 in flight × 128 B", bench.Fanout{Connections: 1000}),
		{idleLoad, roster.Echo, bench.Idle{Connections: o.idle, Settle: o.duration / 2}},
	}
}

// loads are those that o asks for.
func loads(o options) (chosen []load) {
	for _, l := range allLoads(o) {
		if strings.Contains(l.name, o.load) && (l.name != idleLoad || o.idle > 0) {
			chosen = append(chosen, l)
		}
	}
	return chosen
}

func loadNames() (names []string) {
	for _, l := range allLoads(options{}) {
		names = append(names, fmt.Sprintf("%q", l.name))
	}
	return names
}
