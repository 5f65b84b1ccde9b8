package interceptors

import (
	"context"
	"net/http"
)

// An Interceptor takes part in the opening of connections and in the handling of
// every message, in both directions. Embed [InboundOnly], [OutboundOnly] or
// [Passthrough] to implement a part of it.
//
// One value serves all connections that it is registered for, on many
// goroutines at once: its methods must be safe for concurrent use. Within one
// connection inbound messages come one at a time, in order.
//
// Admit is asked before a connection is opened, in the order of registration,
// until one returns an error. On a server r is the opening handshake, and an error
// refuses it: a [Refusal] is answered with its status and message, any other error
// with 403; Admit may put another URL, with another query, and another Header into r,
// leaving the old ones as they are: the connection's Scope keeps what stands in r then.
// On a client r is the request that is about to be sent: Admit may add
// header fields to it, and an error is what the dialling function returns. What it
// stores in [ConnStore] of r.Context() the connection begins with.
//
// The other two continue by calling next.Run, which returns the outcome of the rest
// of the chain, and stop the message by returning without calling it: inbound,
// the handler never sees the message, and the peer is answered with the
// [Refusal] that is returned; outbound, nothing is sent, and the sender is
// given the error that is returned (nil pretends that it was sent). Calling
// next.Run twice delivers twice. It is given ctx, or a context derived from it: the
// connection is found in it. It must not be called after the method has
// returned, nor from another goroutine: the message is borrowed, and so is the
// [Context].
//
// They run where messages are handled, on a bounded pool: one that waits for a
// slow service holds a worker for as long.
type Interceptor interface {
	Admit(r *http.Request) error
	InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error
	InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) error
}

// InboundFunc handles an inbound message: the end of a chain, or a whole one.
type InboundFunc func(ctx context.Context, in Inbound) error

// OutboundFunc handles an outbound message: the end of a chain, or a whole one.
type OutboundFunc func(ctx context.Context, out Outbound) error

// Passthrough admits everybody and continues in both directions. Embed it in an
// [Interceptor] that may do otherwise in either.
type Passthrough struct{}

// Admit returns nil.
func (Passthrough) Admit(*http.Request) error { return nil }

// InterceptInbound calls next and returns what it returns.
func (Passthrough) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	return next.Run(ctx, in)
}

// InterceptOutbound calls next and returns what it returns.
func (Passthrough) InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) error {
	return next.Run(ctx, out)
}

// InboundOnly is a [Passthrough] for interceptors of inbound messages: embed it, and
// outbound messages pass the interceptor by. InterceptOutbound is never called.
type InboundOnly struct{ Passthrough }

func (InboundOnly) kinds() Kinds { return Inbounds }

// OutboundOnly is a [Passthrough] for interceptors of outbound messages: embed it, and
// inbound messages pass the interceptor by. InterceptInbound is never called.
type OutboundOnly struct{ Passthrough }

func (OutboundOnly) kinds() Kinds { return Outbounds }

// Timed, embedded in an [Interceptor] of inbound text or binary messages, has the engine
// read the clock when they come: for engine.ReceivedAt, in that interceptor and elsewhere.
type Timed struct{}

func (Timed) timed() {}
