package interceptors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/penstock-ws/penstock/frame"
)

// Recover returns an interceptor that turns a panic in what runs after it into
// a [*PanicError], and logs it with its stack to log (nil means slog.Default at
// the time of this call). runtime.Goexit is not a panic: it passes. So does
// what no program can recover: a stack overflow, a data race on a map.
//
// After it run, inbound, the interceptors registered later and the handler;
// outbound, where the order is the reverse, those registered earlier and the
// sending. To guard a whole chain in both directions register it first and
// last.
func Recover(log *slog.Logger) Interceptor {
	if log == nil {
		log = slog.Default()
	}
	return &recoverer{log: log}
}

// PanicError is the outcome of a message whose handling panicked. It does not
// unwrap to Value: a panic is a mistake in the program whatever its value is,
// and a panic with a [Refusal] must not pass for one.
type PanicError struct {
	// Value is what panic was called with; for panic(nil) a *runtime.PanicNilError.
	Value any
	// Stack is the stack of the goroutine that panicked, as runtime/debug.Stack writes it.
	Stack []byte
}

// Error tells the value, not the stack. It is for the log: it must not reach the peer.
func (e *PanicError) Error() string { return fmt.Sprintf("interceptors: panic: %v", e.Value) }

type recoverer struct {
	Passthrough
	log *slog.Logger
}

func (r *recoverer) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) (err error) {
	defer r.recover(ctx, inbound, in.Type, &err)
	return next.Run(ctx, in)
}

func (r *recoverer) InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) (err error) {
	defer r.recover(ctx, outbound, out.Type, &err)
	return next.Run(ctx, out)
}

// recover must be deferred itself: the built-in stops a panic only in the deferred function.
func (r *recoverer) recover(ctx context.Context, way direction, opcode frame.Opcode, err *error) {
	value := recover()
	if value == nil {
		return // no panic; if it is a Goexit, the goroutine goes on ending
	}
	p := &PanicError{Value: value, Stack: debug.Stack()}
	*err = p
	attrs := append(make([]slog.Attr, 0, 5), slog.String("direction", string(way)), slog.String("type", opcode.String()),
		slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(p.Stack)))
	r.log.LogAttrs(ctx, slog.LevelError, "websocket message panicked", appendChainID(attrs, ctx)...)
}
