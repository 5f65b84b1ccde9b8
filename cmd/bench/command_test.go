package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/bench"
)

// ran is what a run of the command left.
type ran struct {
	err            error
	stdout, stderr string
}

func run(ctx context.Context, args ...string) ran { return runCommand(ctx, NewCommand(), args...) }

func runCommand(ctx context.Context, cmd *cobra.Command, args ...string) ran {
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return ran{err, stdout.String(), stderr.String()}
}

// record prepares for a child to leave its arguments and process number, which
// the returned function reads.
func record(t *testing.T) func() (args string, pid int) {
	path := filepath.Join(t.TempDir(), "record")
	t.Setenv(recordVariable, path)
	return func() (string, int) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		number, args, _ := strings.Cut(string(text), " ")
		pid, err := strconv.Atoi(number)
		require.NoError(t, err)
		return args, pid
	}
}

// requireGone fails if there still is a process of that number.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	if p, err := os.FindProcess(pid); err == nil { // which on Unix says nothing
		require.ErrorIs(t, p.Signal(syscall.Signal(0)), os.ErrProcessDone)
	}
}

func echoURL(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/"
}

func exitCode(t *testing.T, err error) int {
	var coded interface{ ExitCode() int }
	if !errors.As(err, &coded) {
		return 1
	}
	return coded.ExitCode()
}

// The whole way: a server of its own, a table, a JSON file, and nothing left behind.
func TestEchoWithServerOfItsOwn(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "echo.json")
	got := run(t.Context(), "echo", "--connections", "4", "--pipeline", "2", "--payload", "64", "--duration", "1s",
		"--warmup", "50ms", "--json", file, "--inline", "--workers", "3")
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "echo: 4 connections, 2 in flight on each, 64 bytes binary")
	require.Contains(t, got.stdout, "p99.9")
	require.Contains(t, got.stdout, "server CPU/message")
	require.Empty(t, got.stderr) // no terminal, no progress bar

	args, pid := child()
	require.Equal(t, "serve --host 127.0.0.1 --port 0 -f echo_messages --allow-origin * --inline --workers 3", args)
	requireGone(t, pid)
	checkJSON(t, file)
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// The same way for a fan-out, whose server broadcasts.
func TestFanoutWithServerOfItsOwn(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "fanout.json")
	got := run(t.Context(), "fanout", "--connections", "4", "--pipeline", "2", "--payload", "64", "--duration", "1s",
		"--warmup", "50ms", "--stalled", "1", "--json", file, "--inline", "--workers", "3")
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "fanout: 4 connections and 1 stalled, 2 in flight from one of them, 64 bytes binary")
	require.Contains(t, got.stdout, "deliveries/s")
	require.Contains(t, got.stdout, "server CPU/delivery")
	require.NotContains(t, got.stdout, "CPU/message")
	require.Empty(t, got.stderr)

	args, pid := child()
	require.Equal(t, "serve --host 127.0.0.1 --port 0 -f broadcast_messages --allow-origin * --inline --workers 3", args)
	requireGone(t, pid)
	r := checkJSON(t, file)
	require.Equal(t, "fanout", r["scenario"])
	for _, name := range []string{"deliveries", "deliveries_per_second", "client_cpu_ns_per_delivery"} {
		require.Positive(t, r[name], name)
	}
	if runtime.GOOS == "linux" {
		require.Positive(t, r["server_cpu_ns_per_delivery"])
	}
	require.EqualValues(t, 1, r["settings"].(map[string]any)["stalled"])
}

// A fan-out server that only echoes loses what the others should get.
func TestFanoutFails(t *testing.T) {
	got := run(t.Context(), "fanout", "--url", echoURL(t), "--connections", "3", "--duration", "50ms", "--warmup", "0s")
	require.ErrorContains(t, got.err, "2 connections failed")
	require.Equal(t, 1, exitCode(t, got.err))
	require.Contains(t, got.stdout, "FAILED (unanswered): 2")
}

// checkJSON checks the fields that others rely on, and returns all.
func checkJSON(t *testing.T, file string) (r map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(text, &all))
	require.EqualValues(t, bench.Schema, all["schema"])
	r = all["results"].([]any)[0].(map[string]any)
	for _, name := range []string{"messages", "messages_per_second", "client_cpu_ns_per_message", "window_ns"} {
		require.Positive(t, r[name], name)
	}
	if runtime.GOOS == "linux" {
		require.Positive(t, r["server_cpu_ns_per_message"])
	}
	latency := r["latency_ns"].(map[string]any)
	for _, name := range []string{"p50", "p90", "p99", "p999", "max"} {
		require.Positive(t, latency[name], name)
	}
	settings := r["settings"].(map[string]any)
	for name, want := range map[string]any{
		"connections": 4.0, "pipeline": 2.0, "payload": 64.0, "duration": "1s", "warmup": "50ms",
		"inline": true, "workers": 3.0, "text": false, "server_cpu": nil, "client_cpu": nil,
	} {
		require.Equal(t, want, settings[name], name)
	}
	require.Equal(t, runtime.GOARCH, r["machine"].(map[string]any)["arch"])
	require.Equal(t, false, r["partial"])
	require.Equal(t, "closed loop", r["latency_mode"])
	require.Empty(t, r["failures"])
	return r
}

// A server that is named is used; its CPU is not known, and null says so.
func TestEchoAgainstURL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "echo.json")
	got := run(t.Context(), "echo", "--url", echoURL(t), "--connections", "2", "--duration", "50ms", "--warmup", "0s",
		"--text", "--quiet", "--json", file)
	require.NoError(t, got.err)
	require.Empty(t, got.stdout)
	require.Empty(t, got.stderr)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), `"server_cpu_ns_per_message": null`)
	require.Contains(t, string(text), `"text": true`)
}

// Wrong usage says which flag, which value and what is allowed, asks for exit
// status 2, and starts no server.
func TestEchoUsageErrors(t *testing.T) {
	t.Setenv(recordVariable, "/nonexistent/record") // a child would panic
	for _, c := range []struct {
		args string
		want []string
	}{
		{"echo --connections 0", []string{"--connections", `"0"`, "from 1 to 60000"}},
		{"echo --connections many", []string{"--connections", `"many"`, "a whole number"}},
		{"echo --connections 60001", []string{"--connections", `"60001"`}},
		{"echo --pipeline -1", []string{"--pipeline", `"-1"`, "from 1 to 65536"}},
		{"echo --payload 1e3", []string{"--payload", `"1e3"`, "from 1 to 67108864"}},
		{"echo --duration 5", []string{"--duration", `"5"`, "500ms"}},
		{"echo --duration 0s", []string{"--duration", `"0s"`, "from 1ms"}},
		{"echo --warmup -1s", []string{"--warmup", `"-1s"`, "from 0s"}},
		{"echo --workers 0", []string{"--workers", `"0"`, "from 1"}},
		{"echo --server-cpu 1023", []string{"--server-cpu", `"1023"`, "CPU"}},
		{"echo --client-cpu x", []string{"--client-cpu", `"x"`, "CPU"}},
		{"echo --inline=perhaps", []string{"--inline", `"perhaps"`, "true or false"}},
		{"echo --duration", []string{"--duration", "without a value", "500ms"}},
		{"echo --rate-to 500", []string{"--rate:", "over 0", "--rate-to"}},
		{"echo --no-such-flag", []string{"no-such-flag", "--help"}},
		{"echo -z", []string{"z", "--help"}},
		{"echo extra", []string{"bench echo", "extra", "flags only"}},
		{"no-such-scenario", []string{"bench", "no-such-scenario", "echo", "fanout"}},
		{"echo --url http://127.0.0.1:1/", []string{"--url", "http://127.0.0.1:1/", "ws://host:port/path"}},
		{"echo --url ws://127.0.0.1:1/ --inline", []string{"--inline", "without --url"}},
		{"echo --url ws://127.0.0.1:1/ --workers 2", []string{"--workers 2", "without --url"}},
		{"echo --connections 60000 --pipeline 60000", []string{"--connections", "--pipeline", "--payload", "at most"}},
		{"echo --json /nonexistent/echo.json", []string{"--json", "/nonexistent/echo.json"}},
		{"echo --json /", []string{"--json", "/"}},
		{"echo --rate 0", []string{"--rate", `"0"`, "a number over 0"}},
		{"echo --rate NaN", []string{"--rate", `"NaN"`, "a number over 0"}},
		{"echo --beside nice", []string{"--beside", `"nice"`, "KIND=COUNT", "drip"}},
		{"echo --beside bomb=0", []string{"--beside", `"bomb=0"`, "from 1 to"}},
		{"echo --set CORK=1", []string{"--set", `"CORK=1"`, "WS_CORK_BYTES"}},
		{"echo --set WS_CORK_BYTES", []string{"--set", "NAME=VALUE"}},
		{"echo --rounds 0", []string{"--rounds", `"0"`, "from 1"}},
		{"echo --url ws://127.0.0.1:1/ --set WS_CORK_BYTES=5", []string{"--set", "without --url"}},
		{"mixed --profile /nonexistent.json", []string{"--profile", "/nonexistent.json"}},
		{"idle --settle 0s", []string{"--settle", `"0s"`}},
		{"echo --stalled 1", []string{"stalled", "--help"}},
		{"fanout --connections 0", []string{"--connections", `"0"`, "from 1 to 60000"}},
		{"fanout --stalled -1", []string{"--stalled", `"-1"`, "from 0 to 60000"}},
		{"fanout extra", []string{"bench fanout", "extra", "flags only"}},
		{"fanout --url ws://127.0.0.1:1/ --inline", []string{"--inline", "without --url"}},
		{"fanout --pipeline 60000 --payload 60000", []string{"--pipeline × --payload", "at most"}},
	} {
		got := run(t.Context(), strings.Fields(c.args)...)
		require.ErrorAs(t, got.err, new(*UsageError), c.args)
		require.Equal(t, 2, exitCode(t, got.err), c.args)
		for _, want := range c.want {
			require.Contains(t, got.err.Error(), want, c.args)
		}
		require.NotContains(t, got.err.Error(), "\n", c.args)
		require.Empty(t, got.stdout, c.args)
	}
}

// An interrupted run writes what it has, says so, and leaves no child.
func TestEchoInterrupted(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "echo.json")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	got := run(ctx, "echo", "--connections", "4", "--duration", "1h", "--warmup", "0s", "--json", file)
	require.ErrorAs(t, got.err, new(*InterruptedError))
	require.Equal(t, 130, exitCode(t, got.err))
	_, pid := child()
	requireGone(t, pid)
	require.Contains(t, got.stdout, "PARTIAL")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), `"partial": true`)

	// Before the server has started: no file, and no half of one.
	none, cancel := context.WithCancel(t.Context())
	cancel()
	other := filepath.Join(t.TempDir(), "other.json")
	got = run(none, "echo", "--json", other)
	require.ErrorAs(t, got.err, new(*InterruptedError))
	left, err := os.ReadDir(filepath.Dir(other))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Ctrl-C, as a process sees it: whenever it comes, there is no child left, and
// a file is whole or not there.
func TestEchoSignalled(t *testing.T) {
	for _, after := range []time.Duration{5, 30, 60, 300} {
		child := record(t)
		file := filepath.Join(t.TempDir(), "echo.json")
		cmd := exec.Command(os.Args[0], "bench", "echo", "--duration", "1h", "--warmup", "0s", "--json", file)
		require.NoError(t, cmd.Start())
		time.Sleep(after * time.Millisecond)                    // the moment is what is being tested
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM)) // SIGINT is ignored in what a shell started in the background, until somebody asks for it
		_ = cmd.Wait()
		if _, err := os.Stat(os.Getenv(recordVariable)); err == nil {
			_, pid := child()
			requireGone(t, pid)
		}
		text, err := os.ReadFile(file)
		if err == nil {
			require.Equal(t, 130, cmd.ProcessState.ExitCode())
			require.True(t, json.Valid(text))
			require.Contains(t, string(text), `"partial": true`)
		}
	}
}

// A run whose connections failed, or could not be had, is an error.
func TestEchoFails(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http") + "/"
	got := run(t.Context(), "echo", "--url", url, "--connections", "2")
	require.Error(t, got.err)
	require.Equal(t, 1, exitCode(t, got.err))

	silent := httptest.NewServer(http.HandlerFunc(hangUp))
	defer silent.Close()
	url = "ws" + strings.TrimPrefix(silent.URL, "http") + "/"
	got = run(t.Context(), "echo", "--url", url, "--connections", "2")
	require.ErrorContains(t, got.err, "2 connections failed")
	require.Equal(t, 1, exitCode(t, got.err))
	require.Contains(t, got.stdout, "FAILED (closed): 2")
}

// hangUp shakes hands, takes a message, and goes.
func hangUp(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{}
	if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
		_, _, _ = conn.ReadMessage() // unread, it would be answered with a reset
		conn.Close()
	}
}

// A bar is drawn on what is given as a terminal, and removed.
func TestProgress(t *testing.T) {
	var screen bytes.Buffer
	bar := newProgress(&screen, "echo")
	for i := range 10 {
		bar.show(bench.Progress{Elapsed: time.Duration(i+1) * 100 * time.Millisecond, Total: time.Second, Messages: uint64(i * 1000)})
	}
	bar.end()
	require.Contains(t, screen.String(), "messages/s")

	bar = newProgress(nil, "echo")
	bar.show(bench.Progress{Total: time.Second})
	bar.end()
	require.Nil(t, terminal(&screen))
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	require.Nil(t, terminal(null))
}

func TestHelp(t *testing.T) {
	got := run(t.Context(), "--help")
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "echo")
	require.Contains(t, got.stdout, "fanout")
	common := []string{"url", "json", "rounds", "inline", "workers", "set", "server-cpu", "client-cpu", "quiet"}
	loads := []string{"connections", "pipeline", "payload", "text", "duration", "warmup"}
	own := map[string][]string{
		"fanout": append(loads, "stalled"), "idle": {"connections", "settle"}, "storm": {"clients", "payload"}, "mixed": {"profile"},
	}
	for _, n := range scenarios() {
		flags, ok := own[n.name]
		if !ok {
			flags = append(loads, "rate", "rate-to", "poisson", "compress", "beside")
		}
		got = run(t.Context(), n.name, "--help")
		require.NoError(t, got.err)
		for _, flag := range append(flags, common...) {
			require.Contains(t, got.stdout, fmt.Sprintf("--%s ", flag), n.name)
		}
	}
	require.Contains(t, run(t.Context(), "fanout", "--help").stdout, "(default 1000)")
	for name, defaults := range map[string][]string{
		"announce": {"(default 3)", "(default announce=1000)", "(default 2000)", "(default 64)"},
		"echo":     {"(default 1, with --rate 64)"},
		"rate":     {"(default 5000)", "(default 64)"},
		"tune":     {"(default 1, with --rate 64)"},
	} {
		for _, d := range defaults {
			require.Contains(t, run(t.Context(), name, "--help").stdout, d)
		}
	}
}

// The list has every scenario, and each can be measured as it stands.
func TestList(t *testing.T) {
	got := run(t.Context(), "list")
	require.NoError(t, got.err)
	for _, n := range scenarios() {
		require.Contains(t, got.stdout, n.name+" ")
	}
	for _, w := range suite() {
		require.NoError(t, w.Validate())
	}
	for _, k := range echoes {
		require.NoError(t, k.defaults.Validate(), k.name)
	}
	require.NoError(t, usual().Validate())
}

// Without a scenario the suite runs; what it has measured when it is interrupted is
// kept.
func TestSuiteInterrupted(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "suite.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // until cancel
		servers := map[string]bool{}
		for ; len(servers) < 2 && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			text, _ := os.ReadFile(os.Getenv(recordVariable))
			if pid, _, ok := strings.Cut(string(text), " "); ok {
				servers[pid] = true
			}
		}
		time.Sleep(1300 * time.Millisecond) // the second is measured for 2.3 s
		cancel()
	}()
	got := run(ctx, "--json", file)
	require.ErrorAs(t, got.err, new(*InterruptedError))
	_, pid := child()
	requireGone(t, pid)
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, f.Results, 2)
	require.False(t, f.Results[0].Partial)
	require.True(t, f.Results[1].Partial)
	require.Contains(t, got.stdout, "echo: 100 connections, 32 in flight on each, 128 bytes binary")
	require.Contains(t, got.stdout, "PARTIAL")
}

// Hostile peers have a control before them, in every round.
func TestBeside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "beside.json")
	got := run(t.Context(), "reset", "--beside", "silent=3", "--beside", "reset", "--connections", "2", "--rate", "500",
		"--rounds", "2", "--duration", "500ms", "--warmup", "0s", "--json", file, "--url", echoURL(t))
	require.NoError(t, got.err)
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, f.Results, 4)
	for i, r := range f.Results {
		require.Equal(t, i/2, r.Round)
		require.Equal(t, i%2*2, len(r.Beside))
	}
	require.Equal(t, 3, f.Results[3].Beside[0].Attempts)
	require.Contains(t, got.stdout, "p99 beside them is")
	require.Contains(t, got.stdout, "in 2 rounds")
}

// Every scenario of hostile peers has some, without being told.
func TestBesideByName(t *testing.T) {
	for _, k := range echoes {
		works := k.works(k.defaults)
		if len(k.defaults.Beside) == 0 {
			require.Len(t, works, 1)
			continue
		}
		require.Len(t, works, 2)
		require.Empty(t, works[0].scenario.(bench.Echo).Beside)
		require.NotEmpty(t, works[1].scenario.(bench.Echo).Beside)
	}
}

// A server that is started gets what --set says, and what the scenario needs.
func TestSet(t *testing.T) {
	child := record(t)
	file := filepath.Join(t.TempDir(), "a.json")
	got := run(t.Context(), "compress", "--connections", "1", "--duration", "50ms", "--warmup", "0s", "--set", "WS_CORK_BYTES=4096", "--json", file)
	require.NoError(t, got.err)
	args, _ := child()
	require.Equal(t, "serve --host 127.0.0.1 --port 0 -f echo_messages --allow-origin * --compress", args)
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "4096", f.Results[0].Settings["WS_CORK_BYTES"])
	require.Equal(t, true, f.Results[0].Settings["compress"])
}

// What is streamed is another load than what is echoed, and told apart from it.
func TestStreamIsNamed(t *testing.T) {
	record(t)
	file := filepath.Join(t.TempDir(), "a.json")
	got := run(t.Context(), "stream", "--connections", "1", "--duration", "50ms", "--warmup", "0s", "--json", file)
	require.NoError(t, got.err)
	f, err := bench.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "stream: 1 connections, 2 in flight on each, 1048576 bytes binary", f.Results[0].Name)
	require.Equal(t, "stream_messages", f.Results[0].Settings["filter"])
}

// A rate lets more messages be under way, as the library has it, unless that is told.
func TestRateWithPipeline(t *testing.T) {
	for want, args := range map[int][]string{64: {}, 1: {"--pipeline", "1"}} {
		file := filepath.Join(t.TempDir(), "a.json")
		args = append([]string{"echo", "--rate", "100", "--connections", "1", "--duration", "50ms", "--warmup", "0s", "--json", file, "--url", echoURL(t)}, args...)
		require.NoError(t, run(t.Context(), args...).err)
		f, err := bench.ReadFile(file)
		require.NoError(t, err)
		require.EqualValues(t, want, f.Results[0].Settings["pipeline"])
	}
}

func TestStorm(t *testing.T) {
	got := run(t.Context(), "storm", "--clients", "2", "--duration", "100ms", "--warmup", "0s", "--url", echoURL(t))
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "storm: 2 clients at a time")
}

func TestMixedProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"groups":[{"name":"a","connections":1},{"name":"b","connections":2,"rate":200}],"duration":"100ms"}`), 0o600))
	got := run(t.Context(), "mixed", "--profile", path, "--url", echoURL(t))
	require.NoError(t, got.err)
	require.Contains(t, got.stdout, "mixed: a: 1 connections, 1 in flight on each")
	require.Regexp(t, `\n +b +\d+`, got.stdout)
}
