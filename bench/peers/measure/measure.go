package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/bench/peers/roster"
)

// session is one measurement of all peers under all loads.
type session struct {
	options
	loads    []load
	programs []*roster.Program
	report   *Report
	failed   bool // a run at least
	done     int  // runs
}

// measure returns what has been measured, even after an error; nil is nothing.
func measure(ctx context.Context, o options, chosen []roster.Peer) (*Report, error) {
	sources, err := roster.FindSources()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "measure-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &session{options: o, loads: loads(o), report: newReport(o)}
	// What -json named before belongs to another run from here on.
	if err := s.report.write(o.json); err != nil {
		return nil, err
	}
	b := &roster.Builder{Sources: sources, Dir: dir, Penstock: o.penstock, Log: os.Stderr}
	err = s.build(ctx, b, chosen)
	if err == nil {
		err = s.pinCPUs()
	}
	if err == nil {
		err = s.rounds(ctx)
	}
	return s.end(ctx, err)
}

func newReport(o options) *Report {
	command := []string{"go run ./measure"}
	flag.Visit(func(f *flag.Flag) {
		if !slices.Contains([]string{"C", "penstock", "json", "md"}, f.Name) { // where things lie here is nobody else's concern
			command = append(command, "-"+f.Name+" "+quoted(f.Value.String()))
		}
	})
	return &Report{
		Schema:     schema,
		Started:    time.Now(),
		Command:    strings.Join(command, " "),
		Rounds:     o.rounds,
		Base:       o.base,
		WarmupNS:   int64(o.warmup),
		DurationNS: int64(o.duration),
		Machine:    bench.ThisMachine(),

		LoadAverage: loadAverage(),

		Runs: []Run{},
	}
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}

// quoted is a flag's value as a shell takes it.
func quoted(value string) string {
	if strings.ContainsAny(value, " '\"$×*") {
		return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	}
	return value
}

// build makes the programs; a peer that cannot run here is noted and left out.
func (s *session) build(ctx context.Context, b *roster.Builder, chosen []roster.Peer) error {
	for _, p := range chosen {
		fmt.Fprintf(os.Stderr, "build %s\n", p.Name)
		info := PeerInfo{Name: p.Name, What: p.What, Setup: p.Setup}
		program, err := b.Build(ctx, p)
		var absent *roster.AbsentError
		switch {
		case errors.As(err, &absent):
			fmt.Fprintf(os.Stderr, "%v; it is left out\n", err)
			info.Absent = absent.Reason
		case err != nil:
			return err
		default:
			info.Version = program.Version
			s.programs = append(s.programs, program)
		}
		s.report.Peers = append(s.report.Peers, info)
	}
	if len(s.programs) == 0 {
		return errors.New("none of the peers can run here")
	}
	return nil
}

// pinCPUs gives servers and client a CPU each, where there are two and pinning works.
func (s *session) pinCPUs() error {
	cpus := bench.CPUs()
	if !s.pin || len(cpus) < 2 {
		fmt.Fprintln(os.Stderr, "servers and client share all CPUs")
		return nil
	}
	s.report.ServerCPU, s.report.ClientCPU = &cpus[0], &cpus[1]
	return bench.Pin(cpus[1])
}

// rounds runs everything. The file of raw results is up to date after each run.
func (s *session) rounds(ctx context.Context) error {
	for round := 1; round <= s.options.rounds; round++ {
		for _, l := range s.loads {
			for _, p := range s.programs {
				if err := s.step(ctx, round, l, p); err != nil {
					return err
				}
				if err := s.report.write(s.json); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// step is one peer under one load. A peer that fails is noted; the error is one
// that ends everything.
func (s *session) step(ctx context.Context, round int, l load, p *roster.Program) error {
	said, err := s.runLoad(ctx, round, l, p)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.failed = true
		said = "FAILED: " + err.Error()
	}
	s.done++
	all := s.options.rounds * len(s.loads) * len(s.programs)
	fmt.Fprintf(os.Stderr, "[%d/%d] %s: %s: %s\n", s.done, all, l.name, p.Name, said)
	return nil
}

// runLoad runs a scenario of package bench, and says what came out.
func (s *session) runLoad(ctx context.Context, round int, l load, p *roster.Program) (said string, err error) {
	result, err := s.onServer(ctx, p, l)
	if ctx.Err() != nil {
		return "", ctx.Err() // a window that was cut short is not kept
	}
	run := Run{Load: l.name, Peer: p.Name, Round: round, Result: result}
	if err == nil {
		err = flaw(result)
	}
	if err != nil {
		run.Result, run.Error = nil, err.Error()
		s.report.Runs = append(s.report.Runs, run)
		return "", err
	}
	s.report.Runs = append(s.report.Runs, run)
	if m := result.Memory; m != nil {
		return fmt.Sprintf("%.1f KiB/connection", m.User/1024), nil
	}
	cpu, unit := serverCPU(result)
	return fmt.Sprintf("%.2f µs/%s, %.0f messages/s", cpu/1e3, unit, result.MessagesPerSecond), nil
}

// flaw is what makes a result worthless; nil is nothing.
func flaw(r *bench.Result) error {
	switch {
	case r.Errors > 0:
		return fmt.Errorf("%d connections failed, first: %s", r.Errors, r.Failures[0].First)
	case r.Partial:
		return errors.New("the run ended before its time")
	case r.Messages == 0: // its CPU per message would be none at all
		return errors.New("no message came back within the window: the machine is too busy, or the window too short")
	}
	return nil
}

// onServer runs a load on a fresh server of p.
func (s *session) onServer(ctx context.Context, p *roster.Program, l load) (result *bench.Result, err error) {
	c := p.Server(l.mode)
	if s.report.ServerCPU != nil {
		c.CPUs = []int{*s.report.ServerCPU}
	}
	server, err := bench.StartServer(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	return l.scenario.Run(ctx, bench.Target{URL: server.URL(), PID: server.PID()}, nil)
}

// end gives the report its last form.
func (s *session) end(ctx context.Context, err error) (*Report, error) {
	switch {
	case ctx.Err() != nil:
		s.report.Partial = true
		err = errInterrupted
		if len(s.report.Runs) == 0 {
			err = errNothing
		}
	case err == nil && s.failed:
		err = errFailed
	case err != nil:
		s.report.Partial = true
	}
	return s.report, errors.Join(err, s.report.write(s.json))
}
