package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func manifest(t testing.TB, text string) app.Manifest {
	m, err := app.ParseManifest("test.json", []byte(text))
	require.NoError(t, err)
	return m
}

const (
	alpha = `{"slug": "alpha", "websockets": {
		"realtime": {"path": "/alpha", "auth": {"required": true, "allow_anonymous": false}},
		"open": {"path": "/alpha/open", "auth": {"required": false}}}}`
	beta = `{"slug": "beta", "auth_required": false, "websockets": {"realtime": {"path": "/beta"}}}`
)

// canary begins all tokens of these tests, which nobody may log.
const canary = "canary-token-of-"

// byToken takes the user from a token in the query: authentication is tested elsewhere.
type byToken struct{ interceptors.Passthrough }

func (byToken) Admit(r *http.Request) error {
	interceptors.SetUser(r.Context(), strings.TrimPrefix(r.URL.Query().Get("token"), canary))
	return nil
}

type fixture struct {
	t    *testing.T
	s    *enginetest.Server
	apps *app.Apps
	logs *locked

	opening func() // is called while a connection opens
}

func start(t *testing.T, handlers map[string]app.Handler) *fixture {
	return startWith(t, engine.Config{}, handlers)
}

func startWith(t *testing.T, ec engine.Config, handlers map[string]app.Handler) *fixture {
	f := &fixture{t: t, logs: new(locked)}
	ec.Logger = slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.s = enginetest.Start(t, ec, engine.Endpoint{})
	t.Cleanup(func() { require.NotContains(t, f.logs.String(), canary, "a token was logged") })
	apps, err := app.New(f.s.Engine, app.Config{
		Manifests: []app.Manifest{manifest(t, alpha), manifest(t, beta)},
		Auth:      func(string, string) interceptors.Interceptor { return byToken{} },
		Email: func(c *engine.Conn) string {
			if f.opening != nil {
				f.opening()
			}
			return interceptors.User(c.Context()) + "@example.com"
		},
		Logger: ec.Logger,
	})
	require.NoError(t, err)
	f.apps = apps
	for name, h := range handlers {
		slug, endpoint, _ := strings.Cut(name, "/")
		require.NoError(t, apps.Handle(slug, endpoint, h))
	}
	apps.Mount(app.RouterFunc(f.s.HandleHTTP))
	return f
}

func (f *fixture) app(slug string) *app.App {
	a, err := f.apps.App(slug)
	require.NoError(f.t, err)
	return a
}

type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

type client struct {
	t  *testing.T
	ws *websocket.Conn
}

func (f *fixture) dial(path string) client {
	path = strings.Replace(path, "?user=", "?token="+canary, 1)
	ws, _, err := websocket.DefaultDialer.Dial(strings.TrimSuffix(f.s.URL(), "/")+path, nil)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = ws.Close() })
	return client{f.t, ws}
}

// open dials and takes the confirmation.
func (f *fixture) open(path string) client {
	c := f.dial(path)
	require.Equal(f.t, "connected", c.hear()["type"])
	return c
}

func (c client) say(text string) {
	require.NoError(c.t, c.ws.WriteMessage(websocket.TextMessage, []byte(text)))
}

func (c client) hear() map[string]any {
	_ = c.ws.SetReadDeadline(time.Now().Add(enginetest.Patience))
	_, text, err := c.ws.ReadMessage()
	require.NoError(c.t, err)
	var m map[string]any
	require.NoError(c.t, json.Unmarshal(text, &m))
	return m
}

func echo(_ context.Context, c *app.Connection, m app.Message) error { return c.Send(m.Data) }

// C1: only path is needed; authentication is required and pings go out every 30 s,
// unless the manifest says otherwise.
func TestC1Defaults(t *testing.T) {
	m := manifest(t, `{"slug": "my_app", "websockets": {"realtime": {"path": "/ws"}}}`)
	require.Equal(t, "my_app", m.Slug)
	require.Len(t, m.Endpoints, 1)
	ep := m.Endpoints[0]
	require.Equal(t, []any{"realtime", "/ws", true, 30 * time.Second}, []any{ep.Name, ep.Path, ep.AuthRequired, ep.PingInterval})

	m = manifest(t, `{"slug": "my_app", "auth_policy": {"required": false}, "websockets": {
		"b": {"path": "/b", "description": "second", "auth": {"required": true, "allow_anonymous": false}, "ping_interval": 5},
		"a": {"path": "/a"}}}`)
	require.False(t, m.Endpoints[0].AuthRequired)
	require.True(t, m.Endpoints[1].AuthRequired)
	require.Equal(t, 5*time.Second, m.Endpoints[1].PingInterval)
	require.Equal(t, "second", m.Endpoints[1].Description)
}

// C1: an endpoint refuses who must be somebody and is not; another lets everybody in.
func TestC1AuthIsEnforced(t *testing.T) {
	f := start(t, nil)
	_, resp, err := websocket.DefaultDialer.Dial(f.s.URL()+"alpha", nil)
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "Bearer", resp.Header.Get("WWW-Authenticate"))
	f.open("/alpha?user=ann")
	require.Equal(t, false, f.dial("/alpha/open").hear()["authenticated"])
	f.open("/beta")
}

// C1: whoever requires a user where nobody authenticates has made a mistake.
func TestC1RequiredButNobodyAuthenticates(t *testing.T) {
	f := start(t, nil)
	_, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{manifest(t, alpha)}})
	require.Error(t, err)
	_, err = app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{manifest(t, beta)}})
	require.NoError(t, err)
	_, err = app.New(f.s.Engine, app.Config{})
	require.Error(t, err)
}

// C1: two apps with the same slug are a mistake; with the same path, too, but not under
// prefixes.
func TestC1SeveralApps(t *testing.T) {
	f := start(t, nil)
	one := manifest(t, `{"slug": "one", "auth_required": false, "websockets": {"a": {"path": "/ws"}}}`)
	two := manifest(t, `{"slug": "two", "auth_required": false, "websockets": {"a": {"path": "/ws"}}}`)
	_, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{one, one}})
	require.ErrorAs(t, err, new(*app.ManifestError))
	_, err = app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{one, two}})
	require.Error(t, err)
	apps, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{one, two}, Prefix: func(slug string) string { return "/" + slug }})
	require.NoError(t, err)
	mux := http.NewServeMux()
	apps.Mount(mux)
	for _, path := range []string{"/one/ws", "/two/ws"} {
		r, _ := http.NewRequest(http.MethodGet, path, nil)
		_, pattern := mux.Handler(r)
		require.Equal(t, path, pattern)
	}
}

// C2, C3: what is sent to an app, one of its users or channels reaches nobody else's,
// and carries its slug.
func TestC2C3Isolation(t *testing.T) {
	f := start(t, nil)
	ann, bob, other := f.open("/alpha?user=ann"), f.open("/alpha/open?user=bob"), f.open("/beta?user=ann")
	a, b := f.app("alpha"), f.app("beta")
	for c := range a.All().Connections() {
		c.Subscribe("news")
	}
	for c := range b.All().Connections() {
		c.Subscribe("news")
	}
	ctx := context.Background()
	for _, step := range []struct {
		send func(message any) (engine.Tally, error)
		to   []client
	}{
		{func(m any) (engine.Tally, error) { return a.All().Broadcast(ctx, m) }, []client{ann, bob}},
		{func(m any) (engine.Tally, error) { return a.User("ann").Broadcast(ctx, m) }, []client{ann}},
		{func(m any) (engine.Tally, error) { return b.User("ann").Broadcast(ctx, m) }, []client{other}},
		{func(m any) (engine.Tally, error) { return a.Channel("news").Broadcast(ctx, m) }, []client{ann, bob}},
		{func(m any) (engine.Tally, error) { return b.Channel("news").Broadcast(ctx, m) }, []client{other}},
		{func(m any) (engine.Tally, error) { return a.User("nobody").Broadcast(ctx, m) }, nil},
		{func(m any) (engine.Tally, error) { return a.User("").Broadcast(ctx, m) }, nil}, // nobody, and not everybody
	} {
		tally, err := step.send(map[string]any{"type": "x", "app_slug": "forged"})
		require.NoError(t, err)
		require.Equal(t, len(step.to), tally.Queued)
		for _, c := range step.to {
			m := c.hear()
			slug := "alpha"
			if c == other {
				slug = "beta"
			}
			require.Equal(t, map[string]any{"type": "x", "app_slug": slug}, m)
		}
	}
	for _, c := range []client{ann, bob, other} { // and nothing else has come to anybody
		c.say(`{"type":"ping"}`)
		require.Equal(t, "error", c.hear()["type"])
	}
	_, err := f.apps.App("gamma")
	var unknown *app.UnknownError
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, []string{"alpha", "beta"}, unknown.Known)
	for _, bad := range []any{nil, 1, "x", []int{1}, json.RawMessage("null")} {
		_, err = a.All().Broadcast(ctx, bad)
		require.ErrorIs(t, err, app.ErrNotObject)
	}
}

// C4: handlers that come too late, twice or for nothing.
func TestC4Registration(t *testing.T) {
	f := start(t, map[string]app.Handler{"alpha/realtime": echo})
	require.ErrorIs(t, f.apps.Handle("alpha", "open", echo), app.ErrMounted)
	apps, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{manifest(t, beta)}})
	require.NoError(t, err)
	require.Error(t, apps.Handle("beta", "realtime", nil))
	require.NoError(t, apps.Handle("beta", "realtime", echo))
	require.ErrorIs(t, apps.Handle("beta", "realtime", echo), app.ErrHandled)
	var unknown *app.UnknownError
	require.ErrorAs(t, apps.Handle("beta", "other", echo), &unknown)
	require.Equal(t, app.UnknownError{Kind: "endpoint of beta", Name: "other", Known: []string{"realtime"}}, *unknown)
	require.ErrorAs(t, apps.Handle("alpha", "realtime", echo), &unknown)
	require.Equal(t, app.UnknownError{Kind: "app", Name: "alpha", Known: []string{"beta"}}, *unknown)
}

// C5: a handler gets the message and its type; a type that nobody knows is answered.
func TestC5Types(t *testing.T) {
	routes := app.Routes{"add": func(_ context.Context, c *app.Connection, m app.Message) error {
		var ask struct{ A, B int }
		if err := m.Decode(&ask); err != nil {
			return err
		}
		return c.Send(map[string]any{"type": "sum", "sum": ask.A + ask.B})
	}}
	f := start(t, map[string]app.Handler{"beta/realtime": routes.Handle})
	c := f.open("/beta")
	c.say(`{"type":"add","a":2,"b":3}`)
	require.Equal(t, map[string]any{"type": "sum", "sum": 5.0, "app_slug": "beta"}, c.hear())
	for _, bad := range []string{`{"type":"mul"}`, `{"type":"add","a":"x"}`, `{"a":1}`, `{"type":1}`, `{"type":""}`, `[]`, `null`, `1`, `{`, ``, `{"type":"add"}x`} {
		c.say(bad)
		m := c.hear()
		require.Equal(t, "error", m["type"], bad)
		require.NotEmpty(t, m["message"])
	}
	require.NoError(t, c.ws.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"add"}`)))
	require.Equal(t, "error", c.hear()["type"])
}

// C6: whatever a handler does, the connection lives, and the client learns nothing that
// it must not.
func TestC6FailingHandler(t *testing.T) {
	const inside = "canary: password of the database"
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, m app.Message) error {
		switch m.Type {
		case "error":
			return errors.New(inside)
		case "panic":
			panic(inside)
		case "told":
			return fmt.Errorf("%s: %w", inside, app.Errorf("no seat is left"))
		case "refused":
			return interceptors.Refuse(403, "not you")
		}
		return c.Send(m.Data)
	}})
	c := f.open("/beta")
	for kind, want := range map[string]string{"error": "internal error", "panic": "internal error", "told": "no seat is left", "refused": "not you"} {
		c.say(`{"type":"` + kind + `"}`)
		m := c.hear()
		require.Equal(t, "error", m["type"])
		require.Equal(t, want, m["message"])
		require.Equal(t, "beta", m["app_slug"])
	}
	c.say(`{"type":"fine"}`)
	require.Equal(t, "fine", c.hear()["type"])
	require.Contains(t, f.logs.String(), inside, "an operator must know")
}

// C6: a refusal is answered with all that it says.
func TestC6Refusal(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": func(context.Context, *app.Connection, app.Message) error {
		return interceptors.Refusal{Status: 429, Message: "slowly", RetryAfter: 1500 * time.Millisecond}
	}})
	c := f.open("/beta")
	c.say(`{"type":"x"}`)
	require.Equal(t, map[string]any{"type": "error", "app_slug": "beta", "status": 429.0, "message": "slowly", "retry_after": 2.0}, c.hear())
	require.NotContains(t, f.logs.String(), "failed")
}

// C6: a handler that means to ends it.
func TestC6MeantToEnd(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, _ *app.Connection, m app.Message) error {
		switch m.Type {
		case "refuse":
			return fmt.Errorf("wrapped: %w", interceptors.Refusal{Status: 403, Message: "go", Close: true})
		case "congested":
			return engine.ErrCongested
		case "dropped":
			return engine.ErrDropped
		}
		return fmt.Errorf("wrapped: %w", &engine.CloseError{Code: 4000, Reason: "enough"})
	}})
	c := f.open("/beta")
	c.say(`{"type":"x"}`)
	c.hearEnd(4000)
	c = f.open("/beta")
	c.say(`{"type":"refuse"}`)
	c.hearEnd(websocket.ClosePolicyViolation)
	c = f.open("/beta")
	c.say(`{"type":"dropped"}`) // which is nobody's matter
	c.say(`{"type":"congested"}`)
	c.hearEnd(websocket.CloseTryAgainLater)
	require.NotContains(t, f.logs.String(), "failed")
}

// noSecrets lets nothing out that says so.
type noSecrets struct{ interceptors.OutboundOnly }

func (noSecrets) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if bytes.Contains(out.Data, []byte("secret")) {
		return errors.New("it is secret")
	}
	return next.Run(ctx, out)
}

// C6: a reply that an interceptor does not let out ends nothing.
func TestC6RefusedReply(t *testing.T) {
	f := start(t, nil)
	apps, err := app.New(f.s.Engine, app.Config{
		Manifests: []app.Manifest{manifest(t, `{"slug": "gamma", "auth_required": false, "websockets": {"w": {"path": "/gamma"}}}`)},
		Auth:      func(string, string) interceptors.Interceptor { return noSecrets{} },
		Logger:    slog.New(slog.NewTextHandler(f.logs, nil)),
	})
	require.NoError(t, err)
	require.NoError(t, apps.Handle("gamma", "w", func(_ context.Context, c *app.Connection, _ app.Message) error {
		return c.Send(map[string]any{"type": "secret"})
	}))
	apps.Mount(app.RouterFunc(f.s.HandleHTTP))
	c := f.open("/gamma")
	for range 2 {
		c.say(`{"type":"x"}`)
		require.Equal(t, "internal error", c.hear()["message"])
	}
}

// hearEnd reads until the end, which has this code.
func (c client) hearEnd(code int) {
	_ = c.ws.SetReadDeadline(time.Now().Add(enginetest.Patience))
	for {
		if _, _, err := c.ws.ReadMessage(); err != nil {
			require.True(c.t, websocket.IsCloseError(err, code), "%v", err)
			return
		}
	}
}

// C6: what has gone wrong with another connection does not end one's own.
func TestC6OtherConnectionsError(t *testing.T) {
	first := make(chan *app.Connection, 1)
	var other *app.Connection
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, m app.Message) error {
		if m.Type == "here" {
			first <- c
			return nil
		}
		return other.Send(map[string]any{"type": "x"})
	}})
	gone := f.open("/beta")
	gone.say(`{"type":"here"}`)
	other = <-first
	require.NoError(t, other.Conn().Close(4000, "go"))
	gone.hearEnd(4000)
	enginetest.Await(t, func() bool { return f.app("beta").All().Len() == 0 }, "it has gone")
	c := f.open("/beta")
	for range 2 {
		c.say(`{"type":"x"}`)
		require.Equal(t, "internal error", c.hear()["message"])
	}
	require.Contains(t, f.logs.String(), "failed")
}

// C6: a client that is too slow for its replies is not left without one: it is ended.
func TestC6OwnConnectionsError(t *testing.T) {
	slow := make(chan struct{})
	f := startWith(t, engine.Config{HighWaterBytes: 64 << 10}, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, m app.Message) error {
		if m.Type == "close" {
			require.NoError(t, c.Conn().Close(4000, "go"))
			return c.Send(map[string]any{"type": "x"})
		}
		if m.Type == "big" {
			return c.Send(map[string]any{"type": strings.Repeat("x", 2<<20)})
		}
		for {
			if err := c.Send(map[string]any{"type": strings.Repeat("x", 32<<10)}); err != nil {
				close(slow)
				return err
			}
		}
	}})
	c := f.open("/beta")
	c.say(`{"type":"x"}`)
	<-slow // only now it reads
	c.hearEnd(websocket.CloseTryAgainLater)
	c = f.open("/beta")
	c.say(`{"type":"close"}`)
	c.hearEnd(4000)
	c = f.open("/beta")
	c.say(`{"type":"big"}`)
	c.hearEnd(websocket.CloseMessageTooBig)
	enginetest.Await(t, func() bool { return f.app("beta").All().Len() == 0 }, "the handlers have returned")
	require.NotContains(t, f.logs.String(), "failed")
}

// C5, C6: nothing that a client chooses makes an answer, or a line of the log, too long.
func TestLongTypes(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, m app.Message) error {
		switch m.Type {
		case "long":
			return app.Errorf("%s", strings.Repeat("\x00", 1<<20))
		case strings.Repeat("y", 200):
			return c.Send(m.Data)
		}
		return errors.New("unexpected")
	}})
	c := f.open("/beta")
	for _, kind := range []string{strings.Repeat("x", 1<<20-20), strings.Repeat(`\u0000`, 1000), strings.Repeat("y", 201)} {
		c.say(`{"type":"` + kind + `"}`)
		require.Equal(t, "a message must have a type, a string of 1 to 200 bytes", c.hear()["message"])
	}
	c.say(`{"type":"` + strings.Repeat("y", 200) + `"}`)
	require.Len(t, c.hear()["type"], 200)
	c.say(`{"type":"long"}`)
	require.Len(t, c.hear()["message"], 1000)
	require.Empty(t, f.logs.String())
}

// Only "type" is the type, and the last one counts, as it does for everybody else who
// reads JSON.
func TestType(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, m app.Message) error {
		return c.Send(map[string]any{"type": "got", "got": m.Type})
	}})
	c := f.open("/beta")
	for text, want := range map[string]any{
		`{"type":"a","TYPE":"b","Type":1}`:   "a",
		`{"TYPE":"b"}`:                       nil,
		`{"type":"a","type":"b","x":[{}]}`:   "b",
		`{"x":{"type":"a"},"typ\u0065":"b"}`: "b",
	} {
		c.say(text)
		require.Equal(t, want, c.hear()["got"], text)
	}
}

// A message with very many fields is read without a table of them.
func TestManyFields(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": func(_ context.Context, c *app.Connection, _ app.Message) error {
		return c.Send(map[string]any{"type": "ok"})
	}})
	c := f.open("/beta")
	var text strings.Builder
	text.WriteString(`{"type":"x"`)
	for i := 0; text.Len() < 1<<20-100; i++ {
		fmt.Fprintf(&text, `,"%x":1`, i)
	}
	text.WriteString("}")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.say(text.String())
	require.Equal(t, "ok", c.hear()["type"])
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes allocated", after.TotalAlloc-before.TotalAlloc)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
}

// C11: whatever is broadcast meanwhile, the confirmation comes first.
func TestC11ConfirmationComesFirst(t *testing.T) {
	f := start(t, nil)
	b := f.app("beta")
	f.opening = func() {
		_, err := b.All().Broadcast(context.Background(), map[string]any{"type": "news"})
		require.NoError(t, err)
		for c := range b.All().Connections() {
			require.NotNil(t, c)
		}
	}
	require.Equal(t, "connected", f.dial("/beta").hear()["type"])
}

// A manifest that nobody has read would let everybody in; a prefix that is no path would
// be taken for a host.
func TestBadConfig(t *testing.T) {
	f := start(t, nil)
	byHand := app.Manifest{Slug: "a", Endpoints: []app.Endpoint{{Name: "w", Path: "/w"}}}
	_, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{byHand}})
	require.Error(t, err)
	broken, err := app.ParseManifest("x", []byte(`{"slug":"a","auth_required":false,"websockets":{"w":{"path":"/w"}},"x":1}`))
	require.Error(t, err)
	require.Zero(t, broken)
	for prefix, ok := range map[string]bool{"": true, "/a": true, "a": false, "/a/": false, "/{x}": false, "GET /a": false} {
		_, err = app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{manifest(t, beta)}, Prefix: func(string) string { return prefix }})
		require.Equal(t, ok, err == nil, prefix)
	}
}

// What a caller does to a manifest changes nothing.
func TestManifestIsCopied(t *testing.T) {
	f := start(t, nil)
	m := manifest(t, beta)
	apps, err := app.New(f.s.Engine, app.Config{Manifests: []app.Manifest{m}})
	require.NoError(t, err)
	b, err := apps.App("beta")
	require.NoError(t, err)
	m.Endpoints[0].Path = "/x"
	b.Manifest().Endpoints[0].Path = "/y"
	require.Equal(t, "/beta", b.Manifest().Endpoints[0].Path)
}

// C7, C8: the manager counts, lists, finds and sends; it knows who they are.
func TestC7C8Manager(t *testing.T) {
	f := start(t, nil)
	before := time.Now()
	first, second, third := f.open("/alpha?user=ann"), f.open("/alpha/open?user=ann"), f.open("/alpha/open")
	f.open("/beta?user=ann")
	a := f.app("alpha")
	require.Equal(t, []int{3, 2, 0}, []int{a.All().Len(), a.User("ann").Len(), a.User("bob").Len()})
	require.Equal(t, []string{"ann"}, slices.Collect(a.Users()))
	anonymous := 0
	var ids []string
	for c := range a.All().Connections() {
		require.Equal(t, "alpha", c.AppSlug)
		require.WithinRange(t, c.ConnectedAt, before, time.Now())
		require.Same(t, c, a.Connection(c.ID))
		ids = append(ids, c.ID)
		require.NotNil(t, c.Conn())
		if c.UserID == "" {
			anonymous++
			require.NoError(t, c.Send(map[string]any{"type": "you"}))
		} else {
			require.Equal(t, "ann@example.com", c.UserEmail)
		}
	}
	require.Equal(t, 1, anonymous)
	require.Equal(t, "you", third.hear()["type"])
	require.NoError(t, first.ws.NetConn().Close())
	require.NoError(t, second.ws.Close())
	enginetest.Await(t, func() bool { return a.All().Len() == 1 }, "two have left")
	enginetest.Await(t, func() bool { return a.User("ann").Len() == 0 }, "they were ann's")
	require.Nil(t, a.Connection("no such"))
	enginetest.Await(t, func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { c := a.Connection(id); return c != nil && c.UserID == "ann" })
	}, "ann's connections cannot be found any more")
}

// C10: clients subscribe to channels of their app, if they may.
func TestC10Channels(t *testing.T) {
	f := start(t, map[string]app.Handler{"beta/realtime": app.Channels(func(_ context.Context, c *app.Connection, channel string) error {
		if channel == "private" && c.UserID != "ann" {
			return app.Errorf("private is ann's")
		}
		return nil
	}).Handle})
	ann, bob := f.open("/beta?user=ann"), f.open("/beta?user=bob")
	for _, c := range []client{ann, bob} {
		c.say(`{"type":"subscribe","channel":"news"}`)
		require.Equal(t, map[string]any{"type": "subscribed", "channel": "news", "app_slug": "beta"}, c.hear())
	}
	bob.say(`{"type":"subscribe","channel":"private"}`)
	require.Equal(t, "private is ann's", bob.hear()["message"])
	ann.say(`{"type":"subscribe","channel":"private"}`)
	require.Equal(t, "subscribed", ann.hear()["type"])
	b := f.app("beta")
	require.Equal(t, []int{2, 1}, []int{b.Channel("news").Len(), b.Channel("private").Len()})
	bob.say(`{"type":"unsubscribe","channel":"news"}`)
	require.Equal(t, "unsubscribed", bob.hear()["type"])
	tally, err := b.Channel("news").Broadcast(context.Background(), map[string]string{"type": "hot"})
	require.NoError(t, err)
	require.Equal(t, engine.Tally{Queued: 1}, tally)
	require.Equal(t, "hot", ann.hear()["type"])
	for _, bad := range []string{`{"type":"subscribe"}`, `{"type":"subscribe","channel":1}`, `{"type":"subscribe","channel":"` + strings.Repeat("x", 201) + `"}`, `{"type":"unsubscribe"}`} {
		ann.say(bad)
		require.Equal(t, "error", ann.hear()["type"])
	}
	for i := range 1001 {
		ann.say(fmt.Sprintf(`{"type":"subscribe","channel":"%d"}`, i))
		if i < 998 { // two are taken
			require.Equal(t, "subscribed", ann.hear()["type"])
		} else {
			require.Equal(t, "error", ann.hear()["type"])
		}
	}
	require.NoError(t, ann.ws.NetConn().Close())
	enginetest.Await(t, func() bool { return b.Channel("private").Len() == 0 }, "whoever goes leaves its channels")
}

// C11: the first message confirms the connection.
func TestC11Confirmation(t *testing.T) {
	f := start(t, nil)
	m := f.dial("/alpha?user=ann").hear()
	at, err := time.Parse(time.RFC3339, m["connected_at"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(m, "connected_at")
	id := m["connection_id"].(string)
	delete(m, "connection_id")
	require.Equal(t, map[string]any{"type": "connected", "app_slug": "alpha", "endpoint": "realtime", "authenticated": true, "user_id": "ann"}, m)
	a := f.app("alpha")
	require.Equal(t, "ann", a.Connection(id).UserID)
}

// What an endpoint without a handler gets is answered.
func TestEndpointWithoutHandler(t *testing.T) {
	c := start(t, nil).open("/beta")
	c.say(`{"type":"x"}`)
	require.Equal(t, "this endpoint takes no messages", c.hear()["message"])
}

// C1: a peer that keeps quiet is pinged after the interval, and given up after two and a
// half of it.
func TestC1PingInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{})
		apps, err := app.New(s.Engine, app.Config{Manifests: []app.Manifest{manifest(t, `{"slug": "a", "auth_required": false, "websockets": {"w": {"path": "/w", "ping_interval": 20}}}`)}})
		require.NoError(t, err)
		apps.Mount(app.RouterFunc(s.HandleHTTP))
		start := time.Now()
		c := s.DialWith(enginetest.Handshake{Target: "/w"})
		require.Contains(t, c.ReadText(), "connected")
		c.ExpectClose(frame.CloseGoingAway)
		require.InDelta(t, 50, time.Since(start).Seconds(), 1.5)
		require.Len(t, c.Pinged, 2, "after 20 and 40 seconds")
	})
}
