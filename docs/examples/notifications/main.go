// Notifications reach every connection of one user, and nobody else. Users present a
// token; whoever may notify them presents another to POST /notify?user=ann.
//
// The tokens are in the environment: USER_TOKENS as token=user,token=user, and
// NOTIFY_TOKEN.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on; port 0 picks a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	users := make(map[string]string)
	for pair := range strings.SplitSeq(os.Getenv("USER_TOKENS"), ",") {
		token, user, _ := strings.Cut(pair, "=")
		if token == "" || user == "" {
			log.Fatal("USER_TOKENS must be like token=user,token=user") // and is not repeated here
		}
		users[token] = user
	}
	if err := run(ctx, *addr, users, os.Getenv("NOTIFY_TOKEN"), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr string, users map[string]string, notifyToken string, stdout io.Writer) error {
	if notifyToken == "" {
		return errors.New("NOTIFY_TOKEN is not set: anybody could notify")
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	h := hub.New(e, hub.Config{}) // which knows users by interceptors.SetUser, as TokenAuth calls it
	mux := http.NewServeMux()
	mux.Handle("/ws", e.Endpoint(engine.Endpoint{
		Handler: h.Handler(engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
			return interceptors.Refuse(http.StatusMethodNotAllowed, "this endpoint takes no messages")
		}}),
		Interceptors: []interceptors.Interceptor{interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: users})},
	}))
	mux.HandleFunc("POST /notify", func(w http.ResponseWriter, r *http.Request) {
		if !same(r.Header.Get("Authorization"), "Bearer "+notifyToken) {
			http.Error(w, "not authorized", http.StatusUnauthorized)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "too long", http.StatusRequestEntityTooLarge)
			return
		}
		tally, err := h.User(r.URL.Query().Get("user")).Broadcast(r.Context(), frame.Text, text)
		if err != nil { // it is not UTF-8
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%d\n", tally.Queued)
	})
	_, _ = fmt.Fprintf(stdout, "listening on http://%s/\n", ln.Addr())
	return e.ServeWith(ctx, ln, mux)
}

// same compares in a time that tells nothing.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
