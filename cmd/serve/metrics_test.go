package serve

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// TestMetricsAddr: a listener of its own, by flag or variable, that ends with the
// command; a scrape has the engine's figures and the histograms.
func TestMetricsAddr(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	for name, args := range map[string][]string{"flag": {"--metrics-addr", addr}, "variable": nil} {
		t.Run(name, func(t *testing.T) {
			if args == nil {
				t.Setenv("WS_METRICS_ADDR", addr)
			}
			ws := dial(t, serveURL(t, nil, append(args, "-f", "echo_messages")...))
			require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
			_, _, err := ws.ReadMessage()
			require.NoError(t, err)
			res, err := http.Get("http://" + addr + "/metrics")
			require.NoError(t, err)
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			for _, line := range []string{"penstock_connections 1", "penstock_messages_received_total 1",
				`penstock_queue_wait_seconds_count{type="text"} 1`, "go_goroutines "} {
				require.Contains(t, string(b), "\n"+line)
			}
		})
		_, err := net.Dial("tcp", addr)
		require.Error(t, err, "it has ended with the command")
	}
}

// TestMetricsAddrMistakes: they are usage errors, of the variable even with the flag.
func TestMetricsAddrMistakes(t *testing.T) {
	run := func(args ...string) error {
		cmd := NewCommand(Config{})
		cmd.SetArgs(append([]string{"-p", "0"}, args...))
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		return cmd.Execute()
	}
	var usage *UsageError
	for _, addr := range []string{"", "9100", ":9100", "localhost", "localhost:", "localhost:http", "localhost:65536", "a b:1"} {
		require.ErrorAs(t, run("--metrics-addr", addr), &usage, "%q", addr)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.ErrorContains(t, run("--metrics-addr", ln.Addr().String()), "--metrics-addr")
	t.Setenv("WS_METRICS_ADDR", "banana")
	var variable *engine.EnvError
	require.ErrorAs(t, run("--metrics-addr", "127.0.0.1:0"), &variable)
	require.Equal(t, "WS_METRICS_ADDR", variable.Name)
}
