package enginetest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// members is an interceptor to be tested: it lets users post, and nobody else.
type members struct{ interceptors.InboundOnly }

func (members) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	user := interceptors.User(ctx)
	if user == "" {
		return interceptors.Refuse(401, "say who you are")
	}
	interceptors.FromContext(ctx).Set("posted by", user)
	return next.Run(ctx, in)
}

// store is all that an interceptor sees of a connection.
type store map[any]any

func (s store) Get(key any) any        { return s[key] }
func (s store) Set(key any, value any) { s[key] = value }

// An interceptor needs no connection, and no kit: a Chain is run by calling it. A Context
// makes the run, and a value under StoreKey is the connection's store.
func Example_interceptorAlone() {
	post := interceptors.NewChain(members{}).Inbound(func(ctx context.Context, in interceptors.Inbound) error {
		user, _ := interceptors.FromContext(ctx).Get("posted by")
		fmt.Printf("%v: %s\n", user, in.Data)
		return nil
	})
	conn := context.WithValue(context.Background(), interceptors.StoreKey{}, make(store))
	var run interceptors.Context
	hello := interceptors.Inbound{Type: frame.Text, Data: []byte("hello"), Final: true}

	run.Reset(conn, 1, 1)
	var refusal interceptors.Refusal
	if err := post(&run, hello); errors.As(err, &refusal) {
		fmt.Println("refused with", refusal.Status)
	}
	interceptors.SetUser(conn, "ann")
	run.Again(2)
	if err := post(&run, hello); err != nil {
		fmt.Println(err)
	}
	// Output:
	// refused with 401
	// ann: hello
}
