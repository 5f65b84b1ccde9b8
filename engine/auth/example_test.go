package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/auth"
	"github.com/penstock-ws/penstock/interceptors"
)

// secret stands for what a program reads from where it keeps its secrets.
var secret = []byte("an example's secret, 32 bytes or more")

// issue is what the program's login does.
func issue(user string, lifetime time.Duration) string {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "iat": now.Unix(), "exp": now.Add(lifetime).Unix(), "aud": "chat",
	}).SignedString(secret)
	if err != nil {
		return err.Error()
	}
	return token
}

// start runs a server whose connections are a's, and which greets and echoes.
func start(a *auth.Auth, cfg engine.Config) (url string, stop func()) {
	e, err := engine.New(cfg, engine.Endpoint{
		Interceptors: []interceptors.Interceptor{a.Interceptor()},
		Subprotocols: []string{"bearer"}, // what browsers want to be answered
		Handler: engine.Handler{
			OnOpen: func(ctx context.Context, c *engine.Conn) error {
				id, _ := auth.From(ctx)
				return c.SendText(fmt.Sprintf(`{"type":"connected","user":%q}`, id.User))
			},
			OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
		},
	})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e)
	return "ws" + strings.TrimPrefix(srv.URL, "http"), func() {
		_ = e.Shutdown(context.Background())
		srv.Close()
	}
}

func receive(ws *websocket.Conn) {
	_, text, err := ws.ReadMessage()
	fmt.Println(string(text), err)
}

// Users come with a JWT, and learn that they are connected, and as whom.
func Example() {
	verifier, err := auth.JWT(auth.JWTConfig{
		Algorithms: []auth.Algorithm{auth.HS256},
		Keys:       []auth.Key{{Secret: secret}},
		Audience:   []string{"chat"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := engine.Config{}
	a, err := auth.New(auth.Config{Verifiers: []auth.Verifier{verifier}}, served)
	if err != nil {
		fmt.Println(err)
		return
	}
	url, stop := start(a, served)
	defer stop()

	// A client, from another library; a page would call new WebSocket(url, ["bearer", token]).
	d := websocket.Dialer{Subprotocols: []string{"bearer", issue("ann", time.Hour)}}
	ws, res, err := d.Dial(url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ws.Close() }()
	fmt.Println(res.Header.Get("Sec-WebSocket-Protocol"))
	receive(ws)

	_, res, err = websocket.DefaultDialer.Dial(url, nil)
	fmt.Println(res.StatusCode, res.Header.Get("WWW-Authenticate"), err)
	// Output:
	// bearer
	// {"type":"connected","user":"ann"} <nil>
	// 401 Bearer websocket: bad handshake
}

// An open connection goes on with a new token, until its user is locked out.
func ExampleAuth_RevokeUser() {
	verifier, _ := auth.JWT(auth.JWTConfig{Algorithms: []auth.Algorithm{auth.HS256}, Keys: []auth.Key{{Secret: secret}}, Audience: []string{"chat"}})
	a, err := auth.New(auth.Config{Verifiers: []auth.Verifier{verifier}, Refresh: auth.RefreshJSON, Codes: auth.Codes{Revoked: 4001}}, engine.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	url, stop := start(a, engine.Config{})
	defer stop()
	ws, _, err := websocket.DefaultDialer.Dial(url+"/?token="+issue("ann", time.Minute), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	receive(ws)

	_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"refresh","token":"`+issue("bob", time.Hour)+`"}`))
	receive(ws)
	_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"refresh","token":"`+issue("ann", time.Hour)+`"}`))
	_, text, _ := ws.ReadMessage()
	fmt.Println(strings.Contains(string(text), `"status":200`))

	fmt.Println(a.RevokeUser("ann"))
	receive(ws)
	// Output:
	// {"type":"connected","user":"ann"} <nil>
	// {"type":"error","status":403,"message":"not allowed"} <nil>
	// true
	// 1
	//  websocket: close 4001: token refused
}

// Workers share a secret, which is being replaced by another one; both are one group.
func ExampleSecrets() {
	workers, err := auth.Secrets(
		auth.Secret{Token: "the-old-secret-of-the-workers", User: "workers", Group: "workers"},
		auth.Secret{Token: "the-new-secret-of-the-workers", User: "workers", Group: "workers"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := auth.New(auth.Config{Verifiers: []auth.Verifier{workers}, Sources: []auth.Source{auth.Header("X-Worker-Secret")}}, engine.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	url, stop := start(a, engine.Config{})
	defer stop()
	ws, _, err := websocket.DefaultDialer.Dial(url, http.Header{"X-Worker-Secret": {"the-new-secret-of-the-workers"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = ws.Close() }()
	receive(ws)
	// Output:
	// {"type":"connected","user":"workers"} <nil>
}

// A cookie needs engine.Config to say which pages may connect.
func ExampleCookie() {
	verifier, _ := auth.JWT(auth.JWTConfig{Algorithms: []auth.Algorithm{auth.HS256}, Keys: []auth.Key{{Secret: secret}}})
	cfg := auth.Config{Verifiers: []auth.Verifier{verifier}, Sources: []auth.Source{auth.Cookie("__Host-session")}}

	_, err := auth.New(cfg, engine.Config{AllowedOrigins: []string{"*"}})
	fmt.Println(err)
	_, err = auth.New(cfg, engine.Config{AllowedOrigins: []string{"https://*.example.com"}})
	fmt.Println(err)
	// Output:
	// auth: Config.Sources[0] is a cookie, and the engine's AllowedOrigins have "*": name the origins whose pages may connect as your users
	// <nil>
}

// What depends on the path is decided by the handler's Admit, which comes after auth.
func ExampleFrom() {
	admit := func(r *http.Request) error {
		id, _ := auth.From(r.Context())
		if r.URL.Path == "/admin" && id.Claims["role"] != "admin" {
			return &engine.HandshakeError{Status: http.StatusForbidden, Reason: "not allowed"}
		}
		return nil
	}
	_ = engine.Endpoint{Handler: engine.Handler{Admit: admit}}
	err := admit(httptest.NewRequest(http.MethodGet, "/admin", nil))
	var refused *engine.HandshakeError
	fmt.Println(errors.As(err, &refused), refused.Status)
	// Output:
	// true 403
}
