package bench_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/penstock-ws/penstock/bench"
)

// Start a server, load it for five seconds and print a table.
func ExampleEcho() {
	err := func() (err error) {
		ctx := context.Background()
		server, err := bench.StartServer(ctx, bench.ServerConfig{
			Path: "penstock",
			Args: []string{"serve", "--port", "0", "-f", "echo_messages"},
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		echo := bench.Echo{Connections: 1000, InFlight: 8}
		result, err := echo.Run(ctx, bench.Target{URL: server.URL(), PID: server.PID()}, nil)
		if err != nil {
			return err
		}
		return result.WriteTable(os.Stdout)
	}()
	if err != nil {
		fmt.Println(err)
	}
}

// See what a connection that never reads costs the others.
func ExampleFanout() {
	target := bench.Target{URL: "ws://127.0.0.1:8080/"}
	for _, stalled := range []int{0, 1} {
		fanout := bench.Fanout{Connections: 100, InFlight: 16, Stalled: stalled}
		result, err := fanout.Run(context.Background(), target, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(stalled, "stalled: p99", time.Duration(result.Latency.P99))
	}
}
