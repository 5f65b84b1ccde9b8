package filters_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

// Shout is a filter: it broadcasts every message in capitals.
func Shout(env filters.Env) (filters.Filter, error) {
	var f filters.Filter
	f.Handler.OnMessage = func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
		_, err := env.Hub.All().Broadcast(ctx, m.Type, bytes.ToUpper(m.Data))
		return err
	}
	return f, nil
}

// A filter of one's own stands beside the stock ones, under a name.
func Example() {
	registry := filters.Stock()
	if err := registry.Register("shout", Shout); err != nil {
		panic(err)
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	endpoint, err := registry.Build([]string{"shout", "echo_messages"}, filters.Env{Engine: e})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e.Endpoint(endpoint))
	defer srv.Close()

	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		panic(err)
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	for range 2 {
		_, message, err := ws.ReadMessage()
		if err != nil {
			panic(err)
		}
		fmt.Println(string(message))
	}
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// HELLO
	// hello
}
