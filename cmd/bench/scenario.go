package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/bench"
)

// scenario is what a subcommand runs: *bench.Echo or *bench.Fanout, whose fields
// are set by flags.
type scenario interface {
	Validate() error
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}

// command is the flags of a scenario's subcommand, and what it needs besides.
type command struct {
	scenario
	name      string      // of the scenario
	filter    string      // of the server that is started
	compress  func() bool // whether that server has to agree to compression; nil: no
	url       string
	json      string
	inline    bool
	workers   int
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
	f.StringVar(&a.url, "url", "", "server to measure, ws://host:port/path or wss; without it a server is started")
	f.StringVar(&a.json, "json", "", "file to write the result to, as JSON")
	f.BoolVar(&a.inline, "inline", false, "started server: run handlers on the reading goroutine")
	f.Var(number{&a.workers, 1, 1 << 20}, "workers", "started server: workers of its pool (default: the server's own)")
	f.Var(cpu{&a.serverCPU}, "server-cpu", "started server: the CPU to pin it to")
	f.Var(cpu{&a.clientCPU}, "client-cpu", "CPU to pin the client to")
	f.BoolVar(&a.quiet, "quiet", false, "no progress bar and no table: errors, and the file of --json")
}

// load is where the flags that every scenario has leave their values.
type load struct {
	connections, inFlight, payload *int
	text                           *bool
	duration, warmup               *time.Duration
}

// addFlags adds them; sender says who keeps messages in flight.
func (l load) addFlags(f *pflag.FlagSet, sender string) {
	f.Var(number{l.connections, 1, bench.MaxConnections}, "connections", "connections")
	f.Var(number{l.inFlight, 1, bench.MaxInFlight}, "pipeline", "messages in flight "+sender)
	f.Var(number{l.payload, 1, bench.MaxPayload}, "payload", "bytes of each message")
	f.BoolVar(l.text, "text", false, "send text messages instead of binary ones")
	f.Var(span{l.duration, time.Millisecond, bench.MaxDuration}, "duration", "time in which messages are counted")
	f.Var(span{l.warmup, 0, bench.MaxDuration}, "warmup", "time before it in which they are not")
}

// run measures, and reports to out and to the JSON file.
func (a *command) run(ctx context.Context, out io.Writer) (err error) {
	if err := a.validate(); err != nil {
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
	result, err := a.measure(ctx)
	if result == nil {
		if ctx.Err() != nil {
			return &InterruptedError{}
		}
		return configError(err)
	}
	a.addSettings(result)
	if !a.quiet {
		err = errors.Join(err, result.WriteTable(out))
	}
	return errors.Join(verdict(ctx, result), err, file.write(bench.NewFile(result)))
}

// validate refuses flags that contradict each other or cannot be had together.
func (a *command) validate() error {
	if err := a.Validate(); err != nil {
		return configError(err)
	}
	if a.url == "" {
		return nil
	}
	const allowed = "only without --url: that server is already running"
	switch {
	case a.inline:
		return &UsageError{"--inline", "", allowed}
	case a.workers != 0:
		return &UsageError{"--workers", strconv.Itoa(a.workers), allowed}
	case a.serverCPU != nil:
		return &UsageError{"--server-cpu", strconv.Itoa(*a.serverCPU), allowed}
	}
	return nil
}

// measure runs the scenario, against a server of its own if no other is named.
// It may return a result and an error: the one of stopping that server.
func (a *command) measure(ctx context.Context) (result *bench.Result, err error) {
	target := bench.Target{URL: a.url}
	if a.url == "" {
		server, err := a.startServer(ctx)
		if err != nil {
			return nil, err
		}
		target.URL, target.PID = server.URL(), server.PID()
		result, err := a.load(ctx, target)
		return result, errors.Join(err, server.Stop())
	}
	return a.load(ctx, target)
}

// startServer runs this executable as the server that the scenario needs.
func (a *command) startServer(ctx context.Context) (*bench.Server, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable to serve with: %w", err)
	}
	c := bench.ServerConfig{Path: path, Args: []string{
		"serve", "--host", "127.0.0.1", "--port", "0", "-f", a.filter, "--allow-origin", "*",
	}}
	if a.inline {
		c.Args = append(c.Args, "--inline")
	}
	if a.workers != 0 {
		c.Args = append(c.Args, "--workers", strconv.Itoa(a.workers))
	}
	if a.compress != nil && a.compress() {
		c.Args = append(c.Args, "--compress")
	}
	if a.serverCPU != nil {
		c.CPUs = []int{*a.serverCPU}
	}
	return bench.StartServer(ctx, c)
}

func (a *command) load(ctx context.Context, t bench.Target) (*bench.Result, error) {
	bar := newProgress(a.terminal, a.name)
	defer bar.end()
	return a.Run(ctx, t, bar.show)
}

// addSettings adds what the library does not know.
func (a *command) addSettings(result *bench.Result) {
	result.Settings["client_cpu"] = a.clientCPU
	if a.url != "" {
		return
	}
	result.Settings["inline"] = a.inline
	result.Settings["server_cpu"] = a.serverCPU
	if a.workers != 0 {
		result.Settings["workers"] = a.workers
	}
}

// verdict is the error that a result amounts to.
func verdict(ctx context.Context, r *bench.Result) error {
	switch {
	case ctx.Err() != nil:
		return &InterruptedError{Measured: r.Messages > 0}
	case r.Errors > 0:
		return fmt.Errorf("%d connections failed; first (%v): %s", r.Errors, r.Failures[0].Kind, r.Failures[0].First)
	}
	return nil
}
