package serve

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/engine/filters"
)

// Config says what a program's own serve command is made of.
type Config struct {
	// Filters are those that the command line can name. Nil: filters.Stock().
	Filters *filters.Registry
}

const long = `Serve WebSocket connections on every path, and "ok" on GET /healthz.

What the server does with messages is the matter of filters, which run in the
order named: -f a -f b and -f a b mean the same, for arguments that belong to no
flag are filters, too. Filters that can be named:

%s

The first line on standard output is "listening on" and the URL; logs go to
standard error. With --metrics-addr a second listener serves Prometheus metrics at
/metrics. SIGINT and SIGTERM close every connection with 1001 and wait for
the peers; a second signal ends the process at once.

Each limit can also be set in the environment. A flag wins over its variable;
a variable that is set to nonsense is an error even then.`

const example = `  penstock serve
  penstock serve -p 8080 --host 0.0.0.0 -f echo_messages
  MAX_WS_MESSAGE_BYTES=65536 penstock serve --allow-origin 'https://*.example.com'`

// NewCommand returns the command "serve". It prints neither its errors nor, on an
// error, its usage: that is left to the program.
//
// Errors with a method ExitCode() int, such as *UsageError, ask for that exit
// status; any other means 1. The command runs until its context is done or a
// signal comes, and takes SIGINT and SIGTERM from the program meanwhile.
func NewCommand(cfg Config) *cobra.Command {
	if cfg.Filters == nil {
		cfg.Filters = filters.Stock()
	}
	var s settings
	cmd := &cobra.Command{
		Use:           "serve [filter ...]",
		Short:         "Serve WebSocket connections with the filters named",
		Long:          fmt.Sprintf(long, "  "+strings.Join(cfg.Filters.Names(), "\n  ")),
		Example:       example,
		Args:          cobra.ArbitraryArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.filters.rest(args)
			return run(cmd.Context(), server{
				settings: s,
				registry: cfg.Filters,
				stdout:   cmd.OutOrStdout(),
				stderr:   cmd.ErrOrStderr(),
			})
		},
	}
	cmd.SetFlagErrorFunc(flagError)
	s.addFlags(cmd.Flags())
	return cmd
}
