// Dashboard shows live figures that a worker sends: the same program, started with
// -feed, is the worker. Both have the secret in WORKER_SECRET.
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
	"runtime"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/relay"
)

//go:embed page.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on; port 0 picks a free one")
	target := flag.String("feed", "", "be the worker of the server at this ws:// URL")
	every := flag.Duration("every", time.Second, "how often the worker sends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if secret := os.Getenv("WORKER_SECRET"); *target != "" {
		err = feed(ctx, *target, secret, *every)
	} else {
		err = run(ctx, *addr, secret, os.Stdout)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run serves the page and its figures until ctx is done.
func run(ctx context.Context, addr, secret string, stdout io.Writer) error {
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		return err
	}
	r, err := relay.New(e, relay.Config{Secrets: []string{secret}})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", e.Endpoint(engine.Endpoint{Handler: r.Handler()}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	_, _ = fmt.Fprintf(stdout, "listening on http://%s/\n", ln.Addr())
	return e.ServeWith(ctx, ln, mux)
}

// sample is what the worker says.
type sample struct {
	Type       string `json:"type"` // always "sample"
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"`
}

// feed sends figures of its own process until ctx is done or the connection has ended.
func feed(ctx context.Context, target, secret string, every time.Duration) error {
	c, err := engine.Dial(ctx, target+"?client_type=worker", engine.DialConfig{
		Header: http.Header{"X-Worker-Secret": {secret}},
		Endpoint: engine.Endpoint{Handler: engine.Handler{ // a worker is told nothing that it must know
			OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil },
		}},
	})
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		text, err := json.Marshal(sample{"sample", runtime.NumGoroutine(), memory.HeapAlloc})
		if err != nil {
			return err
		}
		if err := c.SendText(string(text)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return c.Close(1000, "done")
		case <-c.Context().Done():
			return context.Cause(c.Context())
		case <-tick.C:
		}
	}
}
