package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A chat room: what one says, all hear.
func Example() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	chat := hub.New(e, hub.Config{})
	mux := http.NewServeMux()
	mux.Handle("/room", e.Endpoint(engine.Endpoint{Handler: chat.Handler(engine.Handler{
		OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
			_, err := chat.All().Broadcast(ctx, m.Type, m.Data)
			return err
		},
	})}))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/room", nil)
	if err != nil {
		panic(err)
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	_, message, err := ws.ReadMessage()
	fmt.Println(string(message), err, chat.All().Len())
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	fmt.Println(chat.All().Len(), chat.Totals().Queued)
	// Output:
	// hello <nil> 1
	// 0 1
}
