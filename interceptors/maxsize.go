package interceptors

import (
	"context"
	"fmt"
	"net/http"

	"github.com/penstock-ws/penstock/frame"
)

// MaxSizeConfig configures [MaxSize]. Its zero value limits nothing.
type MaxSizeConfig struct {
	// Inbound are the limits on what the peer sends. A larger message is refused with
	// 413 and not handled. What passes the interceptor by has no limit here.
	Inbound SizeLimits

	// Outbound are the limits on what is sent to the peer. The sender of a larger
	// message gets the refusal as its error; a handler that returns it has the peer
	// told. A type with a limit is encoded for each connection of a broadcast.
	Outbound SizeLimits

	// Close ends the connection after an inbound message that was too large, with
	// 1008. Default: it goes on.
	Close bool
}

// SizeLimits are the largest payloads that pass, by type, in bytes. Zero: no limit. A
// negative limit lets nothing of the type pass.
type SizeLimits struct {
	Text, Binary, Ping, Pong int
}

// MaxSize returns an interceptor that refuses messages by type and size: text of at
// most 4 KiB and nothing binary, say. It is for what an application allows. What a
// server can bear is the engine's Config.MaxMessageBytes, which ends the connection
// with 1009 before memory is allocated; here the message is in memory already, and
// what Close closes with is 1008, as every [Refusal] does.
func MaxSize(config MaxSizeConfig) Interceptor {
	m := &maxSize{inbound: config.Inbound, outbound: config.Outbound}
	m.refused = Refusal{Status: http.StatusRequestEntityTooLarge, Message: "message too large", Close: config.Close}
	m.sees = config.Inbound.limited() | config.Outbound.limited()<<outboundShift
	return m
}

type maxSize struct {
	Passthrough
	inbound, outbound SizeLimits
	refused           error
	sees              Kinds
}

// limited returns the types that have a limit, as inbound kinds.
func (s SizeLimits) limited() (k Kinds) {
	for _, op := range []frame.Opcode{frame.Text, frame.Binary, frame.Ping, frame.Pong} {
		if s.of(op) != 0 {
			k |= byType(op)
		}
	}
	return k
}

func (s SizeLimits) of(op frame.Opcode) int {
	switch op {
	case frame.Text:
		return s.Text
	case frame.Binary:
		return s.Binary
	case frame.Ping:
		return s.Ping
	case frame.Pong:
		return s.Pong
	}
	return 0
}

// exceeded reports whether a payload of size bytes must not pass.
func (s SizeLimits) exceeded(op frame.Opcode, size int) bool {
	limit := s.of(op)
	return limit < 0 || limit > 0 && size > limit
}

func (m *maxSize) kinds() Kinds { return m.sees }

func (m *maxSize) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	if m.inbound.exceeded(in.Type, len(in.Data)) {
		return m.refused
	}
	return next.Run(ctx, in)
}

func (m *maxSize) InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) error {
	if m.outbound.exceeded(out.Type, len(out.Data)) {
		return Refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the answer is too large: %d bytes", len(out.Data)))
	}
	return next.Run(ctx, out)
}
