package interceptors

import (
	"bytes"
	"context"
	"net/http"

	"github.com/penstock-ws/penstock/frame"
)

// Outbound is a message or control event on its way to the peer.
//
// It is passed by value: changing a field changes only what is handed to next,
// never what the sender, an interceptor before this one, or another receiver of
// the same broadcast sees. Attributes set by [Outbound.With] travel the same
// way.
type Outbound struct {
	// Data is the payload: whole, not compressed. It is borrowed from the
	// sender, and a broadcast lends it to many chains at once: valid until the
	// interceptor that it was given to returns, never written in place. Replace
	// it, with bytes of your own, or keep it, with Clone. Appending to it in an
	// interceptor is safe: it enters the chain without spare capacity. Bytes of your own
	// that others share should have none either (slices.Clip).
	Data []byte

	// CloseReason is the reason text of a Close, at most 123 bytes of UTF-8; else empty.
	CloseReason string

	// Peer is who it goes to. It is shared by all messages of the connection: assign
	// another, never set a field of it in place. In an engine it is never nil.
	Peer *Peer

	attributes *attribute

	// CloseCode is the close code of a Close (RFC 6455 §7.4); else zero.
	CloseCode frame.CloseCode

	// Type tells what this is: Text, Binary, Close, Ping or Pong. It is never
	// Continuation: fragments are made after the chain.
	Type frame.Opcode // with which it is a multiple of 16 bytes, as Inbound is
}

// A Peer is the receiver of outbound messages, as the opening handshake has it.
type Peer struct {
	// Target is its URL, ws:// or wss://. Its query may hold a token: do not log it.
	Target string

	// Header holds the header fields of a client's opening handshake (RFC 6455
	// §4.1), nil where there are none.
	Header http.Header

	// Subprotocols are those that a client's opening handshake offers, the
	// preferred one first (RFC 6455 §1.9).
	Subprotocols []string
}

// With returns a copy of out that carries value under key, for later
// interceptors and the sending end to read with [Outbound.Attr]. It allocates;
// out itself is unchanged. A later value for the same key hides the earlier
// one.
func (out Outbound) With(key string, value any) Outbound {
	out.attributes = out.attributes.with(key, value)
	return out
}

// Attr returns the value that the nearest [Outbound.With] before this point of
// the chain has set under key, and whether there is one.
func (out Outbound) Attr(key string) (any, bool) { return out.attributes.lookup(key) }

// Clone returns a copy of out with Data of its own, which may be kept and written to.
// Peer, and the values of attributes, are shared.
func (out Outbound) Clone() Outbound {
	out.Data = bytes.Clone(out.Data)
	return out
}

// An OutboundNext is [InboundNext] for the other direction: the rest of a chain, down to
// the sending.
type OutboundNext struct {
	step Interceptor
	next *OutboundNext
}

// Run continues with out, and returns the outcome: see [InboundNext.Run].
func (n *OutboundNext) Run(ctx context.Context, out Outbound) error {
	return n.step.InterceptOutbound(ctx, out, n.next)
}

// outboundEnd is the last step of a chain.
type outboundEnd struct {
	Passthrough
	final OutboundFunc
}

func (e *outboundEnd) InterceptOutbound(ctx context.Context, out Outbound, _ *OutboundNext) error {
	return e.final(ctx, out)
}
