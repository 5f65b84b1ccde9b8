package bench

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/bench"
)

const echoLong = `Measure an echo server: each connection keeps a number of messages under way
and sends the next one when a reply has come. Every reply is checked.

Latency is closed-loop: the time of a message at the pace that the server
itself allowed. A server that stalls slows the load down and is not charged
for the messages that were never sent meanwhile.

Without --url a server is started for the run and its CPU time is measured.`

func newEchoCommand() *cobra.Command {
	s := &bench.Echo{Connections: 100, PayloadBytes: 128, Warmup: time.Second, Duration: 5 * time.Second}
	a := command{scenario: s, name: "echo", filter: "echo_messages", compress: func() bool { return s.Compresses() }}
	cmd := a.build(&cobra.Command{
		Short:   "Echo in a closed loop: throughput, latency, CPU per message",
		Long:    echoLong,
		Example: "  penstock bench echo --connections 1000 --inline\n  penstock bench echo --url ws://127.0.0.1:9000/ --json echo.json",
	})
	load{&s.Connections, &s.InFlight, &s.PayloadBytes, &s.Text, &s.Duration, &s.Warmup}.addFlags(cmd.Flags(), "on each connection")
	f := cmd.Flags()
	f.BoolVar(&s.Compress, "compress", false, "compress messages (permessage-deflate)")
	f.Var(rate{&s.Pace.Rate}, "rate", "open loop: messages per second over all connections")
	f.Var(rate{&s.Pace.To}, "rate-to", "rate at the end of the run, approached evenly (default: --rate)")
	f.BoolVar(&s.Pace.Poisson, "poisson", false, "with --rate: at random times")
	f.Var(hostiles{&s.Beside}, "beside", "peers that behave badly meanwhile, like bomb=10; may be repeated")
	return cmd
}
