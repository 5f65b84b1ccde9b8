package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// file writes a file for a test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// holds returns what --print-config prints: value and origin of each setting.
func holds(t *testing.T, env []string, args ...string) map[string][2]string {
	t.Helper()
	status, stdout, stderr := outcome(t, env, append([]string{"serve", "--print-config"}, args...)...)
	require.Equal(t, 0, status, stderr)
	require.Empty(t, stderr)
	settings := make(map[string][2]string)
	for line := range strings.Lines(stdout) {
		parts := regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), 3)
		require.Len(t, parts, 3, line)
		settings[parts[0]] = [2]string{parts[1], parts[2]}
	}
	return settings
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url) //nolint:gosec // the test's own server
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// B1: raw data, then the message, in the order in which the filters are named. The
// other two pipelines need filters of a program's own: cmd/serve and engine/filters
// have their tests.
func TestB1Pipelines(t *testing.T) {
	p := start(t, nil, "-f", "stdout_messages", "echo_messages", "stdout_rawdata")
	ws := dialGorilla(t, p.url)
	echoGorilla(t, ws, gorilla.TextMessage, "hello")
	for _, want := range []string{`^[0-9]+: 11 bytes: 8185[0-9a-f]{18}\n$`, `^hello\n$`} {
		line, err := p.stdout.ReadString('\n')
		require.NoError(t, err)
		require.Regexp(t, want, line)
	}
}

// B2: filters by name, in both ways to name them; none is broadcast_messages; an unknown
// one is an error that lists the known.
func TestB2FiltersByName(t *testing.T) {
	for _, args := range [][]string{{"-f", "echo_messages", "echo_messages"}, {"--filter=echo_messages", "-fecho_messages"}, {"echo_messages", "echo_messages"}} {
		p := start(t, nil, args...)
		r := dialRaw(t, p, "/", 101)
		echoRaw(r, frame.Text, "x")
		_, second := r.frame()
		require.Equal(t, "x", second)
	}
	require.Equal(t, [2]string{"broadcast_messages", "default"}, holds(t, nil)["filters"])
	status, _, stderr := outcome(t, nil, "serve", "-f", "rate_limit", "brodcast_messages")
	require.Equal(t, 2, status)
	requireOneLine(t, stderr, "brodcast_messages", "did you mean broadcast_messages?", "rate_limit, rooms, session, stdout_messages")
}

// B3: the help names the stock filters and their settings.
func TestB3StockFilters(t *testing.T) {
	_, help, _ := outcome(t, nil, "serve", "-h")
	for _, name := range []string{"broadcast_messages", "broadcast_messages_by_token", "stdout_messages", "stdout_rawdata", "echo_messages"} {
		require.Contains(t, help, "\n  "+name+"\n")
	}
	for _, variable := range []string{"WS_FILTER_RATE", "WS_FILTER_RATE_BURST", "WS_FILTER_RATE_CLOSE", "WORKER_SECRET"} {
		require.Contains(t, help, " "+variable+" ")
	}
}

// TestFilterSettings: a filter reads the environment of the process.
func TestFilterSettings(t *testing.T) {
	p := start(t, []string{"WS_FILTER_RATE=1/1h"}, "-f", "rate_limit", "echo_messages")
	ws := dialGorilla(t, p.url)
	echoGorilla(t, ws, gorilla.TextMessage, "x")
	require.NoError(t, ws.WriteMessage(gorilla.TextMessage, []byte("y")))
	_, answer, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(answer), "429")
}

// B5: the port is 9000 unless -p says otherwise; 0 is a free one, which is printed.
func TestB5Port(t *testing.T) {
	require.Equal(t, [2]string{"9000", "default"}, holds(t, nil)["port"])
	require.Equal(t, [2]string{"9001", "flag --port"}, holds(t, nil, "-p", "9001")["port"])
	one, other := start(t, nil), start(t, nil)
	require.NotEqual(t, one.addr, other.addr)
	dialGorilla(t, one.url)
}

// B7: the reference's file works, with a port as a number or a string.
func TestB7ConfigFile(t *testing.T) {
	for _, port := range []string{`"0"`, `0`} {
		config := file(t, "config.json", fmt.Sprintf(`{
			"port": %s,
			"filters": ["echo_messages", "echo_messages"],
			"max_message_bytes": 1000,
			"ws_compress": true,
			"ws_ping_interval": "off",
			"allow_origins": ["*"]
		}`, port))
		p := launch(t, command(t, nil, "serve", "-c", config))
		r := dialRaw(t, p, "/", 101, "Origin: https://example.com", "Sec-WebSocket-Extensions: permessage-deflate")
		echoRaw(r, frame.Text, "x")
		_, second := r.frame()
		require.Equal(t, "x", second)
		got := holds(t, nil, "-c", config)
		require.Equal(t, [2]string{"0", "file " + config + ":2"}, got["port"])
		require.Equal(t, [2]string{"echo_messages echo_messages", "file " + config + ":3"}, got["filters"])
		require.Equal(t, [2]string{"1000", "file " + config + ":4"}, got["max_ws_message_bytes"])
		require.Equal(t, [2]string{"on", "file " + config + ":5"}, got["ws_compress"])
		require.Equal(t, [2]string{"off", "file " + config + ":6"}, got["ws_ping_interval"])
	}
}

// B7: a flag wins over the file, it over the environment, that over the default; for
// settings of the engine and for others, and for lists as a whole.
func TestB7Precedence(t *testing.T) {
	config := file(t, "config.json", `{"port": 2, "ws_workers": 2, "filters": ["rooms"], "inline": false, "ws_compress": false, "drain_window": "2s"}`)
	env := []string{"WS_PORT=3", "WS_WORKERS=3", "WS_FILTERS=history,stdout_messages", "WS_INLINE=on", "WS_COMPRESS=on", "WS_SHUTDOWN_SPREAD=3s"}
	flags := []string{"-p", "1", "--workers=1", "-f", "echo_messages", "--inline", "--compress", "--drain_window=0"}
	for name, tc := range map[string]struct {
		env, args                                      []string
		port, workers, filters, inline, deflate, drain string
		from                                           string
	}{
		"flag": {env, append(flags, "-c", config), "1", "1", "echo_messages", "on", "on", "off", "flag --"},
		"file": {env, []string{"-c", config}, "2", "2", "rooms", "off", "off", "2s", "file "},
		"env":  {env, nil, "3", "3", "history stdout_messages", "on", "on", "3s", "environment WS_"},
		"flag over environment": {env, []string{"-p", "1", "--workers=1", "-f", "echo_messages", "--inline=false", "--compress=false", "--drain-window=1s"},
			"1", "1", "echo_messages", "off", "off", "1s", "flag --"},
	} {
		t.Run(name, func(t *testing.T) {
			got := holds(t, tc.env, tc.args...)
			for field, want := range map[string]string{
				"port": tc.port, "ws_workers": tc.workers, "filters": tc.filters, "inline": tc.inline, "ws_compress": tc.deflate, "ws_shutdown_spread": tc.drain,
			} {
				require.Equal(t, want, got[field][0], field)
				require.True(t, strings.HasPrefix(got[field][1], tc.from), got[field][1])
			}
		})
	}
}

// B7: every setting of the engine that has a variable can stand in a file.
func TestB7EveryVariableIsAField(t *testing.T) {
	settings := make(map[string]any)
	for _, s := range (engine.Config{}).Settings() {
		settings[strings.ToLower(s.Name)] = s.Value
	}
	text, err := json.Marshal(settings)
	require.NoError(t, err)
	got := holds(t, nil, "-c", file(t, "all.json", string(text)))
	for name, value := range settings {
		require.Equal(t, value, got[name][0])
		require.Contains(t, got[name][1], "file ", name)
	}
}

// TestPrintConfigMasks: no secret is shown, nor where a value is wrong.
func TestPrintConfigMasks(t *testing.T) {
	env := []string{"WS_TOKENS=alice=s3cret,bob=hidden2", "WORKER_SECRET=s3cret"}
	_, stdout, _ := outcome(t, env, "serve", "--print-config")
	require.Contains(t, stdout, "tokens")
	require.Contains(t, stdout, "environment WS_TOKENS")
	require.NotContains(t, stdout, "s3cret")
	require.NotContains(t, stdout, "hidden2")
	config := file(t, "config.json", `{"tokens": ["alice=s3cret", "alice=s3cret"]}`)
	for _, tc := range []struct {
		env  []string
		args []string
	}{{[]string{"WS_TOKENS=alice=s3cret,bob=s3cret"}, nil}, {nil, []string{"-c", config}}, {nil, []string{"-c", file(t, "c.json", `{"tokens": "alice=s3cret"}`)}}} {
		status, stdout, stderr := outcome(t, tc.env, append([]string{"serve", "-p=0"}, tc.args...)...)
		require.Equal(t, 2, status)
		require.NotContains(t, stdout+stderr, "s3cret")
		requireOneLine(t, stderr)
		require.Regexp(t, "(?i)tokens", stderr)
	}
}

// B8: those with the same token are a group, by query or header.
func TestB8TokenGroups(t *testing.T) {
	p := start(t, nil, "-f", "broadcast_messages_by_token")
	dialRaw(t, p, "/", 401)
	dialRaw(t, p, "/?token=", 401)
	dialRaw(t, p, "/?token=a&token=b", 401)
	dialRaw(t, p, "/", 401, "Authorization: Bearer a", "Authorization: Bearer b")
	query := dialRaw(t, p, "/?token=a", 101)
	header := dialRaw(t, p, "/", 101, "Authorization: Bearer a")
	other := dialRaw(t, p, "/?token=b", 101)
	other.send(frame.Text, "for b")
	_, got := other.frame()
	require.Equal(t, "for b", got)
	query.send(frame.Text, "for a")
	for _, member := range []*rawClient{query, header} {
		_, got := member.frame()
		require.Equal(t, "for a", got)
	}
}

const appManifest = `{"slug": "shop", "websockets": {
	"orders": {"path": "/orders"},
	"news": {"path": "/news", "auth": {"required": false}}}}`

// TestManifest: apps are served beside the filters, and know users by WS_TOKENS.
func TestManifest(t *testing.T) {
	env := []string{"WS_TOKENS=alice=s3cret"}
	p := start(t, env, "--manifest", file(t, "shop.json", appManifest), "-f", "echo_messages")
	echoRaw(dialRaw(t, p, "/other", 101), frame.Text, "the filters' endpoint")
	dialRaw(t, p, "/orders", 401)
	dialRaw(t, p, "/orders?token=wrong", 401)
	for path, user := range map[string]string{"/orders?token=s3cret": `"user_id":"alice"`, "/news": `"authenticated":false`} {
		r := dialRaw(t, p, path, 101)
		_, hello := r.frame()
		require.Contains(t, hello, `"type":"connected"`)
		require.Contains(t, hello, user)
		r.send(frame.Text, `{"type":"subscribe","channel":"c"}`)
		_, answer := r.frame()
		require.Contains(t, answer, `"subscribed"`)
	}

	dir := t.TempDir()
	for _, slug := range []string{"a", "b"} {
		text := `{"slug": "` + slug + `", "auth_required": false, "websockets": {"w": {"path": "/ws"}}}`
		require.NoError(t, os.WriteFile(filepath.Join(dir, slug+".json"), []byte(text), 0o600))
	}
	p = start(t, nil, "--manifest", dir, "--slug-prefix")
	for _, slug := range []string{"a", "b"} {
		_, hello := dialRaw(t, p, "/"+slug+"/ws", 101).frame()
		require.Contains(t, hello, `"app_slug":"`+slug+`"`)
	}
	status, _, stderr := outcome(t, nil, "serve", "-p=0", "--manifest", dir)
	require.Equal(t, 2, status)
	requireOneLine(t, stderr, "/ws", "--slug-prefix")
}

// TestReady: /readyz turns to 503 before the first connection is closed, and /healthz
// stays 200 until the end.
func TestReady(t *testing.T) {
	p := start(t, nil, "-f", "echo_messages", "--drain-window=3s")
	status, body := get(t, "http://"+p.addr+"/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	var clients []*rawClient
	for range 40 { // that all of them are closed in the first moments is unlikely beyond words
		r := dialRaw(t, p, "/readyz", 101)
		echoRaw(r, frame.Text, "x")
		clients = append(clients, r)
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	require.Eventually(t, func() bool {
		status, body = get(t, "http://"+p.addr+"/readyz")
		return status == http.StatusServiceUnavailable
	}, 2*time.Second, time.Millisecond)
	require.Equal(t, "shutting down\n", body)
	status, _ = get(t, "http://"+p.addr+"/healthz")
	require.Equal(t, http.StatusOK, status)
	for refused := false; !refused; { // those that are ready once more get in before the engine is told
		c, resp := shakeRaw(t, p, "/")
		refused = resp.StatusCode == http.StatusServiceUnavailable
		_ = c.Close()
	}
	for _, r := range clients {
		require.Equal(t, 1001, r.closeCode())
		r.send(frame.Close, "\x03\xe9")
	}
	require.Greater(t, time.Since(began), time.Second, "the closes are spread")
	for _, r := range clients {
		_ = r.Close()
	}
	require.Equal(t, 0, p.wait(), "%s", &p.stderr)
}

// TestDrainWindow: a shutdown has ten seconds more than its window, unless it is said
// how long it has.
func TestDrainWindow(t *testing.T) {
	for window, timeout := range map[string]string{"0": "10s", "20s": "30s"} {
		require.Equal(t, timeout, holds(t, nil, "--drain-window", window)["ws_shutdown_timeout"][0])
	}
	require.Equal(t, "21s", holds(t, []string{"WS_SHUTDOWN_TIMEOUT=21s"}, "--drain-window=20s")["ws_shutdown_timeout"][0])
}

// TestHangupWithoutCertificate: it is a signal as the others.
func TestHangupWithoutCertificate(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP) // or the child would ignore it where this process does, as under nohup
	defer signal.Stop(signals)
	p := start(t, nil)
	p.signal(syscall.SIGHUP)
	require.Equal(t, 0, p.wait(), "%s", &p.stderr)
}

// TestPprof: profiles are served on a listener of their own, to this machine.
func TestPprof(t *testing.T) {
	p := start(t, nil, "--pprof-addr=127.0.0.1:0")
	var found []string
	require.Eventually(t, func() bool {
		found = regexp.MustCompile(`url=(http://127\.0\.0\.1:[0-9]+/debug/pprof/)`).FindStringSubmatch(p.stderr.String())
		return found != nil
	}, patience, time.Millisecond, "it should say where")
	status, body := get(t, found[1])
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "goroutine ")
	for path, want := range map[string]int{
		"goroutine?debug=1": 200, "heap": 200, "profile?seconds=1": 200, "trace?seconds=1": 200,
		"nonsense": 404, "profile?seconds=0": 400, "heap?debug=x": 404,
	} {
		status, body := get(t, found[1]+path)
		require.Equal(t, want, status, path)
		require.NotEmpty(t, body)
	}
	req, err := http.NewRequest(http.MethodGet, found[1], nil)
	require.NoError(t, err)
	req.Host = "rebound.example.com"
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	status, _ = get(t, "http://"+p.addr+"/debug/pprof/")
	require.Equal(t, http.StatusUpgradeRequired, status, "not where clients come")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.wait())
}

// TestLogs: JSON or text, from a level on.
func TestLogs(t *testing.T) {
	for _, tc := range []struct {
		args []string
		line string
	}{
		{nil, `^time=\S+ level=INFO msg=page url=http://127\.0\.0\.1:\d+/\ntime=\S+ level=INFO msg="shutting down; .*" signal=terminated\n$`},
		{[]string{"--log-format=json", "--page=false"}, `^\{"time":"[^"]+","level":"INFO","msg":"shutting down; .*","signal":"terminated"\}\n$`},
		{[]string{"--log-level=warn"}, `^$`},
	} {
		p := start(t, nil, tc.args...)
		p.signal(syscall.SIGTERM)
		require.Equal(t, 0, p.wait())
		require.Regexp(t, tc.line, p.stderr.String())
	}
}

// underSystemd is the program as systemd starts it: with a socket as descriptor 3 and
// its own number in LISTEN_PID.
func underSystemd(t *testing.T, env []string, sockets int, args ...string) *exec.Cmd {
	cmd := command(t, env, append([]string{"serve"}, args...)...)
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d exec "$0" "$@"`, sockets), cmd.Path}, cmd.Args[1:]...)
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	cmd.Path = sh
	return cmd
}

// TestSystemd: the socket is taken as it is given, and readiness and its end are told.
func TestSystemd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	socket, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	told := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: told, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = notify.Close() }()
	hear := func() string {
		b := make([]byte, 100)
		_ = notify.SetReadDeadline(time.Now().Add(patience))
		n, err := notify.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}

	cmd := underSystemd(t, []string{"NOTIFY_SOCKET=" + told}, 1, "-f", "echo_messages", "-p", "1")
	cmd.ExtraFiles = []*os.File{socket}
	addr := ln.Addr().String()
	_ = ln.Close() // the process alone has it now
	p := launch(t, cmd)
	_ = socket.Close()
	require.Equal(t, addr, p.addr)
	require.Equal(t, "READY=1", hear())
	ws := dialGorilla(t, p.url)
	echoGorilla(t, ws, gorilla.TextMessage, "x")
	p.signal(syscall.SIGTERM)
	require.Equal(t, "STOPPING=1", hear())
	_, _, err = ws.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, gorilla.CloseGoingAway), "%v", err)
	_ = ws.Close()
	require.Equal(t, 0, p.wait(), "%s", &p.stderr)
}

// TestSystemdMistakes: what is no single listening socket is an error, and what is meant
// for another process is not looked at.
func TestSystemdMistakes(t *testing.T) {
	notSocket, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer func() { _ = notSocket.Close() }()
	for n, says := range map[int]string{0: `LISTEN_FDS="0"`, 2: `LISTEN_FDS="2"`, 1: "socket of LISTEN_FDS"} {
		cmd := underSystemd(t, nil, n, "-p", "0")
		cmd.ExtraFiles = []*os.File{notSocket}
		_, err := cmd.Output()
		exit, ok := err.(*exec.ExitError)
		require.True(t, ok, "%v", err)
		require.Equal(t, 2, exit.ExitCode())
		requireOneLine(t, string(exit.Stderr), says)
	}
	p := start(t, []string{"LISTEN_PID=1", "LISTEN_FDS=1"})
	dialGorilla(t, p.url)
}

// TestServeHelp: flags stand under headings, each beside its variable, and every
// variable of the engine is there.
func TestServeHelp(t *testing.T) {
	status, help, stderr := outcome(t, nil, "serve", "--help")
	require.Equal(t, 0, status)
	require.Empty(t, stderr)
	for _, title := range []string{"Usage", "Examples", "Listening", "What is served", "Who may connect", "Limits and resources", "Operation"} {
		require.Contains(t, help, "\n"+title+":\n")
	}
	for _, name := range append(engine.EnvNames(), "WS_PORT", "WS_HOST", "WS_CERT", "WS_KEY", "WS_FILTERS", "WS_TOKENS", "WS_PPROF_ADDR") {
		require.Regexp(t, `\b`+name+`\b`, help)
	}
	for line := range strings.Lines(help) {
		require.LessOrEqual(t, len(line), 111, line)
	}
}
