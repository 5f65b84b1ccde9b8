package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/cmd/bench"
	"github.com/penstock-ws/penstock/cmd/connect"
	"github.com/penstock-ws/penstock/cmd/serve"
)

const long = `Penstock is a high-throughput WebSocket engine. This program runs it as a server,
connects to servers, and puts them under load.

Start one that sends every message to everybody, on ws://127.0.0.1:9000/:

  penstock serve

Talk to it from another terminal:

  penstock connect ws://127.0.0.1:9000/`

// newRoot returns the whole program as a command.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "penstock",
		Short:         "A high-throughput WebSocket engine",
		Long:          long,
		Version:       version(buildInfo()),
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serve.NewCommand(serve.Config{}), connect.NewCommand(), bench.NewCommand(), newVersion())
	return root
}

// usageError is a mistake on the command line that no command has seen.
type usageError struct{ error }

// ExitCode is 2, as is customary for wrong usage.
func (usageError) ExitCode() int { return 2 }

// noArgs refuses arguments that no command has taken.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return usageError{fmt.Errorf("%s takes no arguments; %q is one", cmd.CommandPath(), args[0])}
	}
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	return usageError{fmt.Errorf("unknown command %q; known: %s", args[0], strings.Join(known, ", "))}
}
