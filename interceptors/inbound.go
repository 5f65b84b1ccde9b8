package interceptors

import (
	"bytes"
	"context"

	"github.com/penstock-ws/penstock/frame"
)

// Inbound is a message or control event that has come from the peer.
//
// It is passed by value: changing a field changes only what is handed to next,
// never what an interceptor before this one, or another delivery of the same
// message, sees. Attributes set by [Inbound.With] travel the same way.
type Inbound struct {
	// Data is the payload: whole, decompressed, and valid UTF-8 if Type is
	// Text. For Ping and Pong it is the application data (at most 125 bytes,
	// RFC 6455 §5.5), for Close it is empty.
	//
	// It is borrowed: valid until the interceptor or handler that it was given
	// to returns. Never write into it: replace it, with bytes of your own, or
	// keep it, with Clone. Appending to it in an interceptor is safe: it
	// enters the chain without spare capacity. Bytes of your own that others share should
	// have none either (slices.Clip).
	Data []byte

	// CloseReason is the reason text of a Close event, at most 123 bytes of
	// UTF-8 chosen by the peer; else empty. It may be kept.
	CloseReason string

	attributes *attribute

	// CloseCode is the close code of a Close event (RFC 6455 §7.4); else zero.
	CloseCode frame.CloseCode

	// Type tells what this is: Text, Binary, Close, Ping or Pong. It is never Continuation.
	Type frame.Opcode

	// Final is always true: messages arrive whole.
	Final bool

	// A copy is made at each step of a chain, 16 bytes at a time. Of another size the
	// last two moves would overlap, and the next copy wait for them.
	_ [8]byte
}

// With returns a copy of in that carries value under key, for later
// interceptors and the handler to read with [Inbound.Attr]. It allocates; in
// itself is unchanged. A later value for the same key hides the earlier one. Do
// not derive keys from what the peer sends: Attr searches one by one.
func (in Inbound) With(key string, value any) Inbound {
	in.attributes = in.attributes.with(key, value)
	return in
}

// Attr returns the value that the nearest [Inbound.With] before this point of
// the chain has set under key, and whether there is one.
func (in Inbound) Attr(key string) (any, bool) { return in.attributes.lookup(key) }

// Clone returns a copy of in with Data of its own, which may be kept and
// written to. The values of attributes are shared.
func (in Inbound) Clone() Inbound {
	in.Data = bytes.Clone(in.Data)
	return in
}

// An InboundNext is the rest of a chain behind an interceptor, down to the handler. It
// belongs to the chain, and is the same for every message.
type InboundNext struct {
	step Interceptor
	next *InboundNext
}

// Run continues with in, and returns the outcome. ctx is the one that the interceptor was
// given, or one derived from it.
//
// It is small enough to be compiled into its callers: a function would be one more return
// for each interceptor of each message, deeper than processors predict returns.
func (n *InboundNext) Run(ctx context.Context, in Inbound) error {
	return n.step.InterceptInbound(ctx, in, n.next)
}

// inboundEnd is the last step of a chain.
type inboundEnd struct {
	Passthrough
	final InboundFunc
}

func (e *inboundEnd) InterceptInbound(ctx context.Context, in Inbound, _ *InboundNext) error {
	return e.final(ctx, in)
}
