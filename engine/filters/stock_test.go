package filters_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/interceptors"
)

// A sink is a standard output.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// serveWith is serve for filters that want more of their environment.
func serveWith(t *testing.T, env filters.Env, names ...string) *server {
	e, err := engine.New(engine.Config{Logger: slog.New(slog.DiscardHandler)}, engine.Endpoint{})
	require.NoError(t, err)
	env.Engine, env.Hub = e, hub.New(e, hub.Config{})
	ep, err := filters.Stock().Build(names, env)
	require.NoError(t, err)
	srv := httptest.NewServer(e.Endpoint(ep))
	t.Cleanup(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		srv.Close()
	})
	return &server{t: t, hub: env.Hub, url: "ws" + strings.TrimPrefix(srv.URL, "http")}
}

func (s *server) dialWith(query string, header http.Header) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(s.url+"?"+query, header)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// B3, B8: those with the same token are a group, whichever way it came.
func TestB8BroadcastByToken(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "broadcast_messages_by_token")
	a1 := s.dialWith("token=a", nil)
	a2 := s.dialWith("", http.Header{"Authorization": {"bearer a"}})
	b := s.dialWith("token=b", nil)
	write(t, a1, websocket.TextMessage, "for a")
	write(t, b, websocket.BinaryMessage, "for b")
	expect(t, a1, websocket.TextMessage, "for a")
	expect(t, a2, websocket.TextMessage, "for a")
	expect(t, b, websocket.BinaryMessage, "for b")
	_, resp, err := websocket.DefaultDialer.Dial(s.url, nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

// B3: what comes is printed, a message a line, and nothing controls the terminal.
func TestB3StdoutMessages(t *testing.T) {
	out := new(sink)
	ws := serveWith(t, filters.Env{Stdout: out}, "stdout_messages", "echo_messages").dial()
	for _, text := range []string{"hello, wörld\t!", "two\nlines", "\x1b[31mred"} {
		write(t, ws, websocket.TextMessage, text)
		expect(t, ws, websocket.TextMessage, text)
	}
	write(t, ws, websocket.BinaryMessage, "bin\x00")
	expect(t, ws, websocket.BinaryMessage, "bin\x00")
	require.Equal(t, "hello, wörld\t!\n\"two\\nlines\"\n\"\\x1b[31mred\"\n\"bin\\x00\"\n", out.String())
}

// B1, B3: raw data is what the socket has yielded, before any message.
func TestB3StdoutRawData(t *testing.T) {
	out := new(sink)
	ws := serveWith(t, filters.Env{Stdout: out}, "stdout_rawdata", "echo_messages").dial()
	write(t, ws, websocket.TextMessage, "x")
	expect(t, ws, websocket.TextMessage, "x")
	line := out.String()
	var conn, n int
	var data []byte
	_, err := fmt.Sscanf(line, "%d: %d bytes: %x\n", &conn, &n, &data)
	require.NoError(t, err)
	require.Len(t, data, n)
	require.Equal(t, []byte{0x81, 0x81}, data[:2])
	require.Len(t, data, 2+4+1)
}

// E through the command line: the secret is in the environment.
func TestWorkerRelay(t *testing.T) {
	_, err := filters.Stock().Build([]string{"worker_relay"}, filters.Env{Engine: new(engine.Engine), Getenv: func(string) string { return "" }})
	require.Error(t, err)
	s := serveWith(t, filters.Env{Getenv: func(name string) string {
		return map[string]string{"WORKER_SECRET": "s"}[name]
	}}, "worker_relay")
	c := s.dialWith("", nil)
	write(t, c, websocket.TextMessage, "ping")
	expect(t, c, websocket.TextMessage, "pong")
	w := s.dialWith("client_type=worker&token=s", nil)
	expect(t, c, websocket.TextMessage, `{"type":"worker_status","online":true}`)
	write(t, w, websocket.TextMessage, `{"a": 1}`)
	expect(t, c, websocket.TextMessage, `{"a": 1}`)
}

func hearJSON(t *testing.T, ws *websocket.Conn) map[string]any {
	t.Helper()
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, text, err := ws.ReadMessage()
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m))
	return m
}

func TestRooms(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "rooms")
	a, b := s.dial(), s.dial()
	for _, ws := range []*websocket.Conn{a, b} {
		write(t, ws, websocket.TextMessage, `{"type":"join","room":"r"}`)
		require.Equal(t, map[string]any{"type": "joined", "room": "r"}, hearJSON(t, ws))
	}
	write(t, a, websocket.TextMessage, `{"type":"publish","room":"r","data":{"n":1}}`)
	for _, ws := range []*websocket.Conn{a, b} {
		require.Equal(t, map[string]any{"type": "message", "room": "r", "data": map[string]any{"n": 1.0}}, hearJSON(t, ws))
	}
	write(t, b, websocket.TextMessage, `{"type":"leave","room":"r"}`)
	require.Equal(t, "left", hearJSON(t, b)["type"])
	for _, bad := range []string{
		`{"type":"publish","room":"r","data":1}`, `{"type":"join"}`, `{"type":"dance","room":"r"}`, `[]`, `x`,
		`{"type":"join","room":"r","position":"0-0"}`, `{"type":"join","room":"` + strings.Repeat("x", 201) + `"}`,
	} {
		write(t, b, websocket.TextMessage, bad)
		m := hearJSON(t, b)
		require.Equal(t, "error", m["type"], bad)
		require.NotEmpty(t, m["message"])
	}
}

func TestHistory(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "history")
	a := s.dial()
	write(t, a, websocket.TextMessage, `{"type":"join","room":"r"}`)
	hearJSON(t, a)
	var last string
	for i := range 3 {
		write(t, a, websocket.TextMessage, fmt.Sprintf(`{"type":"publish","room":"r","data":%d}`, i))
		m := hearJSON(t, a)
		require.Equal(t, float64(i), m["data"])
		if i == 0 {
			last = m["position"].(string)
		}
	}
	b := s.dial()
	write(t, b, websocket.TextMessage, `{"type":"join","room":"r","position":"`+last+`"}`)
	require.Equal(t, "joined", hearJSON(t, b)["type"])
	for i := 1; i < 3; i++ {
		require.Equal(t, float64(i), hearJSON(t, b)["data"])
	}
	c := s.dial()
	write(t, c, websocket.TextMessage, `{"type":"join","room":"r","position":"1-7"}`)
	require.Equal(t, "joined", hearJSON(t, c)["type"])
	gap := hearJSON(t, c)
	require.Equal(t, []any{"gap", "1-7"}, []any{gap["type"], gap["from"]})
	require.Equal(t, 0.0, hearJSON(t, c)["data"])
	write(t, c, websocket.TextMessage, `{"type":"join","room":"r","position":"nonsense"}`)
	for m := hearJSON(t, c); m["type"] != "error"; m = hearJSON(t, c) {
		require.Equal(t, "message", m["type"])
	}
}

// Who publishes with an id is told the position, or why there is none.
func TestHistoryPublished(t *testing.T) {
	ws := serve(t, engine.Config{}, filters.Stock(), "history").dial()
	write(t, ws, websocket.TextMessage, `{"type":"join","room":"r"}`)
	hearJSON(t, ws)
	write(t, ws, websocket.TextMessage, `{"type":"publish","room":"r","id":"a","data":1}`)
	message, published := hearJSON(t, ws), hearJSON(t, ws)
	require.Equal(t, map[string]any{"type": "published", "room": "r", "id": "a", "position": message["position"]}, published)
	write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"publish","room":"r","id":"%s"}`, strings.Repeat("x", 101)))
	require.Equal(t, "error", hearJSON(t, ws)["type"])
}

// A message that would be too big for its members is refused, and no gap for all of them:
// what a client sends grows on its way.
func TestHistoryTooBig(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "history")
	ws := s.dial()
	write(t, ws, websocket.TextMessage, `{"type":"join","room":"r"}`)
	require.Equal(t, "joined", hearJSON(t, ws)["type"])
	write(t, ws, websocket.TextMessage, `{"type":"publish","room":"r","data":"`+strings.Repeat("<", 300_000)+`"}`)
	m := hearJSON(t, ws)
	require.Equal(t, "error", m["type"])
	require.Contains(t, m["message"], "too big")
	write(t, ws, websocket.TextMessage, `{"type":"publish","room":"r","data":1}`)
	require.Equal(t, "message", hearJSON(t, ws)["type"])
}

// What all rooms keep together is a setting: beyond it the oldest goes.
func TestHistoryBytes(t *testing.T) {
	s := serveWith(t, filters.Env{Getenv: getenv("WS_FILTER_HISTORY_BYTES=1048576")}, "history")
	ws := s.dial()
	begin := make([]string, 8) // of each room
	for i := range begin {
		write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"join","room":"%d"}`, i))
		hearJSON(t, ws)
		write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"publish","room":"%d","data":"%s"}`, i, strings.Repeat("x", 300_000)))
		epoch, _, _ := strings.Cut(hearJSON(t, ws)["position"].(string), "-")
		begin[i] = epoch + "-0"
	}
	get := func(room int) any {
		ws := s.dial()
		write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"join","room":"%d","position":"%s"}`, room, begin[room]))
		require.Equal(t, "joined", hearJSON(t, ws)["type"])
		return hearJSON(t, ws)["type"]
	}
	enginetest.Await(t, func() bool { return get(4) == "gap" }, "the fifth of eight should be forgotten")
	require.Equal(t, "gap", get(0))
	require.Equal(t, "message", get(7))
}

func TestHistoryBytesWrong(t *testing.T) {
	for _, wrong := range []string{"much", "0", "-1", "1048575", "256MiB", "99999999999999999999"} {
		_, err := filters.Stock().Build([]string{"history"}, filters.Env{Engine: new(engine.Engine), Getenv: getenv("WS_FILTER_HISTORY_BYTES=" + wrong)})
		var bad *engine.EnvError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "WS_FILTER_HISTORY_BYTES", bad.Name)
		require.Equal(t, wrong, bad.Value)
	}
}

// holdUp keeps the messages that say so from going out, until it is closed.
type holdUp struct {
	interceptors.OutboundOnly
	begun, over chan struct{}
}

func (h holdUp) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if bytes.Contains(out.Data, []byte(`"hold up"`)) {
		close(h.begun)
		<-h.over
	}
	return next.Run(ctx, out)
}

// Who publishes faster than can be sent is told that, not that a message is too big.
func TestHistoryTooFast(t *testing.T) {
	h := holdUp{begun: make(chan struct{}), over: make(chan struct{})}
	r := filters.Stock()
	require.NoError(t, r.Register("hold_up", func(filters.Env) (filters.Filter, error) {
		return filters.Filter{Interceptors: []interceptors.Interceptor{h}}, nil
	}))
	s := serve(t, engine.Config{Workers: 2}, r, "hold_up", "history")
	defer close(h.over)
	slow, fast := s.dial(), s.dial()
	for _, ws := range []*websocket.Conn{slow, fast} {
		write(t, ws, websocket.TextMessage, `{"type":"join","room":"r"}`)
		require.Equal(t, "joined", hearJSON(t, ws)["type"])
	}
	require.NoError(t, slow.WriteMessage(websocket.TextMessage, []byte(`{"type":"publish","room":"r","data":"hold up"}`)))
	<-h.begun
	for range 17 { // 16 MiB may wait
		write(t, fast, websocket.TextMessage, `{"type":"publish","room":"r","data":"`+strings.Repeat("x", 1<<20-100)+`"}`)
	}
	m := map[string]any{"type": "message"}
	for m["type"] == "message" { // the one that is held up may have come first
		m = hearJSON(t, fast)
	}
	require.Equal(t, "error", m["type"])
	require.NotContains(t, m["message"], "too big")
	require.Contains(t, m["message"], "again")
}
