//go:build measure

// Run by "make agree", on a machine that does nothing else: what is compared is time.

package bench

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// stranger measures in a way that has nothing in common with this package: another
// library's client, a counter, and the CPU time that ps shows. It returns messages per
// second and CPU per message.
func stranger(t *testing.T, target Target, connections int, d time.Duration) (rate, cpu float64) {
	ctx, cancel := context.WithCancel(t.Context())
	var count atomic.Int64
	var all sync.WaitGroup
	for range connections {
		conn, _, err := websocket.DefaultDialer.Dial(target.URL, nil)
		require.NoError(t, err)
		all.Go(func() { // until ctx is done
			defer conn.Close()
			message := make([]byte, 128)
			for ctx.Err() == nil {
				if conn.WriteMessage(websocket.BinaryMessage, message) != nil {
					return
				}
				if _, _, err := conn.ReadMessage(); err != nil {
					return
				}
				count.Add(1)
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // warm-up
	began, n, used := time.Now(), count.Load(), psTime(t, target.PID)
	time.Sleep(d)
	n, used = count.Load()-n, psTime(t, target.PID)-used
	seconds := time.Since(began).Seconds()
	cancel()
	all.Wait()
	require.Positive(t, n)
	return float64(n) / seconds, used / float64(n)
}

// psTime is the CPU time of a process, in seconds.
func psTime(t *testing.T, pid int) float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	require.NoError(t, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(t, err)
	return float64(user+system) / 100
}

// The harness and an independent client find the same server equally fast and equally
// dear, within 10 %. The server is one that works for each message, so that it is the
// limit whoever asks. They take turns, because the machine does not stay the same; and
// may try again, because it sometimes changes between two turns.
func TestAgreesWithAnother(t *testing.T) {
	server, err := StartServer(t.Context(), childConfig("worker"))
	require.NoError(t, err)
	defer func() { require.NoError(t, server.Stop()) }()
	target := Target{URL: server.URL(), PID: server.PID()}
	const turns, span = 5, 400 * time.Millisecond
	var rates, costs float64
	for range 4 {
		var byRate, byCost []float64
		for range turns {
			r, err := Echo{Connections: 10, Warmup: 50 * time.Millisecond, Duration: span}.Run(t.Context(), target, nil)
			require.NoError(t, err)
			require.Empty(t, r.Failures)
			rate, cpu := stranger(t, target, 10, span)
			byRate = append(byRate, r.MessagesPerSecond/rate)
			byCost = append(byCost, *r.ServerCPU/1e9/cpu)
		}
		slices.Sort(byRate)
		slices.Sort(byCost)
		rates, costs = byRate[turns/2], byCost[turns/2]
		if 0.9 < rates && rates < 1.1 && 0.9 < costs && costs < 1.1 {
			return
		}
	}
	t.Errorf("the harness finds %.2f times the messages/s and %.2f times the CPU per message that another client does", rates, costs)
}
