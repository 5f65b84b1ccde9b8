package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// match is a work, done by Penstock and each rival in turn.
type match struct {
	work   work
	ours   series
	theirs []series // as work.rivals
}

// series are the runs of one server, in nanoseconds of CPU per message, or per
// delivery of a fan-out.
type series struct {
	server, client []float64
}

func newMatch(w work) *match { return &match{work: w, theirs: make([]series, len(w.rivals))} }

// measure adds a round: all servers are started anew, and take turns at o.turns runs
// each. In every other turn they stand in the opposite order: one of two neighbours in
// time goes first as often as the other.
func (m *match) measure(ctx context.Context, programs map[string]*roster.Program, o options) (err error) {
	sides := m.sides()
	for _, s := range sides {
		if s.server, err = start(ctx, programs[s.peer].Server(s.mode), o); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer func() { err = errors.Join(err, s.server.Stop()) }()
	}
	for range o.turns {
		for _, s := range sides {
			if err := s.run(ctx, m.work.load(o)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		slices.Reverse(sides)
	}
	return nil
}

// side is one server in a round.
type side struct {
	rival
	*series
	server *bench.Server
}

func (m *match) sides() []*side {
	sides := []*side{{rival: rival{"penstock", m.work.ours, m.work.mode}, series: &m.ours}}
	for i, r := range m.work.rivals {
		sides = append(sides, &side{rival: r, series: &m.theirs[i]})
	}
	return sides
}

func start(ctx context.Context, c bench.ServerConfig, o options) (*bench.Server, error) {
	if o.serverCPU >= 0 {
		c.CPUs = []int{o.serverCPU}
	}
	return bench.StartServer(ctx, c)
}

func (s *side) run(ctx context.Context, load scenario) error {
	result, err := load.Run(ctx, bench.Target{URL: s.server.URL(), PID: s.server.PID()}, nil)
	if err != nil {
		return err
	}
	return s.add(ctx, result)
}

// add takes a run's figures, if it is worth anything.
func (s *series) add(ctx context.Context, result *bench.Result) error {
	server, client := result.ServerCPU, result.ClientCPU
	if result.Deliveries > 0 {
		server, client = result.ServerCPUPerDelivery, result.ClientCPUPerDelivery
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case result.Errors > 0:
		return fmt.Errorf("%d connections failed, first: %s", result.Errors, result.Failures[0].First)
	case server == nil || client == nil:
		return errors.New("CPU time cannot be read on this machine")
	}
	s.server = append(s.server, *server)
	s.client = append(s.client, *client)
	return nil
}

// row is a match against one rival.
type row struct {
	rival        string
	ours, theirs series
	limits       []float64 // that hold for this rival
}

// rows returns one for each rival. The limit against the best is that of the
// rival with the least median CPU.
func (m *match) rows() []row {
	rows := make([]row, len(m.theirs))
	least := 0
	for i, s := range m.theirs {
		rows[i] = row{rival: m.work.rivals[i].name, ours: m.ours, theirs: s}
		if limit, ok := m.work.limits[rows[i].rival]; ok {
			rows[i].limits = append(rows[i].limits, limit)
		}
		if median(s.server) < median(m.theirs[least].server) {
			least = i
		}
	}
	if limit, ok := m.work.limits[best]; ok {
		rows[least].limits = append(rows[least].limits, limit)
	}
	return rows
}

// ratios are those of runs in the same turn.
func (r row) ratios() []float64 {
	ratios := make([]float64, len(r.ours.server))
	for i, ours := range r.ours.server {
		ratios[i] = ours / r.theirs.server[i]
	}
	return ratios
}

// limit is the strictest that holds; ok is false if none does.
func (r row) limit() (limit float64, ok bool) {
	if len(r.limits) == 0 {
		return 0, false
	}
	return slices.Min(r.limits), true
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
