package interceptors

import (
	"context"
	"errors"

	"github.com/penstock-ws/penstock/frame"
)

// HeartbeatConfig configures [Heartbeat]. Its zero value answers "ping" with "pong".
type HeartbeatConfig struct {
	// Ping is the text, all of a message, that is answered. Default: "ping". To switch
	// off, leave the interceptor out.
	Ping string

	// Pong is the text that it is answered with. Default: "pong".
	Pong string
}

// Heartbeat returns an interceptor that answers text messages of clients which cannot
// send the pings of the protocol, as scripts in browsers cannot. The handler never
// sees them. A peer that is too slow for its pong does not get it, and nothing else
// happens to it.
//
// Interceptors before it see the heartbeats: register it after RateLimit to have them
// counted, before to have them free.
func Heartbeat(config HeartbeatConfig) Interceptor {
	if config.Ping == "" {
		config.Ping = "ping"
	}
	if config.Pong == "" {
		config.Pong = "pong"
	}
	return &heartbeat{ping: config.Ping, pong: []byte(config.Pong)}
}

type heartbeat struct {
	Passthrough
	ping string
	pong []byte
}

func (*heartbeat) kinds() Kinds { return InboundText }

func (h *heartbeat) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	if in.Type != frame.Text || string(in.Data) != h.ping {
		return next.Run(ctx, in)
	}
	if err := Reply(ctx, frame.Text, h.pong); errors.Is(err, errNoSender) {
		return err // a mistake in the program; the others are the peer's affair
	}
	return nil
}
