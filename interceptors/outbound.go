package interceptors

import (
	"bytes"
	"context"
	"net/http"
	"slices"

	"github.com/penstock-ws/penstock/frame"
)

// Outbound is a message or control event on its way to the peer.
//
// It is passed by value: changing a field changes only what is handed to next,
// never what the sender, an interceptor before this one, or another receiver of
// the same broadcast sees. Attributes set by [Outbound.With] travel the same
// way.
type Outbound struct {
	// Target is the URL of the peer, ws:// or wss://. Its query may hold a token: do not log it.
	Target string

	// Data is the payload: whole, not compressed. It is borrowed from the
	// sender, and a broadcast lends it to many chains at once: valid until the
	// interceptor that it was given to returns, never written in place. Replace
	// it, with bytes of your own, or keep it, with Clone. Appending to it in an
	// interceptor is safe: the chain leaves it no spare capacity.
	Data []byte

	// Header holds the header fields of a client's opening handshake (RFC 6455
	// §4.1), nil where there are none. It is shared like Data: assign a changed
	// Header.Clone(), never set a field of it in place.
	Header http.Header

	// Subprotocols are those that a client's opening handshake offers, the
	// preferred one first (RFC 6455 §1.9). Shared like Data.
	Subprotocols []string

	// CloseReason is the reason text of a Close, at most 123 bytes of UTF-8; else empty.
	CloseReason string

	attributes *attribute

	// CloseCode is the close code of a Close (RFC 6455 §7.4); else zero.
	CloseCode frame.CloseCode

	// Type tells what this is: Text, Binary, Close, Ping or Pong. It is never
	// Continuation: fragments are made after the chain.
	Type frame.Opcode

	_ [8]byte // makes it a multiple of 16 bytes, as in Inbound
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

// Clone returns a copy of out with Data, Header and Subprotocols of its own,
// which may be kept and written to. The values of attributes are shared.
func (out Outbound) Clone() Outbound {
	out.Data = bytes.Clone(out.Data)
	out.Header = out.Header.Clone()
	out.Subprotocols = slices.Clone(out.Subprotocols)
	return out
}

// around returns the OutboundFunc that runs i before next.
func (next OutboundFunc) around(i Interceptor) OutboundFunc {
	i = bare(i)
	return func(ctx context.Context, out Outbound) error {
		if cap(out.Data) > len(out.Data) { // a write to what is about to be copied would stall the copy
			out.Data = out.Data[:len(out.Data):len(out.Data)] // an append must not reach into the sender's spare capacity
		}
		if cap(out.Subprotocols) > len(out.Subprotocols) {
			out.Subprotocols = out.Subprotocols[:len(out.Subprotocols):len(out.Subprotocols)]
		}
		return i.InterceptOutbound(ctx, out, next)
	}
}
