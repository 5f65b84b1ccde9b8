package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// The smallest program: every message goes back to whom it came from.
func Example() {
	echo := engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			return c.Send(m.Type, m.Data)
		},
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: echo})
	if err != nil {
		fmt.Println(err)
		return
	}
	http.Handle("/ws", e)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = http.Serve(ln, nil) }()

	// A client, from another library.
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+ln.Addr().String()+"/ws", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	_, reply, err := ws.ReadMessage()
	fmt.Println(string(reply), err)

	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	_ = ln.Close()
	// Output:
	// hello <nil>
}

// dial connects to srv; the examples below are about the server.
func dial(srv *httptest.Server, header http.Header) (*websocket.Conn, error) {
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), header)
	return ws, err
}

// Serve ends with its context, usually that of signal.NotifyContext. All
// connections are closed with 1001 then.
func ExampleEngine_Serve() {
	e, err := engine.New(engine.Config{ShutdownTimeout: 5 * time.Second}, engine.Endpoint{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error)
	go func() { served <- e.Serve(ctx, ln) }()

	ws, _, err := websocket.DefaultDialer.Dial("ws://"+ln.Addr().String(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	stop()
	_, _, err = ws.ReadMessage() // answers the close frame, too
	fmt.Println(err)
	fmt.Println("served:", <-served)
	// Output:
	// websocket: close 1001 (going away): server is shutting down
	// served: <nil>
}

// Shutdown waits for handlers, and for what they send, as long as its context
// allows.
func ExampleEngine_Shutdown() {
	started := make(chan struct{})
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			close(started)
			time.Sleep(10 * time.Millisecond) // the work
			return c.SendText("done")
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("work"))
	<-started

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- e.Shutdown(ctx) }()
	_, reply, _ := ws.ReadMessage()
	fmt.Println(string(reply))
	_, _, err = ws.ReadMessage()
	fmt.Println(err)
	fmt.Println("shut down:", <-ended)
	// Output:
	// done
	// websocket: close 1001 (going away): server is shutting down
	// shut down: <nil>
}

// One message for many: it is encoded once, and a client that is behind costs the
// others nothing. Package hub keeps the list of connections.
func ExampleBroadcast() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		fmt.Println(err)
		return
	}
	room := hub.New(e, hub.Config{})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: room.Handler(engine.Handler{})}))
	defer srv.Close()
	var clients []*websocket.Conn
	for range 3 {
		ws, err := dial(srv, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		clients = append(clients, ws)
	}

	tally, err := room.All().Broadcast(context.Background(), frame.Text, []byte("news"))
	fmt.Printf("queued for %d, not for %d; %v\n", tally.Queued, tally.Congested, err)
	for _, ws := range clients {
		_, news, _ := ws.ReadMessage()
		fmt.Println(string(news))
		_ = ws.Close()
	}
	_ = e.Shutdown(context.Background())
	// Output:
	// queued for 3, not for 0; <nil>
	// news
	// news
	// news
}

// A send never waits. To a peer that reads too slowly it returns ErrCongested;
// what is only worth sending while it is fresh is dropped then, and OnDrain says
// when to go on.
func ExampleErrCongested() {
	dropped, drained := make(chan int), make(chan struct{}, 1)
	ticks := func(_ context.Context, c *engine.Conn) error {
		return c.Go(func(context.Context) {
			tick := make([]byte, 16<<10)
			for n := 0; ; n++ {
				switch err := c.SendBytes(tick); {
				case errors.Is(err, engine.ErrCongested):
					dropped <- n
					for errors.Is(c.SendText("you have missed some"), engine.ErrCongested) {
						<-drained
					}
					return
				case err != nil:
					return // the connection has ended
				}
			}
		})
	}
	e, err := engine.New(engine.Config{HighWaterBytes: 64 << 10}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: ticks,
		OnDrain: func(*engine.Conn) {
			select {
			case drained <- struct{}{}:
			default: // it has been told already
			}
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("some were sent:", <-dropped > 0)
	for { // now the client reads
		kind, message, err := ws.ReadMessage()
		if err != nil {
			fmt.Println(err)
			return
		}
		if kind == websocket.TextMessage {
			fmt.Println(string(message))
			break
		}
	}
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// some were sent: true
	// you have missed some
}

// What must not be dropped is sent with SendWait, on a goroutine of Go: at the
// pace of the peer.
func ExampleConn_SendWait() {
	e, err := engine.New(engine.Config{HighWaterBytes: 64 << 10}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Go(func(ctx context.Context) {
				part := make([]byte, 16<<10)
				for range 1000 {
					if c.SendWait(ctx, frame.Binary, part) != nil {
						return // the connection has ended
					}
				}
				_ = c.Close(frame.CloseNormal, "that was all")
			})
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("everything, please"))
	for n := 0; ; n++ {
		if _, _, err := ws.ReadMessage(); err != nil {
			fmt.Println(n, "parts,", err)
			break
		}
	}
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// 1000 parts, websocket: close 1000 (normal): that was all
}

// A message of any size, straight from an io.Reader: a file, a response's body.
// Memory stays at a few chunks, and pings pass between the fragments.
func ExampleConn_SendStream() {
	e, err := engine.New(engine.Config{SendChunkBytes: 1 << 10}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Go(func(ctx context.Context) {
				file := io.LimitReader(zeros{}, 100_000)
				if err := c.SendStream(ctx, frame.Binary, file); err != nil {
					slog.Error("the stream was cut", "error", err)
				}
			})
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("the file"))
	_, file, err := ws.ReadMessage()
	fmt.Println(len(file), err)
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// 100000 <nil>
}

// zeros is a source that does not end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A protocol with turns is easier to write as a loop. An endpoint without
// OnMessage receives: here on a goroutine of Go, started when the connection
// opens.
func ExampleConn_Messages() {
	talk := func(ctx context.Context, c *engine.Conn) {
		_ = c.SendText("who are you?")
		name, err := c.Receive(ctx)
		if err != nil {
			return
		}
		_ = c.SendText("hello, " + string(name.Data))
		for m, err := range c.Messages(ctx) {
			if err != nil {
				slog.Info("hung up", "error", err)
				return
			}
			_ = c.SendText(strings.ToUpper(string(m.Data)))
		}
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) { talk(ctx, c) })
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, answer := range []string{"Ada", "good night", ""} {
		_, message, _ := ws.ReadMessage()
		fmt.Println(string(message))
		_ = ws.WriteMessage(websocket.TextMessage, []byte(answer))
	}
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// who are you?
	// hello, Ada
	// GOOD NIGHT
}

// Admit asks for credentials before anything is upgraded, and refuses like an
// HTTP server.
func ExampleHandler_admit() {
	tokens := map[string]string{"Bearer s3cret": "Ada"}
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		Admit: func(r *http.Request) error {
			if tokens[r.Header.Get("Authorization")] == "" {
				return &engine.HandshakeError{Status: http.StatusUnauthorized, Reason: "who are you?"}
			}
			return nil
		},
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.SendText("hello, " + tokens[c.Scope().Header("Authorization")])
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()

	_, err = dial(srv, nil)
	fmt.Println(err)
	ws, err := dial(srv, http.Header{"Authorization": {"Bearer s3cret"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, message, _ := ws.ReadMessage()
	fmt.Println(string(message))
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// websocket: bad handshake
	// hello, Ada
}

// membersOnly lets only text of members pass, and tells the others why not.
type membersOnly struct{ interceptors.Passthrough }

func (membersOnly) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	scope := engine.FromContext(ctx).Scope()
	if in.Type == frame.Text && scope.Query().Get("member") != "yes" {
		return interceptors.Refuse(http.StatusForbidden, "members only")
	}
	return next.Run(ctx, in)
}

// An interceptor stands between the peer and every handler. One that refuses a
// message answers for the handler; the connection goes on.
func ExampleEndpoint_interceptors() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{
		Interceptors: []interceptors.Interceptor{membersOnly{}},
		Handler: engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			return c.Send(m.Type, m.Data)
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(e)
	defer srv.Close()
	ws, err := dial(srv, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	_, reply, _ := ws.ReadMessage()
	fmt.Println(string(reply))
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// {"type":"error","status":403,"message":"members only"}
}

// The environment sets the fields that it mentions; all its mistakes are reported
// at once.
func ExampleConfigFromEnv() {
	_ = os.Setenv("MAX_WS_MESSAGE_BYTES", "4096")
	_ = os.Setenv("WS_PING_INTERVAL", "off")
	defer os.Unsetenv("MAX_WS_MESSAGE_BYTES")
	defer os.Unsetenv("WS_PING_INTERVAL")
	cfg, err := engine.ConfigFromEnv()
	fmt.Println(cfg.MaxMessageBytes, cfg.PingInterval < 0, err)

	_ = os.Setenv("MAX_WS_MESSAGE_BYTES", "4 KB")
	_, err = engine.ConfigFromEnv()
	fmt.Println(err)
	// Output:
	// 4096 true <nil>
	// MAX_WS_MESSAGE_BYTES="4 KB": allowed is a whole number from 1 to 1073741824
}
