package bench

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/bench"
)

const fanoutLong = `Measure a server that sends every message to all of its connections: one
connection keeps a number of messages under way, and sends the next one when
all connections, itself included, have received one. Every delivery is checked.

Latency is that of each delivery at each connection, closed-loop: at the pace
that the server itself allowed.

--stalled adds connections that shake hands and never read. Nothing waits for
them: how little they change the figures of the others is what they are for.

Without --url a server is started for the run and its CPU time is measured. A
server that is named must have no other clients.`

func newFanoutCommand() *cobra.Command {
	s := &bench.Fanout{
		Connections: 1000, InFlight: 1, PayloadBytes: 128, Warmup: time.Second, Duration: 5 * time.Second,
	}
	a := command{scenario: s, name: "fanout", filter: "broadcast_messages"}
	cmd := a.build(&cobra.Command{
		Short:   "Fan-out in a closed loop: throughput, latency, CPU per delivery",
		Long:    fanoutLong,
		Example: "  penstock bench fanout --pipeline 16\n  penstock bench fanout --connections 100 --stalled 1 --json fanout.json",
	})
	load{&s.Connections, &s.InFlight, &s.PayloadBytes, &s.Text, &s.Duration, &s.Warmup}.addFlags(cmd.Flags(), "from the one that sends")
	cmd.Flags().Var(number{&s.Stalled, 0, bench.MaxConnections}, "stalled", "further connections, which never read (default 0)")
	return cmd
}
