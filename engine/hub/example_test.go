package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// A chat room: what one says, all hear.
func Example() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	chat := hub.New(e, hub.Config{})
	mux := http.NewServeMux()
	mux.Handle("/room", e.Endpoint(engine.Endpoint{Handler: chat.Handler(engine.Handler{
		OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
			_, err := chat.All().Broadcast(ctx, m.Type, m.Data)
			return err
		},
	})}))
	srv := httptest.NewServer(mux)
	defer srv.Close()

	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/room", nil)
	if err != nil {
		panic(err)
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("hello"))
	_, message, err := ws.ReadMessage()
	fmt.Println(string(message), err, chat.All().Len())
	_ = ws.Close()
	_ = e.Shutdown(context.Background())
	fmt.Println(chat.All().Len(), chat.Totals().Queued)
	// Output:
	// hello <nil> 1
	// 0 1
}

// A chat room that a client can come back to. The server sends {"at":position,"text":…},
// or {"from":position,"to":position} in the place of what it has not kept. The client
// says where it was when it connects.
func Example_history() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	chat := hub.New(e, hub.Config{
		History: func(string) hub.History { return hub.History{Messages: 3, Age: time.Hour} },
		Envelope: func(dst []byte, m hub.Published) []byte {
			return fmt.Appendf(dst, `{"at":"%v","text":%q}`, m.At, m.Payload)
		},
		Gap: func(dst []byte, _ string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, `{"from":"%v","to":"%v"}`, from, to), frame.Text
		},
	})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: chat.Handler(engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			after, err := hub.ParsePosition(c.Scope().Query().Get("after"))
			if err != nil { // it has not been here before
				chat.Room("lobby").Join(c)
			} else {
				chat.Room("lobby").Resume(c, after)
			}
			return nil
		},
		OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
			_, err := chat.Room("lobby").Publish(ctx, m.Type, m.Data)
			return err
		},
	})}))
	defer srv.Close()

	at := "none"
	connect := func() *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/?after="+at, nil)
		if err != nil {
			panic(err)
		}
		return ws
	}
	read := func(ws *websocket.Conn) {
		var m struct{ At, Text, From, To string }
		_ = ws.ReadJSON(&m)
		if at = m.At; m.To != "" {
			at = m.To
			fmt.Print("(some are lost) ")
		}
		fmt.Print(m.Text, " ")
	}
	ann, bob := connect(), connect()
	_ = ann.WriteMessage(websocket.TextMessage, []byte("one"))
	read(bob)
	_ = bob.Close()
	for _, text := range []string{"two", "three", "four", "five"} {
		_ = ann.WriteMessage(websocket.TextMessage, []byte(text))
	}
	for range 5 { // so the server has all
		_, _, _ = ann.ReadMessage()
	}
	bob = connect()
	for range 4 {
		read(bob)
	}
	_ = bob.Close()
	_ = ann.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// one (some are lost)  three four five
}

// Notifications go to all of a user's connections: tabs, phones.
func Example_notifications() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	h := hub.New(e, hub.Config{
		User: func(c *engine.Conn) string { return c.Scope().Query().Get("user") }, // a real one asks a token
		OnUser: func(user string, online bool) {
			fmt.Println(user, "online:", online)
		},
	})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: h.Handler(engine.Handler{})}))
	defer srv.Close()

	var ann [2]*websocket.Conn
	for i := range ann {
		if ann[i], _, err = websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/?user=ann", nil); err != nil {
			panic(err)
		}
	}
	tally, _ := h.User("ann").Broadcast(context.Background(), frame.Text, []byte("you have mail"))
	fmt.Println("sent to", tally.Queued, "of", h.User("ann").Len())
	for _, ws := range ann {
		_, message, _ := ws.ReadMessage()
		fmt.Println(string(message))
		_ = ws.Close()
	}
	_ = e.Shutdown(context.Background())
	// Output:
	// ann online: true
	// sent to 2 of 2
	// you have mail
	// you have mail
	// ann online: false
}

// A list of who is in a room, which everybody in it sees change. What has changed is
// told in order; whoever comes gets the list as it is.
func Example_presence() {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		panic(err)
	}
	var h *hub.Hub
	h = hub.New(e, hub.Config{
		User: func(c *engine.Conn) string { return c.Scope().Query().Get("user") },
		OnMember: func(room string, c *engine.Conn, _ bool) {
			var here []string
			for member := range h.Room(room).Conns() {
				here = append(here, h.UserOf(member))
			}
			slices.Sort(here)
			_, _ = h.Room(room).Broadcast(context.Background(), frame.Text, fmt.Append(nil, "here: ", here))
		},
	})
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: h.Handler(engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			h.Room("lobby").Join(c)
			return nil
		},
	})}))
	defer srv.Close()

	connect := func(user string) *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http")+"/?user="+user, nil)
		if err != nil {
			panic(err)
		}
		return ws
	}
	ann := connect("ann")
	bob := connect("bob")
	_ = bob.Close()
	for range 3 {
		_, message, _ := ann.ReadMessage()
		fmt.Println(string(message))
	}
	_ = ann.Close()
	_ = e.Shutdown(context.Background())
	// Output:
	// here: [ann]
	// here: [ann bob]
	// here: [ann]
}
