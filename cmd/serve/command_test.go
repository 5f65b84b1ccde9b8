package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

// patience is how long something may take that should happen at once.
const patience = 20 * time.Second

type onMessage = func(context.Context, *engine.Conn, engine.Message) error

// with returns a registry of filters that have only an OnMessage.
func with(t *testing.T, hooks map[string]onMessage) *filters.Registry {
	r := filters.Stock()
	for name, hook := range hooks {
		require.NoError(t, r.Register(name, func(filters.Env) (filters.Filter, error) {
			return filters.Filter{Handler: engine.Handler{OnMessage: hook}}, nil
		}))
	}
	return r
}

// serveURL runs the command in this process until the test ends, which must end
// it without an error, and returns its URL.
func serveURL(t *testing.T, r *filters.Registry, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	out, in := io.Pipe()
	cmd := NewCommand(Config{Filters: r})
	cmd.SetArgs(append([]string{"-p", "0"}, args...))
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	go func() { // until cancel
		err := cmd.ExecuteContext(ctx)
		_ = in.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
}

// dial connects a client that is gone before the server ends.
func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	return ws
}

// TestFilterOrder: names after flags and between them count as the command line
// has them.
func TestFilterOrder(t *testing.T) {
	hooks := map[string]onMessage{}
	for _, name := range []string{"a", "b", "c", "d"} {
		hooks[name] = func(_ context.Context, c *engine.Conn, _ engine.Message) error { return c.SendText(name) }
	}
	for args, want := range map[string]string{
		"-f a b c d":              "abcd",
		"-f a -f b -f c -f d":     "abcd",
		"-f d c --filter=b a":     "dcba",
		"-f a b --inline -f c d":  "abcd",
		"a -f b c -f d":           "abcd",
		"d c":                     "dc",
		"-f a -- b c":             "abc",
		"-fa --workers 2 b -fc d": "abcd",
		"-f a a":                  "aa",
	} {
		t.Run(args, func(t *testing.T) {
			ws := dial(t, serveURL(t, with(t, hooks), strings.Fields(args)...))
			require.NoError(t, ws.WriteMessage(websocket.TextMessage, nil))
			got := ""
			for range want {
				_, name, err := ws.ReadMessage()
				require.NoError(t, err)
				got += string(name)
			}
			require.Equal(t, want, got)
		})
	}
}

// held serves a filter whose handler waits for release, and connects n clients
// that have sent a message each.
func held(t *testing.T, n int, args ...string) (clients []*websocket.Conn, entered, release chan struct{}) {
	entered, release = make(chan struct{}, n), make(chan struct{})
	hold := func(context.Context, *engine.Conn, engine.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	url := serveURL(t, with(t, map[string]onMessage{"hold": hold}), append(args, "-f", "hold")...)
	for range n {
		ws := dial(t, url)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
		clients = append(clients, ws)
	}
	return clients, entered, release
}

// ping waits until the server has read everything that a client has sent.
func ping(t *testing.T, ws *websocket.Conn) {
	t.Helper()
	answered := errors.New("pong")
	ws.SetPongHandler(func(string) error { return answered })
	require.NoError(t, ws.WriteMessage(websocket.PingMessage, nil))
	_, _, err := ws.ReadMessage()
	require.ErrorIs(t, err, answered)
}

func await(t *testing.T, entered <-chan struct{}, n int) {
	t.Helper()
	for range n {
		select {
		case <-entered:
		case <-time.After(patience):
			t.Fatal("too few handlers run at once")
		}
	}
}

// TestWorkers: two handlers run, and another only when one of them has returned.
func TestWorkers(t *testing.T) {
	clients, entered, release := held(t, 4, "--workers", "2")
	for _, ws := range clients {
		ping(t, ws)
	}
	await(t, entered, 2)
	for range 2 {
		require.Empty(t, entered, "more handlers than workers")
		release <- struct{}{}
		await(t, entered, 1)
	}
	require.Empty(t, entered)
	close(release)
}

// TestInline: the handlers of all connections run at once, whatever --workers says.
func TestInline(t *testing.T) {
	_, entered, release := held(t, 4, "--inline", "--workers", "1")
	await(t, entered, 4)
	close(release)
}

// TestConstructorError: a filter that cannot be made ends the command before it
// says that it listens, with the status that the error asks for.
func TestConstructorError(t *testing.T) {
	r := filters.Stock()
	failure := &UsageError{errors.New("WORKER_SECRET is not set")}
	require.NoError(t, r.Register("bad", func(filters.Env) (filters.Filter, error) { return filters.Filter{}, failure }))
	var out strings.Builder
	cmd := NewCommand(Config{Filters: r})
	cmd.SetArgs([]string{"-p", "0", "-f", "bad"})
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	require.ErrorIs(t, cmd.Execute(), failure)
	require.Empty(t, out.String())
}

// TestOutputFails: a server whose address nobody can learn ends.
func TestOutputFails(t *testing.T) {
	out, in := io.Pipe()
	_ = out.CloseWithError(http.ErrHandlerTimeout)
	cmd := NewCommand(Config{})
	cmd.SetArgs([]string{"-p", "0"})
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	require.ErrorIs(t, cmd.Execute(), http.ErrHandlerTimeout)
}

// TestCauseOfUsageError: a program can tell what was wrong without reading text.
func TestCauseOfUsageError(t *testing.T) {
	run := func(args ...string) error {
		cmd := NewCommand(Config{})
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		err := cmd.Execute()
		var usage *UsageError
		require.ErrorAs(t, err, &usage)
		require.Equal(t, 2, usage.ExitCode())
		return err
	}
	var unknown *filters.UnknownError
	require.ErrorAs(t, run("-f", "nonsense"), &unknown)
	require.Equal(t, "nonsense", unknown.Name)
	t.Setenv("MAX_WS_MESSAGE_BYTES", "banana")
	var variable *engine.EnvError
	require.ErrorAs(t, run(), &variable)
	require.Equal(t, "MAX_WS_MESSAGE_BYTES", variable.Name)
}

// TestNotReadyBeforeTheEnd: what is served has not been told to end when the server says
// that it is about to.
func TestNotReadyBeforeTheEnd(t *testing.T) {
	serving := make(chan context.Context, 1)
	told := make(chan error, 1)
	s := &server{getenv: func(string) string { // asked for the way to tell
		told <- (<-serving).Err()
		return ""
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.untilSignal(ctx, func(ctx context.Context) error {
		serving <- ctx
		<-ctx.Done()
		return nil
	}))
	require.NoError(t, <-told)
	require.True(t, s.ended.Load())
}

// TestFileSize: a file that cannot be a configuration is not read.
func TestFileSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, append([]byte("{}"), bytes.Repeat([]byte(" "), mostFile)...), 0o600))
	_, err := fromFile(options(), path)
	require.Error(t, err)
	require.NoError(t, os.WriteFile(path, append([]byte("{}"), bytes.Repeat([]byte(" "), mostFile-2)...), 0o600))
	_, err = fromFile(options(), path)
	require.NoError(t, err)
}

// TestSignalError: the status is a shell's.
func TestSignalError(t *testing.T) {
	require.Equal(t, 143, (&SignalError{syscall.SIGTERM}).ExitCode())
	require.Equal(t, 130, (&SignalError{syscall.SIGINT}).ExitCode())
}
