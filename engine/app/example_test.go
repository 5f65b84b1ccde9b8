package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/interceptors"
)

// A site is what these examples have in common: an engine and its apps, made of
// manifests, before they are mounted.
type site struct {
	engine *engine.Engine
	apps   *app.Apps
	server *httptest.Server
	dialed []*websocket.Conn
}

func newSite(cfg app.Config, manifests ...string) *site {
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, text := range manifests {
		m, err := app.ParseManifest("example.json", []byte(text))
		if err != nil {
			panic(err)
		}
		cfg.Manifests = append(cfg.Manifests, m)
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	apps, err := app.New(e, cfg)
	if err != nil {
		panic(err)
	}
	return &site{engine: e, apps: apps}
}

func (s *site) app(slug string) *app.App {
	a, err := s.apps.App(slug)
	if err != nil {
		panic(err)
	}
	return a
}

// start mounts the apps on a ServeMux.
func (s *site) start() {
	mux := http.NewServeMux()
	s.apps.Mount(mux)
	s.server = httptest.NewServer(mux)
}

func (s *site) close() {
	for _, ws := range s.dialed {
		_ = ws.Close()
	}
	s.server.Close()
	_ = s.engine.Shutdown(context.Background())
}

// dial returns a client that has heard that it is connected.
func (s *site) dial(path string) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.server.URL, "http")+path, nil)
	if err != nil {
		panic(err)
	}
	s.dialed = append(s.dialed, ws)
	if _, _, err := ws.ReadMessage(); err != nil {
		panic(err)
	}
	return ws
}

// ask says something, and prints what is heard.
func ask(ws *websocket.Conn, text string) {
	_ = ws.WriteMessage(websocket.TextMessage, []byte(text))
	printNext(ws)
}

func printNext(ws *websocket.Conn) {
	_, text, err := ws.ReadMessage()
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

const shop = `{"slug": "shop", "auth_required": false, "websockets": {"orders": {"path": "/orders"}}}`

// A manifest, a handler for each type of message, and a router.
func Example() {
	s := newSite(app.Config{}, shop)
	routes := app.Routes{
		"order": func(_ context.Context, c *app.Connection, m app.Message) error {
			var o struct{ Product string }
			if err := m.Decode(&o); err != nil {
				return err // which the client is told
			}
			return c.Send(map[string]any{"type": "ordered", "product": o.Product})
		},
	}
	if err := s.apps.Handle("shop", "orders", routes.Handle); err != nil {
		panic(err)
	}
	s.start()
	defer s.close()

	ws := s.dial("/orders")
	ask(ws, `{"type":"order","product":"tea"}`)
	ask(ws, `{"type":"order","product":7}`)
	ask(ws, `{"type":"return"}`)
	// Output:
	// {"app_slug":"shop","product":"tea","type":"ordered"}
	// {"app_slug":"shop","message":"the message of type \"order\" is not as it should be","type":"error"}
	// {"app_slug":"shop","message":"unknown message type \"return\"","type":"error"}
}

// All mistakes of a manifest are told at once, each with its place.
func ExampleParseManifest() {
	_, err := app.ParseManifest("shop.json", []byte(`{
	"slug": "My Shop",
	"websockets": {
		"orders": {"path": "orders", "ping_interval": "30"},
		"prices": {"pfad": "/prices", "path": "/prices"}
	}
}`))
	fmt.Println(err)
	var mistake *app.ManifestError
	if errors.As(err, &mistake) {
		fmt.Println("the first:", mistake.Line, mistake.Path)
	}
	// Output:
	// shop.json:1: slug is "My Shop": lower-case letters, digits, _ and - would be right, at most 63, and no - at the beginning
	// shop.json:4: websockets.orders.ping_interval is "30": a whole number of seconds from 5 to 300 would be right
	// shop.json:4: websockets.orders.path is "orders": a path like "/ws" would be right, of letters, digits, -, _, . and ~, without / at the end
	// shop.json:5: websockets.prices.pfad is unknown: there are auth, auth_required, description, path, ping_interval
	// the first: 1 slug
}

// A client is told what Errorf says; anything else is only logged. It stays connected.
func ExampleErrorf() {
	s := newSite(app.Config{}, shop)
	_ = s.apps.Handle("shop", "orders", func(_ context.Context, _ *app.Connection, m app.Message) error {
		switch m.Type {
		case "told":
			return app.Errorf("there is no tea left")
		case "refused":
			return interceptors.Refuse(http.StatusForbidden, "not before you have paid")
		case "panic":
			panic("nobody sees this")
		}
		return errors.New("dial tcp 10.0.0.7: connection refused")
	})
	s.start()
	defer s.close()

	ws := s.dial("/orders")
	for _, kind := range []string{"told", "refused", "panic", "other"} {
		ask(ws, `{"type":"`+kind+`"}`)
	}
	// Output:
	// {"app_slug":"shop","message":"there is no tea left","type":"error"}
	// {"app_slug":"shop","message":"not before you have paid","status":403,"type":"error"}
	// {"app_slug":"shop","message":"internal error","type":"error"}
	// {"app_slug":"shop","message":"internal error","type":"error"}
}

// Clients subscribe to channels; the program says what is in them, and who may listen.
func ExampleChannels() {
	s := newSite(app.Config{}, shop)
	a := s.app("shop")
	_ = s.apps.Handle("shop", "orders", app.Channels(func(_ context.Context, c *app.Connection, channel string) error {
		if channel == "staff" && c.UserID == "" {
			return app.Errorf("staff only")
		}
		return nil
	}).Handle)
	s.start()
	defer s.close()

	ws := s.dial("/orders")
	ask(ws, `{"type":"subscribe","channel":"staff"}`)
	ask(ws, `{"type":"subscribe","channel":"tea"}`)
	tally, err := a.Channel("tea").Broadcast(context.Background(), map[string]any{"type": "price", "price": 3})
	fmt.Println(tally.Queued, err)
	printNext(ws)
	// Output:
	// {"app_slug":"shop","message":"staff only","type":"error"}
	// {"app_slug":"shop","channel":"tea","type":"subscribed"}
	// 1 <nil>
	// {"app_slug":"shop","price":3,"type":"price"}
}

// Who must be somebody is authenticated by an interceptor; a user's connections are a
// group like all of them.
func ExampleApp_User() {
	byToken := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: map[string]string{"ann's token": "ann"}})
	s := newSite(app.Config{
		Auth: func(string, string) interceptors.Interceptor { return byToken },
	}, `{"slug": "mail", "websockets": {"inbox": {"path": "/inbox"}}}`)
	s.start()
	defer s.close()

	ws := s.dial("/inbox?token=ann%27s+token")
	mail := s.app("mail")
	tally, _ := mail.User("ann").Broadcast(context.Background(), map[string]any{"type": "mail", "unread": 1})
	fmt.Println(tally.Queued, mail.User("ann").Len(), mail.User("bob").Len())
	printNext(ws)
	_, resp, _ := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.server.URL, "http")+"/inbox", nil)
	fmt.Println(resp.Status)
	// Output:
	// 1 1 0
	// {"app_slug":"mail","type":"mail","unread":1}
	// 401 Unauthorized
}

// A router that has no Handle(pattern, http.Handler) is made one by a function. With gin
// it would be
//
//	func(path string, h http.Handler) { router.GET(path, gin.WrapH(h)) }
func ExampleRouterFunc() {
	s := newSite(app.Config{Prefix: func(slug string) string { return "/" + slug }}, shop)
	table := map[string]http.Handler{} // of a router of one's own
	s.apps.Mount(app.RouterFunc(func(path string, h http.Handler) { table["GET "+path] = h }))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		table[r.Method+" "+r.URL.Path].ServeHTTP(w, r)
	}))
	defer s.close()

	ask(s.dial("/shop/orders"), `{"type":"x"}`)
	// Output:
	// {"app_slug":"shop","message":"this endpoint takes no messages","type":"error"}
}

// What is known of the connections of an app.
func ExampleApp_All() {
	s := newSite(app.Config{}, shop)
	s.start()
	defer s.close()

	ws := s.dial("/orders")
	for c := range s.app("shop").All().Connections() {
		found := s.app("shop").Connection(c.ID)
		_ = found.Send(map[string]any{"type": "you", "endpoint": c.Endpoint, "anonymous": c.UserID == ""})
	}
	_, text, _ := ws.ReadMessage()
	var m struct{ Endpoint string }
	_ = json.Unmarshal(text, &m)
	fmt.Println(m.Endpoint, s.app("shop").All().Len())
	_, err := s.apps.App("shoe")
	fmt.Println(err)
	// Output:
	// orders 1
	// app: no app is called "shoe"; there are shop
}
