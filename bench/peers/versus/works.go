package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/penstock-ws/penstock/bench"
)

// work is a row's load.
type work struct {
	name   string
	echo   bench.Echo
	args   []string           // for penstock serve
	limits map[string]float64 // by rival: the largest ratio that -check lets pass
}

var works = []work{
	{
		name:   "100 connections × 32 in flight × 128 B, pool",
		echo:   bench.Echo{Connections: 100, InFlight: 32, PayloadBytes: 128},
		limits: map[string]float64{"gws": 0.20},
	},
	{
		name:   "1000 connections × 1 in flight × 128 B, inline",
		echo:   bench.Echo{Connections: 1000, InFlight: 1, PayloadBytes: 128},
		args:   []string{"--inline"},
		limits: map[string]float64{"gws": 1.05},
	},
	{
		name:   "1000 connections × 1 in flight × 128 B, pool",
		echo:   bench.Echo{Connections: 1000, InFlight: 1, PayloadBytes: 128},
		limits: map[string]float64{"gws": 1.25},
	},
}

// rival is a server to compare with: a command of this module that takes no
// arguments, prints "listening on URL" first and ends on SIGTERM.
type rival struct {
	name string
	pkg  string
}

var rivals = []rival{
	{name: "gws", pkg: "./gws"},
}

// serveArgs start Penstock on the same work as the rivals do.
var serveArgs = []string{"serve", "--host", "127.0.0.1", "--port", "0", "-f", "echo_messages", "--allow-origin", "*"}

// build makes the executables in dir, in the place that binary tells.
func build(ctx context.Context, dir string, o *options) error {
	if o.penstock == "" {
		o.penstock = binary(dir, "penstock")
		if err := goBuild(ctx, "../..", o.penstock, "./cmd/penstock"); err != nil {
			return err
		}
	}
	for _, r := range rivals {
		if err := goBuild(ctx, ".", binary(dir, r.name), r.pkg); err != nil {
			return err
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
