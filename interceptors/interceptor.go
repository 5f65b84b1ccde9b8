package interceptors

import "context"

// An Interceptor takes part in the handling of every message, in both
// directions.
//
// One value serves all connections that it is registered for, on many
// goroutines at once: its methods must be safe for concurrent use. Within one
// connection inbound messages come one at a time, in order.
//
// Both methods continue by calling next, which returns the outcome of the rest
// of the chain, and stop the message by returning without calling it: inbound,
// the handler never sees the message, and the peer is answered with the
// [Refusal] that is returned; outbound, nothing is sent, and the sender is
// given the error that is returned (nil pretends that it was sent). Calling
// next twice delivers twice. next must not be called after the method has
// returned, nor from another goroutine: the message is borrowed, and so is the
// [Context].
//
// They run where messages are handled, on a bounded pool: one that waits for a
// slow service holds a worker for as long.
type Interceptor interface {
	InterceptInbound(ctx context.Context, in Inbound, next InboundFunc) error
	InterceptOutbound(ctx context.Context, out Outbound, next OutboundFunc) error
}

// InboundFunc handles an inbound message: the rest of a chain, or the handler at its end.
type InboundFunc func(ctx context.Context, in Inbound) error

// OutboundFunc handles an outbound message: the rest of a chain, or the sending at its end.
type OutboundFunc func(ctx context.Context, out Outbound) error

// Passthrough continues in both directions. Embed it in an [Interceptor] that
// implements only one of them.
type Passthrough struct{}

// InterceptInbound calls next and returns what it returns.
func (Passthrough) InterceptInbound(ctx context.Context, in Inbound, next InboundFunc) error {
	return next(ctx, in)
}

// InterceptOutbound calls next and returns what it returns.
func (Passthrough) InterceptOutbound(ctx context.Context, out Outbound, next OutboundFunc) error {
	return next(ctx, out)
}
