package filters_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/session"
)

// withSession asks for the session, and returns its id and data.
func withSession(t *testing.T, ws *websocket.Conn, ask string) (id string, data any) {
	t.Helper()
	write(t, ws, websocket.TextMessage, ask)
	m := hearJSON(t, ws)
	require.Equal(t, "session", m["type"])
	return m["id"].(string), m["data"]
}

// B9: what a client keeps is there when it comes back, on another node, too, and nobody
// else's.
func TestB9Session(t *testing.T) {
	store := new(session.Memory)
	nodes := []*server{
		serveWith(t, filters.Env{Sessions: store}, "session", "echo_messages"),
		serveWith(t, filters.Env{Sessions: store}, "session", "echo_messages"),
	}
	a := nodes[0].dial()
	id, data := withSession(t, a, `{"type":"session"}`)
	require.Nil(t, data)
	same, data := withSession(t, a, `{"type":"session","data":{"cart":[1,2]}}`)
	require.Equal(t, id, same)
	require.Equal(t, map[string]any{"cart": []any{1.0, 2.0}}, data)
	write(t, a, websocket.TextMessage, `{"type":"other","data":"session"}`)
	expect(t, a, websocket.TextMessage, `{"type":"other","data":"session"}`)
	require.NoError(t, a.Close())

	back := nodes[1].dialWith("session="+id, nil)
	same, data = withSession(t, back, `{"type":"session"}`)
	require.Equal(t, id, same)
	require.Equal(t, map[string]any{"cart": []any{1.0, 2.0}}, data)
	other, data := withSession(t, nodes[1].dial(), `{"type":"session"}`)
	require.NotEqual(t, id, other)
	require.Nil(t, data)

	same, data = withSession(t, back, `{"type":"session","data":null}`)
	require.Equal(t, id, same)
	require.Nil(t, data)
	require.Zero(t, store.Len())
}

// Nobody chooses an id: not one that another could be made to use.
func TestSessionChosenID(t *testing.T) {
	s := serveWith(t, filters.Env{}, "session")
	chosen := strings.Repeat("ab", 16)
	id, _ := withSession(t, s.dialWith("session="+chosen, nil), `{"type":"session","data":1}`)
	require.NotEqual(t, chosen, id)
	for _, wrong := range []string{"x", strings.Repeat("ab", 15), "..", strings.Repeat("zz", 16)} {
		_, resp, err := websocket.DefaultDialer.Dial(s.url+"?session="+wrong, nil)
		require.Error(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, wrong)
	}
}

// slowStore answers when it is let.
type slowStore struct {
	session.Memory
	asked chan struct{} // nil, or told of each question
	let   chan error
}

func (s *slowStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.asked != nil {
		s.asked <- struct{}{}
	}
	select {
	case err := <-s.let:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Memory.Get(ctx, key)
}

// A store that takes its time holds nothing else up, answers come in the order of the
// requests, and there are not any number of them.
func TestSessionSlowStore(t *testing.T) {
	store := &slowStore{asked: make(chan struct{}, 17), let: make(chan error)}
	s := serveWith(t, filters.Env{Sessions: store}, "session", "echo_messages")
	ws := s.dial()
	id, _ := withSession(t, ws, `{"type":"session","data":0}`)
	write(t, ws, websocket.TextMessage, `{"type":"session","data":1}`)
	<-store.asked // it waits for the store, and the others for it
	for i := 2; i <= 17; i++ {
		write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"session","data":%d}`, i))
	}
	write(t, ws, websocket.TextMessage, "hello")
	expect(t, ws, websocket.TextMessage, "hello")
	write(t, ws, websocket.TextMessage, `{"type":"session"}`)
	require.Equal(t, "error", hearJSON(t, ws)["type"])
	for i := 1; i <= 17; i++ {
		store.let <- nil
		require.Equal(t, map[string]any{"type": "session", "id": id, "data": float64(i)}, hearJSON(t, ws))
	}
}

// A store that fails is told as that, never as an empty session, and no secret is logged.
func TestSessionStoreFails(t *testing.T) {
	store := &slowStore{let: make(chan error, 1)}
	text := new(sink)
	s := serveWith(t, filters.Env{Sessions: store, Logger: slog.New(slog.NewTextHandler(text, nil))}, "session")
	ws := s.dial()
	id, _ := withSession(t, ws, `{"type":"session"}`)
	store.let <- errors.New("down")
	write(t, ws, websocket.TextMessage, `{"type":"session","data":"canary"}`)
	require.Equal(t, map[string]any{"type": "error", "message": "sessions cannot be reached; try again later"}, hearJSON(t, ws))
	require.Contains(t, text.String(), "down")
	require.NotContains(t, text.String(), id)
	require.NotContains(t, text.String(), "canary")
}

func TestSessionLimits(t *testing.T) {
	s := serveWith(t, filters.Env{}, "session")
	ws := s.dial()
	write(t, ws, websocket.TextMessage, fmt.Sprintf(`{"type":"session","data":"%s"}`, strings.Repeat("x", 64<<10)))
	require.Equal(t, "error", hearJSON(t, ws)["type"])
	_, data := withSession(t, ws, fmt.Sprintf(`{"type":"session","data":"%s"}`, strings.Repeat("x", 64<<10-2)))
	require.Len(t, data, 64<<10-2)
}

// The time to live is a setting.
func TestSessionTTL(t *testing.T) {
	store := &ttlStore{ttl: make(chan time.Duration, 1)}
	ws := serveWith(t, filters.Env{Sessions: store, Getenv: getenv("WS_FILTER_SESSION_TTL=90s")}, "session").dial()
	withSession(t, ws, `{"type":"session","data":1}`)
	require.Equal(t, 90*time.Second, <-store.ttl)
	for _, wrong := range []string{"soon", "0s", "-1h", "10ms"} {
		_, err := filters.Stock().Build([]string{"session"}, filters.Env{Engine: new(engine.Engine), Getenv: getenv("WS_FILTER_SESSION_TTL=" + wrong)})
		var bad *engine.EnvError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "WS_FILTER_SESSION_TTL", bad.Name)
	}
}

type ttlStore struct {
	session.Memory
	ttl chan time.Duration
}

func (s *ttlStore) Set(ctx context.Context, key string, data []byte, ttl time.Duration) error {
	s.ttl <- ttl
	return s.Memory.Set(ctx, key, data, ttl)
}
