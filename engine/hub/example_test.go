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
	room := hub.New(e)
	mux := http.NewServeMux()
	mux.Handle("/room", e.Endpoint(engine.Endpoint{Handler: room.Handler(engine.Handler{
		OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
			_, err := room.Broadcast(ctx, m.Type, m.Data)
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
	fmt.Println(string(message), err, room.Len())
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	fmt.Println(room.Len(), room.Totals().Queued)
	// Output:
	// hello <nil> 1
	// 0 1
}
