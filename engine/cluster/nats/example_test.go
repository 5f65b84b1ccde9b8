package nats_test

import (
	"context"
	"fmt"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/nats"
)

// A node on NATS, with JetStream for the histories of rooms. It starts without a server,
// and goes on trying.
func Example() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	b, err := nats.New(nats.Config{URL: "nats://127.0.0.1:4222"})
	if err != nil {
		panic(err)
	}
	n, err := cluster.New(e, cluster.Config{Broker: b, Archive: b.Archive(nats.ArchiveConfig{Messages: 1000})})
	if err != nil {
		panic(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // when the program ends
	n.Run(ctx)
	fmt.Println(len(n.Nodes()), "other nodes")
	// Output: 0 other nodes
}
