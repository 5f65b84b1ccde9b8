//go:build linux && !race

package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// idleGoroutines is more than an engine without a connection that speaks has.
const idleGoroutines = 90

// idleServerEnv makes the test binary the server of TestIdleMemory.
const idleServerEnv = "PENSTOCK_TEST_IDLE_SERVER"

// An idle connection costs under 3.5 KiB of resident memory, and 1.3 on an event loop,
// with garbage collected: measured from outside, over 15,000 connections that have
// each echoed a message, for a connection that has worked must cost no more than one
// that never did. It is measured when they have been silent for three seconds, so
// that all are parked; while they speak those without a loop have a goroutine each,
// and cost 7.8 KB. (The race detector's own memory would be measured with it.)
func TestIdleMemory(t *testing.T) {
	if os.Getenv(idleServerEnv) != "" {
		serveIdle(t)
		return
	}
	const conns = 15_000
	for _, way := range []string{"goroutine", "epoll"} {
		for _, mode := range []string{"pool", "inline"} {
			t.Run(way+"/"+mode, func(t *testing.T) {
				limit := map[string]int{"goroutine": 3584, "epoll": 1331}[way]
				s := startIdleServer(t, way, mode)
				warm := dialIdle(t, s.addr, 100) // pools, goroutine and thread stacks
				before := s.parked(t)
				list := dialIdle(t, s.addr, conns)
				each := (s.parked(t) - before) / conns
				for range 2 { // a busy machine leaves the collector and the kernel some work
					if each >= limit {
						each = min(each, (s.parked(t)-before)/conns)
					}
				}
				t.Logf("%d bytes of resident memory per idle connection", each)
				require.Less(t, each, limit)
				require.Greater(t, each, 500, "less than a Conn: the measurement is broken")
				closeAll(warm)
				closeAll(list)
			})
		}
	}
}

// serveIdle echoes, and answers GET /collected with its resident memory in bytes
// once garbage has been collected and given back.
func serveIdle(t *testing.T) {
	cfg, err := engine.ConfigFromEnv()
	require.NoError(t, err)
	e, err := engine.New(cfg, engine.Endpoint{
		Inline: os.Getenv(idleServerEnv) == "inline",
		Handler: engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			return c.Send(m.Type, m.Data)
		}},
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/ws", e)
	mux.HandleFunc("/collected", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory()
		debug.FreeOSMemory() // the first leaves what sync.Pool still holds as victims
		_, _ = fmt.Fprint(w, residentBytes(), runtime.NumGoroutine())
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fmt.Println(ln.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done, or gone
		cancel()
	}()
	require.NoError(t, e.ServeWith(ctx, ln, mux))
}

func residentBytes() int {
	b, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize()
}

type idleServer struct{ addr string }

func startIdleServer(t *testing.T, way, mode string) idleServer {
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleMemory$")
	cmd.Env = append(os.Environ(), idleServerEnv+"="+mode, "WS_IO="+way, "WS_PING_INTERVAL=off", "WS_IDLE_TIMEOUT=off") // however long it takes to dial all
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		require.NoError(t, cmd.Wait())
	})
	return idleServer{strings.TrimSpace(line)}
}

// parked returns the resident memory three seconds from now, or as soon after as no
// connection has a goroutine.
func (s idleServer) parked(t *testing.T) int {
	time.Sleep(3 * time.Second) // real time and a process of its own: there is nothing to wait for but the clock
	for range 100 {
		if bytes, goroutines := s.resident(t); goroutines < idleGoroutines {
			return bytes
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Fail(t, "connections keep their goroutines")
	return 0
}

func (s idleServer) resident(t *testing.T) (bytes, goroutines int) {
	r, err := http.Get("http://" + s.addr + "/collected")
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	_, err = fmt.Sscan(string(b), &bytes, &goroutines)
	require.NoError(t, err)
	return bytes, goroutines
}

// dialIdle opens n connections, each of which has one message echoed.
func dialIdle(t *testing.T, addr string, n int) []net.Conn {
	const request = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: idle\r\n\r\n"
	message := append([]byte{0x82, 0x80 | 100, 0, 0, 0, 0}, make([]byte, 100)...)
	list := make([]net.Conn, 0, n)
	for range n {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		list = append(list, c)
		_, err = c.Write(append([]byte(request), message...))
		require.NoError(t, err)
		r := bufio.NewReaderSize(c, 512)
		response, err := r.ReadBytes('\n')
		require.NoError(t, err)
		require.Contains(t, string(response), "101")
		for !bytes.Equal(response, []byte("\r\n")) {
			response, err = r.ReadBytes('\n')
			require.NoError(t, err)
		}
		_, err = io.ReadFull(r, make([]byte, 2+100))
		require.NoError(t, err)
	}
	return list
}

func closeAll(list []net.Conn) {
	for _, c := range list {
		_ = c.Close()
	}
}
