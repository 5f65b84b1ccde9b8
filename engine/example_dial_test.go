package engine_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/penstock-ws/penstock/engine"
)

// A client that receives by pulling.
func ExampleDial() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	defer func() { _ = e.Shutdown(context.Background()) }()

	ctx := context.Background()
	c, err := engine.Dial(ctx, "ws"+strings.TrimPrefix(srv.URL, "http"), engine.DialConfig{})
	if err != nil {
		panic(err)
	}
	_ = c.SendText("hello")
	m, err := c.Receive(ctx)
	fmt.Println(string(m.Data), err)
	_ = c.Close(1000, "")
	_, err = c.Receive(ctx)
	fmt.Println(err)
	// Output:
	// hello <nil>
	// engine: connection closed by this side: 1000 normal closure
}

// A client with callbacks, whose engine compresses and serves its other connections,
// too; with a subprotocol, a header, TLS and a proxy.
func ExampleDial_callbacks() {
	server, err := engine.New(engine.Config{Compress: true}, engine.Endpoint{Subprotocols: []string{"chat"}, Handler: engine.Handler{
		Admit: func(r *http.Request) error {
			if r.Header.Get("Authorization") != "Bearer secret" {
				return &engine.HandshakeError{Status: http.StatusUnauthorized}
			}
			return nil
		},
		OnOpen: func(_ context.Context, c *engine.Conn) error { return c.SendText("welcome") },
	}})
	if err != nil {
		panic(err)
	}
	srv := httptest.NewTLSServer(server)
	defer srv.Close()
	defer func() { _ = server.Shutdown(context.Background()) }()

	clients, err := engine.New(engine.Config{Compress: true}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = clients.Shutdown(context.Background()) }()
	received := make(chan string)
	c, err := engine.Dial(context.Background(), "wss"+strings.TrimPrefix(srv.URL, "https"), engine.DialConfig{
		Engine: clients,
		Endpoint: engine.Endpoint{
			Subprotocols: []string{"chat"},
			Handler: engine.Handler{
				OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
					received <- string(m.Data)
					return nil
				},
			},
		},
		Header: http.Header{"Authorization": {"Bearer secret"}},
		TLS:    &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
		Proxy:  func(*http.Request) (*url.URL, error) { return nil, nil }, // none, whatever the environment says
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(<-received, c.Scope().Subprotocol())
	// Output: welcome chat
}
