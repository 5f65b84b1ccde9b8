package serve

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// ask returns the status and the body of a GET.
func ask(t *testing.T, wsURL, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http" + strings.TrimSuffix(strings.TrimPrefix(wsURL, "ws"), "/") + path)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

// TestPageIsServed: by default a plain GET / has the page, and a handshake there, or
// anywhere else, goes to the endpoint; switched off, nothing of the page is left.
func TestPageIsServed(t *testing.T) {
	url := serveURL(t, nil, "-f", "echo_messages")
	status, body := ask(t, url, "/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "<title>Penstock</title>")
	status, _ = ask(t, url, "/chat")
	require.Equal(t, http.StatusUpgradeRequired, status)
	status, body = ask(t, url, "/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)
	for _, path := range []string{"", "chat", "_penstock/page.js"} {
		ws := dial(t, url+path)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
		_, _, err := ws.ReadMessage()
		require.NoError(t, err)
	}

	t.Setenv("WS_LIVE_TOKEN", "a-token-of-24-characters")
	for _, args := range [][]string{{"--page=false"}, {"--page=0"}} {
		url = serveURL(t, nil, append(args, "-f", "echo_messages")...)
		for _, path := range []string{"/", "/_penstock/page.js", "/_penstock/about", "/_penstock/live"} {
			status, _ = ask(t, url, path)
			require.Equal(t, http.StatusUpgradeRequired, status, path)
		}
		ws := dial(t, url+"_penstock/live") // a path like any other
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("x")))
		_, got, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	}
}

// TestWhoWatchesIsNoUser: the live view is not among those that a broadcast reaches, nor
// among those that it shows, nor counted against --max-connections.
func TestWhoWatchesIsNoUser(t *testing.T) {
	url := serveURL(t, nil, "--max-connections", "1")
	watch := dial(t, url+"_penstock/live")
	user := dial(t, url)
	_, res, err := websocket.DefaultDialer.Dial(url, nil)
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NoError(t, user.WriteMessage(websocket.TextMessage, []byte("to everybody")))
	_, got, err := user.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "to everybody", string(got))
	for {
		_, text, err := watch.ReadMessage()
		require.NoError(t, err)
		require.NotContains(t, string(text), "to everybody")
		require.NotContains(t, string(text), `"connections":2`)
		if strings.Contains(string(text), `"messages_out":1`) {
			require.Contains(t, string(text), `"connections":1`)
			return
		}
	}
}

// TestShutdownCanBeWatched: the live view goes on while connections are closed, and ends
// with 1001 after them.
func TestShutdownCanBeWatched(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	hold := func(context.Context, *engine.Conn, engine.Message) error {
		close(entered)
		<-release
		return nil
	}
	t.Setenv("WS_SHUTDOWN_TIMEOUT", "1m")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, in := io.Pipe()
	cmd := NewCommand(Config{Filters: with(t, map[string]onMessage{"hold": hold})})
	cmd.SetArgs([]string{"-p", "0", "-f", "hold"})
	cmd.SetOut(in)
	cmd.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }() // until cancel
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url := strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	busy, idle, watch := dial(t, url), dial(t, url), dial(t, url+"_penstock/live")
	require.NoError(t, busy.WriteMessage(websocket.TextMessage, []byte("x")))
	await(t, entered, 1)
	cancel()
	_, _, err = idle.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	require.NoError(t, idle.Close())
	for text := ""; !strings.Contains(text, `"closes":[{"code":1001,"count":1}]`); {
		_, got, err := watch.ReadMessage()
		require.NoError(t, err)
		text = string(got)
	}
	close(release)
	_, _, err = busy.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	require.NoError(t, busy.Close())
	for err = nil; err == nil; {
		_, _, err = watch.ReadMessage()
	}
	require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
	require.NoError(t, watch.Close())
	require.NoError(t, <-done)
}

// TestLiveToken: it is a variable or a field of the file, never a flag; a bad one is a
// mistake that does not show it; a good one is needed.
func TestLiveToken(t *testing.T) {
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := NewCommand(Config{})
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		err := cmd.Execute()
		return out.String(), err
	}
	_, err := run("--live-token", "a-token-of-24-characters")
	require.ErrorContains(t, err, "unknown flag")
	const secret = "s3cret!"
	t.Setenv("WS_LIVE_TOKEN", secret)
	out, err := run("-p", "0")
	require.ErrorContains(t, err, `WS_LIVE_TOKEN="(hidden)"`)
	require.ErrorContains(t, err, "at least 16 letters")
	require.NotContains(t, err.Error()+out, secret)

	const token = "a-token-of-24-characters"
	t.Setenv("WS_LIVE_TOKEN", token)
	out, err = run("--print-config")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^live_token +\(hidden\) +environment WS_LIVE_TOKEN$`, out)
	require.NotContains(t, out, token)
	url := serveURL(t, nil)
	_, res, err := websocket.DefaultDialer.Dial(url+"_penstock/live", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	ws, _, err := websocket.DefaultDialer.Dial(url+"_penstock/live", http.Header{"Authorization": {"Bearer " + token}})
	require.NoError(t, err)
	defer ws.Close()
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	_, _, err = ws.ReadMessage()
	require.NoError(t, err)
}
