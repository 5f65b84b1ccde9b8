package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
	"github.com/penstock-ws/penstock/engine"
)

// scenario is a load: *bench.Echo, *bench.Fanout and the others, whose fields are set
// by flags.
type scenario interface {
	Validate() error
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}

// work is one thing to measure, and the server that it needs.
type work struct {
	scenario
	name   string   // on the progress bar
	title  string   // in the Result's Name instead of the scenario's; empty: that
	filter string   // of the server that is started
	args   []string // of it, besides
}

// command is the flags of a subcommand that measures, and what it measures.
type command struct {
	name      string
	works     func() ([]work, error) // asked once the flags are known
	url       string
	json      string
	inline    bool
	workers   int
	rounds    int
	set       []string // NAME=VALUE
	serverCPU *int
	clientCPU *int
	quiet     bool
	terminal  io.Writer // where a progress bar goes; nil: nowhere
}

// build completes cmd, which has its texts already.
func (a *command) build(cmd *cobra.Command) *cobra.Command {
	cmd.Use = a.name
	cmd.Args = noArgs
	cmd.SilenceUsage = true
	cmd.SilenceErrors = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process at once
		if !a.quiet {
			a.terminal = terminal(cmd.ErrOrStderr())
		}
		return a.run(ctx, cmd.OutOrStdout())
	}
	a.addFlags(cmd.Flags())
	return cmd
}

// addFlags adds those that do not concern the load.
func (a *command) addFlags(f *pflag.FlagSet) {
	a.rounds = 1
	f.StringVar(&a.url, "url", "", "server to measure, ws://host:port/path or wss; without it a server is started")
	f.StringVar(&a.json, "json", "", "file to write the results to, as JSON")
	f.Var(flagvalue.Number(&a.rounds, 1, 1000), "rounds", "how often everything is measured")
	f.BoolVar(&a.inline, "inline", false, "started server: run handlers on the reading goroutine")
	f.Var(flagvalue.Number(&a.workers, 1, 1<<20), "workers", "started server: workers of its pool (default: the server's own)")
	f.Var(settings{&a.set}, "set", "started server: a setting, like WS_SEND_CHUNK_BYTES=16384; may be repeated")
	f.Var(cpu{&a.serverCPU}, "server-cpu", "started server: the CPU to pin it to")
	f.Var(cpu{&a.clientCPU}, "client-cpu", "CPU to pin the client to")
	f.BoolVar(&a.quiet, "quiet", false, "no progress bar and no table: errors, and the file of --json")
}

// run measures, and reports to out and to the JSON file.
func (a *command) run(ctx context.Context, out io.Writer) error {
	works, err := a.validate()
	if err != nil {
		return err
	}
	file, err := createFile(a.json)
	if err != nil {
		return err
	}
	defer file.discard()
	if a.clientCPU != nil {
		if err := bench.Pin(*a.clientCPU); err != nil {
			return err
		}
	}
	results, err := a.measureAll(ctx, works)
	if len(results) == 0 {
		if ctx.Err() != nil {
			return &InterruptedError{}
		}
		return configError(err)
	}
	if !a.quiet {
		err = errors.Join(err, bench.WriteSummary(out, results))
	}
	return errors.Join(verdict(ctx, results), err, file.write(bench.NewFile(results...)))
}

// validate refuses flags that contradict each other or cannot be had together.
func (a *command) validate() ([]work, error) {
	works, err := a.works()
	if err != nil {
		return nil, err
	}
	for _, w := range works {
		if err := w.Validate(); err != nil {
			return nil, configError(err)
		}
	}
	if a.url == "" {
		return works, nil
	}
	const allowed = "only without --url: that server is already running"
	switch {
	case a.inline:
		return nil, &UsageError{"--inline", "", allowed}
	case a.workers != 0:
		return nil, &UsageError{"--workers", strconv.Itoa(a.workers), allowed}
	case len(a.set) > 0:
		return nil, &UsageError{"--set", a.set[0], allowed}
	case a.serverCPU != nil:
		return nil, &UsageError{"--server-cpu", strconv.Itoa(*a.serverCPU), allowed}
	}
	return works, nil
}

// measureAll measures round by round, so that what changes on the machine meanwhile
// befalls all works alike. It returns what there is also after an error.
func (a *command) measureAll(ctx context.Context, works []work) (results []*bench.Result, err error) {
	n := 0
	for round := range a.rounds {
		for _, w := range works {
			n++
			label := w.name
			if all := a.rounds * len(works); all > 1 {
				label = fmt.Sprintf("%s (%d of %d)", w.name, n, all)
			}
			r, err := a.measure(ctx, w, label)
			if r != nil {
				r.Round = round
				a.addSettings(r, w)
				results = append(results, r)
			}
			if err != nil || ctx.Err() != nil {
				return results, err
			}
		}
	}
	return results, nil
}

// measure runs the scenario, against a server of its own if no other is named.
// It may return a result and an error: the one of stopping that server.
func (a *command) measure(ctx context.Context, w work, label string) (*bench.Result, error) {
	target := bench.Target{URL: a.url}
	if a.url == "" {
		server, err := a.startServer(ctx, w)
		if err != nil {
			return nil, err
		}
		target.URL, target.PID = server.URL(), server.PID()
		result, err := a.load(ctx, w, target, label)
		return result, errors.Join(err, server.Stop())
	}
	return a.load(ctx, w, target, label)
}

// startServer runs this executable as the server that the work needs.
func (a *command) startServer(ctx context.Context, w work) (*bench.Server, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable to serve with: %w", err)
	}
	c := bench.ServerConfig{Path: path, Env: a.set, Args: []string{
		"serve", "--host", "127.0.0.1", "--port", "0", "-f", w.filter, "--allow-origin", "*",
	}}
	c.Args = append(c.Args, w.args...)
	if a.inline {
		c.Args = append(c.Args, "--inline")
	}
	if a.workers != 0 {
		c.Args = append(c.Args, "--workers", strconv.Itoa(a.workers))
	}
	if a.serverCPU != nil {
		c.CPUs = []int{*a.serverCPU}
	}
	return bench.StartServer(ctx, c)
}

func (a *command) load(ctx context.Context, w work, t bench.Target, label string) (*bench.Result, error) {
	bar := newProgress(a.terminal, label)
	defer bar.end()
	r, err := w.Run(ctx, t, bar.show)
	if r != nil && w.title != "" {
		r.Name = w.title + strings.TrimPrefix(r.Name, r.Scenario)
	}
	return r, err
}

// addSettings adds what the library does not know.
func (a *command) addSettings(result *bench.Result, w work) {
	result.Settings["client_cpu"] = a.clientCPU
	if a.url != "" {
		return
	}
	delete(result.Settings, "url") // another one for each server, and of no use later
	if w.title != "" {             // else the scenario tells
		result.Settings["filter"] = w.filter
	}
	result.Settings["inline"] = a.inline
	result.Settings["server_cpu"] = a.serverCPU
	if a.workers != 0 {
		result.Settings["workers"] = a.workers
	}
	for _, s := range a.set {
		name, value, _ := strings.Cut(s, "=")
		result.Settings[name] = value
	}
}

// verdict is the error that results amount to.
func verdict(ctx context.Context, results []*bench.Result) error {
	if ctx.Err() != nil {
		return &InterruptedError{Measured: true}
	}
	for _, r := range results {
		if r.Errors > 0 {
			return fmt.Errorf("%s: %d connections failed; first (%v): %s", r.Scenario, r.Errors, r.Failures[0].Kind, r.Failures[0].First)
		}
	}
	return nil
}

// settings is a flag that adds a variable of the engine's environment.
type settings struct{ p *[]string }

func (v settings) Type() string { return "NAME=VALUE" }

func (v settings) Allowed() string {
	names := engine.EnvNames()
	slices.Sort(names)
	return "NAME=VALUE, the name one of " + strings.Join(names, ", ")
}

func (v settings) String() string {
	if v.p == nil {
		return ""
	}
	return strings.Join(*v.p, " ")
}

func (v settings) Set(s string) error {
	name, value, _ := strings.Cut(s, "=")
	if value == "" || !slices.Contains(engine.EnvNames(), name) {
		return flagvalue.ErrNotAllowed
	}
	*v.p = append(*v.p, s)
	return nil
}
