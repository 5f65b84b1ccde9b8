package hub_test

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A channels server: "+name" subscribes, "-name" unsubscribes, "name:text" goes to all
// subscribers of name, "!" panics. The user stands in the query.
type channels struct {
	t      testing.TB
	engine *engine.Engine
	hub    *hub.Hub
	url    string
	opened chan *engine.Conn
	closed chan *engine.CloseError
}

func startChannels(t testing.TB, cfg engine.Config) *channels {
	s := &channels{t: t, opened: make(chan *engine.Conn, 1), closed: make(chan *engine.CloseError, 100)}
	cfg.Logger = silent
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	s.engine, s.hub = e, hub.New(e, hub.Config{})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{
		Interceptors: []interceptors.Interceptor{admission{}},
		Handler: s.hub.Handler(engine.Handler{
			OnOpen:    func(_ context.Context, c *engine.Conn) error { s.opened <- c; return nil },
			OnMessage: s.message,
			OnClose: func(c *engine.Conn, err *engine.CloseError) {
				if s.hub.UserOf(c) != "" || slices.Collect(s.hub.RoomsOf(c)) != nil {
					t.Error("it is a member in OnClose")
				}
				s.closed <- err
			},
		})}))
	s.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	t.Cleanup(func() {
		_ = e.Shutdown(context.Background()) // a test may have done it
		srv.Close()
	})
	return s
}

// admission is an interceptor that says who a connection is.
type admission struct{}

func (admission) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	return next.Run(ctx, in)
}

func (admission) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return next.Run(ctx, out)
}

func (admission) Admit(r *http.Request) error {
	interceptors.SetUser(r.Context(), r.URL.Query().Get("user"))
	return nil
}

func (s *channels) message(ctx context.Context, c *engine.Conn, m engine.Message) error {
	text := string(m.Data)
	switch {
	case text == "!":
		panic("the program's")
	case text[0] == '+':
		s.hub.Room(text[1:]).Join(c)
	case text[0] == '-':
		s.hub.Room(text[1:]).Leave(c)
	default:
		name, text, _ := strings.Cut(text, ":")
		_, err := s.hub.Room(name).Broadcast(ctx, m.Type, []byte(text))
		return err
	}
	return c.SendText("ok")
}

func (s *channels) dial(user string) (*websocket.Conn, *engine.Conn) {
	ws, _, err := websocket.DefaultDialer.Dial(s.url+"/?user="+user, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = ws.Close() })
	return ws, <-s.opened
}

func say(t testing.TB, ws *websocket.Conn, text string) {
	t.Helper()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func hear(t testing.TB, ws *websocket.Conn, want string) {
	t.Helper()
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// D6: join, leave, broadcast to a room, its members; whoever ends has left, however it
// ended.
func TestRowD6(t *testing.T) {
	ways := map[string]func(s *channels, ws *websocket.Conn, c *engine.Conn){
		"peer closes": func(_ *channels, ws *websocket.Conn, _ *engine.Conn) {
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		},
		"peer is gone": func(_ *channels, ws *websocket.Conn, _ *engine.Conn) { _ = ws.Close() },
		"reset": func(_ *channels, ws *websocket.Conn, _ *engine.Conn) {
			_ = ws.NetConn().(*net.TCPConn).SetLinger(0)
			_ = ws.Close()
		},
		"handler panics": func(s *channels, ws *websocket.Conn, _ *engine.Conn) { say(s.t, ws, "!") },
		"violation": func(s *channels, ws *websocket.Conn, _ *engine.Conn) {
			_, err := ws.NetConn().Write([]byte{0xff, 0xff})
			require.NoError(s.t, err)
		},
		"Close": func(_ *channels, ws *websocket.Conn, c *engine.Conn) {
			_ = c.Close(frame.CloseNormal, "")
			_, _, _ = ws.ReadMessage()
		},
		"Shutdown": func(s *channels, ws *websocket.Conn, _ *engine.Conn) {
			go func() { _, _, _ = ws.ReadMessage() }()
			_ = s.engine.Shutdown(context.Background())
		},
		"idle timeout": func(*channels, *websocket.Conn, *engine.Conn) {},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			cfg := engine.Config{CloseTimeout: 100 * time.Millisecond}
			if name == "idle timeout" {
				cfg.PingInterval, cfg.IdleTimeout = -1, time.Second
			}
			s := startChannels(t, cfg)
			ws, c := s.dial("ann")
			require.True(t, s.hub.Room("one").Join(c))
			require.True(t, s.hub.Room("two").Join(c))
			require.Equal(t, []string{"one", "two"}, slices.Collect(s.hub.RoomsOf(c)))
			require.Equal(t, "ann", s.hub.UserOf(c))
			if name != "idle timeout" {
				say(t, ws, "one:hello")
				hear(t, ws, "hello")
			}
			way(s, ws, c)
			<-s.closed
			require.Zero(t, s.hub.All().Len()+s.hub.Room("one").Len()+s.hub.Room("two").Len()+s.hub.User("ann").Len())
			require.Empty(t, names(s.hub.Rooms()))
			require.Empty(t, names(s.hub.Users()))
			require.False(t, s.hub.Room("one").Join(c), "it has ended")
		})
	}
}

// C7: how many there are, of whom, which, and a message to one of them. The counts
// take as long for 500 as for 5.
func TestRowC7(t *testing.T) {
	s := startChannels(t, engine.Config{})
	ann1, c1 := s.dial("ann")
	ann2, c2 := s.dial("ann")
	_, c3 := s.dial("bob")
	_, c4 := s.dial("")
	require.Equal(t, 4, s.hub.All().Len())
	require.Equal(t, identities([]*engine.Conn{c1, c2, c3, c4}), identities(slices.Collect(s.hub.All().Conns())))
	byUser := map[string]int{}
	for user := range s.hub.Users() {
		byUser[user] = s.hub.User(user).Len()
	}
	require.Equal(t, map[string]int{"ann": 2, "bob": 1}, byUser)
	require.Equal(t, identities([]*engine.Conn{c1, c2}), identities(slices.Collect(s.hub.User("ann").Conns())))
	require.Equal(t, 1, len(slices.Collect(s.hub.User("ann").Except(c1).Conns())))

	require.NoError(t, c2.SendText("to one"))
	tally, err := s.hub.User("ann").Broadcast(context.Background(), frame.Text, []byte("to ann"))
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 2}, tally)
	hear(t, ann1, "to ann")
	hear(t, ann2, "to one")
	hear(t, ann2, "to ann")

	require.True(t, s.hub.Identify(c2, "eve"))
	require.Equal(t, []string{"ann", "bob", "eve"}, slices.Sorted(s.hub.Users()))
	require.True(t, s.hub.Identify(c2, ""))
	require.Equal(t, "", s.hub.UserOf(c2))
	require.Equal(t, []string{"ann", "bob"}, slices.Sorted(s.hub.Users()))
}

// Counting looks at nobody: it allocates nothing, and costs the same for 5 and 5000.
func TestRowC7CountsInConstantTime(t *testing.T) {
	w := gather(t, engine.Config{}, hub.Config{}, engine.Handler{})
	count := func() { _ = w.hub.All().Len() + w.hub.Room("room").Len() + w.hub.User("user").Len() }
	fill := func(n int) time.Duration {
		for w.hub.All().Len() < n {
			b := w.mailbox()
			w.hub.Room("room").Join(b.far)
			w.hub.Identify(b.far, "user")
		}
		if !race {
			require.Zero(t, testing.AllocsPerRun(100, count))
		}
		best := time.Hour
		for range 20 {
			begin := time.Now()
			for range 1000 {
				count()
			}
			best = min(best, time.Since(begin))
		}
		return best
	}
	few, many := fill(5), fill(500)
	t.Logf("1000 counts: %v of 5, %v of 500", few, many)
	require.Less(t, many, 10*few, "counting 100 times as many")
}

// C10: subscribe to channels and unsubscribe, by messages.
func TestRowC10(t *testing.T) {
	s := startChannels(t, engine.Config{})
	a, ca := s.dial("a")
	b, cb := s.dial("b")
	for _, step := range []string{"+news", "+news", "+sport", "-sport", "-sport"} {
		say(t, a, step)
		hear(t, a, "ok")
	}
	say(t, b, "+sport")
	hear(t, b, "ok")
	require.Equal(t, []string{"news", "sport"}, slices.Sorted(s.hub.Rooms()))
	require.True(t, s.hub.Room("news").Has(ca))
	require.False(t, s.hub.Room("news").Has(cb))
	say(t, b, "news:for a")
	hear(t, a, "for a")
	say(t, a, "sport:for b")
	hear(t, b, "for b")
	say(t, a, "-news")
	hear(t, a, "ok")
	say(t, b, "news:for nobody")
	say(t, b, "+last")
	hear(t, b, "ok")
	require.NoError(t, ca.SendText("end"))
	hear(t, a, "end")
	counts := map[string]int{}
	for room := range s.hub.Rooms() {
		counts[room] = s.hub.Room(room).Len()
	}
	require.True(t, maps.Equal(map[string]int{"sport": 1, "last": 1}, counts))
	_ = b.Close()
	enginetest.Await(t, func() bool { return len(names(s.hub.Rooms())) == 0 }, "rooms are left")
}
