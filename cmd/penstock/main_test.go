package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

func dialGorilla(t *testing.T, url string) *gorilla.Conn {
	t.Helper()
	ws, _, err := gorilla.DefaultDialer.Dial(url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	return ws
}

func dialCoder(t *testing.T, ctx context.Context, url string) *coder.Conn {
	t.Helper()
	ws, _, err := coder.Dial(ctx, url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func echoGorilla(t *testing.T, ws *gorilla.Conn, op int, text string) {
	t.Helper()
	require.NoError(t, ws.WriteMessage(op, []byte(text)))
	gotOp, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, op, gotOp)
	require.Equal(t, text, string(got))
}

func echoCoder(t *testing.T, ctx context.Context, ws *coder.Conn, op coder.MessageType, text string) {
	t.Helper()
	require.NoError(t, ws.Write(ctx, op, []byte(text)))
	gotOp, got, err := ws.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, op, gotOp)
	require.Equal(t, text, string(got))
}

func echoRaw(c *rawClient, op frame.Opcode, text string) {
	c.t.Helper()
	c.send(op, text)
	h, got := c.frame()
	require.Equal(c.t, frame.Header{Fin: true, Opcode: op, Length: int64(len(text))}, h)
	require.Equal(c.t, text, got)
}

func TestEchoToEveryClient(t *testing.T) {
	for _, mode := range []string{"--inline=false", "--inline"} {
		t.Run(mode, func(t *testing.T) {
			p, ctx := start(t, nil, "-f", "echo_messages", mode), patient(t)
			g, c, r := dialGorilla(t, p.url), dialCoder(t, ctx, p.url), dialRaw(t, p, "/", 101)
			for _, text := range []string{"", "x", strings.Repeat("long ", 10000)} {
				echoGorilla(t, g, gorilla.TextMessage, text)
				echoGorilla(t, g, gorilla.BinaryMessage, text+"\xff")
				if len(text) < 32<<10 { // coder's own limit for reading
					echoCoder(t, ctx, c, coder.MessageText, text)
					echoCoder(t, ctx, c, coder.MessageBinary, text+"\xff")
				}
				echoRaw(r, frame.Text, text)
				echoRaw(r, frame.Binary, text+"\xff")
			}
		})
	}
}

// TestBroadcastIsTheDefault: every message goes to everybody, the sender included.
func TestBroadcastIsTheDefault(t *testing.T) {
	p, ctx := start(t, nil), patient(t)
	r := dialRaw(t, p, "/any/path?x=y", 101)
	echoRaw(r, frame.Text, "raw is in")
	g := dialGorilla(t, p.url)
	echoGorilla(t, g, gorilla.TextMessage, "gorilla is in")
	c := dialCoder(t, ctx, p.url)
	echoCoder(t, ctx, c, coder.MessageBinary, "coder is in")
	_, got := r.frame()
	require.Equal(t, "gorilla is in", got)
	h, got := r.frame()
	require.Equal(t, frame.Binary, h.Opcode)
	require.Equal(t, "coder is in", got)
	op, message, err := g.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, gorilla.BinaryMessage, op)
	require.Equal(t, "coder is in", string(message))
}

// TestSignalClosesEverybody: each client gets 1001, and the status is 0.
func TestSignalClosesEverybody(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			p, ctx := start(t, nil, "-f", "echo_messages"), patient(t)
			var gs []*gorilla.Conn
			var cs []*coder.Conn
			var rs []*rawClient
			for range 10 {
				gs = append(gs, dialGorilla(t, p.url))
				echoGorilla(t, gs[len(gs)-1], gorilla.TextMessage, "x")
				cs = append(cs, dialCoder(t, ctx, p.url))
				echoCoder(t, ctx, cs[len(cs)-1], coder.MessageText, "x")
				rs = append(rs, dialRaw(t, p, "/", 101))
				echoRaw(rs[len(rs)-1], frame.Text, "x")
			}
			p.signal(sig)
			for i := range gs {
				_, _, err := gs[i].ReadMessage()
				require.True(t, gorilla.IsCloseError(err, gorilla.CloseGoingAway), "%v", err)
				_ = gs[i].Close()
				_, _, err = cs[i].Read(ctx)
				require.Equal(t, coder.StatusGoingAway, coder.CloseStatus(err), "%v", err)
				require.Equal(t, 1001, rs[i].closeCode())
				rs[i].send(frame.Close, "\x03\xe9")
				_, err = io.Copy(io.Discard, rs[i].r) // until the server closes, as it is its turn to (RFC 6455 §7.1.1)
				require.NoError(t, err)
				_ = rs[i].Close()
			}
			require.Equal(t, 0, p.wait(), "%s", &p.stderr)
		})
	}
}

// TestSecondSignalEndsAtOnce: the one client never answers the close, and the
// server would wait for it for longer than the test does.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, []string{"WS_CLOSE_TIMEOUT=10m", "WS_SHUTDOWN_TIMEOUT=10m"}, "-f", "echo_messages")
	rude := dialRaw(t, p, "/", 101)
	echoRaw(rude, frame.Text, "x")
	p.signal(syscall.SIGTERM)
	require.Equal(t, 1001, rude.closeCode())
	p.signal(syscall.SIGTERM)
	require.Equal(t, 128+int(syscall.SIGTERM), p.wait())
}

func TestHealth(t *testing.T) {
	p := start(t, nil, "-f", "echo_messages")
	ask := func(method, path string) (int, string) {
		req, err := http.NewRequest(method, "http://"+p.addr+path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, body := ask(http.MethodGet, "/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	status, _ = ask(http.MethodHead, "/healthz")
	require.Equal(t, http.StatusOK, status)
	status, _ = ask(http.MethodPost, "/healthz")
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = ask(http.MethodGet, "/elsewhere")
	require.Equal(t, http.StatusUpgradeRequired, status)
	echoRaw(dialRaw(t, p, "/healthz", 101), frame.Text, "any path upgrades")
}

func TestOrigins(t *testing.T) {
	const foreign = "Origin: https://app.example.com"
	p := start(t, nil)
	dialRaw(t, p, "/", 403, foreign)
	dialRaw(t, p, "/", 101, "Origin: http://"+p.addr)
	dialRaw(t, p, "/", 101)

	p = start(t, nil, "--allow-origin", "https://*.example.com", "--allow-origin", "other.example.org")
	dialRaw(t, p, "/", 101, foreign)
	dialRaw(t, p, "/", 101, "Origin: http://other.example.org")
	dialRaw(t, p, "/", 403, "Origin: https://example.net")

	p = start(t, nil, "--allow-origin=*")
	dialRaw(t, p, "/", 101, "Origin: https://example.net")
}

// TestTrustedProxy: the server's own origin is https only where a trusted proxy
// says so.
func TestTrustedProxy(t *testing.T) {
	p := start(t, nil)
	dialRaw(t, p, "/", 403, "X-Forwarded-Proto: https", "Origin: https://"+p.addr)
	for _, flag := range []string{"127.0.0.0/8", "127.0.0.1"} {
		p = start(t, nil, "--trusted-proxy=10.0.0.0/8", "--trusted-proxy", flag)
		dialRaw(t, p, "/", 101, "X-Forwarded-Proto: https", "Origin: https://"+p.addr)
	}
}

// TestMessageLimit shows from outside which of flag, variable and default holds.
func TestMessageLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		env   []string
		args  []string
		limit int
	}{
		"default":            {limit: 1 << 20},
		"variable":           {env: []string{"MAX_WS_MESSAGE_BYTES=1000"}, limit: 1000},
		"flag":               {args: []string{"--max-message-bytes", "2000"}, limit: 2000},
		"flag over variable": {env: []string{"MAX_WS_MESSAGE_BYTES=1000"}, args: []string{"--max-message-bytes=2000"}, limit: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, tc.env, append(tc.args, "-f", "echo_messages")...)
			ws := dialGorilla(t, p.url)
			echoGorilla(t, ws, gorilla.BinaryMessage, strings.Repeat("x", tc.limit))
			require.NoError(t, ws.WriteMessage(gorilla.BinaryMessage, bytes.Repeat([]byte("x"), tc.limit+1)))
			_, _, err := ws.ReadMessage()
			require.True(t, gorilla.IsCloseError(err, gorilla.CloseMessageTooBig), "%v", err)
		})
	}
}

func TestSendChunks(t *testing.T) {
	p := start(t, []string{"WS_SEND_CHUNK_BYTES=125"}, "-f", "echo_messages", "--send-chunk-bytes=400")
	r := dialRaw(t, p, "/", 101)
	text := strings.Repeat("abc", 333)
	r.send(frame.Text, text)
	var got strings.Builder
	for _, want := range []frame.Header{
		{Opcode: frame.Text, Length: 400},
		{Opcode: frame.Continuation, Length: 400},
		{Opcode: frame.Continuation, Length: 199, Fin: true},
	} {
		h, payload := r.frame()
		require.Equal(t, want, h)
		got.WriteString(payload)
	}
	require.Equal(t, text, got.String())
}

func TestHostV6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this system has no IPv6 loopback: %v", err)
	}
	_ = ln.Close()
	for _, host := range []string{"::1", "[::1]"} {
		p := start(t, nil, "--host", host, "-f", "echo_messages")
		require.True(t, strings.HasPrefix(p.url, "ws://[::1]:"), p.url)
		echoGorilla(t, dialGorilla(t, p.url), gorilla.TextMessage, "x")
	}
}

// TestUsageErrors: status 2, nothing on standard output, and one line that names
// what is wrong, its value, and what is allowed.
func TestUsageErrors(t *testing.T) {
	for _, tc := range []struct {
		env  string
		args string // separated by spaces
		says []string
	}{
		{env: "MAX_WS_MESSAGE_BYTES=banana", says: []string{"MAX_WS_MESSAGE_BYTES", `"banana"`, "1 to 1073741824"}},
		{env: "MAX_WS_MESSAGE_BYTES=-1", says: []string{"MAX_WS_MESSAGE_BYTES", `"-1"`, "1 to 1073741824"}},
		{env: "MAX_WS_MESSAGE_BYTES=banana", args: "--max-message-bytes=5", says: []string{"MAX_WS_MESSAGE_BYTES", `"banana"`}},
		{env: "MAX_WS_MESSAGE_BYTES=banana WS_WORKERS=0", says: []string{"MAX_WS_MESSAGE_BYTES", `"banana"`, "WS_WORKERS", `"0"`}},
		{env: "WS_HIGH_WATER_BYTES=100 WS_LOW_WATER_BYTES=200", says: []string{"environment", "LowWater", "200", "HighWater", "100"}},
		{env: "WS_PING_INTERVAL=fast", says: []string{"WS_PING_INTERVAL", `"fast"`, "30s", "off"}},
		{args: "--max-message-bytes=banana", says: []string{"--max-message-bytes", `"banana"`, "1 to 1073741824"}},
		{args: "--max-message-bytes 0", says: []string{"--max-message-bytes", `"0"`, "1 to 1073741824"}},
		{args: "--send-chunk-bytes=124", says: []string{"--send-chunk-bytes", `"124"`, "125 to"}},
		{args: "--workers=-1", says: []string{"--workers", `"-1"`, "1 to"}},
		{args: "-p 65536", says: []string{"--port", `"65536"`, "0 to 65535"}},
		{args: "--port=http", says: []string{"--port", `"http"`, "0 to 65535"}},
		{args: "--port", says: []string{"--port", "no value", "0 to 65535"}},
		{args: "--host=", says: []string{"--host", `""`, "0.0.0.0"}},
		{args: "--host=no.such.host.invalid", says: []string{"--host", `"no.such.host.invalid"`}},
		{args: "--host=192.0.2.1", says: []string{"--host", `"192.0.2.1"`}},
		{args: "--metrics-addr=192.0.2.1:0 --pprof-addr=127.0.0.1:0", says: []string{"--metrics-addr", `"192.0.2.1:0"`}},
		{env: "WS_METRICS_ADDR=no.such.host.invalid:0", says: []string{"WS_METRICS_ADDR", `"no.such.host.invalid:0"`}},
		{args: "--inline=perhaps", says: []string{"--inline", `"perhaps"`, "true or false"}},
		{args: "--allow-origin=https://a/b", says: []string{"--allow-origin", `"https://a/b"`, "https://*.example.com"}},
		{args: "--trusted-proxy=10.0.0.0/33", says: []string{"--trusted-proxy", `"10.0.0.0/33"`, "10.0.0.0/8"}},
		{args: "--no-such-flag", says: []string{`"no-such-flag"`, "serve --help"}},
		{args: "-f echo", says: []string{"filter", `"echo"`, "did you mean echo_messages?", "broadcast_messages, broadcast_messages_by_token, broadcast_pubsub, echo_messages"}},
		{args: "-f echo_messages nonsense", says: []string{"filter", `"nonsense"`, "broadcast_messages, broadcast_messages_by_token, broadcast_pubsub, echo_messages"}},
		{args: "--key=k.pem", says: []string{"--cert", "--key", "together"}},
		{args: "--key=no-such.pem --cert=no-such.pem", says: []string{"no-such.pem", "no such file"}},
		{args: "--cert=$garbage --key=$garbage", says: []string{"--cert", "garbage.pem"}},
		{args: "--cert=$large --key=$garbage", says: []string{"--cert", "large.pem is longer than"}},
		{args: "-cert c.pem", says: []string{"-cert is written --cert"}},
		{args: "-key k.pem", says: []string{"-key is written --key"}},
		{args: "--manifest=no-such.json", says: []string{"--manifest", "no-such.json"}},
		{args: "--manifest=$garbage", says: []string{"--manifest", "garbage.pem:1"}},
		{args: "--manifest=$manifest", says: []string{"--manifest", "shop/orders requires a user", "WS_TOKENS"}},
		{args: "--slug-prefix=maybe", says: []string{"--slug-prefix", `"maybe"`, "true or false"}},
		{args: "--pprof-addr=0.0.0.0:0", says: []string{"--pprof-addr", `"0.0.0.0:0"`, "loopback"}},
		{args: "--pprof-addr=:6060", says: []string{"--pprof-addr", "loopback"}},
		{args: "--pprof-addr=127.0.0.1", says: []string{"--pprof-addr", "loopback"}},
		{args: "--log-format=xml", says: []string{"--log-format", `"xml"`, "text or json"}},
		{args: "--log-level=loud", says: []string{"--log-level", `"loud"`, "debug, info, warn or error"}},
		{args: "--drain-window=soon", says: []string{"--drain-window", `"soon"`, "30s"}},
		{args: "--drain-window=20s", env: "WS_SHUTDOWN_TIMEOUT=20s", says: []string{"--drain-window", "20s", "WS_SHUTDOWN_TIMEOUT"}},
		{args: "--io=magic", says: []string{"--io", `"magic"`, "goroutine", "epoll"}},
		{env: "WS_PORT=70000", args: "-p 5", says: []string{"WS_PORT", `"70000"`, "0 to 65535"}},
		{env: "WS_PORT=70000 WS_INLINE=yes WS_LOG_LEVEL=x", says: []string{"WS_PORT", "WS_INLINE", `"yes"`, "WS_LOG_LEVEL"}},
		{env: "WS_FILTERS=nonsense", args: "-f rooms", says: []string{"WS_FILTERS", `"nonsense"`, "echo_messages"}},
		{env: "WS_TOKENS=alice", says: []string{"WS_TOKENS", "user=token"}},
		{env: "WS_TOKENS=,", says: []string{"WS_TOKENS", "user=token"}},
		{env: "WS_FILTER_RATE=fast", args: "-f rate_limit", says: []string{"rate_limit", "WS_FILTER_RATE", `"fast"`, "100/10s"}},
		{args: "-f worker_relay", says: []string{"worker_relay", "WORKER_SECRET"}},
		{env: "WS_REDIS_URL=http://u:hush@h", says: []string{"WS_REDIS_URL", "(hidden)", "redis://host:6379/0"}},
		{args: "-c $config", env: `CONFIG={"nats":"http://u:hush@h"}`, says: []string{"config.json:1", "nats is", "(hidden)", "nats://host:4222"}},
		{args: "--redis=redis://h --nats=nats://h", says: []string{"--redis", "--nats", "exclude"}},
		{args: "-f broadcast_pubsub", says: []string{"broadcast_pubsub", "--redis", "--nats"}},
		{args: "-c no-such.json", says: []string{"--config", "no-such.json"}},
		{args: "--config=", says: []string{"--config", `""`}},
		{args: "-c", says: []string{"--config", "no value"}},
		{args: "-c $config", env: `CONFIG={"prot":1}`, says: []string{"config.json:1", "unknown field", `"prot"`}},
		{args: "-c $config", env: `CONFIG={"port":9000,¶"port":1}`, says: []string{"config.json:2", "port", "already", "config.json:1"}},
		{args: "-c $config", env: `CONFIG={"port":9000,¶"ws_port":1}`, says: []string{"config.json:2", "ws_port", "already"}},
		{args: "-c $config", env: `CONFIG={¶"port":true}`, says: []string{"config.json:2", "port is true", "0 to 65535"}},
		{args: "-c $config", env: `CONFIG={"port":null}`, says: []string{"port is null", "0 to 65535"}},
		{args: "-c $config", env: `CONFIG={"port":"http"}`, says: []string{"config.json:1", `port is "http"`, "0 to 65535"}},
		{args: "-c $config", env: `CONFIG={"port":90.5}`, says: []string{`port is "90.5"`, "0 to 65535"}},
		{args: "-c $config", env: `CONFIG={"port":70000}`, says: []string{`port is "70000"`, "0 to 65535"}},
		{args: "-p 1 -c $config", env: `CONFIG={"port":70000}`, says: []string{`port is "70000"`}},
		{args: "-c $config", env: `CONFIG={"host":5}`, says: []string{"host is 5", "a string"}},
		{args: "-c $config", env: `CONFIG={"filters":"rooms"}`, says: []string{"filters is", "a list of strings"}},
		{args: "-c $config", env: `CONFIG={"filters":[1]}`, says: []string{"filters is a list", "a list of strings"}},
		{args: "-c $config", env: `CONFIG={"filters":[]}`, says: []string{"filters is", "the name of a filter"}},
		{args: "-c $config", env: `CONFIG={"filters":["nonsense"]}`, says: []string{`"nonsense"`, "echo_messages"}},
		{args: "-c $config", env: `CONFIG={"inline":1}`, says: []string{"inline is", "true or false"}},
		{args: "-c $config", env: `CONFIG={"ws_workers":{}}`, says: []string{"ws_workers is an object", "1 to"}},
		{args: "-c $config", env: `CONFIG={"ws_workers":true}`, says: []string{"ws_workers is true", "1 to"}},
		{args: "-c $config", env: `CONFIG={"ws_ping_interval":30,¶"ws_workers":0,¶"x":1}`, says: []string{"config.json:1", "30s", "config.json:2", "config.json:3", `"x"`}},
		{args: "-c $config", env: `CONFIG={"port":1`, says: []string{"config.json:1", "ends before"}},
		{args: "-c $config", env: `CONFIG={"port":1,}`, says: []string{"config.json:1"}},
		{args: "-c $config", env: `CONFIG={"port":1}{}`, says: []string{"config.json:1", "follows"}},
		{args: "-c $config", env: `CONFIG=[]`, says: []string{"config.json:1", "object"}},
		{args: "-c $config", env: "CONFIG=\ufeff{}", says: []string{"config.json:1", "byte order mark"}},
		{args: "-c $config", env: `CONFIG={"key":"k"}`, says: []string{"--cert", "--key", "together"}},
		{args: "-c $config", env: `CONFIG={"ws_high_water_bytes":100,"ws_low_water_bytes":200}`, says: []string{"contradict", "LowWater", "200"}},
	} {
		t.Run(tc.env+" "+tc.args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			names := map[string]string{"garbage": "garbage.pem", "manifest": "manifest.json", "config": "config.json", "large": "large.pem"}
			config, inFile := strings.CutPrefix(tc.env, "CONFIG=")
			if inFile {
				tc.env = ""
			}
			for name, text := range map[string]string{"large": strings.Repeat("x", 1<<20+1), "garbage": "garbage", "manifest": appManifest, "config": strings.ReplaceAll(config, "¶", "\n")} {
				names[name] = filepath.Join(dir, names[name])
				require.NoError(t, os.WriteFile(names[name], []byte(text), 0o600))
			}
			tc.args = os.Expand(tc.args, func(name string) string { return names[name] })
			status, stdout, stderr := outcome(t, strings.Fields(tc.env), append([]string{"serve", "-p=0"}, strings.Fields(tc.args)...)...)
			requireOneLine(t, stderr, tc.says...)
			require.NotContains(t, stderr, ":hush", "a secret is shown")
			require.Equal(t, 2, status)
			require.Empty(t, stdout)
		})
	}
}

func requireOneLine(t *testing.T, stderr string, says ...string) {
	t.Helper()
	require.Equal(t, 1, strings.Count(stderr, "\n"), "%s", stderr)
	require.True(t, strings.HasSuffix(stderr, "\n"), "%s", stderr)
	for _, what := range append(says, "penstock: ") {
		require.Contains(t, stderr, what)
	}
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	status, stdout, stderr := outcome(t, nil, "serve", "-p", port)
	requireOneLine(t, stderr, ":"+port, "--port", "0 for a free one")
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
}

func TestRoot(t *testing.T) {
	status, stdout, stderr := outcome(t, nil)
	require.Equal(t, 0, status)
	require.Empty(t, stderr)
	for _, command := range []string{"bench ", "connect ", "serve ", "version "} {
		require.Contains(t, stdout, "\n  "+command)
	}
	for _, wrong := range []string{"sevre", "--no-such-flag", "version 2", "bench nonsense"} {
		status, stdout, stderr = outcome(t, nil, strings.Fields(wrong)...)
		requireOneLine(t, stderr)
		require.Equal(t, 2, status, wrong)
		require.Empty(t, stdout)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		status, stdout, stderr := outcome(t, nil, arg)
		require.Equal(t, 0, status)
		require.Empty(t, stderr)
		require.Regexp(t, `^penstock \S+( \S+)* go1\.\S+ \w+/\w+\n$`, stdout)
	}

	info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"},
		{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "amd64"},
	}}
	require.Equal(t, "penstock v1.2.3 0123456789ab with changes go1.26.0 linux/amd64", version(info))
	require.Equal(t, "penstock (unknown)  /", version(&debug.BuildInfo{}))
}

// TestBenchStartsItsOwnServer: the two commands of the program fit together.
func TestBenchStartsItsOwnServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "echo.json")
	status, _, stderr := outcome(t, nil, "bench", "echo", "--connections=2", "--warmup=10ms", "--duration=100ms", "--quiet", "--json", file)
	require.Equal(t, 0, status, stderr)
	result, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(result), `"messages_per_second"`)
}
