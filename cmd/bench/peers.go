package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const peersLong = `Build other WebSocket servers, run them and this one under the same loads, and print
a table: server CPU per message, throughput, latency, memory per idle connection.

The servers are in bench/peers of the source, with a module of their own: this needs
a clone and Go. Those on Node and Bun are left out, with a message, where npm or Node
is missing. What follows "--" goes to the program that measures:

  penstock bench peers -- -peers penstock,gws -load echo -json raw.json
  penstock bench peers -- -help`

// newPeersCommand runs bench/peers/measure, which is not in this module: its
// dependencies are none of Penstock's.
func newPeersCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "peers [-- flags]", Short: "Measure other servers and this one in the same way", Long: peersLong,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
				return &UsageError{What: cmd.CommandPath(), Value: args[0], Allowed: "flags for the program that measures, behind --"}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			dir, err := findPeers(dir)
			if err != nil {
				return err
			}
			return runPeers(ctx, cmd, dir, args)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the source's bench/peers (default: that of the clone around the working directory)")
	return cmd
}

// findPeers returns the folder with the peers' module.
func findPeers(dir string) (string, error) {
	if dir != "" {
		if !isPeers(dir) {
			return "", &UsageError{"--dir", dir, "the folder bench/peers of Penstock's source"}
		}
		return dir, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := here; ; at = filepath.Dir(at) {
		if dir := filepath.Join(at, "bench", "peers"); isPeers(dir) {
			return dir, nil
		}
		if at == filepath.Dir(at) {
			return "", errors.New("the other servers are built from Penstock's source: run this in a clone of it, or name its bench/peers with --dir")
		}
	}
}

func isPeers(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "measure", "main.go"))
	return err == nil
}

// runPeers builds and runs the program that measures, which leaves no process behind
// when it is interrupted.
func runPeers(ctx context.Context, cmd *cobra.Command, dir string, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "penstock-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	program := filepath.Join(tmp, "measure")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./measure")
	build.Dir, build.Stderr = dir, cmd.ErrOrStderr()
	if err := build.Run(); err != nil {
		if ctx.Err() != nil {
			return &InterruptedError{}
		}
		return fmt.Errorf("go build ./measure in %s: %w", dir, err)
	}
	run := exec.CommandContext(ctx, program, append([]string{"-penstock", self, "-C", dir}, args...)...)
	run.Stdout, run.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = 30 * time.Second
	err = run.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return &InterruptedError{Measured: true}
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return &peersError{exit.ExitCode()}
	}
	return err
}

// peersError is how the program that measures has ended; it has said why.
type peersError struct{ code int }

func (e *peersError) Error() string { return "the peers were not all measured" }

// ExitCode is the program's.
func (e *peersError) ExitCode() int { return e.code }
