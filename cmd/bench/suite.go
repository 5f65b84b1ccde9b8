package bench

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/bench"
)

const suiteLong = `Measure WebSocket servers under load.

Without a subcommand this runs a short suite against servers of its own: echo with
one and with many messages in flight, at a fixed rate, with large messages, fan-out,
clients that come and go, and idle connections. It takes less than half a minute.

"bench list" names all scenarios, "bench compare" tells two builds apart, and
"bench tune" looks for the settings that suit a load.`

// suite is what "bench" alone measures.
func suite() []work {
	const warmup, duration = 300 * time.Millisecond, 2 * time.Second
	echo := func(e bench.Echo) work {
		e.Warmup, e.Duration = warmup, duration
		return work{scenario: e, name: "echo", filter: "echo_messages"}
	}
	list := []work{
		echo(bench.Echo{Connections: 100}),
		echo(bench.Echo{Connections: 100, InFlight: 32}),
		echo(bench.Echo{Connections: 100, Pace: bench.Pace{Rate: 5000, Poisson: true}}),
		echo(bench.Echo{Connections: 8, InFlight: 2, PayloadBytes: 1 << 20}),
		{scenario: bench.Fanout{Connections: 500, InFlight: 4, Warmup: warmup, Duration: duration}, name: "fanout", filter: "broadcast_messages"},
		{scenario: bench.Storm{Warmup: warmup, Duration: duration}, name: "storm", filter: "echo_messages"},
	}
	if bench.ReadsMemory() {
		list = append(list, work{scenario: bench.Idle{Connections: 2000, Settle: time.Second}, name: "idle", filter: "echo_messages"})
	}
	return list
}

// newSuite makes cmd run the suite.
func newSuite(cmd *cobra.Command) *cobra.Command {
	a := &command{name: cmd.Use, works: func() ([]work, error) { return suite(), nil }}
	return a.build(cmd)
}

// newListCommand names the scenarios.
func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Name all scenarios", Args: noArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, n := range scenarios() {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-10s %s\n", n.name, n.short); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
