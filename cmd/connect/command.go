package connect

import (
	"github.com/spf13/cobra"
)

const long = `Connect to a WebSocket server, as a person or in a pipe.

Every line of standard input is sent as a message, and every message that comes is
written to standard output with a line break behind it. On a terminal, lines can be
edited, the arrow keys bring earlier ones back, what the server could do harm with
is quoted, and these are commands:

  /ping [text]           send a ping and show how long its pong takes
  /close [code [reason]] close, with 1000 unless another code is given
  /quit                  close with 1000 and end; so does Ctrl-D
  //text                 send /text

When standard input ends, the connection is closed as soon as all has been sent:
replies that come later are waited for with --wait or --count. The first SIGINT or
SIGTERM closes with 1000 and waits for the server; a second one ends at once.

With --reconnect a client that has lost its connection, or finds no server, tries again, later
each time; what is to be sent waits. It ends when a close code or status says that it is of no
use.

Arguments are visible to every user of the machine: give a password in WS_PASSWORD
or at the prompt (--auth), and a token in a file (-H @file).

The exit status is 0 if this side closed as it was told to or the server closed with
1000 or without a code, 1 for input or output that failed or may not have arrived, 2 for
wrong usage, 3 if there is no connection, 4 if the server refuses the handshake, 101
to 115 for the codes 1001 to 1015, 120 for 3000 to 3999, 121 for 4000 to 4999, and 128
and its number for a signal that ended at once.`

const example = `  penstock connect ws://127.0.0.1:9000/
  echo '{"op":"ping"}' | penstock connect wss://example.com/ws --count 1
  penstock connect wss://example.com/ws -H @token.txt -s chat.v2 --json < /dev/null --wait forever`

// NewCommand returns the command "connect". It prints neither its errors nor, on an
// error, its usage: that is left to the program.
//
// Errors with a method ExitCode() int, such as *UsageError, ask for that exit status;
// any other means 1. The command takes SIGINT, SIGTERM and SIGPIPE from the program
// while it runs. It reads standard input ahead, and when the connection has ended
// before the input, one goroutine stays in that read until it returns.
func NewCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:           "connect URL",
		Short:         "Connect to a WebSocket server from a terminal or in a pipe",
		Long:          long,
		Example:       example,
		Args:          oneURL,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), client{
				settings: s,
				target:   args[0],
				stdin:    cmd.InOrStdin(),
				stdout:   cmd.OutOrStdout(),
				stderr:   cmd.ErrOrStderr(),
			})
		},
	}
	cmd.SetFlagErrorFunc(flagError)
	s.addFlags(cmd.Flags())
	return cmd
}

func oneURL(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("one URL is needed, like ws://127.0.0.1:9000/ or wss://example.com/chat; there are %d arguments", len(args))
	}
	return nil
}
