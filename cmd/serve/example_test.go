package serve_test

import (
	"bytes"
	"context"
	"errors"
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

// A mistake is one line, and asks for the exit status 2; nothing has been started.
func ExampleUsageError() {
	cmd := serve.NewCommand(serve.Config{})
	cmd.SetArgs([]string{"--port", "9000000"})
	err := cmd.Execute()
	fmt.Println(err)
	if wrong, ok := errors.AsType[*serve.UsageError](err); ok {
		fmt.Println("exit status", wrong.ExitCode())
	}
	// Output:
	// --port="9000000": allowed is a whole number from 0 to 65535
	// exit status 2
}
