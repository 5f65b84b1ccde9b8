package bench

import (
	"strings"

	"github.com/spf13/cobra"
)

// NewCommand returns the command "bench" with its scenarios as subcommands. It
// prints neither its errors nor, on an error, its usage: that is left to the program.
//
// Some errors have a method ExitCode() int with the exit status that they ask
// for: *UsageError and *InterruptedError. Any other means 1.
func NewCommand() *cobra.Command {
	cmd := newSuite(&cobra.Command{
		Use:     "bench",
		Short:   "Measure a WebSocket server under load",
		Long:    suiteLong,
		Example: "  penstock bench\n  penstock bench --rounds 5 --json before.json",
	})
	cmd.SetFlagErrorFunc(flagError)
	for _, n := range scenarios() {
		cmd.AddCommand(n.command())
	}
	cmd.AddCommand(newListCommand(), newTuneCommand(knobs()), newPeersCommand(), newCompareCommand(), newReportCommand())
	return cmd
}

// noArgs refuses arguments that no flag and no subcommand has taken.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	allowed := "flags only"
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			names = append(names, sub.Name())
		}
	}
	if len(names) > 0 {
		allowed = "one of " + strings.Join(names, ", ")
	}
	return &UsageError{What: cmd.CommandPath(), Value: args[0], Allowed: allowed}
}
