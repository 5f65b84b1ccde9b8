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

	"github.com/penstock-ws/penstock/bench"
)

// echoArgs are the flags of "bench echo".
type echoArgs struct {
	scenario  bench.Echo
	url       string
	json      string
	inline    bool
	workers   int
	serverCPU *int
	clientCPU *int
	quiet     bool
	terminal  io.Writer // where a progress bar goes; nil: nowhere
}

const echoLong = `Measure an echo server: each connection keeps a number of messages under way
and sends the next one when a reply has come. Every reply is checked.

Latency is closed-loop: the time of a message at the pace that the server
itself allowed. A server that stalls slows the load down and is not charged
for the messages that were never sent meanwhile.

Without --url a server is started for the run and its CPU time is measured.`

func newEchoCommand() *cobra.Command {
	a := echoArgs{scenario: bench.Echo{
		Connections: 100, InFlight: 1, PayloadBytes: 128, Warmup: time.Second, Duration: 5 * time.Second,
	}}
	cmd := &cobra.Command{
		Use:           "echo",
		Short:         "Echo in a closed loop: throughput, latency, CPU per message",
		Long:          echoLong,
		Example:       "  penstock bench echo --connections 1000 --inline\n  penstock bench echo --url ws://127.0.0.1:9000/ --json echo.json",
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			if !a.quiet {
				a.terminal = terminal(cmd.ErrOrStderr())
			}
			return runEcho(ctx, a, cmd.OutOrStdout())
		},
	}
	a.addFlags(cmd)
	return cmd
}

func (a *echoArgs) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	s := &a.scenario
	f.StringVar(&a.url, "url", "", "server to measure, ws://host:port/path or wss; without it a server is started")
	f.Var(number{&s.Connections, 1, bench.MaxConnections}, "connections", "connections")
	f.Var(number{&s.InFlight, 1, bench.MaxInFlight}, "pipeline", "messages in flight on each connection")
	f.Var(number{&s.PayloadBytes, 1, bench.MaxPayload}, "payload", "bytes of each message")
	f.BoolVar(&s.Text, "text", false, "send text messages instead of binary ones")
	f.Var(span{&s.Duration, time.Millisecond, bench.MaxDuration}, "duration", "time in which messages are counted")
	f.Var(span{&s.Warmup, 0, bench.MaxDuration}, "warmup", "time before it in which they are not")
	f.StringVar(&a.json, "json", "", "file to write the result to, as JSON")
	f.BoolVar(&a.inline, "inline", false, "started server: run handlers on the reading goroutine")
	f.Var(number{&a.workers, 1, 1 << 20}, "workers", "started server: workers of its pool (default: the server's own)")
	f.Var(cpu{&a.serverCPU}, "server-cpu", "started server: the CPU to pin it to")
	f.Var(cpu{&a.clientCPU}, "client-cpu", "CPU to pin the client to")
	f.BoolVar(&a.quiet, "quiet", false, "no progress bar and no table: errors, and the file of --json")
}

// runEcho measures, and reports to out and to the JSON file.
func runEcho(ctx context.Context, a echoArgs, out io.Writer) (err error) {
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
	return errors.Join(verdict(ctx, result), err, file.write(result))
}

// validate refuses flags that contradict each other or cannot be had together.
func (a *echoArgs) validate() error {
	if err := a.scenario.Validate(); err != nil {
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
func (a *echoArgs) measure(ctx context.Context) (result *bench.Result, err error) {
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

// startServer runs this executable as an echo server.
func (a *echoArgs) startServer(ctx context.Context) (*bench.Server, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the executable to serve with: %w", err)
	}
	c := bench.ServerConfig{Path: path, Args: []string{
		"serve", "--host", "127.0.0.1", "--port", "0", "-f", "echo_messages", "--allow-origin", "*",
	}}
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

func (a *echoArgs) load(ctx context.Context, t bench.Target) (*bench.Result, error) {
	bar := newProgress(a.terminal, "echo")
	defer bar.end()
	return a.scenario.Run(ctx, t, bar.show)
}

// addSettings adds what the library does not know.
func (a *echoArgs) addSettings(result *bench.Result) {
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
