package bench_test

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/cmd/bench"
	"github.com/penstock-ws/penstock/cmd/serve"
)

// A program that measures servers has "serve" as well: that is what "bench" starts when it
// is given no --url.
func ExampleNewCommand() {
	tool := &cobra.Command{Use: "tool"}
	tool.AddCommand(serve.NewCommand(serve.Config{}), bench.NewCommand())
	for _, args := range [][]string{{"bench", "echo"}, {"bench", "rate"}, {"bench", "storm"}} {
		cmd, _, err := tool.Find(args)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %s\n", cmd.CommandPath(), cmd.Short)
	}
	// Output:
	// tool bench echo: Echo in a closed loop: throughput, latency, CPU per message
	// tool bench rate: Echo at a rate of its own: latency that hides no stall
	// tool bench storm: Clients that come and go: handshakes per second
}
