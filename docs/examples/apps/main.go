// Apps serves the apps that a directory of manifests declares: a shop and its support,
// whose messages do not meet. Users present a token; the environment has them in
// USER_TOKENS, as token=user,token=user.
package main

import (
	"context"
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
	"github.com/penstock-ws/penstock/engine/app"
	"github.com/penstock-ws/penstock/interceptors"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "address to listen on; port 0 picks a free one")
	dir := flag.String("manifests", "docs/examples/apps/manifests", "directory of the manifests")
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
	if err := run(ctx, *addr, *dir, users, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr, dir string, users map[string]string, stdout io.Writer) error {
	manifests, err := app.Load(dir)
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{}, engine.Endpoint{})
	if err != nil {
		return err
	}
	byToken := interceptors.TokenAuth(interceptors.TokenAuthConfig{Users: users})
	apps, err := app.New(e, app.Config{
		Manifests: manifests,
		Prefix:    func(slug string) string { return "/" + slug },
		Auth: func(slug, endpoint string) interceptors.Interceptor {
			if slug == "shop" && endpoint == "prices" {
				return nil // TokenAuth would let nobody pass without a token
			}
			return byToken
		},
	})
	if err != nil {
		return err
	}
	if err := handle(apps); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	apps.Mount(mux)
	_, _ = fmt.Fprintf(stdout, "listening on http://%s/\n", ln.Addr())
	return e.ServeWith(ctx, ln, mux)
}

// handle registers what the apps do.
func handle(apps *app.Apps) error {
	shop, err := apps.App("shop")
	if err != nil {
		return err
	}
	support, err := apps.App("support")
	if err != nil {
		return err
	}
	if err := apps.Handle("shop", "orders", app.Routes{"order": order(shop)}.Handle); err != nil {
		return err
	}
	if err := apps.Handle("shop", "prices", app.Channels(nil).Handle); err != nil {
		return err
	}
	return apps.Handle("support", "chat", app.Routes{"say": say(support)}.Handle)
}

type orderMessage struct {
	Product string `json:"product"`
	Price   int    `json:"price"`
}

// order tells the customer's connections, and who has subscribed to the product.
func order(shop *app.App) app.Handler {
	return func(ctx context.Context, c *app.Connection, m app.Message) error {
		var o orderMessage
		if err := m.Decode(&o); err != nil {
			return err
		}
		if o.Product == "" || o.Price <= 0 {
			return app.Errorf("an order has a product and a price")
		}
		if _, err := shop.User(c.UserID).Broadcast(ctx, map[string]any{"type": "ordered", "product": o.Product}); err != nil {
			return err
		}
		_, err := shop.Channel(o.Product).Broadcast(ctx, map[string]any{"type": "price", "product": o.Product, "price": o.Price})
		return err
	}
}

// say tells everybody in the app who has said what.
func say(support *app.App) app.Handler {
	return func(ctx context.Context, c *app.Connection, m app.Message) error {
		var said struct {
			Text string `json:"text"`
		}
		if err := m.Decode(&said); err != nil {
			return err
		}
		_, err := support.All().Broadcast(ctx, map[string]any{"type": "said", "user": c.UserID, "text": said.Text})
		return err
	}
}
