package bench

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

// TestMain lets the test binary stand in for servers: with "child" as its first
// argument it is one of those in child. It also makes the certificate of httptest's
// TLS servers a trusted one, which has to be done before the first TLS connection.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	dir, err := os.MkdirTemp("", "bench-test-")
	if err != nil {
		panic(err)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	roots := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(roots, certificate, 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", roots)
	// Children built with -race would sleep for a second each before they exit.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { os.RemoveAll(dir); os.Exit(code) }))
}

// child is a server process that behaves as told.
func child(behaviour string) {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	const line = "listening on ws://127.0.0.1:1/"
	switch behaviour {
	case "idle":
		fmt.Println(line)
		<-terminated
	case "burn":
		fmt.Println(line)
		for len(terminated) == 0 {
		}
	case "chatter": // more than a pipe holds
		fmt.Println(line)
		fmt.Println(strings.Repeat("x", 1<<20))
		<-terminated
	case "stubborn":
		fmt.Println(line)
		select {}
	case "mute":
		<-terminated
	case "stranger":
		fmt.Fprintln(os.Stderr, "some last words")
		fmt.Println("hello")
		<-terminated
	case "broken":
		fmt.Fprintln(os.Stderr, "some last words")
		os.Exit(3)
	case "unclean":
		fmt.Println(line)
		<-terminated
		os.Exit(3)
	case "shortlived":
		fmt.Println(line)
	case "holder": // holds heldBytes for each connection
		childServer(func(conn *websocket.Conn) {
			held := bytes.Repeat([]byte{1}, heldBytes)
			echoAll(conn)
			runtime.KeepAlive(held)
		})
		<-terminated
	case "worker": // does the same work for each message, on one CPU
		runtime.GOMAXPROCS(1)
		work := make([]byte, 4<<20)
		childServer(func(conn *websocket.Conn) {
			echoWith(conn, func(_, kind int, message []byte) error {
				if bytes.Count(work, []byte{1}) > 0 {
					panic("it is all zeros")
				}
				return conn.WriteMessage(kind, message)
			})
		})
		<-terminated
	case "parent": // has a child, and never ends it
		s, err := StartServer(testContext(), childConfig("idle"))
		if err != nil {
			panic(err)
		}
		fmt.Println(listeningPrefix+"pid", s.PID())
		select {}
	}
}

// childServer starts a WebSocket server of one handler, and says where.
func childServer(handle func(*websocket.Conn)) {
	var upgrader websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			defer conn.Close()
			handle(conn)
		}
	}))
	fmt.Println(listeningPrefix + "ws" + strings.TrimPrefix(server.URL, "http") + "/")
}

// heldBytes is what a connection costs the child that holds something for each.
const heldBytes = 256 << 10

func childConfig(behaviour string) ServerConfig {
	return ServerConfig{Path: os.Args[0], Args: []string{"child", behaviour}}
}

// transports are without and with TLS, which are epoll and goroutines on Linux.
// Elsewhere goroutines carry both, and TestMain's certificate goes unnoticed.
func transports() []bool {
	if runtime.GOOS == "linux" {
		return []bool{false, true}
	}
	return []bool{false}
}

// serve runs a WebSocket server of one handler for the test's duration.
func serve(t *testing.T, tls bool, handle func(*websocket.Conn)) Target {
	t.Helper()
	upgrader := websocket.Upgrader{EnableCompression: true} // as far as it is offered
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		handle(conn)
	})
	server := httptest.NewUnstartedServer(handler)
	if tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return Target{URL: "ws" + strings.TrimPrefix(server.URL, "http") + "/"}
}

// echoAll answers every message with itself.
func echoAll(conn *websocket.Conn) {
	echoWith(conn, func(_, kind int, message []byte) error { return conn.WriteMessage(kind, message) })
}

// echoWith answers with answer, which gets the message's number, until an error.
func echoWith(conn *websocket.Conn, answer func(n, kind int, message []byte) error) {
	for n := 0; ; n++ {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if answer(n, kind, message) != nil {
			return
		}
	}
}

// short is e, run in no more time than it takes to see something.
// lively runs a scenario with a short window, and with longer ones as long as the machine is
// too busy for a message to be counted in it.
func lively(run func(window time.Duration) (*Result, error)) (*Result, error) {
	for window := 60 * time.Millisecond; ; window *= 4 {
		r, err := run(window)
		if err != nil || r.Messages > 0 || r.Errors > 0 || window > 10*time.Second {
			return r, err
		}
	}
}

func short(e Echo) Echo {
	setDefault(&e.Duration, 60*time.Millisecond)
	e.Settle = 5 * time.Second
	return e
}
