package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/relay"
)

// A client learns that a worker has come, and what it says.
func Example() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	r, err := relay.New(e, relay.Config{Secrets: []string{"the new secret", "the old secret"}})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: r.Handler()}))
	defer srv.Close()
	dial := func(query, secret string) *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+query, http.Header{"X-Worker-Secret": {secret}})
		if err != nil {
			panic(err)
		}
		return ws
	}
	client := dial("/", "")
	say := func(ws *websocket.Conn, text string) { _ = ws.WriteMessage(websocket.TextMessage, []byte(text)) }
	var last string
	hear := func() {
		for { // a status may be told twice
			_, text, err := client.ReadMessage()
			if err != nil || string(text) != last {
				fmt.Println(string(text), err)
				last = string(text)
				return
			}
		}
	}

	say(client, "get_worker_status")
	hear()
	worker := dial("/?client_type=worker", "the old secret")
	hear()
	say(worker, `["dropped"]`)
	say(worker, `{"temperature": 21.5}`)
	hear()
	_ = worker.Close()
	hear()
	impostor := dial("/?client_type=worker", "guessed")
	_, _, err = impostor.ReadMessage()
	fmt.Println(websocket.IsCloseError(err, websocket.ClosePolicyViolation), r.Stats().Refused, r.Stats().NotObjects)
	_ = impostor.Close()
	_ = client.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// {"type":"worker_status","online":false} <nil>
	// {"type":"worker_status","online":true} <nil>
	// {"temperature": 21.5} <nil>
	// {"type":"worker_status","online":false} <nil>
	// true 1 1
}

// What clients say that the protocol does not know goes to the program, if it wants it.
func ExampleConfig_onClient() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	var r *relay.Relay
	r, err = relay.New(e, relay.Config{
		Secrets: []string{"a secret"},
		OnClient: func(ctx context.Context, _ *engine.Conn, m engine.Message) error { // the way to the workers
			_, err := r.Workers().Broadcast(ctx, m.Type, m.Data)
			return err
		},
	})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: r.Handler()}))
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	worker, _, err := websocket.DefaultDialer.Dial(url+"/?client_type=worker&token=a+secret", nil)
	if err != nil {
		panic(err)
	}
	client, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		panic(err)
	}
	_ = client.WriteMessage(websocket.TextMessage, []byte("warmer, please"))
	_, text, err := worker.ReadMessage()
	fmt.Println(string(text), err, r.WorkerOnline())
	_ = client.Close()
	_ = worker.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// warmer, please <nil> true
}
