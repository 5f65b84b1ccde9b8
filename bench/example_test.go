package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"

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

// Any server that echoes can be measured, in any language. Here it is one of another
// library in this process, and a tenth of a second of load; how fast it is depends on the
// machine, but every reply has been checked.
func ExampleEcho_anyServer() {
	var upgrader websocket.Upgrader
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		for {
			op, data, err := ws.ReadMessage()
			if err != nil || ws.WriteMessage(op, data) != nil {
				return
			}
		}
	}))
	defer srv.Close()

	echo := bench.Echo{Connections: 4, InFlight: 2, PayloadBytes: 100, Warmup: 10 * time.Millisecond, Duration: time.Second}
	result, err := echo.Run(context.Background(), bench.Target{URL: "ws" + strings.TrimPrefix(srv.URL, "http")}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Scenario, result.LatencyMode)
	fmt.Println("replies:", result.Messages > 0, "failures:", result.Errors)
	// Output:
	// echo closed loop
	// replies: true failures: 0
}
