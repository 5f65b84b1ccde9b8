package main

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// A front is an address that stays while servers behind it come and go.
type front struct {
	url    string
	behind atomic.Pointer[string] // host:port; nil: whoever comes is turned away
}

func newFront(t *testing.T) *front {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	f := &front{url: "ws://" + ln.Addr().String() + "/"}
	go func() { // ends with the test
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			go f.pass(client)
		}
	}()
	return f
}

// pass ends with either side.
func (f *front) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	addr := f.behind.Load()
	if addr == nil {
		return
	}
	server, err := net.Dial("tcp", *addr)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { // ends with the client
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// A talk is a running "connect" with pipes.
type talk struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	notes output
}

func startTalk(t *testing.T, args ...string) *talk {
	t.Helper()
	c := &talk{t: t, cmd: command(t, nil, append([]string{"connect"}, args...)...)}
	var err error
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = bufio.NewReader(out)
	c.cmd.Stderr = &c.notes
	require.NoError(t, c.cmd.Start())
	deadline := time.AfterFunc(2*patience, func() { _ = c.cmd.Process.Kill() })
	t.Cleanup(func() { deadline.Stop(); _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	return c
}

func (c *talk) say(line string) {
	c.t.Helper()
	_, err := io.WriteString(c.in, line+"\n")
	require.NoError(c.t, err)
}

func (c *talk) hear(want string) {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	require.NoError(c.t, err, "%s", &c.notes)
	require.Equal(c.t, want+"\n", line)
}

// awaitTrouble waits until the user has been told so often that the client connects again.
func (c *talk) awaitTrouble(times int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		return strings.Count(c.notes.String(), "; connecting again\n") >= times
	}, patience, time.Millisecond, "%s", &c.notes)
}

// end closes the input, and returns the exit status.
func (c *talk) end() int {
	c.t.Helper()
	require.NoError(c.t, c.in.Close())
	rest, err := io.ReadAll(c.out)
	require.NoError(c.t, err)
	require.Empty(c.t, string(rest))
	return status(c.t, c.cmd)
}

// TestReconnectAfterAKill: a server dies, and another takes its place; what is said meanwhile
// arrives when it is there, in order. What the first had received nobody knows, but for what
// it has answered: the status says so.
func TestReconnectAfterAKill(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first := start(t, nil, "-f", "echo_messages")
	f.behind.Store(&first.addr)
	c := startTalk(t, "--reconnect", f.url)
	c.say("one")
	c.hear("one")
	f.behind.Store(nil)
	first.signal(syscall.SIGKILL)
	c.awaitTrouble(1)
	c.say("two")
	c.say("three")
	second := start(t, nil, "-f", "echo_messages")
	f.behind.Store(&second.addr)
	c.hear("two")
	c.hear("three")
	c.say("four")
	c.hear("four")
	require.Equal(t, 1, c.end(), "%s", &c.notes)
	require.Contains(t, c.notes.String(), "input may have been lost")
}

// TestReconnectAfterARestart: a server that ends in good order says 1001, which is about its
// moment.
func TestReconnectAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first := start(t, nil, "-f", "echo_messages")
	f.behind.Store(&first.addr)
	c := startTalk(t, "--reconnect", f.url)
	c.say("one")
	c.hear("one")
	first.signal(syscall.SIGTERM)
	require.Equal(t, 0, first.wait())
	c.awaitTrouble(1)
	require.Contains(t, c.notes.String(), "1001")
	second := start(t, nil, "-f", "echo_messages")
	f.behind.Store(&second.addr)
	c.say("two")
	c.hear("two")
	require.Equal(t, 0, c.end(), "%s", &c.notes)
}

// TestReconnectWaitsForAServer: one that is not there yet is waited for, also by a client
// that has nothing to say.
func TestReconnectWaitsForAServer(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	c := startTalk(t, "--reconnect", "-v", f.url)
	require.NoError(t, c.in.Close())
	c.awaitTrouble(2)
	p := start(t, nil, "-f", "echo_messages")
	f.behind.Store(&p.addr)
	require.Equal(t, 0, status(t, c.cmd), "%s", &c.notes)
	require.Contains(t, c.notes.String(), "* connected to ")
}

// TestReconnectSignals: a client that is away ends at once, with the status of a shell; one
// that is connected closes with 1000, and does not come back.
func TestReconnectSignals(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	c := startTalk(t, "--reconnect", f.url)
	c.awaitTrouble(1)
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGINT))
	require.Equal(t, 128+int(syscall.SIGINT), status(t, c.cmd), "%s", &c.notes)

	var connections atomic.Int64
	closed := make(chan error, 2)
	c = startTalk(t, "--reconnect", gorillaServer(t, func(ws *gorilla.Conn) {
		connections.Add(1)
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("hello"))
		_, _, err := ws.ReadMessage()
		closed <- err
	}))
	c.hear("hello")
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 0, status(t, c.cmd), "%s", &c.notes)
	require.True(t, gorilla.IsCloseError(<-closed, gorilla.CloseNormalClosure))
	require.EqualValues(t, 1, connections.Load())
}

// TestReconnectGivesUp: the server's word that it is of no use is the end, and the status.
func TestReconnectGivesUp(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		code := gorilla.CloseServiceRestart
		if connections.Add(1) == 2 {
			code = gorilla.ClosePolicyViolation
		}
		_ = ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, ""), time.Now().Add(patience))
		_, _, _ = ws.ReadMessage()
	})
	code, stdout, stderr := outcome(t, nil, "connect", "--reconnect", target, "--wait", "forever")
	require.Equal(t, 108, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "1012")
	require.Contains(t, stderr, "penstock: the server closed the connection: 1008")
	require.EqualValues(t, 2, connections.Load())
	code, _, stderr = outcome(t, nil, "connect", "--reconnect", "http://127.0.0.1:1/")
	require.Equal(t, 2, code)
	requireOneLine(t, stderr, "ws://")
}
