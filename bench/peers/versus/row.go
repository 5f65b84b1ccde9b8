package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/penstock-ws/penstock/bench"
)

// row is a work, done by Penstock and a rival in turn.
type row struct {
	work         work
	rival        rival
	ours, theirs series
}

// series are the runs of one server, in nanoseconds of CPU per message.
type series struct {
	server, client []float64
}

// measure adds a pair of runs.
func (r *row) measure(ctx context.Context, dir string, o options) error {
	if err := r.ours.run(ctx, o, r.work, o.penstock, slices.Concat(serveArgs, r.work.args)); err != nil {
		return fmt.Errorf("penstock: %w", err)
	}
	if err := r.theirs.run(ctx, o, r.work, binary(dir, r.rival.name), nil); err != nil {
		return fmt.Errorf("%s: %w", r.rival.name, err)
	}
	return nil
}

// run measures a server that has just been started.
func (s *series) run(ctx context.Context, o options, w work, path string, args []string) (err error) {
	c := bench.ServerConfig{Path: path, Args: args}
	if o.serverCPU >= 0 {
		c.CPUs = []int{o.serverCPU}
	}
	server, err := bench.StartServer(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	w.echo.Warmup, w.echo.Duration = o.warmup, o.duration
	result, err := w.echo.Run(ctx, bench.Target{URL: server.URL(), PID: server.PID()}, nil)
	if err != nil {
		return err
	}
	return s.add(ctx, result)
}

// add takes a run's figures, if it is worth anything.
func (s *series) add(ctx context.Context, result *bench.Result) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case result.Errors > 0:
		return fmt.Errorf("%d connections failed, first: %s", result.Errors, result.Failures[0].First)
	case result.ServerCPU == nil || result.ClientCPU == nil:
		return errors.New("CPU time cannot be read on this machine")
	}
	s.server = append(s.server, *result.ServerCPU)
	s.client = append(s.client, *result.ClientCPU)
	return nil
}

// ratios are those of neighbouring runs.
func (r row) ratios() []float64 {
	ratios := make([]float64, len(r.ours.server))
	for i, ours := range r.ours.server {
		ratios[i] = ours / r.theirs.server[i]
	}
	return ratios
}

func (r row) limit() (float64, bool) {
	limit, ok := r.work.limits[r.rival.name]
	return limit, ok
}

// past reports whether the median ratio exceeds the row's limit.
func (r row) past() bool {
	limit, ok := r.limit()
	return ok && median(r.ratios()) > limit
}

// median is the middle one, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
