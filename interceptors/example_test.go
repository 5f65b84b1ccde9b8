package interceptors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// slow reports inbound messages that take longer than a limit. It does not care
// for the other direction, so it embeds Passthrough.
type slow struct {
	interceptors.Passthrough
	limit  time.Duration
	report func(in interceptors.Inbound, took time.Duration)
}

func (s slow) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	start := time.Now()
	err := next.Run(ctx, in)
	if took := time.Since(start); took > s.limit {
		s.report(in, took)
	}
	return err
}

// An interceptor of your own: it times what comes after it.
func ExampleInterceptor() {
	chain := interceptors.NewChain(slow{
		limit: time.Millisecond,
		report: func(in interceptors.Inbound, _ time.Duration) {
			fmt.Printf("slow: %s of %d bytes\n", in.Type, len(in.Data))
		},
	})
	handle := chain.Inbound(func(_ context.Context, in interceptors.Inbound) error {
		if string(in.Data) == "work" {
			time.Sleep(2 * time.Millisecond)
		}
		fmt.Printf("handled %s\n", in.Data)
		return nil
	})

	_ = handle(context.Background(), interceptors.Inbound{Type: frame.Text, Final: true, Data: []byte("work")})
	// Output:
	// handled work
	// slow: text of 4 bytes
}

// readOnly refuses binary messages.
type readOnly struct{ interceptors.Passthrough }

func (readOnly) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	if in.Type == frame.Binary {
		return interceptors.Refuse(403, "uploads are not allowed")
	}
	return next.Run(ctx, in)
}

// Returning a refusal without calling next keeps the message from the handler;
// the engine answers the peer with it.
func ExampleRefuse() {
	handle := interceptors.NewChain(readOnly{}).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		fmt.Printf("handled %s\n", in.Data)
		return nil
	})

	err := handle(context.Background(), interceptors.Inbound{Type: frame.Binary, Final: true, Data: []byte{1, 2, 3}})
	if refusal, ok := errors.AsType[interceptors.Refusal](err); ok {
		fmt.Println(refusal.Status, refusal.Message)
	}
	// Output:
	// 403 uploads are not allowed
}

// identify finds out whose message it is, and tells those after it.
type identify struct{ interceptors.Passthrough }

func (identify) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	user, body, ok := bytes.Cut(in.Data, []byte(": "))
	if !ok {
		return interceptors.Refuse(401, "who are you?")
	}
	in.Data = body // what others see is not changed
	return next.Run(ctx, in.With("user_id", string(user)))
}

// An attribute travels with the message, to later interceptors and to the handler.
func ExampleInbound_With() {
	handle := interceptors.NewChain(identify{}).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		user, _ := in.Attr("user_id")
		fmt.Printf("%s from %v\n", in.Data, user)
		return nil
	})

	_ = handle(context.Background(), interceptors.Inbound{Type: frame.Text, Final: true, Data: []byte("ann: hello")})
	// Output:
	// hello from ann
}

// audit writes one line for each message, with what the handler has told it.
type audit struct{ interceptors.Passthrough }

func (audit) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	err := next.Run(ctx, in)
	run := interceptors.FromContext(ctx)
	rows, _ := run.Get("rows")
	fmt.Printf("message %s changed %v rows\n", run.ChainID(), rows)
	return err
}

// The context of a run is shared by everyone in it, also backwards: the handler
// leaves something for an interceptor that comes before it.
func ExampleFromContext() {
	handle := interceptors.NewChain(audit{}).Inbound(func(ctx context.Context, _ interceptors.Inbound) error {
		interceptors.FromContext(ctx).Set("rows", 3)
		return nil
	})

	var run interceptors.Context // the engine has one for each connection
	run.Reset(context.Background(), 12, 1)
	_ = handle(&run, interceptors.Inbound{Type: frame.Text, Final: true, Data: []byte("update")})
	// Output:
	// message 12-1 changed 3 rows
}

// A stock interceptor that leaves what it has decoded with the message, for text alone:
// binary messages, pings and closes pass it by.
func ExampleOnly() {
	decode := interceptors.Only(interceptors.InboundText, interceptors.JSONCheck(interceptors.JSONCheckConfig{
		MaxDepth:  4,
		Attribute: "json",
	}))
	handle := interceptors.NewChain(decode).Inbound(func(_ context.Context, in interceptors.Inbound) error {
		value, _ := in.Attr("json")
		fmt.Printf("%s of %d bytes: %v\n", in.Type, len(in.Data), value)
		return nil
	})
	for _, in := range []interceptors.Inbound{
		{Type: frame.Text, Final: true, Data: []byte(`{"op":"buy"}`)},
		{Type: frame.Binary, Final: true, Data: []byte{0xff}},
		{Type: frame.Text, Final: true, Data: []byte(`[[[[[[]]]]]]`)},
	} {
		if err := handle(context.Background(), in); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// text of 12 bytes: map[op:buy]
	// binary of 1 bytes: <nil>
	// interceptors: refused with status 400: JSON nested deeper than 4
}
