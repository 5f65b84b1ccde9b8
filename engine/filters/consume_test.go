package filters_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// source is a filter that hands out its Put and its connections.
type source struct {
	put   filters.PutFunc
	conns chan *engine.Conn
}

func (s *source) construct(env filters.Env) (filters.Filter, error) {
	s.put, s.conns = env.Put, make(chan *engine.Conn, 10)
	if t, err := env.Put(context.Background(), frame.Text, []byte("too early")); t != (engine.Tally{}) || err != nil {
		return filters.Filter{}, errors.New("there is nobody yet")
	}
	return filters.Filter{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
		s.conns <- c
		return nil
	}}}, nil
}

func consuming(hook func(context.Context, *engine.Conn, *engine.Message) error) filters.Constructor {
	return func(filters.Env) (filters.Filter, error) { return filters.Filter{OnConsume: hook}, nil }
}

func startSource(t *testing.T, hooks ...func(context.Context, *engine.Conn, *engine.Message) error) (*server, *source) {
	src, r, names := new(source), filters.Stock(), []string{"source"}
	require.NoError(t, r.Register("source", src.construct))
	for i, hook := range hooks {
		names = append(names, fmt.Sprintf("hook%d", i))
		require.NoError(t, r.Register(names[i+1], consuming(hook)))
	}
	return serve(t, engine.Config{}, r, names...), src
}

func (s *server) dialTo(src *source) (*websocket.Conn, *engine.Conn) {
	ws := s.dial()
	require.NoError(s.t, ws.SetReadDeadline(time.Now().Add(20*time.Second)))
	return ws, <-src.conns
}

// B1: what is put from outside passes the filters in their order, for each connection,
// and is sent to it; one filter's change is that connection's alone.
func TestB1Consumer(t *testing.T) {
	var special *engine.Conn
	s, src := startSource(t,
		func(_ context.Context, c *engine.Conn, m *engine.Message) error {
			if c == special {
				m.Data = append(m.Data, " first"...) // which must not reach the other's
			}
			return nil
		},
		func(_ context.Context, c *engine.Conn, m *engine.Message) error {
			if c == special {
				m.Data = append(bytes.ToUpper(m.Data), " second"...)
			}
			return nil
		})
	one, conn := s.dialTo(src)
	two, other := s.dialTo(src)
	special = conn
	data := append(make([]byte, 0, 100), "hello"...)
	tally, err := src.put(t.Context(), frame.Text, data)
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 2}, tally)
	expect(t, one, websocket.TextMessage, "HELLO FIRST second")
	expect(t, two, websocket.TextMessage, "hello")
	tally, err = src.put(t.Context(), frame.Binary, data, other)
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 1}, tally)
	expect(t, two, websocket.BinaryMessage, "hello")
	_, err = src.put(t.Context(), frame.Text, []byte("\xff"))
	require.ErrorIs(t, err, engine.ErrInvalidUTF8)
	_, err = src.put(t.Context(), frame.Text, []byte("last"))
	require.NoError(t, err)
	expect(t, one, websocket.TextMessage, "LAST FIRST second")
	require.Equal(t, "hello\x00", string(data[:6]), "nobody has written into the caller's bytes")
}

// B1: without a hook the encoded message is shared, and goes where it should.
func TestB1ConsumerWithoutHooks(t *testing.T) {
	s, src := startSource(t)
	one, _ := s.dialTo(src)
	two, conn := s.dialTo(src)
	tally, err := src.put(t.Context(), frame.Text, []byte("for two"), conn)
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 1}, tally)
	_, err = src.put(t.Context(), frame.Text, []byte("for all"))
	require.NoError(t, err)
	expect(t, one, websocket.TextMessage, "for all")
	expect(t, two, websocket.TextMessage, "for two")
	expect(t, two, websocket.TextMessage, "for all")
}

// B1: an error keeps the message from the connection and from the filters behind it; a
// panic ends the connection, and nobody else.
func TestB1ConsumerRefuses(t *testing.T) {
	var refused, bad *engine.Conn
	behind := 0
	s, src := startSource(t,
		func(_ context.Context, c *engine.Conn, _ *engine.Message) error {
			switch c {
			case refused:
				return errors.New("not for you")
			case bad:
				panic("a mistake")
			}
			return nil
		},
		func(context.Context, *engine.Conn, *engine.Message) error {
			behind++
			return nil
		})
	one, c1 := s.dialTo(src)
	two, c2 := s.dialTo(src)
	three, _ := s.dialTo(src)
	refused, bad = c1, c2
	tally, err := src.put(t.Context(), frame.Text, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 1, Refused: 2}, tally)
	require.Equal(t, 1, behind)
	expect(t, three, websocket.TextMessage, "hello")
	_, _, err = two.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseInternalServerErr), "%v", err)
	refused = nil
	_, err = src.put(t.Context(), frame.Text, []byte("again"), c1)
	require.NoError(t, err)
	expect(t, one, websocket.TextMessage, "again")
}

// outspoken panics when a message goes out that says so, and when a connection is closed.
type outspoken struct{ interceptors.OutboundOnly }

func (outspoken) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if bytes.HasSuffix(out.Data, []byte("panic")) || out.Type == frame.Close {
		panic("an interceptor's")
	}
	return next.Run(ctx, out)
}

// B1: an interceptor that panics on what is put ends that connection, and not the
// source's goroutine, whether a hook has changed the message or not.
func TestB1ConsumerMeetsPanic(t *testing.T) {
	for name, hook := range map[string]func(context.Context, *engine.Conn, *engine.Message) error{
		"no hook":  nil,
		"as it is": func(context.Context, *engine.Conn, *engine.Message) error { return nil },
		"changed": func(_ context.Context, _ *engine.Conn, m *engine.Message) error {
			m.Data = append([]byte("a "), m.Data...)
			return nil
		},
		"a hook's, too": func(context.Context, *engine.Conn, *engine.Message) error { panic("a hook's") },
	} {
		t.Run(name, func(t *testing.T) {
			src, r := new(source), new(filters.Registry)
			require.NoError(t, r.Register("source", src.construct))
			require.NoError(t, r.Register("rest", func(filters.Env) (filters.Filter, error) {
				return filters.Filter{OnConsume: hook, Interceptors: []interceptors.Interceptor{outspoken{}}}, nil
			}))
			s := serve(t, engine.Config{Logger: slog.New(slog.DiscardHandler)}, r, "source", "rest")
			ws, conn := s.dialTo(src)
			require.NotPanics(t, func() {
				tally, err := src.put(t.Context(), frame.Text, []byte("panic"))
				require.NoError(t, err)
				require.Zero(t, tally.Queued)
			})
			if name == "a hook's, too" { // the interceptor keeps it open
				require.NoError(t, conn.Ping(nil))
				return
			}
			_, _, err := ws.ReadMessage()
			require.True(t, websocket.IsCloseError(err, websocket.CloseInternalServerErr), "%v", err)
		})
	}
}

// Whoever has started something in a constructor learns when it must end.
func TestEnvContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := new(filters.Registry)
	ended := make(chan struct{})
	require.NoError(t, r.Register("timer", func(env filters.Env) (filters.Filter, error) {
		go func() { // until env.Context is done
			<-env.Context.Done()
			close(ended)
		}()
		return filters.Filter{}, nil
	}))
	_, err := r.Build([]string{"timer"}, filters.Env{Engine: newEngine(t, engine.Config{}), Context: ctx})
	require.NoError(t, err)
	cancel()
	<-ended
}

func getenv(values ...string) func(string) string {
	return func(name string) string {
		for _, v := range values {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value
			}
		}
		return ""
	}
}

// The limit is the environment's: two pass, the third is refused, or the end.
func TestRateLimit(t *testing.T) {
	for closing, third := range map[string]func(*testing.T, *websocket.Conn){
		"off": func(t *testing.T, ws *websocket.Conn) {
			_, text, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Contains(t, string(text), "429")
			require.NoError(t, ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)))
		},
		"on": func(t *testing.T, ws *websocket.Conn) {
			_, text, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Contains(t, string(text), "429")
			_, _, err = ws.ReadMessage()
			require.True(t, websocket.IsCloseError(err, websocket.ClosePolicyViolation), "%v", err)
		},
	} {
		s := serveWith(t, filters.Env{Getenv: getenv("WS_FILTER_RATE=1/1h", "WS_FILTER_RATE_BURST=2", "WS_FILTER_RATE_CLOSE="+closing)}, "rate_limit", "echo_messages")
		ws := s.dial()
		for range 3 {
			write(t, ws, websocket.TextMessage, "x")
		}
		expect(t, ws, websocket.TextMessage, "x")
		expect(t, ws, websocket.TextMessage, "x")
		third(t, ws)
	}
}

func TestRateLimitSettings(t *testing.T) {
	e := newEngine(t, engine.Config{})
	for setting, name := range map[string]string{
		"WS_FILTER_RATE=fast": "WS_FILTER_RATE", "WS_FILTER_RATE=5": "WS_FILTER_RATE", "WS_FILTER_RATE=0/1s": "WS_FILTER_RATE",
		"WS_FILTER_RATE=5/0s": "WS_FILTER_RATE", "WS_FILTER_RATE=5/1ns": "WS_FILTER_RATE", "WS_FILTER_RATE=5/10": "WS_FILTER_RATE",
		"WS_FILTER_RATE_BURST=0": "WS_FILTER_RATE_BURST", "WS_FILTER_RATE_CLOSE=yes": "WS_FILTER_RATE_CLOSE",
	} {
		_, err := filters.Stock().Build([]string{"rate_limit"}, filters.Env{Engine: e, Getenv: getenv(setting)})
		var wrong *engine.EnvError
		require.ErrorAs(t, err, &wrong, setting)
		require.Equal(t, name, wrong.Name)
	}
	for _, good := range []string{"", "WS_FILTER_RATE=1/1ms", "WS_FILTER_RATE=1000000000/1h", "WS_FILTER_RATE_BURST=1"} {
		_, err := filters.Stock().Build([]string{"rate_limit"}, filters.Env{Engine: e, Getenv: getenv(good)})
		require.NoError(t, err, good)
	}
}
