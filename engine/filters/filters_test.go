package filters_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/interceptors"
)

func newEngine(t *testing.T, cfg engine.Config) *engine.Engine {
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Shutdown(context.Background())) })
	return e
}

// A server runs filters over real sockets.
type server struct {
	t    *testing.T
	url  string
	hub  *hub.Hub
	stop func() // waits until every connection has ended
}

func serve(t *testing.T, cfg engine.Config, r *filters.Registry, names ...string) *server {
	cfg.Logger = slog.New(slog.DiscardHandler) // some tests panic
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	s := &server{t: t, hub: hub.New(e, hub.Config{})}
	ep, err := r.Build(names, filters.Env{Engine: e, Hub: s.hub, Logger: cfg.Logger})
	require.NoError(t, err)
	srv := httptest.NewServer(e.Endpoint(ep))
	s.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	s.stop = sync.OnceFunc(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		require.Zero(t, s.hub.All().Len())
		srv.Close()
	})
	t.Cleanup(s.stop) // after the clients'
	return s
}

func (s *server) dial() *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(s.url, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func write(t *testing.T, ws *websocket.Conn, op int, text string) {
	t.Helper()
	require.NoError(t, ws.WriteMessage(op, []byte(text)))
}

func expect(t *testing.T, ws *websocket.Conn, op int, text string) {
	t.Helper()
	gotOp, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, op, gotOp)
	require.Equal(t, text, string(got))
}

func TestEchoMessages(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "echo_messages")
	one, other := s.dial(), s.dial()
	write(t, one, websocket.TextMessage, "text")
	write(t, one, websocket.BinaryMessage, "\xff\x00")
	expect(t, one, websocket.TextMessage, "text")
	expect(t, one, websocket.BinaryMessage, "\xff\x00")
	write(t, other, websocket.TextMessage, "only mine")
	expect(t, other, websocket.TextMessage, "only mine")
}

func TestBroadcastMessages(t *testing.T) {
	s := serve(t, engine.Config{}, filters.Stock(), "broadcast_messages")
	var all []*websocket.Conn
	for range 3 { // each is a member when it has got its own first message
		ws := s.dial()
		write(t, ws, websocket.TextMessage, "here")
		all = append(all, ws)
		for _, ws := range all {
			expect(t, ws, websocket.TextMessage, "here")
		}
	}
	write(t, all[1], websocket.BinaryMessage, "\xff\x00")
	write(t, all[1], websocket.TextMessage, "")
	for _, ws := range all {
		expect(t, ws, websocket.BinaryMessage, "\xff\x00")
		expect(t, ws, websocket.TextMessage, "")
	}
}

// TestBroadcastsMeet: everybody talks at once, in batches; everybody hears
// everything once, each speaker's words in order.
func TestBroadcastsMeet(t *testing.T) {
	const clients, messages = 10, 300
	s := serve(t, engine.Config{}, filters.Stock(), "broadcast_messages")
	var all []*websocket.Conn
	for range clients {
		ws := s.dial()
		write(t, ws, websocket.TextMessage, "here")
		all = append(all, ws)
		for _, ws := range all {
			expect(t, ws, websocket.TextMessage, "here")
		}
	}
	var everybody sync.WaitGroup
	for who, ws := range all {
		everybody.Go(func() {
			for i := range messages {
				_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%d %d", who, i)) // the readers see a failure
			}
		})
		everybody.Go(func() {
			var next [clients]int
			for range clients * messages {
				var from, i int
				_, m, err := ws.ReadMessage()
				if err == nil {
					_, err = fmt.Sscan(string(m), &from, &i)
				}
				if err != nil || i != next[from] {
					t.Errorf("client %d got %q, %v, and should get number %d of %d", who, m, err, next[from], from)
					_ = ws.Close()
					return
				}
				next[from]++
			}
		})
	}
	everybody.Wait()
	require.Zero(t, s.hub.Totals().Congested)
}

// TestBroadcastPastSlowMember: one that does not read costs the sender nothing.
func TestBroadcastPastSlowMember(t *testing.T) {
	s := serve(t, engine.Config{HighWaterBytes: 256 << 10}, filters.Stock(), "broadcast_messages")
	slow := s.dial()
	write(t, slow, websocket.TextMessage, "here")
	expect(t, slow, websocket.TextMessage, "here")
	sender := s.dial() // not before: "here" would come to it, too, and when is not said
	text := strings.Repeat("x", 32<<10)
	for s.hub.Totals().Congested < 3 {
		write(t, sender, websocket.BinaryMessage, text)
		expect(t, sender, websocket.BinaryMessage, text)
	}
	write(t, sender, websocket.TextMessage, "still here")
	expect(t, sender, websocket.TextMessage, "still here")
}

// A journal notes what filters did, in order.
type journal struct {
	mu      sync.Mutex
	entries []string
}

func (j *journal) note(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.entries
	j.entries = nil
	return taken
}

// filter returns a constructor whose hooks note themselves; fail, if not nil,
// says which of them fails, and how.
func (j *journal) filter(name string, fail func(hook string) error) filters.Constructor {
	act := func(hook string) error {
		j.note(name + " " + hook)
		if fail == nil {
			return nil
		}
		return fail(hook)
	}
	return func(filters.Env) (filters.Filter, error) {
		return filters.Filter{
			Handler: engine.Handler{
				Admit:     func(*http.Request) error { return act("admit") },
				OnOpen:    func(context.Context, *engine.Conn) error { return act("open") },
				OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return act("message") },
				OnClose:   func(*engine.Conn, *engine.CloseError) { _ = act("close") },
			},
			Interceptors: []interceptors.Interceptor{noting{note: func() { j.note(name + " interceptor") }}},
		}, nil
	}
}

// noting is an interceptor that notes messages.
type noting struct {
	interceptors.Passthrough
	note func()
}

func (n noting) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	if in.Type.IsData() {
		n.note()
	}
	return next.Run(ctx, in)
}

// journaled serves the filters first, middle and last; middle fails as told.
func journaled(t *testing.T, fail func(hook string) error) (*server, *journal) {
	j := new(journal)
	r := filters.Stock()
	require.NoError(t, r.Register("first", j.filter("first", nil)))
	require.NoError(t, r.Register("middle", j.filter("middle", fail)))
	require.NoError(t, r.Register("last", j.filter("last", nil)))
	return serve(t, engine.Config{}, r, "first", "middle", "last", "echo_messages"), j
}

func TestFiltersRunInOrder(t *testing.T) {
	s, j := journaled(t, nil)
	ws := s.dial()
	write(t, ws, websocket.TextMessage, "x")
	expect(t, ws, websocket.TextMessage, "x")
	_ = ws.Close()
	s.stop()
	require.Equal(t, []string{
		"first admit", "middle admit", "last admit",
		"first open", "middle open", "last open",
		"first interceptor", "middle interceptor", "last interceptor",
		"first message", "middle message", "last message",
		"first close", "middle close", "last close",
	}, j.take())
}

// when fails or panics in one hook only.
func when(hook string, err error) func(string) error {
	return func(h string) error {
		switch {
		case h != hook:
			return nil
		case err == nil:
			panic("a filter's mistake")
		}
		return err
	}
}

func TestAdmitRefusal(t *testing.T) {
	s, j := journaled(t, when("admit", &engine.HandshakeError{Status: http.StatusTeapot, Reason: "no"}))
	_, resp, err := websocket.DefaultDialer.Dial(s.url, nil)
	require.ErrorIs(t, err, websocket.ErrBadHandshake)
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, []string{"first admit", "middle admit"}, j.take())
}

func TestMessageErrorEndsTheRow(t *testing.T) {
	s, j := journaled(t, when("message", interceptors.Refuse(http.StatusForbidden, "no")))
	ws := s.dial()
	write(t, ws, websocket.TextMessage, "x")
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.JSONEq(t, `{"type":"error","status":403,"message":"no"}`, string(got))
	require.Equal(t, "middle message", last(j.take()))
}

// TestOpenFails: a filter that was not opened is not closed.
func TestOpenFails(t *testing.T) {
	for name, err := range map[string]error{"error": errors.New("no"), "panic": nil} {
		t.Run(name, func(t *testing.T) {
			s, j := journaled(t, when("open", err))
			ws := s.dial()
			_, _, err := ws.ReadMessage()
			require.True(t, websocket.IsCloseError(err, websocket.CloseInternalServerErr), "%v", err)
			_ = ws.Close()
			s.stop()
			require.Equal(t, []string{"first open", "middle open", "first close", "middle close"}, j.take()[3:])
		})
	}
}

// TestClosePanic: a filter's panic does not keep the others from cleaning up.
func TestClosePanic(t *testing.T) {
	s, j := journaled(t, when("close", nil))
	ws := s.dial()
	write(t, ws, websocket.TextMessage, "x")
	expect(t, ws, websocket.TextMessage, "x")
	_ = ws.Close()
	s.stop()
	entries := j.take()
	require.Equal(t, []string{"first close", "middle close", "last close"}, entries[len(entries)-3:])
}

// TestDrain: every filter hears that a slow peer has caught up.
func TestDrain(t *testing.T) {
	j := new(journal)
	drained := make(chan struct{})
	flood := func(filters.Env) (f filters.Filter, err error) {
		f.Handler.OnMessage = func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			for !errors.Is(c.SendBytes(make([]byte, 32<<10)), engine.ErrCongested) {
			}
			return nil
		}
		f.Handler.OnDrain = func(*engine.Conn) { j.note("flood drain") }
		return f, nil
	}
	listen := func(filters.Env) (f filters.Filter, err error) {
		f.Handler.OnDrain = func(*engine.Conn) { j.note("listen drain"); close(drained) }
		return f, nil
	}
	r := new(filters.Registry)
	require.NoError(t, r.Register("flood", flood))
	require.NoError(t, r.Register("listen", listen))
	ws := serve(t, engine.Config{HighWaterBytes: 64 << 10}, r, "flood", "listen").dial()
	write(t, ws, websocket.TextMessage, "go")
	go func() { _, _ = io.Copy(io.Discard, ws.NetConn()) }() // ends when ws is closed
	<-drained
	require.Equal(t, []string{"flood drain", "listen drain"}, j.take())
}

// TestNobodyHandlesMessages: they are dropped; the connection goes on.
func TestNobodyHandlesMessages(t *testing.T) {
	s := serve(t, engine.Config{InboxMessages: 2}, filters.Stock())
	ws := s.dial()
	for range 1000 {
		write(t, ws, websocket.TextMessage, strings.Repeat("x", 16<<10)) // would not fit into a paused connection
	}
	pong := make(chan struct{})
	ws.SetPongHandler(func(string) error { close(pong); return nil })
	require.NoError(t, ws.WriteMessage(websocket.PingMessage, nil))
	go func() { _, _, _ = ws.ReadMessage() }()
	<-pong
}

func last(list []string) string { return list[len(list)-1] }
