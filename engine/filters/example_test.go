package filters_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/frame"
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

// Announce is a filter that sends what comes from a channel to everybody.
func Announce(news <-chan string) filters.Constructor {
	return func(env filters.Env) (filters.Filter, error) {
		go func() { // until the server ends
			for {
				select {
				case text := <-news:
					if _, err := env.Put(env.Context, frame.Text, []byte(text)); err != nil {
						env.Logger.Error("news cannot be sent", "error", err)
					}
				case <-env.Context.Done():
					return
				}
			}
		}()
		return filters.Filter{}, nil
	}
}

// Sign is a filter that signs what comes from outside the connections.
func Sign(filters.Env) (filters.Filter, error) {
	return filters.Filter{OnConsume: func(_ context.Context, _ *engine.Conn, m *engine.Message) error {
		m.Data = append(bytes.Clone(m.Data), ", says the server"...)
		return nil
	}}, nil
}

// A source of messages that are no client's, and a filter in their pipeline.
func Example_source() {
	news := make(chan string)
	registry := filters.Stock()
	err := errors.Join(registry.Register("announce", Announce(news)), registry.Register("sign", Sign))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	endpoint, err := registry.Build([]string{"announce", "sign", "echo_messages"}, filters.Env{Engine: e, Context: ctx})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e.Endpoint(endpoint))
	defer srv.Close()

	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		panic(err)
	}
	for _, text := range []string{"the shop is open", "the shop is closed"} {
		news <- text
		_, message, err := ws.ReadMessage()
		if err != nil {
			panic(err)
		}
		fmt.Println(string(message))
	}
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// the shop is open, says the server
	// the shop is closed, says the server
}
