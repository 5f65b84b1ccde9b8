package page_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/page"
)

// A program's page, below a path of its own.
func Example() {
	e, err := engine.New(engine.Config{}, onMessage(echo))
	if err != nil {
		panic(err)
	}
	defer e.Shutdown(context.Background())
	mux := http.NewServeMux()

	p, err := page.New(e, page.Config{Token: os.Getenv("STATUS_TOKEN"), Endpoint: "/ws"})
	if err != nil {
		panic(err)
	}
	defer p.Shutdown(context.Background())
	mux.Handle("/status/", http.StripPrefix("/status", p))
	mux.Handle("/ws", e)

	server := httptest.NewServer(mux)
	defer server.Close()
	response, err := http.Get(server.URL + "/status/_penstock/about")
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	about, _ := io.ReadAll(response.Body)
	fmt.Println(string(about))
	// Output: {"live":"open","endpoint":"/ws"}
}

// The page on the path of the endpoint itself: a plain GET gets the page, and a handshake
// the endpoint.
func ExamplePage_Before() {
	e, err := engine.New(engine.Config{}, onMessage(echo))
	if err != nil {
		panic(err)
	}
	defer e.Shutdown(context.Background())
	p, err := page.New(e, page.Config{})
	if err != nil {
		panic(err)
	}
	defer p.Shutdown(context.Background())
	server := httptest.NewServer(p.Before(e))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Header.Get("Content-Type"))
	// Output: text/html; charset=utf-8
}
