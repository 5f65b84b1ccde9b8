package bench

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// recordVariable names the file in which a served child leaves its process
// number and arguments.
const recordVariable = "BENCH_TEST_RECORD"

// TestMain lets the test binary be a program that has the commands "bench" and
// "serve".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serveChild()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		benchChild()
		return
	}
	// Children built with -race would sleep for a second each before they exit.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// benchChild runs the command as a program's main would.
func benchChild() {
	cmd := NewCommand()
	cmd.SetArgs(os.Args[2:])
	err := cmd.Execute()
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		os.Exit(coded.ExitCode())
	case err != nil:
		os.Exit(1)
	}
}

// serveChild is an echo or fan-out server until SIGTERM.
func serveChild() {
	record := fmt.Sprintf("%d %s", os.Getpid(), strings.Join(os.Args[1:], " "))
	path := os.Getenv(recordVariable)
	if err := errors.Join(os.WriteFile(path+".new", []byte(record), 0o600), os.Rename(path+".new", path)); err != nil {
		panic(err) // renamed, because a child may be killed at any moment, and half a record is none
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on ws://%v/\n", ln.Addr())
	handler := http.HandlerFunc(echo)
	if slices.Contains(os.Args, "broadcast_messages") {
		handler = new(room).broadcast
	}
	go http.Serve(ln, handler) // until the process ends
	<-terminated
}

func echo(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{EnableCompression: slices.Contains(os.Args, "--compress")}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// room sends every message to all of its connections.
type room struct {
	mu      sync.Mutex
	members []*websocket.Conn
}

func (r *room) broadcast(w http.ResponseWriter, req *http.Request) {
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(w, req, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	r.mu.Lock()
	r.members = append(r.members, conn)
	r.mu.Unlock()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.members = slices.DeleteFunc(r.members, func(to *websocket.Conn) bool {
			_ = to.SetWriteDeadline(time.Now().Add(time.Second)) // a stalled member is left behind
			return to.WriteMessage(kind, message) != nil
		})
		r.mu.Unlock()
	}
}
