package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// serveChain starts an endpoint with a chain, and shuts it down.
func serveChain(h engine.Handler, list ...interceptors.Interceptor) (srv *httptest.Server, stop func()) {
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: h, Interceptors: list})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	srv = httptest.NewServer(e)
	return srv, func() {
		_ = e.Shutdown(context.Background())
		srv.Close()
	}
}

// ask sends texts and prints what each is answered with.
func ask(ws *websocket.Conn, texts ...string) {
	for _, text := range texts {
		fmt.Println(answer(ws, text))
	}
}

// answer sends a text and returns what comes back.
func answer(ws *websocket.Conn, text string) string {
	_ = ws.WriteMessage(websocket.TextMessage, []byte(text))
	_, reply, err := ws.ReadMessage()
	if err != nil {
		return err.Error()
	}
	return string(reply)
}

// withoutTimes makes a log that is the same in every run.
func withoutTimes(groups []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey, slog.LevelKey, "chain_id":
		return slog.Attr{}
	case "duration":
		return slog.Bool("timed", a.Value.Duration() > 0)
	}
	return a
}

// Logging: a record for each message, with its size and how long it took.
func Example_interceptorLogging() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	srv, stop := serveChain(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
		time.Sleep(time.Millisecond)
		return c.SendText("done")
	}}, interceptors.Only(interceptors.InboundText, interceptors.Logging(interceptors.LoggingConfig{Logger: log})))
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ask(ws, "hello", "good night")
	_ = ws.Close()
	stop()
	// Unordered output:
	// msg="websocket message" direction=inbound type=text size=5 timed=true
	// done
	// msg="websocket message" direction=inbound type=text size=10 timed=true
	// done
}

// Authentication: who has no token is refused before the upgrade; whose it is the
// handler, and every interceptor, finds out by User.
func Example_interceptorAuth() {
	auth := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"s3cret": "ann"}})
	srv, stop := serveChain(engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		return c.SendText(interceptors.User(ctx) + " said " + string(m.Data))
	}}, auth)
	res, err := http.DefaultClient.Do(handshakeOf(srv))
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	fmt.Println(res.StatusCode, res.Header.Get("WWW-Authenticate"), strings.TrimSpace(string(body)))

	ws, err := dial(srv, http.Header{"Authorization": {"Bearer s3cret"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask(ws, "hello")
	_ = ws.Close()
	stop()
	// Output:
	// 401 Bearer a token is needed
	// ann said hello
}

func handshakeOf(srv *httptest.Server) *http.Request {
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, srv.URL, nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return r
}

// Rate limit: so many messages per user and window, however many connections he opens.
func Example_interceptorRateLimit() {
	srv, stop := serveChain(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
		return c.Send(m.Type, m.Data)
	}},
		interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"a": "ann", "b": "ben"}}),
		interceptors.RateLimit(interceptors.RateLimitConfig{Messages: 2, Window: time.Minute, Key: interceptors.ByUser}),
	)
	for _, token := range []string{"a", "a", "b"} {
		ws, err := dial(srv, http.Header{"Authorization": {"Bearer " + token}})
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, text := range []string{"one", "two"} {
			reply, _, _ := strings.Cut(answer(ws, text), `,"retry_after":`) // 30 s, or less by now
			fmt.Println(token, reply)
		}
		_ = ws.Close()
	}
	stop()
	// Output:
	// a one
	// a two
	// a {"type":"error","status":429,"message":"too many messages"
	// a {"type":"error","status":429,"message":"too many messages"
	// b one
	// b two
}

// timer notes in the run's context when it began, for whoever comes later.
type timer struct{ interceptors.InboundOnly }

func (timer) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	interceptors.FromContext(ctx).Set("began", time.Now())
	return next.Run(ctx, in)
}

// tally counts the messages of each connection, in its store, and tells what the handler
// has left in the run's context.
type tally struct{ interceptors.InboundOnly }

type countKey struct{}

func (tally) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	err := next.Run(ctx, in)
	if in.Type != frame.Text {
		return err
	}
	store := interceptors.ConnStore(ctx)
	n, _ := store.Get(countKey{}).(int)
	store.Set(countKey{}, n+1)
	run := interceptors.FromContext(ctx)
	began, _ := run.Get("began")
	rows, _ := run.Get("rows")
	fmt.Println("run with an id:", run.ChainID() != "", "rows:", rows, "timed:", time.Since(began.(time.Time)) > 0, "messages so far:", n+1)
	return err
}

// Shared context: an id and metadata for each run of the chain, which every interceptor
// and the handler reach; and a store that lasts as long as the connection.
func Example_interceptorContext() {
	answered := make(chan struct{})
	srv, stop := serveChain(engine.Handler{OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
		interceptors.FromContext(ctx).Set("rows", len(m.Data))
		return nil
	}, OnClose: func(*engine.Conn, *engine.CloseError) { close(answered) }}, timer{}, tally{})
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("update"))
	_ = ws.WriteMessage(websocket.TextMessage, []byte("insert all"))
	_ = ws.Close()
	<-answered
	stop()
	// Output:
	// run with an id: true rows: 6 timed: true messages so far: 1
	// run with an id: true rows: 10 timed: true messages so far: 2
}

// A heartbeat of text, for scripts in browsers, which cannot send pings.
func ExampleEndpoint_heartbeat() {
	srv, stop := serveChain(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
		return c.SendText("the handler saw " + string(m.Data))
	}}, interceptors.Heartbeat(interceptors.HeartbeatConfig{}))
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ask(ws, "ping", "hello")
	_ = ws.Close()
	stop()
	// Output:
	// pong
	// the handler saw hello
}
