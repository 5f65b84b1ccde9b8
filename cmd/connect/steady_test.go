package connect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// takingTurns serves each connection by the next of turns, and those after them by the last.
func takingTurns(t *testing.T, turns ...func(ws *gorilla.Conn)) (target string, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	return serve(t, gorilla.Upgrader{}, func(_ *http.Request, ws *gorilla.Conn) {
		n := int(connections.Add(1))
		turns[min(n, len(turns))-1](ws)
	}), connections
}

func closingWith(code int) func(ws *gorilla.Conn) {
	return func(ws *gorilla.Conn) { closeWith(ws, code, "") }
}

func dropped(*gorilla.Conn) {}

// TestReconnectUntilItIsOfNoUse: what is about the server's moment is tried again, and a code
// that says more is not.
func TestReconnectUntilItIsOfNoUse(t *testing.T) {
	t.Parallel()
	tooBig := func(ws *gorilla.Conn) {
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("123456"))
		_, _, _ = ws.ReadMessage()
	}
	for name, tc := range map[string]struct {
		turns  []func(ws *gorilla.Conn)
		args   []string
		status int
		says   string
	}{
		"1008":    {[]func(*gorilla.Conn){closingWith(1012), dropped, closingWith(1008)}, nil, 108, "1008"},
		"1000":    {[]func(*gorilla.Conn){closingWith(1001), closingWith(1000)}, nil, 0, ""},
		"3000":    {[]func(*gorilla.Conn){closingWith(4000), closingWith(3000)}, nil, 120, "3000"},
		"too big": {[]func(*gorilla.Conn){dropped, tooBig}, []string{"--max-message-bytes=5"}, 109, "1009"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, connections := takingTurns(t, tc.turns...)
			r := connect(t, open(t), append(tc.args, target, "--reconnect")...)
			require.Equal(t, tc.status, r.status, r.notes)
			require.EqualValues(t, len(tc.turns), connections.Load())
			require.Equal(t, len(tc.turns)-1, strings.Count(r.notes, "; connecting again\n"), r.notes)
			require.Contains(t, r.notes, tc.says)
		})
	}
}

// TestReconnectRefused: a refusal for the moment is tried again, one for good is not.
func TestReconnectRefused(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "never for "+r.URL.RawQuery, http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	r := connect(t, open(t), "ws"+strings.TrimPrefix(s.URL, "http")+"/?t=s3cret", "--reconnect", "-H", "X-Token: s3cret")
	require.Equal(t, 4, r.status, r.notes)
	require.EqualValues(t, 3, asked.Load())
	require.Contains(t, r.notes, "503")
	require.Contains(t, r.notes, "403")
	require.NotContains(t, r.notes, "s3cret")
	require.Equal(t, 2, strings.Count(r.notes, "\n"), "the same trouble is told of once: %s", r.notes)
}

// TestReconnectCounts: --count is of the messages of all connections.
func TestReconnectCounts(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	target, connections := takingTurns(t, func(ws *gorilla.Conn) {
		for range 2 {
			_ = ws.WriteMessage(gorilla.TextMessage, fmt.Append(nil, sent.Add(1)))
		}
		closeWith(ws, 1012, "")
	})
	r := connect(t, open(t), target, "--reconnect", "--count=5")
	require.NoError(t, r.err)
	require.Equal(t, "1\n2\n3\n4\n5\n", r.out)
	require.EqualValues(t, 3, connections.Load())
}

// TestReconnectJSON: every connection has its events.
func TestReconnectJSON(t *testing.T) {
	t.Parallel()
	target, _ := takingTurns(t, closingWith(1012), closingWith(1000))
	r := connect(t, open(t), target, "--reconnect", "--json")
	require.NoError(t, r.err)
	var events []string
	for line := range strings.Lines(r.out) {
		var e event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		events = append(events, fmt.Sprint(e.Event, e.Code))
	}
	require.Equal(t, []string{"open0", "close1012", "open0", "close1000"}, events)
}

// TestReconnectTellsOfALoss: what was on its way when a connection ended may not have
// arrived, and then the status is 1; the next connection gets the rest.
func TestReconnectTellsOfALoss(t *testing.T) {
	t.Parallel()
	in := &countingReader{line: append(bytes.Repeat([]byte("z"), 16<<10), '\n'), left: 2000}
	var rest atomic.Int64
	target, connections := takingTurns(t, func(*gorilla.Conn) {
		for n, since := int64(-1), time.Now(); time.Since(since) < 300*time.Millisecond; time.Sleep(time.Millisecond) { // until the client waits
			if read := in.read.Load(); read != n {
				n, since = read, time.Now()
			}
		}
	}, func(ws *gorilla.Conn) {
		for _, _, err := ws.ReadMessage(); err == nil; _, _, err = ws.ReadMessage() {
			rest.Add(1)
		}
	})
	r := connect(t, in, target, "--reconnect")
	require.Equal(t, 1, r.status, r.notes)
	require.Contains(t, r.notes, "input may have been lost with a connection")
	require.EqualValues(t, 2, connections.Load())
	require.Greater(t, rest.Load(), int64(100))
}

// TestReconnectStopsWithTheOutput: when nobody can be told what comes, nothing more is wanted.
func TestReconnectStopsWithTheOutput(t *testing.T) {
	t.Parallel()
	target, connections := takingTurns(t, func(ws *gorilla.Conn) {
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("x"))
		_, _, _ = ws.ReadMessage()
	})
	r := connectTo(t.Context(), open(t), brokenWriter{}, target, "--reconnect")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.notes, "writing the output: full")
	require.EqualValues(t, 1, connections.Load())
}
