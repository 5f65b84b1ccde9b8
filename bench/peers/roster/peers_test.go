package roster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/bench"
)

// Every peer starts, does what its modes say, to a client that is not the
// harness's and to the harness, and ends when told.
func TestPeers(t *testing.T) {
	sources, err := FindSources()
	if err != nil {
		t.Fatal(err)
	}
	b := &Builder{Sources: sources, Dir: t.TempDir(), Log: os.Stderr}
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			program, err := b.Build(t.Context(), p)
			var absent *AbsentError
			if errors.As(err, &absent) {
				t.Skip(absent)
			}
			if err != nil {
				t.Fatal(err)
			}
			if program.Version == "" {
				t.Error("no version")
			}
			t.Log(p.What, program.Version)
			for _, mode := range p.Modes {
				t.Run(mode, func(t *testing.T) { testMode(t, program, mode) })
			}
		})
	}
}

func testMode(t *testing.T, program *Program, mode string) {
	server, err := bench.StartServer(t.Context(), program.Server(mode))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if err := syscall.Kill(server.PID(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("after Stop the process is there: %v", err)
		}
	}()
	target := bench.Target{URL: server.URL(), PID: server.PID()}
	if mode == Echo {
		checkEcho(t, server.URL())
		load(t, bench.Echo{Connections: 20, InFlight: 8, Duration: time.Second}, target)
		load(t, bench.Echo{Connections: 4, PayloadBytes: 1 << 20, Text: true, Duration: time.Second}, target)
		return
	}
	checkFanout(t, server.URL())
	load(t, bench.Fanout{Connections: 50, InFlight: 8, Duration: time.Second}, target)
}

// load runs one of the harness's scenarios, which checks every reply.
func load(t *testing.T, scenario interface {
	Run(context.Context, bench.Target, func(bench.Progress)) (*bench.Result, error)
}, target bench.Target) {
	t.Helper()
	result, err := scenario.Run(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Errors > 0 || result.Messages == 0 {
		t.Errorf("%d messages, failures %+v", result.Messages, result.Failures)
	}
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// checkEcho compares replies to messages of both types and of all header lengths
// (RFC 6455 §5.2), and says goodbye.
func checkEcho(t *testing.T, url string) {
	conn := dial(t, url)
	for _, size := range []int{1, 125, 126, 4 << 10, 65535, 65536, 1 << 20} {
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			message := bytes.Repeat([]byte{'a' + byte(size%7)}, size)
			if err := conn.WriteMessage(kind, message); err != nil {
				t.Fatal(err)
			}
			expect(t, conn, kind, message)
		}
	}
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := conn.WriteMessage(websocket.CloseMessage, goodbye); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the close frame: %v", err)
	}
}

// checkFanout has each of three connections send, and all receive it.
func checkFanout(t *testing.T, url string) {
	var conns []*websocket.Conn
	for range 3 {
		conn := member(t, url)
		defer conn.Close() // before the harness comes, and the end: Penstock's waits for those who stay
		conns = append(conns, conn)
	}
	for i, from := range conns {
		message := fmt.Appendf(nil, "message of %d", i)
		if err := from.WriteMessage(websocket.TextMessage, message); err != nil {
			t.Fatal(err)
		}
		for _, to := range conns {
			expect(t, to, websocket.TextMessage, message)
		}
	}
}

// member dials, and waits for a pong: a server that reads from the connection has it
// among those that get broadcasts. gorilla would hand out messages only, so the
// pong is read past it.
func member(t *testing.T, url string) *websocket.Conn {
	conn := dial(t, url)
	if err := conn.WriteMessage(websocket.PingMessage, nil); err != nil {
		t.Fatal(err)
	}
	var pong [2]byte
	if _, err := io.ReadFull(conn.NetConn(), pong[:]); err != nil || pong != [2]byte{0x8a, 0} {
		t.Fatalf("instead of a pong: % x, %v", pong, err)
	}
	return conn
}

func expect(t *testing.T, conn *websocket.Conn, kind int, message []byte) {
	t.Helper()
	gotKind, got, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if gotKind != kind || !bytes.Equal(got, message) {
		t.Fatalf("%d bytes of type %d came back for %d bytes of type %d", len(got), gotKind, len(message), kind)
	}
}
