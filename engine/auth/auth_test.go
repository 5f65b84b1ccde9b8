package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// C9: a JWT by each source; C11: the first message says that the client is connected,
// and as whom; C8: the email.
func TestC9Sources(t *testing.T) {
	a := newAuth(t, Config{Sources: allSources})
	scopes := make(chan *engine.Scope, 1)
	s := serve(t, a, engine.Config{}, func(ep *engine.Endpoint) {
		ep.Interceptors = append(ep.Interceptors, interceptors.Passthrough{}) // so that the request's header is kept
		next := ep.Handler.OnOpen
		ep.Handler.OnOpen = func(ctx context.Context, c *engine.Conn) error { scopes <- c.Scope(); return next(ctx, c) }
	})
	token := good(t, nil)
	for _, c := range []struct {
		name, target, chosen string
		header               http.Header
	}{
		{"authorization", "/", "", bearer(token)},
		{"cookie", "/", "", http.Header{"Cookie": {"other=1; session=" + token}}},
		{"own header", "/", "", http.Header{"X-Worker-Secret": {token}}},
		{"query", "/?room=7&token=" + token, "", nil},
		{"subprotocol", "/", "bearer", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}}},
		{"subprotocol and another", "/", "chat", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token + ", chat"}}},
	} {
		ws, res, err := dial(t, s, c.target, c.header)
		require.NoError(t, err, c.name)
		assert.Equal(t, "connected ann ann@example.com", read(t, ws))
		assert.Equal(t, c.chosen, ws.Subprotocol(), c.name)
		for name, values := range res.Header {
			assert.NotContains(t, strings.Join(values, " "), token, "%s: %s", c.name, name)
		}
		scope := <-scopes
		assert.NotContains(t, scope.URL(), token, c.name)
		for name, value := range scope.Headers() {
			assert.NotContains(t, value, token, "%s: %s", c.name, name)
		}
		if c.name == "query" {
			assert.Equal(t, "room=7", scope.RawQuery())
		}
		require.NoError(t, ws.Close())
	}
	s.AwaitOpen(0)
	enginetest.Await(t, func() bool { return sessionsOf(a) == 0 }, "every session ends with its connection")
}

// What is refused, with the status and header of RFC 6750 §3, and what errors.Is finds.
func TestRefused(t *testing.T) {
	now := time.Now().Unix()
	a := newAuth(t, Config{Allow: func(id Identity) error {
		if id.User == "bob" {
			return errors.New("bob owes us money")
		}
		return nil
	}})
	s := serve(t, a, engine.Config{})
	token := good(t, nil)
	for _, c := range []struct {
		name, target string
		header       http.Header
		status       int
		challenge    string
		want         error
	}{
		{"no token", "/", nil, 401, "Bearer", ErrNoToken},
		{"another scheme", "/", http.Header{"Authorization": {"Basic YTpi"}}, 401, "Bearer", ErrNoToken},
		{"cookie is off", "/", http.Header{"Cookie": {"token=" + token}}, 401, "Bearer", ErrNoToken},
		{"expired", "/", bearer(good(t, jwt.MapClaims{"exp": now - 1})), 401, `Bearer error="invalid_token", error_description="token expired"`, ErrExpired},
		{"expired and not signed by us", "/", bearer(sign(t, HS256, make([]byte, 32), nil, claimsOf(jwt.MapClaims{"exp": now - 1}))), 401, `Bearer error="invalid_token", error_description="token refused"`, ErrInvalid},
		{"invalid", "/?token=x", nil, 401, `Bearer error="invalid_token", error_description="token refused"`, ErrInvalid},
		{"64 KB", "/", bearer(strings.Repeat("x", 12<<10)), 400, `Bearer error="invalid_request", error_description="malformed token"`, ErrMalformed},
		{"two tokens", "/?token=" + good(t, jwt.MapClaims{"sub": "bob"}), bearer(token), 400, `Bearer error="invalid_request", error_description="two tokens"`, ErrTwoTokens},
		{"not allowed", "/", bearer(good(t, jwt.MapClaims{"sub": "bob"})), 403, "", ErrForbidden},
	} {
		_, res, err := dial(t, s, c.target, c.header)
		require.ErrorIs(t, err, websocket.ErrBadHandshake, c.name)
		body, _ := io.ReadAll(res.Body)
		assert.Equal(t, c.status, res.StatusCode, c.name)
		assert.Equal(t, c.challenge, res.Header.Get("WWW-Authenticate"), c.name)
		assert.NotContains(t, string(body), "money")

		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		r.Header = c.header
		var h *engine.HandshakeError
		err = a.Interceptor().Admit(r)
		assert.ErrorIs(t, err, c.want, c.name)
		assert.ErrorAs(t, err, &h)
	}
	_, err := a.Verify(strings.Repeat("x", 64<<10))
	assert.ErrorIs(t, err, ErrMalformed)
	id, err := a.Verify(token)
	assert.NoError(t, err)
	assert.Equal(t, "ann", id.User)
}

// A token of 64 KB is refused by the header's size already, whatever source; the query
// under another server, whose header may be larger, by auth, and without much work.
func TestHugeTokens(t *testing.T) {
	a := newAuth(t, Config{})
	s := serve(t, a, engine.Config{})
	huge := strings.Repeat("x", 64<<10)
	for _, h := range []enginetest.Handshake{{Target: "/?token=" + huge}, {Header: map[string][]string{"Authorization": {"Bearer " + huge}}}} {
		assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, s.Request(h).StatusCode)
	}
	r := requestOf("token="+strings.Repeat("%41", 1<<20), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := extract(r.WithContext(t.Context()), a.cfg.Sources, a.cfg.MaxTokenBytes)
	runtime.ReadMemStats(&after)
	assert.ErrorIs(t, err, ErrMalformed)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<10), "it is not decoded")
}

func TestAllowAnonymous(t *testing.T) {
	a := newAuth(t, Config{AllowAnonymous: true, Refresh: RefreshJSON})
	s := serve(t, a, engine.Config{}, func(ep *engine.Endpoint) {
		ep.Handler.OnMessage = func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			_, known := From(ctx)
			_, same := Of(c)
			return c.SendText(fmt.Sprint(known, same))
		}
	})
	ws, _, err := dial(t, s, "/", nil)
	require.NoError(t, err)
	assert.Equal(t, "connected  ", read(t, ws))
	send(t, ws, "who am I?")
	assert.Equal(t, "false false", read(t, ws))
	send(t, ws, refreshWith(good(t, nil)))
	assert.JSONEq(t, `{"type":"error","status":403,"message":"not allowed"}`, read(t, ws))
	_, res, err := dial(t, s, "/?token=bad", nil)
	require.Error(t, err, "a bad token is not none")
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	known := open(t, s, good(t, nil))
	send(t, known, "who am I?")
	assert.Equal(t, "true true", read(t, known))
}

// Browsers see the close code, and the handler sees nothing.
func TestCloseAfterUpgrade(t *testing.T) {
	for _, c := range []struct {
		codes Codes
		token string
		code  int
		text  string
	}{
		{Codes{}, "bad", 1008, "token refused"},
		{Codes{Refused: 4401, Forbidden: 4403}, "bad", 4401, "token refused"},
		{Codes{Refused: 4401, Forbidden: 4403, Expired: 4001}, good(t, jwt.MapClaims{"exp": time.Now().Unix() - 1}), 4001, "token expired"},
		{Codes{Refused: 4401, Forbidden: 4403}, good(t, jwt.MapClaims{"sub": "bob"}), 4403, "not allowed"},
	} {
		a := newAuth(t, Config{CloseAfterUpgrade: true, Codes: c.codes, Allow: func(id Identity) error {
			if id.User == "bob" {
				return errors.New("no")
			}
			return nil
		}})
		s := serve(t, a, engine.Config{})
		ws, _, err := dial(t, s, "/", bearer(c.token))
		require.NoError(t, err)
		_ = ws.WriteMessage(websocket.TextMessage, []byte("let me in")) // or it is closed already
		_, _, err = ws.ReadMessage()
		var end *websocket.CloseError
		require.ErrorAs(t, err, &end)
		assert.Equal(t, c.code, end.Code)
		assert.Equal(t, c.text, end.Text)
		_ = ws.Close()
		enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "it ends")
		assert.Zero(t, s.Open())
		ws = open(t, s, good(t, nil))
		send(t, ws, "x")
		assert.Equal(t, "x", read(t, ws))
	}
}

// B8: clients with the same secret are one group; two are valid at once.
func TestB8Secrets(t *testing.T) {
	v, err := Secrets(Secret{Token: canary + "-old-secret", User: "worker", Group: "red"}, Secret{Token: canary + "-new-secret", User: "worker", Group: "red"},
		Secret{Token: canary + "-blue-secret", Group: "blue"})
	require.NoError(t, err)
	a := newAuth(t, Config{Verifiers: []Verifier{newJWT(t, JWTConfig{}), v}, Sources: []Source{Header("X-Worker-Secret"), Query("token")}})
	s := serve(t, a, engine.Config{}, func(ep *engine.Endpoint) {
		ep.Handler.OnOpen = func(_ context.Context, c *engine.Conn) error {
			id, _ := Of(c)
			return c.SendText(id.User + " " + id.Group)
		}
	})
	for _, c := range []struct{ target, header, want string }{
		{"/", canary + "-old-secret", "worker red"}, {"/?token=" + canary + "-new-secret", "", "worker red"}, {"/", canary + "-blue-secret", " blue"}, {"/", good(t, nil), "ann "},
	} {
		header := http.Header{}
		if c.header != "" {
			header.Set("X-Worker-Secret", c.header)
		}
		ws, _, err := dial(t, s, c.target, header)
		require.NoError(t, err)
		assert.Equal(t, c.want, read(t, ws))
	}
	for _, wrong := range []string{canary + "-old-secre", canary + "-old-secrett", canary, "x"} {
		_, res, err := dial(t, s, "/?token="+wrong, nil)
		require.Error(t, err)
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
	assert.Equal(t, 2, a.RevokeUser("worker"))
	_, _, err = dial(t, s, "/?token="+canary+"-new-secret", nil)
	assert.Error(t, err, "as long as the process runs")

	for name, list := range map[string][]Secret{
		"none": nil, "short": {{Token: canary, User: "u"}}, "empty": {{User: "u"}}, "nobody's": {{Token: canary + "-secret"}},
		"twice": {{Token: canary + "-secret", User: "u"}, {Token: canary + "-secret", User: "v"}},
	} {
		_, err := Secrets(list...)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), canary)
	}
}

func TestConfigMistakes(t *testing.T) {
	v := newJWT(t, JWTConfig{})
	for name, cfg := range map[string]Config{
		"no verifier": {}, "nil verifier": {Verifiers: []Verifier{nil}}, "no source": {Verifiers: []Verifier{v}, Sources: []Source{}},
		"zero source": {Verifiers: []Verifier{v}, Sources: []Source{{}}}, "cookie without name": {Verifiers: []Verifier{v}, Sources: []Source{Cookie("")}},
		"marker that is no token": {Verifiers: []Verifier{v}, Sources: []Source{Subprotocol("a,b")}}, "token size": {Verifiers: []Verifier{v}, MaxTokenBytes: 1 << 20},
		"code":        {Verifiers: []Verifier{v}, Codes: Codes{Expired: 1006}},
		"revocations": {Verifiers: []Verifier{v}, MaxRevocations: 1},
	} {
		_, err := New(cfg, engine.Config{})
		assert.Error(t, err, name)
	}
}

// A cookie is believed only where not every page may connect.
func TestCookieNeedsAnOriginCheck(t *testing.T) {
	cfg := Config{Verifiers: []Verifier{newJWT(t, JWTConfig{})}, Sources: []Source{Bearer(), Cookie("session")}}
	for pattern, ok := range map[string]bool{
		"*": false, "https://*": false, "http://*": false, "*:443": false, "https://*:*": false, "*.*": false, "*.com": false, "https://*.com": false,
		"**": false, "*example.com": false, "example.*": false, "*.example.*": false, "ex*.com": false, "*.com.": false, "HTTPS://*": false, "*://x.example.com": true,
		"https://*.example.com": true, "*.example.com:8443": true, "example.com": true, "localhost:*": true, "https://[::1]:8443": true, "a.*.example.com": true,
	} {
		_, err := New(cfg, engine.Config{AllowedOrigins: []string{"https://fine.example.com", pattern}})
		assert.Equal(t, ok, err == nil, pattern)
	}
	_, err := New(Config{Verifiers: cfg.Verifiers}, engine.Config{AllowedOrigins: []string{"*"}})
	assert.NoError(t, err, "without cookies")

	a := newAuth(t, cfg)
	token := good(t, nil)
	cookie := func(origin string) http.Header {
		return http.Header{"Cookie": {"session=" + token}, "Origin": {origin}}
	}
	strict := serve(t, a, engine.Config{})
	_, res, err := dial(t, strict, "/", cookie("https://evil.example"))
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, res.StatusCode)
	_, _, err = dial(t, strict, "/", cookie("http://"+strict.Addr()))
	assert.NoError(t, err)
}

// New was told of another configuration than the engine has.
func TestCookieOnAnOpenEngine(t *testing.T) {
	a := newAuth(t, Config{Sources: []Source{Bearer(), Cookie("session")}})
	s := serve(t, a, engine.Config{AllowedOrigins: []string{"*"}})
	token := good(t, nil)
	ws, _, err := dial(t, s, "/", http.Header{"Cookie": {"session=" + token}, "Origin": {"https://evil.example"}})
	require.NoError(t, err)
	assert.Equal(t, websocket.ClosePolicyViolation, closed(t, ws).Code)
	ws, _, err = dial(t, s, "/", http.Header{"Authorization": {"Bearer " + token}, "Origin": {"https://any.example"}})
	require.NoError(t, err)
	assert.Equal(t, "connected ann ann@example.com", read(t, ws))
}

func TestNotForDialling(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{})
	a := newAuth(t, Config{AllowAnonymous: true})
	_, err := engine.Dial(t.Context(), s.URL(), engine.DialConfig{Endpoint: engine.Endpoint{Interceptors: []interceptors.Interceptor{a.Interceptor()}}})
	assert.ErrorContains(t, err, "dialled")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = bearer(good(t, nil))
	assert.Error(t, a.Interceptor().Admit(r), "without an engine nobody would end it")
}

// Without Refresh messages do not pass the interceptor; with it they cost no memory.
func TestMessagesAllocateNothing(t *testing.T) {
	assert.Zero(t, interceptors.NewChain(newAuth(t, Config{}).Interceptor()).Kinds())
	chain := interceptors.NewChain(newAuth(t, Config{Refresh: RefreshJSON}).Interceptor())
	assert.Equal(t, interceptors.InboundData, chain.Kinds())
	run := chain.Inbound(func(context.Context, interceptors.Inbound) error { return nil })
	ctx := t.Context()
	for _, text := range []string{"hello", `{"type":"chat","text":"the token is in the auth message"}`, `{"token":1}`, `{"type":"auth"}`, strings.Repeat(" ", 10000) + "{}", ""} {
		in := interceptors.Inbound{Type: frame.Text, Data: []byte(text), Final: true}
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = run(ctx, in) }), text)
	}
}

func BenchmarkRefreshCheck(b *testing.B) {
	for _, text := range []string{strings.Repeat("x", 128), `{"type":"chat","text":"` + strings.Repeat("x", 100) + `"}`} {
		in := interceptors.Inbound{Type: frame.Text, Data: []byte(text), Final: true}
		b.Run(text[:1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = RefreshJSON(in)
			}
		})
	}
}
