package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/bench"
)

// work is a load that Penstock and its rivals are put under.
type work struct {
	name   string
	load   func(o options) scenario
	filter string   // for penstock serve -f
	args   []string // more for penstock serve
	rivals []rival
	limits map[string]float64 // by rival, or best: the largest ratio that -check lets pass
}

// rival is a server to compare with: a command of this module, in the folder cmd,
// that takes -mode, prints "listening on URL" first and ends on SIGTERM.
type rival struct {
	name string
	cmd  string
	mode string
}

var echoRivals = []rival{{"gws", "gws", "echo"}}

// fanoutRivals have gorilla in both its ways: which one is faster depends on the
// machine's mood, and the best is found anyhow.
var fanoutRivals = []rival{
	{"gws", "gws", "fanout"},
	{"gorilla", "gorilla", "fanout"},
	{"gorilla queued", "gorilla", "fanout-queued"},
	{"melody", "melody", "fanout"},
}

// best stands, among the limits, for whichever rival needs the least CPU in the same run.
const best = "best"

// scenario is a load with its times set.
type scenario interface {
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}

var works = []work{
	{
		name:   "100 connections × 32 in flight × 128 B, pool",
		load:   echo(bench.Echo{Connections: 100, InFlight: 32, PayloadBytes: 128}),
		filter: "echo_messages",
		rivals: echoRivals,
		limits: map[string]float64{"gws": 0.20},
	},
	{
		name:   "1000 connections × 1 in flight × 128 B, inline",
		load:   echo(bench.Echo{Connections: 1000, InFlight: 1, PayloadBytes: 128}),
		filter: "echo_messages",
		args:   []string{"--inline"},
		rivals: echoRivals,
		limits: map[string]float64{"gws": 1.05},
	},
	{
		name:   "1000 connections × 1 in flight × 128 B, pool",
		load:   echo(bench.Echo{Connections: 1000, InFlight: 1, PayloadBytes: 128}),
		filter: "echo_messages",
		rivals: echoRivals,
		limits: map[string]float64{"gws": 1.25},
	},
	{
		name:   "fan-out 1000 connections × 1 in flight × 128 B",
		load:   fanout(bench.Fanout{Connections: 1000, InFlight: 1, PayloadBytes: 128}),
		filter: "broadcast_messages",
		rivals: fanoutRivals,
		limits: map[string]float64{best: 1.05},
	},
	{
		name:   "fan-out 1000 connections × 16 in flight × 128 B",
		load:   fanout(bench.Fanout{Connections: 1000, InFlight: 16, PayloadBytes: 128}),
		filter: "broadcast_messages",
		rivals: fanoutRivals,
		limits: map[string]float64{best: 0.25},
	},
}

func echo(e bench.Echo) func(options) scenario {
	return func(o options) scenario {
		e.Warmup, e.Duration = o.warmup, o.duration
		return e
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

// serveArgs start Penstock on the same work as the rivals do.
func (w work) serveArgs() []string {
	return append([]string{"serve", "--host", "127.0.0.1", "--port", "0", "-f", w.filter, "--allow-origin", "*"}, w.args...)
}

// build makes the executables that works need in dir, in the place that binary tells.
func build(ctx context.Context, dir string, works []work, o *options) error {
	if o.penstock == "" {
		o.penstock = binary(dir, "penstock")
		if err := goBuild(ctx, "../..", o.penstock, "./cmd/penstock"); err != nil {
			return err
		}
	}
	built := map[string]bool{}
	for _, w := range works {
		for _, r := range w.rivals {
			if built[r.cmd] {
				continue
			}
			if err := goBuild(ctx, ".", binary(dir, r.cmd), "./"+r.cmd); err != nil {
				return err
			}
			built[r.cmd] = true
		}
	}
	return nil
}

func binary(dir, name string) string { return filepath.Join(dir, name) }

func goBuild(ctx context.Context, in, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = in
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s in %s: %w (versus runs in bench/peers)", pkg, in, err)
	}
	return nil
}
