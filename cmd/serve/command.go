package serve

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/engine/filters"
)

// Config says what a program's own serve command is made of.
type Config struct {
	// Filters are those that the command line can name. Nil: filters.Stock().
	Filters *filters.Registry
}

const long = `Serve WebSocket connections on every path, GET /healthz and /readyz, and a page at / to
try a connection and to watch the server from this machine, or with WS_LIVE_TOKEN.

What the server does with messages is the matter of filters, which run in the
order named: -f a -f b and -f a b mean the same, for arguments that belong to no
flag are filters, too. Filters that can be named:

%s
The first line on standard output is "listening on" and the URL; logs go to
standard error. SIGINT and SIGTERM close every connection with 1001 and wait for
the peers; a second signal ends the process at once. SIGHUP reads the certificate
again. Under systemd its socket is taken, and it is told of readiness.

A flag wins over the configuration file (-c), a JSON object with a field for each
setting, by the name of the flag or of the variable, in lower case with
underscores; the file wins over the environment. What is set to nonsense is an
error even where something else wins. Flags may be written with underscores.

Apps of a manifest whose endpoints require a user know users by their tokens:
WS_TOKENS=alice=secret1,bob=secret2`

const example = `  penstock serve
  penstock serve -p 8080 --host 0.0.0.0 -f echo_messages
  penstock serve -f rate_limit stdout_messages broadcast_messages
  penstock serve --cert chain.pem --key key.pem --drain-window 30s
  penstock serve -c config.json --print-config
  MAX_WS_MESSAGE_BYTES=65536 penstock serve --allow-origin 'https://*.example.com'
`

// NewCommand returns the command "serve". It prints neither its errors nor, on an
// error, its usage: that is left to the program.
//
// Errors with a method ExitCode() int, such as *UsageError, ask for that exit
// status; any other means 1. The command runs until its context is done or a
// signal comes, and takes SIGINT, SIGTERM and SIGHUP from the program meanwhile.
func NewCommand(cfg Config) *cobra.Command {
	if cfg.Filters == nil {
		cfg.Filters = filters.Stock()
	}
	var line *commandLine
	cmd := &cobra.Command{
		Use:           "serve [filter ...]",
		Short:         "Serve WebSocket connections with the filters named",
		Long:          fmt.Sprintf(long, describeFilters(cfg.Filters.Names())),
		Example:       example,
		Args:          cobra.ArbitraryArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			line.rest(args)
			env := newAsked()
			s, err := line.settings(env.get, cfg.Filters)
			if err != nil {
				return err
			}
			if line.print {
				return printSettings(cmd.OutOrStdout(), line.options, s)
			}
			server := &server{settings: s, registry: cfg.Filters, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), getenv: env.get, asked: env}
			return server.run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(flagError)
	line = newCommandLine(cmd.Flags())
	cmd.SetUsageFunc(line.writeUsage)
	return cmd
}

// settings puts the command line over the file over the environment. Its errors are
// *UsageError.
func (c *commandLine) settings(getenv func(string) string, registry *filters.Registry) (*settings, error) {
	environment, envErr := fromEnvironment(c.options, getenv)
	file, fileErr := fromFile(c.options, c.file)
	errs := []error{envErr, fileErr}
	for _, l := range []layer{c.layer, file, environment} {
		g := l[c.filters()]
		if err := registry.Check(g.values); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", g.from, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usage(err)
	}
	return resolve(c.options, c.layer, file, environment)
}
