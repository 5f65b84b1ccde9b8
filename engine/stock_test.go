package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// The stock interceptors (A11) over sockets. What each does in every case is tested in
// package interceptors.

// behind is an echo behind a chain, in both modes.
func behind(t *testing.T, f func(t *testing.T, s *enginetest.Server), list ...interceptors.Interceptor) {
	modes(t, func(t *testing.T, inline bool) {
		ep := with(engine.Handler{OnMessage: echo}, list...)
		ep.Inline = inline
		ep.Subprotocols = []string{"chat"}
		f(t, enginetest.Start(t, engine.Config{}, ep))
	})
}

func asking(target string, header map[string][]string) enginetest.Handshake {
	return enginetest.Handshake{Target: target, Header: header}
}

func TestA11StockTokenAuth(t *testing.T) {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{
		Users:   map[string]string{"s3cret": "ann", "n3w": "ann", "other": "ben"},
		Sources: interceptors.TokenSources{Bearer: true, Cookie: "session", Query: "token", Subprotocol: "token."},
	})
	var log syncBuffer
	s := enginetest.Start(t, engine.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, engine.Endpoint{
		Interceptors: []interceptors.Interceptor{auth},
		Subprotocols: []string{"chat"},
		Handler: engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			return c.SendText(interceptors.User(ctx))
		}},
	})
	for want, handshakes := range map[string][]enginetest.Handshake{
		"ann": {
			asking("/", map[string][]string{"Authorization": {"Bearer s3cret"}}),
			asking("/", map[string][]string{"Authorization": {"Bearer n3w"}}),
			asking("/", map[string][]string{"Cookie": {"session=s3cret"}, "Origin": {"http://" + s.Addr()}}),
			asking("/", map[string][]string{"Sec-WebSocket-Protocol": {"chat, token.s3cret"}}),
		},
		"ben": {asking("/?token=other", nil)},
	} {
		for _, h := range handshakes {
			c := s.DialWith(h)
			c.SendText("who am I?")
			require.Equal(t, want, c.ReadText())
			require.NotContains(t, fmt.Sprint(c.Response.Header), "s3cret", "a token was echoed")
			c.Hangup()
		}
	}
	for _, h := range []enginetest.Handshake{asking("/", nil), asking("/?token=s3cre", nil), asking("/?token=", nil)} {
		res := s.Request(h)
		require.Equal(t, 401, res.StatusCode)
		require.Equal(t, []string{"Bearer"}, res.Header["Www-Authenticate"])
		require.NotContains(t, bodyOf(t, res), "s3cre")
	}
	evil := asking("/", map[string][]string{"Cookie": {"session=s3cret"}, "Origin": {"http://evil.example"}})
	require.Equal(t, 403, s.Request(evil).StatusCode, "a page of somebody else's used a cookie")
	require.NotContains(t, log.String(), "s3cre")
}

// A syncBuffer is a bytes.Buffer for any goroutine.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestA11StockRateLimit(t *testing.T) {
	limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 2, Window: 2 * time.Hour})
	behind(t, func(t *testing.T, s *enginetest.Server) {
		for range 2 { // each connection has an allowance of its own
			c := s.Dial()
			c.SendText("1")
			c.Send(frame.Binary, []byte("2"))
			c.SendText("3")
			require.Equal(t, "1", c.ReadText())
			require.Equal(t, "2", string(c.ReadMessage().Data))
			require.Equal(t, `{"type":"error","status":429,"message":"too many messages","retry_after":3600}`, c.ReadText())
			c.Hangup()
		}
	}, limit)
	require.Zero(t, limit.Len())
}

func TestA11StockRateLimitByUserAcrossConnections(t *testing.T) {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"a": "ann", "b": "ben"}})
	limit := interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 2, Window: time.Hour, Key: interceptors.ByUser, Close: true})
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo}, auth, limit))
	for range 2 {
		c := s.DialWith(enginetest.Handshake{Target: "/?token=a"})
		c.SendText("m")
		require.Equal(t, "m", c.ReadText())
		c.Hangup()
	}
	third := s.DialWith(enginetest.Handshake{Target: "/?token=a"})
	third.SendText("m")
	require.Contains(t, third.ReadText(), `"status":429`)
	code, reason := third.ReadClose()
	require.Equal(t, frame.ClosePolicyViolation, code)
	require.Equal(t, "too many messages", reason)
	third.SendClose(code, "")
	third.ExpectEOF()
	third.Close()
	ben := s.DialWith(enginetest.Handshake{Target: "/?token=b"})
	ben.SendText("m")
	require.Equal(t, "m", ben.ReadText())
	ben.Hangup()
	require.Equal(t, 2, limit.Len())
}

func TestA11StockTimeout(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := with(engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if engine.FromContext(ctx) != c {
				return errors.New("the connection is not in the context")
			}
			if string(m.Data) == "quick" {
				return echo(ctx, c, m)
			}
			<-ctx.Done()
			return fmt.Errorf("query: %w", ctx.Err())
		}}, interceptors.Timeout(interceptors.TimeoutConfig{Limit: 20 * time.Millisecond}))
		ep.Inline = inline
		c := enginetest.Start(t, engine.Config{}, ep).Dial()
		c.SendText("slow")
		require.JSONEq(t, `{"type":"error","status":503,"message":"took too long"}`, c.ReadText())
		c.SendText("quick")
		require.Equal(t, "quick", c.ReadText())
		c.Hangup()
	})
}

func TestA11StockMaxSize(t *testing.T) {
	behind(t, func(t *testing.T, s *enginetest.Server) {
		c := s.Dial()
		c.SendText("12345")
		require.Equal(t, "12345", c.ReadText())
		c.SendText("123456")
		require.JSONEq(t, `{"type":"error","status":413,"message":"message too large"}`, c.ReadText())
		c.Send(frame.Ping, []byte("12"))
		require.JSONEq(t, `{"type":"error","status":413,"message":"message too large"}`, c.ReadText())
		require.Len(t, c.Ponged, 1, "the engine has answered it nevertheless")
		c.Send(frame.Binary, pattern(10)) // is handled, and what it is answered with too large
		require.JSONEq(t, `{"type":"error","status":413,"message":"the answer is too large: 10 bytes"}`, c.ReadText())
		c.Hangup()
	}, interceptors.MaxSize(interceptors.MaxSizeConfig{Inbound: interceptors.SizeLimits{Text: 5, Ping: 1}, Outbound: interceptors.SizeLimits{Binary: 5}}))
}

func TestA11StockJSONCheck(t *testing.T) {
	behind(t, func(t *testing.T, s *enginetest.Server) {
		c := s.Dial()
		for data, want := range map[string]string{
			`{"a":[1]}`:  `{"a":[1]}`,
			`{"a":[1}`:   `{"type":"error","status":400,"message":"not JSON"}`,
			`[]`:         `{"type":"error","status":400,"message":"not a JSON object"}`,
			`{"a":[[]]}`: `{"type":"error","status":400,"message":"JSON nested deeper than 2"}`,
		} {
			c.SendText(data)
			require.Equal(t, want, c.ReadText())
		}
		c.Hangup()
	}, interceptors.JSONCheck(interceptors.JSONCheckConfig{Object: true, MaxDepth: 2}))
}

// The pong goes out through the outbound interceptors, as what a handler sends does.
func TestA11StockHeartbeat(t *testing.T) {
	behind(t, func(t *testing.T, s *enginetest.Server) {
		c := s.Dial()
		c.SendText("one")
		c.SendText("ping")
		c.SendText("two")
		require.Equal(t, "one>out", c.ReadText())
		require.Equal(t, "pong>out", c.ReadText())
		require.Equal(t, "two>out", c.ReadText())
		c.Hangup()
	}, interceptors.Heartbeat(interceptors.HeartbeatConfig{}), interceptors.Only(interceptors.Outbounds, stamp("out")))
}

func TestA11StockDedup(t *testing.T) {
	id := func(in engine.Message) string { id, _, _ := strings.Cut(string(in.Data), " "); return id }
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"a": "ann", "b": "ben"}})
	behind(t, func(t *testing.T, s *enginetest.Server) {
		send := func(c *enginetest.Client, m, want string) {
			c.SendText(m)
			require.Equal(t, want, c.ReadText())
		}
		const duplicate = `{"type":"error","status":409,"message":"duplicate"}`
		run := t.Name() + "/" // the window is the interceptor's, and outlives this server
		first := s.DialWith(enginetest.Handshake{Target: "/?token=a"})
		send(first, run+"1 hello", run+"1 hello")
		send(first, run+"1 hello", duplicate)
		first.Hangup()
		again := s.DialWith(enginetest.Handshake{Target: "/?token=a"})
		send(again, run+"1 hello", duplicate)
		send(again, run+"2 hello", run+"2 hello")
		again.Hangup()
		ben := s.DialWith(enginetest.Handshake{Target: "/?token=b"})
		send(ben, run+"1 hello", run+"1 hello")
		ben.Hangup()
	}, auth, interceptors.Dedup(interceptors.DedupConfig{ID: id, PerUser: true, Answer: true}))
}

// Dump sees all of it, both ways; Logging the same without a word of it.
func TestA11StockDumpAndLogging(t *testing.T) {
	var dumped, logged syncBuffer
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo},
		interceptors.Logging(interceptors.LoggingConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))}),
		interceptors.Dump(interceptors.DumpConfig{Writer: &dumped}),
		refusing413("too much"),
	))
	c := s.Dial()
	c.SendText("hello")
	require.Equal(t, "hello", c.ReadText())
	c.SendText("too much")
	require.Contains(t, c.ReadText(), "413")
	c.SendClose(4001, "enough")
	c.ReadClose()
	c.CloseWrite()
	s.AwaitOpen(0)
	for _, want := range []string{
		`<- text 5 "hello"`, `-> text 5 "hello"`, `<- text 8 "too much"`, `<- text error "interceptors: refused with status 413: no"`, `<- close 4001 "enough"`,
	} {
		require.Contains(t, dumped.String(), want)
	}
	for _, want := range []string{
		"direction=inbound type=text size=5", "direction=outbound type=text size=5", "status=413", "close_code=4001", "chain_id=", "duration=",
	} {
		require.Contains(t, logged.String(), want)
	}
	for _, said := range []string{"hello", "too much", "enough"} {
		require.NotContains(t, logged.String(), said)
	}
}

func refusing413(what string) interceptors.Interceptor {
	return inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
		if string(in.Data) == what {
			return interceptors.Refuse(413, "no")
		}
		return next.Run(ctx, in)
	})
}

// Recover makes an error of a handler's panic: the connection ends with 1011 all the
// same, and the others go on.
func TestA11StockRecover(t *testing.T) {
	var log syncBuffer
	s := enginetest.Start(t, engine.Config{Logger: quiet}, with(
		engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "panic" {
				panic("as the test wants it")
			}
			return echo(ctx, c, m)
		}}, interceptors.Recover(slog.New(slog.NewTextHandler(&log, nil)))))
	other := s.Dial()
	c := s.Dial()
	c.SendText("panic")
	c.ExpectClose(frame.CloseInternalError)
	other.SendText("m")
	require.Equal(t, "m", other.ReadText())
	other.Hangup()
	require.Contains(t, log.String(), "as the test wants it")
	require.Zero(t, s.Engine.Stats().Panics, "it was an error by then")
}

// All of them together, on many connections at once.
func TestA11StockTogether(t *testing.T) {
	behind(t, func(t *testing.T, s *enginetest.Server) {
		var wait sync.WaitGroup
		for i := range 8 {
			c := s.DialWith(enginetest.Handshake{Target: fmt.Sprintf("/?token=%d", i%4)})
			wait.Go(func() {
				for n := range 50 {
					m := fmt.Sprintf(`{"id":"%s-%d-%d"}`, t.Name(), i, n)
					c.SendText(m)
					if got := c.ReadText(); got != m {
						t.Errorf("%s was answered with %s", m, got)
						return
					}
				}
				c.Hangup()
			})
		}
		wait.Wait()
	},
		interceptors.Logging(interceptors.LoggingConfig{Logger: quiet, Sample: 10}),
		interceptors.Recover(quiet),
		interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"0": "a", "1": "b", "2": "c", "3": "d"}}),
		interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 1000, Key: interceptors.ByUser}),
		interceptors.MaxSize(interceptors.MaxSizeConfig{Inbound: interceptors.SizeLimits{Text: 1000}}),
		interceptors.Heartbeat(interceptors.HeartbeatConfig{}),
		interceptors.JSONCheck(interceptors.JSONCheckConfig{Attribute: "json"}),
		interceptors.Dedup(interceptors.DedupConfig{PerUser: true, ID: func(in engine.Message) string {
			value, _ := in.Attr("json")
			fields, _ := value.(map[string]any)
			id, _ := fields["id"].(string)
			return id
		}}),
		interceptors.Timeout(interceptors.TimeoutConfig{}),
	)
}
