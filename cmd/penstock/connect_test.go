package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// gorillaServer runs a server until the test ends, and returns its ws:// URL.
func gorillaServer(t *testing.T, handle func(ws *gorilla.Conn)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_ = ws.SetReadDeadline(time.Now().Add(patience))
		handle(ws)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// status waits for a process that must end by itself.
func status(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	deadline := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer deadline.Stop()
	_ = cmd.Wait() // the status says it
	return cmd.ProcessState.ExitCode()
}

// TestConnectInAPipe: both commands as processes; every line comes back.
func TestConnectInAPipe(t *testing.T) {
	p := start(t, nil, "-f", "echo_messages")
	var lines strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	cmd := command(t, nil, "connect", p.url, "--count", "10000")
	var out, notes bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines.String()), &out, &notes
	require.NoError(t, cmd.Start())
	require.Equal(t, 0, status(t, cmd), "%s", &notes)
	require.True(t, lines.String() == out.String(), "%d bytes of %d", out.Len(), lines.Len())
	require.Empty(t, notes.String())
}

// TestConnectSignals: the first closes with 1000 and waits; the second ends at once, also
// when the server never answers.
func TestConnectSignals(t *testing.T) {
	for name, polite := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			connected, closed, end := make(chan bool), make(chan int, 1), make(chan bool)
			target := gorillaServer(t, func(ws *gorilla.Conn) {
				ws.SetCloseHandler(func(code int, _ string) error {
					closed <- code
					if !polite {
						<-end
					}
					return ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, ""), time.Now().Add(patience))
				})
				_, _, _ = ws.ReadMessage() // the client is there
				connected <- true
				_, _, _ = ws.ReadMessage()
			})
			t.Cleanup(func() { close(end) })
			cmd := command(t, nil, "connect", target)
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			_, err = in.Write([]byte("x\n"))
			require.NoError(t, err)
			<-connected
			require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			require.Equal(t, 1000, <-closed)
			want := 0
			if !polite {
				require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
				want = 128 + int(syscall.SIGINT)
			}
			began := time.Now()
			require.Equal(t, want, status(t, cmd))
			require.Less(t, time.Since(began), 4*time.Second, "less than the engine waits for an answer")
		})
	}
}

// TestConnectBrokenPipe: a reader of the output that has enough, such as head, ends the
// connection in good order.
func TestConnectBrokenPipe(t *testing.T) {
	closed := make(chan error, 1)
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		go func() { // ends with the connection
			for ws.WriteMessage(gorilla.TextMessage, []byte("x")) == nil {
			}
		}()
		_, _, err := ws.ReadMessage()
		closed <- err
	})
	cmd := command(t, nil, "connect", target)
	_, err := cmd.StdinPipe() // does not end
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var notes bytes.Buffer
	cmd.Stderr = &notes
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_, err = out.Read(make([]byte, 2))
	require.NoError(t, err)
	require.NoError(t, out.Close())
	require.True(t, gorilla.IsCloseError(<-closed, gorilla.CloseNormalClosure))
	require.Equal(t, 0, status(t, cmd), "%s", &notes)
	require.Empty(t, notes.String())
}

// TestConnectStatus: the exit status and the one line that the process leaves.
func TestConnectStatus(t *testing.T) {
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		_ = ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "enough"), time.Now().Add(patience))
		_, _, _ = ws.ReadMessage()
	})
	code, stdout, stderr := outcome(t, nil, "connect", target, "--wait", "forever")
	require.Equal(t, 121, code)
	require.Empty(t, stdout)
	requireOneLine(t, stderr, "4001", `"enough"`)
	code, _, stderr = outcome(t, nil, "connect", "http://127.0.0.1:1/")
	require.Equal(t, 2, code)
	requireOneLine(t, stderr, "ws://")
}
