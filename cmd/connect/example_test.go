package connect_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/penstock-ws/penstock/cmd/connect"
	"github.com/penstock-ws/penstock/engine"
)

// A program's own command: two lines are sent, and it ends when two messages have come.
func ExampleNewCommand() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			return c.SendText(strings.ToUpper(string(m.Data)))
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	defer func() { _ = e.Shutdown(context.Background()) }()

	cmd := connect.NewCommand()
	cmd.SetIn(strings.NewReader("hello\nthere\n"))
	out := new(strings.Builder)
	cmd.SetOut(out)
	cmd.SetArgs([]string{"ws" + strings.TrimPrefix(srv.URL, "http"), "--count", "2"})
	if err := cmd.Execute(); err != nil {
		fmt.Println(err)
	}
	fmt.Print(out)
	// Output:
	// HELLO
	// THERE
}
