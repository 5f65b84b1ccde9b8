package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/penstock-ws/penstock/cmd/serve"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

// Shout is a filter that answers in capitals.
func Shout(filters.Env) (filters.Filter, error) {
	var f filters.Filter
	f.Handler.OnMessage = func(_ context.Context, c *engine.Conn, m engine.Message) error {
		return c.Send(m.Type, bytes.ToUpper(m.Data))
	}
	return f, nil
}

// A program's own server: "penstock serve" with one more filter, to be started
// with -f shout.
func ExampleNewCommand() {
	registry := filters.Stock()
	if err := registry.Register("shout", Shout); err != nil {
		panic(err)
	}
	cmd := serve.NewCommand(serve.Config{Filters: registry})
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
