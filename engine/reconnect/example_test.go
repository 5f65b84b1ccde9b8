package reconnect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/reconnect"
	"github.com/penstock-ws/penstock/frame"
)

// serveEndpoint serves an endpoint on a loopback port.
func serveEndpoint(ep engine.Endpoint) (url string, stop func()) {
	e, err := engine.New(engine.Config{}, ep)
	if err != nil {
		panic(err)
	}
	srv := httptest.NewServer(e)
	return "ws" + strings.TrimPrefix(srv.URL, "http"), func() {
		_ = e.Shutdown(context.Background())
		srv.Close()
	}
}

// A client that is never lost for long: what is sent while it is away waits.
func Example() {
	echo := engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}}
	url, stop := serveEndpoint(echo)
	defer stop()

	replies := make(chan string)
	client, err := reconnect.New(reconnect.Config{
		Target: url,
		Dial: engine.DialConfig{Endpoint: engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
				replies <- string(m.Data)
				return nil
			},
		}}},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(client.SendText("hello"), client.Status().State)
	client.Start()
	fmt.Println(<-replies)
	fmt.Println(client.Close(context.Background()), client.Status().State)
	// Output:
	// <nil> idle
	// hello
	// <nil> closed
}

// Subscriptions are the connection's: OnConnect makes them again on each, before
// anything else is sent.
func ExampleConfig_onConnect() {
	lines := make(chan string)
	url, stop := serveEndpoint(engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
			lines <- string(m.Data)
			return nil
		},
	}})
	defer stop()

	client, err := reconnect.New(reconnect.Config{
		Target:    url,
		MinWait:   time.Millisecond,
		OnConnect: func(_ context.Context, c *engine.Conn) error { return c.SendText("subscribe news") },
	})
	if err != nil {
		panic(err)
	}
	_ = client.SendText("one")
	client.Start()
	fmt.Println(<-lines, "·", <-lines)
	_ = client.Conn().Close(4000, "for the sake of the example")
	_ = client.SendText("two")
	fmt.Println(<-lines, "·", <-lines)
	_ = client.Close(context.Background())
	// Output:
	// subscribe news · one
	// subscribe news · two
}

// A server that counts: it greets each connection with the number of messages that it
// has, and lets only the newest connection of a client count. Nothing is lost, and
// nothing comes twice.
func ExampleConfig_exactlyOnce() {
	var mu sync.Mutex
	var newest *engine.Conn // one for each client, in a real server
	var received []string
	url, stop := serveEndpoint(engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			mu.Lock()
			defer mu.Unlock()
			newest = c
			return c.SendText("ack " + strconv.Itoa(len(received)))
		},
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if c != newest {
				return nil
			}
			received = append(received, string(m.Data))
			return c.SendText("ack " + strconv.Itoa(len(received)))
		},
	}})
	defer stop()

	client, err := reconnect.New(reconnect.Config{
		Target:   url,
		MinWait:  time.Millisecond,
		Delivery: reconnect.ExactlyOnce,
		Ack: func(m engine.Message) (uint64, bool) {
			number, ok := strings.CutPrefix(string(m.Data), "ack ")
			n, err := strconv.ParseUint(number, 10, 64)
			return n, ok && err == nil
		},
		Dial: engine.DialConfig{Endpoint: engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil },
		}}},
	})
	if err != nil {
		panic(err)
	}
	client.Start()
	for i := range 1000 {
		_ = client.SendWait(context.Background(), frame.Text, []byte(strconv.Itoa(i)))
		if c := client.Conn(); c != nil && i%250 == 0 {
			_ = c.Close(4000, "for the sake of the example")
		}
	}
	fmt.Println(client.Close(context.Background()))
	fmt.Println(len(received), received[0], received[999])
	// Output:
	// <nil>
	// 1000 0 999
}

// Messages can be pulled: the loop is the connection's, and OnOpen starts it.
func ExampleConfig_receive() {
	url, stop := serveEndpoint(engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error { return c.SendText("welcome") },
	}})
	defer stop()

	received := make(chan string)
	client, err := reconnect.New(reconnect.Config{
		Target: url,
		Dial: engine.DialConfig{Endpoint: engine.Endpoint{Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				return c.Go(func(ctx context.Context) {
					for m, err := range c.Messages(ctx) {
						if err == nil {
							received <- string(m.Data)
						}
					}
				})
			},
		}}},
	})
	if err != nil {
		panic(err)
	}
	client.Start()
	fmt.Println(<-received)
	fmt.Println(client.Close(context.Background()))
	// Output:
	// welcome
	// <nil>
}

// A token that is fresh for each attempt, and an end when that does not help.
func ExampleConfig_giveUp() {
	url, stop := serveEndpoint(engine.Endpoint{Handler: engine.Handler{
		Admit: func(r *http.Request) error {
			fmt.Println("server:", r.Header.Get("Authorization"))
			return &engine.HandshakeError{Status: http.StatusUnauthorized, Reason: "expired"}
		},
	}})
	defer stop()

	attempts := 0
	client, err := reconnect.New(reconnect.Config{
		Target:  url,
		MinWait: time.Millisecond,
		Before: func(_ context.Context, a *reconnect.Attempt) error {
			a.Header.Set("Authorization", "Bearer "+strconv.Itoa(a.Number))
			return nil
		},
		GiveUp: func(err error) bool {
			var refused *engine.HandshakeError
			if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
				attempts++
				return attempts == 2
			}
			return reconnect.Hopeless(err)
		},
	})
	if err != nil {
		panic(err)
	}
	client.Start()
	<-client.Done()
	fmt.Println(client.Status().State, errors.Is(client.Err(), reconnect.ErrClosed))
	// Output:
	// server: Bearer 1
	// server: Bearer 2
	// closed true
}
