package session_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-ws/penstock/engine/session"
)

// A session in memory; redis.NewSessions is a Store for several nodes.
func Example() {
	var store session.Store = new(session.Memory)
	ctx := context.Background()
	if err := store.Set(ctx, "key", []byte("cart: 2"), time.Hour); err != nil {
		panic(err)
	}
	data, err := store.Get(ctx, "key")
	fmt.Println(string(data), err)
	_, err = store.Get(ctx, "another")
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output:
	// cart: 2 <nil>
	// true
}
