package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// patience is how long something may take that should happen at once.
const patience = 20 * time.Second

// A result is what a run has left.
type result struct {
	status int
	out    string
	notes  string // standard error, and the error that a program would print there
	err    error
}

// connect runs the command to its end, without a proxy.
func connect(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	r := connectTo(ctx, in, &out, args...)
	require.NoError(t, ctx.Err(), "it should have ended; standard error: %s", r.notes)
	r.out = out.String()
	return r
}

func connectTo(ctx context.Context, in io.Reader, out io.Writer, args ...string) (r result) {
	var notes bytes.Buffer
	cmd := NewCommand()
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(&notes)
	r.err = cmd.ExecuteContext(ctx)
	if r.err != nil {
		r.status = 1
		fmt.Fprintln(&notes, r.err)
	}
	var coded interface{ ExitCode() int }
	if errors.As(r.err, &coded) {
		r.status = coded.ExitCode()
	}
	r.notes = notes.String()
	return r
}

// serve runs a gorilla server until the test ends, and returns its ws:// URL.
func serve(t *testing.T, up gorilla.Upgrader, handle func(r *http.Request, ws *gorilla.Conn)) string {
	t.Helper()
	s := httptest.NewServer(upgrading(up, handle))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func upgrading(up gorilla.Upgrader, handle func(r *http.Request, ws *gorilla.Conn)) http.Handler {
	up.CheckOrigin = func(*http.Request) bool { return true }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_ = ws.SetReadDeadline(time.Now().Add(patience))
		handle(r, ws)
	})
}

func echo(_ *http.Request, ws *gorilla.Conn) {
	for {
		op, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(op, data) != nil {
			return
		}
	}
}

var echoEndpoint = engine.Endpoint{Handler: engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
	return c.Send(m.Type, m.Data)
}}}

// numbered returns n lines that differ.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d of them, € and %s\n", i, strings.Repeat("x", i%50))
	}
	return b.String()
}

// TestEchoInAPipe: every line comes back, in order, by every kind of server.
func TestEchoInAPipe(t *testing.T) {
	secure := httptest.NewTLSServer(upgrading(gorilla.Upgrader{}, echo))
	t.Cleanup(secure.Close)
	ours := func(t *testing.T) string { return enginetest.Start(t, engine.Config{}, echoEndpoint).URL() } // one at a time: it looks at what is left
	theirs := func(t *testing.T) string { return serve(t, gorilla.Upgrader{EnableCompression: true}, echo) }
	for name, tc := range map[string]struct {
		n      int
		target func(t *testing.T) string
		args   []string
	}{
		"gorilla":           {10_000, theirs, nil},
		"gorilla, deflate":  {1000, theirs, []string{"--compress"}}, // a compressor for each is slow under the race detector
		"gorilla, TLS":      {10_000, func(*testing.T) string { return "wss" + strings.TrimPrefix(secure.URL, "https") }, []string{"--insecure"}},
		"engine":            {10_000, ours, nil},
		"engine, as binary": {10_000, ours, []string{"--binary"}},
	} {
		t.Run(name, func(t *testing.T) {
			lines := numbered(tc.n)
			r := connect(t, strings.NewReader(lines), append(tc.args, tc.target(t), "--count", strconv.Itoa(tc.n))...)
			require.NoError(t, r.err)
			require.True(t, lines == r.out, "%d bytes of %d", len(r.out), len(lines))
			require.Empty(t, r.notes)
		})
	}
}

// TestNoStandoff: more than both sides and the kernel between them hold goes through a
// server that stops reading while its client does not.
func TestNoStandoff(t *testing.T) {
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 64 << 10}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}, Inline: true})
	const n = 1000
	lines := strings.Repeat(strings.Repeat("y", 32<<10)+"\n", n)
	r := connect(t, strings.NewReader(lines), s.URL(), fmt.Sprintf("--count=%d", n))
	require.NoError(t, r.err)
	require.Equal(t, len(lines), len(r.out))
}

// A countingReader is input without an end in sight.
type countingReader struct {
	line []byte
	left int
	read atomic.Int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	r.left--
	r.read.Add(int64(len(r.line)))
	return copy(p, r.line), nil
}

// TestSlowServer: while the server does not read, the input is not read either; then
// all of it arrives.
func TestSlowServer(t *testing.T) {
	goOn, got := make(chan struct{}), make(chan int, 1)
	target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		<-goOn
		n := 0
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				got <- n
				return
			}
			n++
		}
	})
	const total = 4000
	in := &countingReader{line: append(bytes.Repeat([]byte("z"), 16<<10), '\n'), left: total}
	done := make(chan result, 1)
	go func() { done <- connectTo(context.Background(), in, io.Discard, target) }() // ends with the server
	last, since := int64(-1), time.Now()
	for time.Since(since) < 300*time.Millisecond { // as long as it is still reading
		if n := in.read.Load(); n != last {
			last, since = n, time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	require.Less(t, last, int64(24<<20), "the kernel's buffers, and little more")
	close(goOn)
	r := <-done
	require.NoError(t, r.err)
	require.Equal(t, total, <-got)
}

// A received message, as a server has it.
type received struct {
	op   int
	data string
}

// collect serves, and sends all messages that come until the end.
func collect(t *testing.T) (target string, all func() []received) {
	got := make(chan []received, 1)
	target = serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		list := []received{}
		for {
			op, data, err := ws.ReadMessage()
			if err != nil {
				if !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
					list = append(list, received{-1, err.Error()})
				}
				got <- list
				return
			}
			list = append(list, received{op, string(data)})
		}
	})
	return target, func() []received {
		select {
		case list := <-got:
			return list
		case <-time.After(patience):
			t.Fatal("the server should have ended")
			return nil
		}
	}
}

// TestInput: how standard input is divided into messages.
func TestInput(t *testing.T) {
	const text, binary = gorilla.TextMessage, gorilla.BinaryMessage
	for name, tc := range map[string]struct {
		in   string
		args []string
		want []received
	}{
		"nothing":             {"", nil, []received{}},
		"lines":               {"a\nb\n", nil, []received{{text, "a"}, {text, "b"}}},
		"no break at the end": {"a\nb", []string{"--text"}, []received{{text, "a"}, {text, "b"}}},
		"empty lines":         {"\n\n", nil, []received{{text, ""}, {text, ""}}},
		"CRLF":                {"a\r\nb\rc\r\n\r\r\nd\r", nil, []received{{text, "a"}, {text, "b\rc"}, {text, "\r"}, {text, "d\r"}}},
		"binary keeps CR":     {"a\r\n\xff\x00\n", []string{"--binary"}, []received{{binary, "a\r"}, {binary, "\xff\x00"}}},
		"whole":               {"a\n\nb\n", []string{"--whole"}, []received{{text, "a\n\nb\n"}}},
		"whole binary":        {"\xff\n\x00", []string{"--whole", "--binary"}, []received{{binary, "\xff\n\x00"}}},
		"no commands":         {"/quit\n/close 4000\n//x\n", nil, []received{{text, "/quit"}, {text, "/close 4000"}, {text, "//x"}}},
		"at the limit":        {"12345\r\n12345", []string{"--max-message-bytes=5"}, []received{{text, "12345"}, {text, "12345"}}},
	} {
		t.Run(name, func(t *testing.T) {
			target, all := collect(t)
			r := connect(t, strings.NewReader(tc.in), append(tc.args, target)...)
			require.NoError(t, r.err)
			require.Equal(t, tc.want, all())
		})
	}
}

// TestBadInput: what cannot be sent ends the connection in good order and fails; what
// came before it has been sent.
func TestBadInput(t *testing.T) {
	for name, tc := range map[string]struct {
		in   io.Reader
		args []string
		says string
	}{
		"not UTF-8":       {strings.NewReader("ok\n\xff\nlost\n"), nil, "message 2 of the input is not UTF-8"},
		"line too long":   {strings.NewReader("ok\n" + strings.Repeat("x", 200_000)), []string{"--max-message-bytes=100000"}, "line 2 of the input is longer"},
		"too long by one": {strings.NewReader("ok\n123456\n"), []string{"--max-message-bytes=5"}, "line 2 of the input is longer"},
		"cannot be read":  {io.MultiReader(strings.NewReader("ok\n"), brokenReader{}), nil, "reading the input: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			target, all := collect(t)
			r := connect(t, tc.in, append(tc.args, target, "--wait=forever")...)
			require.Equal(t, 1, r.status)
			require.Contains(t, r.notes, tc.says)
			require.Equal(t, []received{{gorilla.TextMessage, "ok"}}, all())
		})
	}
	target, all := collect(t)
	r := connect(t, strings.NewReader("123456"), target, "--whole", "--max-message-bytes=5")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.notes, "larger than --max-message-bytes, which is 5")
	require.Empty(t, all())
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// say serves messages and a close with 1000.
func say(t *testing.T, messages ...received) string {
	return serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		for _, m := range messages {
			if ws.WriteMessage(m.op, []byte(m.data)) != nil {
				return
			}
		}
		closeWith(ws, gorilla.CloseNormalClosure, "")
	})
}

func closeWith(ws *gorilla.Conn, code int, reason string) {
	_ = ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason), time.Now().Add(patience))
	for err := error(nil); err == nil; { // until the answer, which stands behind what was sent before
		_, _, err = ws.ReadMessage()
	}
}

// open is input that does not end before the test does.
func open(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	return r
}

// TestOutput: messages as they are, one per line; with --raw without the lines.
func TestOutput(t *testing.T) {
	target := say(t, received{gorilla.TextMessage, "a\x1b[31m"}, received{gorilla.BinaryMessage, "\xff\x00\n"}, received{gorilla.TextMessage, ""})
	require.Equal(t, "a\x1b[31m\n\xff\x00\n\n\n", connect(t, open(t), target).out)
	require.Equal(t, "a\x1b[31m\xff\x00\n", connect(t, open(t), target, "--raw").out)
	r := connect(t, open(t), target, "--count=1")
	require.NoError(t, r.err)
	require.Equal(t, "a\x1b[31m\n", r.out)
}

func TestJSON(t *testing.T) {
	target := serve(t, gorilla.Upgrader{Subprotocols: []string{"v2"}}, func(_ *http.Request, ws *gorilla.Conn) {
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("t\n\u009b<"))
		_ = ws.WriteMessage(gorilla.BinaryMessage, []byte("\xff"))
		_ = ws.WriteMessage(gorilla.BinaryMessage, nil)
		_ = ws.WriteControl(gorilla.PingMessage, []byte("p"), time.Now().Add(patience))
		closeWith(ws, 4001, "en\u202eough")
	})
	r := connect(t, open(t), target, "--json", "-v", "-s", "v2")
	require.Equal(t, 121, r.status)
	lines := strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	want := []string{
		`{"event":"open","address":"ADDR","subprotocol":"v2"}`,
		`{"event":"message","type":"text","data":"t\n\u009b\u003c"}`,
		`{"event":"message","type":"binary","base64":"/w=="}`,
		`{"event":"message","type":"binary","base64":""}`,
		`{"event":"ping","data":"p"}`,
		`{"event":"close","code":4001,"reason":"en\u202eough","remote":true}`,
	}
	require.Len(t, lines, len(want))
	for i, line := range lines {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		at, err := time.Parse(time.RFC3339Nano, fields["time"].(string))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Minute)
		shown := strings.Replace(line, `"time":"`+fields["time"].(string)+`",`, "", 1)
		require.Equal(t, strings.Replace(want[i], "ADDR", strings.TrimPrefix(target, "ws://"), 1), shown)
	}
}

// TestStatus: the exit status tells how the connection ended.
func TestStatus(t *testing.T) {
	for code, want := range map[int]int{1000: 0, 1001: 101, 1002: 102, 1003: 103, 1007: 107, 1008: 108, 1009: 109, 1011: 111, 1012: 112, 1013: 113, 3000: 120, 3999: 120, 4000: 121, 4999: 121} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) { closeWith(ws, code, "wh\u009by") })
			r := connect(t, open(t), target)
			require.Equal(t, want, r.status, r.notes)
			if want == 0 {
				require.Empty(t, r.notes)
				return
			}
			require.Equal(t, 1, strings.Count(r.notes, "\n"))
			require.Contains(t, r.notes, fmt.Sprintf("the server closed the connection: %d", code))
			require.Contains(t, r.notes, `"wh\u009by"`)
		})
	}
	for name, tc := range map[string]struct {
		handle func(*http.Request, *gorilla.Conn)
		args   []string
		want   int
	}{
		"close without a code": {func(_ *http.Request, ws *gorilla.Conn) { closeWith(ws, gorilla.CloseNoStatusReceived, "") }, nil, 0},
		"no close":             {func(*http.Request, *gorilla.Conn) {}, nil, 106},
		"a violation": {func(_ *http.Request, ws *gorilla.Conn) {
			_, _ = ws.NetConn().Write([]byte{0xff, 0})
			_, _, _ = ws.ReadMessage()
		}, nil, 102},
		"a message too large": {func(_ *http.Request, ws *gorilla.Conn) {
			_ = ws.WriteMessage(1, []byte("123456"))
			_, _, _ = ws.ReadMessage()
		}, []string{"--max-message-bytes=5"}, 109},
		"no answer to pings":    {func(r *http.Request, ws *gorilla.Conn) { <-r.Context().Done() }, []string{"--ping=100ms"}, 101},
		"this side, after wait": {echo, []string{"--wait=10ms"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := open(t)
			if slices.Contains(tc.args, "--wait=10ms") {
				in = strings.NewReader("x\n")
			}
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			target := serve(t, gorilla.Upgrader{}, func(r *http.Request, ws *gorilla.Conn) { tc.handle(r.WithContext(ctx), ws) })
			r := connect(t, in, append(tc.args, target)...)
			require.Equal(t, tc.want, r.status, r.notes)
		})
	}
}

// TestUnsent: a server that closes in good order before it has the input is a failure.
func TestUnsent(t *testing.T) {
	target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		_, _, _ = ws.ReadMessage()
		closeWith(ws, gorilla.CloseNormalClosure, "")
	})
	in := &countingReader{line: append(bytes.Repeat([]byte("z"), 16<<10), '\n'), left: 1 << 30}
	r := connect(t, in, target)
	require.Equal(t, 1, r.status)
	require.Contains(t, r.notes, "left unsent")
}

// TestWait: every message that comes begins the wait anew; without it none is waited for.
func TestWait(t *testing.T) {
	target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		for _, _, err := ws.ReadMessage(); err == nil; _, _, err = ws.ReadMessage() {
			for i := range 8 {
				time.Sleep(250 * time.Millisecond)
				_ = ws.WriteMessage(gorilla.TextMessage, []byte{'0' + byte(i)})
			}
		}
	})
	r := connect(t, strings.NewReader("x"), target, "--wait=1500ms")
	require.NoError(t, r.err)
	require.Equal(t, "0\n1\n2\n3\n4\n5\n6\n7\n", r.out)
	r = connect(t, strings.NewReader("x"), target)
	require.NoError(t, r.err)
	require.Empty(t, r.out)
}

// TestNobodyReads: when the reader of the output goes, the connection is closed in good
// order, and that is no failure.
func TestNobodyReads(t *testing.T) {
	code := make(chan error, 1)
	target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		go func() { // ends with the connection
			for ws.WriteMessage(gorilla.TextMessage, []byte("x")) == nil {
			}
		}()
		_, _, err := ws.ReadMessage()
		code <- err
	})
	reader, writer := io.Pipe()
	go func() { // two lines
		_, _ = io.ReadFull(reader, make([]byte, 4))
		_ = reader.Close()
	}()
	r := connectTo(t.Context(), open(t), writer, target)
	require.NoError(t, r.err)
	require.True(t, gorilla.IsCloseError(<-code, gorilla.CloseNormalClosure))

	r = connectTo(t.Context(), open(t), brokenWriter{}, target)
	require.Equal(t, 1, r.status)
	require.Contains(t, r.notes, "writing the output: full")
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

// TestContext: the end of the context closes with 1000.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan error, 1)
	target := serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		_, _, _ = ws.ReadMessage() // the client knows that it is connected
		cancel()
		_, _, err := ws.ReadMessage()
		code <- err
	})
	r := connectTo(ctx, strings.NewReader("x\n"), io.Discard, target, "--wait=forever")
	require.NoError(t, r.err)
	require.True(t, gorilla.IsCloseError(<-code, gorilla.CloseNormalClosure))
}

// TestRequest: what the flags put into the request.
func TestRequest(t *testing.T) {
	requests := make(chan *http.Request, 1)
	target := serve(t, gorilla.Upgrader{Subprotocols: []string{"b"}}, func(r *http.Request, ws *gorilla.Conn) {
		requests <- r
		closeWith(ws, gorilla.CloseNormalClosure, "")
	})
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("X-Token: s3cret\r\n\nX-More: 1\n"), 0o600))
	t.Setenv(passwordVariable, "p:w")
	r := connect(t, open(t), target+"/path?q=1", "-H", "X-A: 1", "--header=X-A:  two: 2 ", "-H", "@"+file,
		"--origin", "https://app.example.com", "--subprotocol=a", "-s", "b", "--auth", "jo", "-v")
	require.NoError(t, r.err)
	got := <-requests
	require.Equal(t, []string{"1", "two: 2"}, got.Header["X-A"])
	require.Equal(t, "s3cret", got.Header.Get("X-Token"))
	require.Equal(t, "1", got.Header.Get("X-More"))
	require.Equal(t, "https://app.example.com", got.Header.Get("Origin"))
	require.Equal(t, "a, b", got.Header.Get("Sec-WebSocket-Protocol"))
	require.Equal(t, "/path?q=1", got.RequestURI)
	user, password, _ := got.BasicAuth()
	require.Equal(t, []string{"jo", "p:w"}, []string{user, password})
	require.Equal(t, "* connected to "+strings.TrimPrefix(target, "ws://")+", subprotocol b\n* the server closed the connection: 1000 normal closure\n", r.notes)
}

func TestCertificates(t *testing.T) {
	secure := httptest.NewUnstartedServer(upgrading(gorilla.Upgrader{}, echo))
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)
	target := "wss" + strings.TrimPrefix(secure.URL, "https")
	r := connect(t, strings.NewReader("x\n"), target)
	require.Equal(t, 3, r.status)
	require.Contains(t, r.notes, "certificate")
	r = connect(t, strings.NewReader("x\n"), target, "-k", "-n1")
	require.NoError(t, r.err)
	require.Equal(t, "x\n", r.out)
}

// TestProxy: with its user and password, which nobody is shown.
func TestProxy(t *testing.T) {
	asked := make(chan *http.Request, 4)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		if r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			return
		}
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, down); _ = up.Close() }() // ends with the client
		_, _ = io.Copy(down, up)
		_ = down.Close()
	}))
	t.Cleanup(proxy.Close)
	target := serve(t, gorilla.Upgrader{}, echo)
	u, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	r := connect(t, strings.NewReader("x\n"), target, "--proxy", proxy.URL)
	require.Equal(t, 3, r.status)
	require.Contains(t, r.notes, "407")
	u.User = url.UserPassword("jo", "s3cret")
	r = connect(t, strings.NewReader("x\n"), target, "-n1", "-v", "--proxy", u.String())
	require.NoError(t, r.err)
	require.Equal(t, "x\n", r.out)
	require.NotContains(t, r.notes, "s3cret")
	require.Len(t, asked, 2)
	require.NoError(t, connect(t, strings.NewReader("x\n"), target, "--proxy=none").err)
	require.Len(t, asked, 2)
}

// TestNoConnection: 3 if there is none, 4 if the server refuses it, one line, and
// nothing of what was secret.
func TestNoConnection(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no \x1b[2Jentry for "+r.URL.RawQuery, http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for address, tc := range map[string]struct {
		status  int
		says    string
		timeout string
	}{
		strings.TrimPrefix(refusing.URL, "http://"): {4, "403", "20s"},
		silent.Addr().String():                      {3, "deadline|timeout", "200ms"},
		gone.Addr().String():                        {3, "refused", "20s"},
	} {
		r := connect(t, open(t), "ws://jo:s3cret@"+address+"/s3cret?t=s3cret", "--timeout="+tc.timeout, "-v", "-H", "X-Token: s3cret")
		require.Equal(t, tc.status, r.status, r.notes)
		require.Regexp(t, tc.says, r.notes)
		require.NotContains(t, r.notes, "s3cret")
		require.NotContains(t, r.notes, "\x1b")
		require.Equal(t, 1, strings.Count(r.notes, "\n"))
		require.Empty(t, r.out)
	}
}

// TestUsage: one clear line, status 2, and no secret.
func TestUsage(t *testing.T) {
	t.Setenv(passwordVariable, "") // puts it back
	require.NoError(t, os.Unsetenv(passwordVariable))
	const good = "ws://127.0.0.1:1/"
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, bytes.Repeat([]byte("a: b\n"), mostHeaders/5+1), 0o600))
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"no URL":             {nil, []string{"one URL is needed", "ws://"}},
		"two URLs":           {[]string{good, good}, []string{"one URL is needed", "2"}},
		"http":               {[]string{"http://h/?s3cret"}, []string{"ws:// or wss://"}},
		"no host":            {[]string{"ws:///s3cret"}, []string{"host"}},
		"fragment":           {[]string{"ws://h/#s3cret"}, []string{"fragment"}},
		"nonsense":           {[]string{"ws://h:s3cret/\x1b"}, []string{"ws:// or wss://"}},
		"header":             {[]string{good, "-H", "s3cret"}, []string{"--header", "Name: value"}},
		"header's name":      {[]string{good, "-H", "a b: s3cret"}, []string{"--header"}},
		"header's value":     {[]string{good, "-H", "a: s3cret\r\nb: x"}, []string{"--header"}},
		"header's file":      {[]string{good, "-H", "@/no/such/file"}, []string{"--header"}},
		"header's size":      {[]string{good, "-H", "@" + large}, []string{"--header"}},
		"handshake's header": {[]string{good, "-H", "Sec-WebSocket-Key: s3cret"}, []string{"Sec-Websocket-Key"}},
		"subprotocol":        {[]string{good, "-s", "a b"}, []string{`"a b"`}},
		"password":           {[]string{good, "--auth", "jo:s3cret"}, []string{"--auth", passwordVariable}},
		"no password":        {[]string{good, "--auth", "jo"}, []string{"--auth", passwordVariable}},
		"two authorizations": {[]string{good, "--auth", "jo", "-H", "authorization: s3cret"}, []string{"--auth"}},
		"two origins":        {[]string{good, "--origin", "https://a", "-H", "origin: s3cret"}, []string{"--origin"}},
		"proxy":              {[]string{good, "--proxy", "socks5://jo:s3cret@h"}, []string{"--proxy", "none"}},
		"text and binary":    {[]string{good, "--text", "--binary"}, []string{"one of them"}},
		"raw and json":       {[]string{good, "--raw", "--json"}, []string{"one of them"}},
		"wait":               {[]string{good, "--wait=long"}, []string{"--wait", `"long"`, "forever"}},
		"ping":               {[]string{good, "--ping=1ms"}, []string{"--ping", "100ms", "off"}},
		"count":              {[]string{good, "-n0"}, []string{"--count", `"0"`, "1 to"}},
		"max-message-bytes":  {[]string{good, "--max-message-bytes=1GB"}, []string{"--max-message-bytes", `"1GB"`}},
		"timeout":            {[]string{good, "--timeout=-1s"}, []string{"--timeout"}},
		"unknown":            {[]string{good, "--nonsense"}, []string{"nonsense", "--help"}},
		"bool":               {[]string{good, "--insecure=perhaps"}, []string{"--insecure", "true or false"}},
		"no value":           {[]string{good, "--origin"}, []string{"--origin", "no value"}},
	} {
		for _, reconnect := range []string{"--reconnect=false", "--reconnect"} {
			t.Run(name+reconnect, func(t *testing.T) {
				r := connect(t, open(t), append([]string{reconnect}, tc.args...)...)
				require.Equal(t, 2, r.status, r.notes)
				require.Equal(t, 1, strings.Count(r.notes, "\n"), r.notes)
				for _, what := range tc.says {
					require.Contains(t, r.notes, what)
				}
				require.NotContains(t, r.notes, "s3cret")
				require.NotContains(t, r.notes, "\x1b")
				require.Empty(t, r.out)
			})
		}
	}
}
