package cluster_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/frame"
)

// Two nodes, one room. With redis.New or nats.New in the place of Exchange.Broker they are
// two processes.
func Example() {
	shared := new(cluster.Exchange)
	ctx, cancel := context.WithCancel(context.Background())
	var nodes sync.WaitGroup
	start := func() (*cluster.Node, *httptest.Server) {
		e, err := engine.New(engine.Config{}, engine.Endpoint{})
		if err != nil {
			panic(err)
		}
		n, err := cluster.New(e, cluster.Config{Broker: shared.Broker()})
		if err != nil {
			panic(err)
		}
		nodes.Go(func() { n.Run(ctx) }) // until cancel
		return n, httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: n.Hub().Handler(engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				n.Hub().Room("lobby").Join(c)
				return nil
			},
		})}))
	}
	here, _ := start()
	there, server := start()
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		panic(err)
	}
	there.Live(ctx, "lobby")

	_, _ = here.Room("lobby").Broadcast(ctx, frame.Text, []byte("hello from the other node"))
	_, message, _ := ws.ReadMessage()
	fmt.Println(string(message))
	_ = ws.Close()
	cancel()
	nodes.Wait()
	// Output: hello from the other node
}
