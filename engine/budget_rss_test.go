//go:build linux && !race

package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// budgetServerEnv makes the test binary the server of TestBudgetResident.
const budgetServerEnv = "PENSTOCK_TEST_BUDGET_SERVER"

const (
	residentLimit = 256 << 20
	floodSize     = 8 << 20
)

// Three hundred peers that never read, to each of which 8 MB are sent again and
// again, and seven hundred that have messages echoed: the resident memory of the
// server, a process of its own without a limit of Go's, stays under
// MemoryBudgetBytes, nobody healthy notices, and those who do not read are ended.
func TestBudgetResident(t *testing.T) {
	if os.Getenv(budgetServerEnv) != "" {
		serveBudget(t)
		return
	}
	const stalled, healthy = 300, 700
	addr, pid := startBudgetServer(t)
	var peak atomic.Int64
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				peak.Store(max(peak.Load(), int64(residentOf(pid))))
			}
		}
	})
	echoers := dialIdleAt(t, addr, "/", healthy)
	flooded := dialIdleAt(t, addr, "/flood", stalled)
	rest := residentOf(pid)
	until := time.Now().Add(6 * time.Second)
	var echoes, failures atomic.Int64
	var slowest atomic.Int64
	var wait sync.WaitGroup
	for _, c := range echoers {
		wait.Go(func() {
			message := append([]byte{0x82, 0x80 | 100, 0, 0, 0, 0}, make([]byte, 100)...)
			reply := make([]byte, 2+100)
			for time.Now().Before(until) {
				start := time.Now()
				_ = c.SetDeadline(start.Add(enginetest.Patience))
				_, err := c.Write(message)
				if err == nil {
					_, err = io.ReadFull(c, reply)
				}
				if err != nil || reply[0] != 0x82 {
					failures.Add(1)
					return
				}
				echoes.Add(1)
				slowest.Store(max(slowest.Load(), int64(time.Since(start))))
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	for _, c := range flooded {
		_, err := c.Write([]byte{0x82, 0x80, 0, 0, 0, 0})
		require.NoError(t, err)
	}
	wait.Wait()
	st := budgetStats(t, addr)
	close(stop)
	sampling.Wait()
	t.Logf("resident: %d MiB at rest, %d MiB at the peak, limit %d MiB; %d echoes, the slowest took %v; ended: %d for the memory, %d stalled; in all %v",
		rest>>20, peak.Load()>>20, residentLimit>>20, echoes.Load(), time.Duration(slowest.Load()), st.Shed, st.Stalled, st.Closed)
	require.Zero(t, failures.Load())
	require.Greater(t, echoes.Load(), int64(healthy*10))
	require.Less(t, int(peak.Load()), residentLimit)
	require.Greater(t, int(peak.Load()), residentLimit/3, "too little to show anything")
	ended := int(st.Closed[frame.CloseTryAgainLater] + st.Closed[frame.CloseAbnormal])
	enginetest.Await(t, func() bool { // one that is ending at the moment may be counted twice, or not at all
		st := budgetStats(t, addr)
		return healthy+stalled == st.Connections+int(st.Closed[frame.CloseTryAgainLater]+st.Closed[frame.CloseAbnormal])
	}, "the others have not got memory yet")
	require.Greater(t, ended, 10)
	require.Positive(t, st.Shed)
	closeAll(echoers)
	closeAll(flooded)
	enginetest.Await(t, func() bool { return budgetStats(t, addr).BudgetUsed == 0 }, "everything should be given back")
}

// serveBudget echoes under "/", floods under "/flood", and answers GET /stats.
func serveBudget(t *testing.T) {
	e, err := engine.New(engine.Config{
		MaxMessageBytes: floodSize, MemoryBudgetBytes: residentLimit,
		WriteStallTimeout: 2 * time.Second, CloseTimeout: time.Second,
	}, onMessage(echo))
	require.NoError(t, err)
	payload := pattern(floodSize)
	mux := http.NewServeMux()
	mux.Handle("/", e)
	mux.Handle("/flood", e.Endpoint(onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		if len(m.Data) > 0 {
			return echo(ctx, c, m)
		}
		return c.Go(func(ctx context.Context) {
			for c.SendWait(ctx, frame.Binary, payload) == nil {
			}
		})
	})))
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(e.Stats())
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

func startBudgetServer(t *testing.T) (addr string, pid int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBudgetResident$")
	cmd.Env = append(os.Environ(), budgetServerEnv+"=1", "GOGC=", "GOMEMLIMIT=")
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
	return strings.TrimSpace(line), cmd.Process.Pid
}

func budgetStats(t *testing.T, addr string) (st engine.Stats) {
	t.Helper()
	r, err := http.Get("http://" + addr + "/stats")
	require.NoError(t, err)
	defer func() { _ = r.Body.Close() }()
	require.NoError(t, json.NewDecoder(r.Body).Decode(&st))
	return st
}

func residentOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize()
}

// dialIdleAt is dialIdle for another path.
func dialIdleAt(t *testing.T, addr, path string, n int) []net.Conn {
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	list := make([]net.Conn, 0, n)
	for range n {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		list = append(list, c)
		_, err = c.Write(request)
		require.NoError(t, err)
		response := make([]byte, 0, 512)
		for !bytes.HasSuffix(response, []byte("\r\n\r\n")) {
			var b [1]byte
			_, err := c.Read(b[:])
			require.NoError(t, err)
			response = append(response, b[0])
		}
		require.Contains(t, string(response), " 101 ")
	}
	return list
}
