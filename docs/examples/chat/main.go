// Chat is a room whose latest messages are kept: who comes back after a lost connection
// gets what has been said meanwhile, or is told that it is no longer known.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

//go:embed page.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on; port 0 picks a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr string, stdout io.Writer) error {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	rooms := hub.New(e, hub.Config{
		History:  func(string) hub.History { return hub.History{Messages: 100, Age: time.Hour} },
		Envelope: envelope,
		Gap:      gap,
	})
	mux := http.NewServeMux()
	mux.Handle("/ws", e.Endpoint(engine.Endpoint{Handler: rooms.Handler(handler(rooms.Room("lobby")))}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	_, _ = fmt.Fprintf(stdout, "listening on http://%s/\n", ln.Addr())
	return e.ServeWith(ctx, ln, mux)
}

// said is what is published.
type said struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// event is what clients get: a message and its position, or a gap.
type event struct {
	Position string          `json:"position"`
	Said     json.RawMessage `json:"said,omitempty"`
	Gap      bool            `json:"gap,omitempty"`
}

func envelope(dst []byte, m hub.Published) []byte {
	text, _ := json.Marshal(event{Position: m.At.String(), Said: m.Payload}) // the payload is our own JSON
	return append(dst, text...)
}

func gap(dst []byte, _ string, _, to hub.Position) ([]byte, hub.Opcode) {
	text, _ := json.Marshal(event{Position: to.String(), Gap: true})
	return append(dst, text...), frame.Text
}

type nameKey struct{}

type afterKey struct{}

// handler lets a client in by /ws?name=ann&after=1f-7. Without after it gets all that
// is kept.
func handler(room hub.Room) engine.Handler {
	return engine.Handler{
		Admit: func(r *http.Request) error {
			query, store := r.URL.Query(), interceptors.ConnStore(r.Context())
			name := query.Get("name")
			if name == "" || len(name) > 40 {
				return interceptors.Refuse(http.StatusBadRequest, "name must have 1 to 40 bytes")
			}
			var after hub.Position
			if text := query.Get("after"); text != "" {
				var err error
				if after, err = hub.ParsePosition(text); err != nil {
					return interceptors.Refuse(http.StatusBadRequest, "after is no position")
				}
			}
			store.Set(nameKey{}, name)
			store.Set(afterKey{}, after)
			return nil
		},
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			room.Resume(c, c.Get(afterKey{}).(hub.Position))
			return nil
		},
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if m.Type != frame.Text {
				return interceptors.Refuse(http.StatusUnsupportedMediaType, "text, please")
			}
			if len(m.Data) > 4096 {
				return interceptors.Refuse(http.StatusRequestEntityTooLarge, "at most 4096 bytes, please")
			}
			text, err := json.Marshal(said{Name: c.Get(nameKey{}).(string), Text: string(m.Data)})
			if err != nil {
				return err
			}
			_, err = room.Publish(ctx, frame.Text, text)
			return err
		},
	}
}
