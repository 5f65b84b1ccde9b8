package redis_test

import (
	"context"
	"fmt"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/redis"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// A node whose rooms have the same history on all nodes: the Redis carries the messages,
// and keeps them.
func Example() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	b, err := redis.New(redis.Config{URL: "redis://127.0.0.1:6379/0"})
	if err != nil {
		panic(err)
	}
	n, err := cluster.New(e, cluster.Config{Broker: b, Archive: b, Hub: hub.Config{
		History:  func(string) hub.History { return hub.History{Messages: 1000} },
		Envelope: func(dst []byte, m hub.Published) []byte { return fmt.Appendf(dst, "%v %s", m.At, m.Payload) },
		Gap: func(dst []byte, _ string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, "gap %v %v", from, to), frame.Text
		},
	}})
	if err != nil {
		panic(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // when the program ends
	n.Run(ctx)
	_, err = n.Room("lobby").Publish(context.Background(), frame.Text, []byte("too late"))
	fmt.Println(err)
	// Output: cluster: the node has left
}
