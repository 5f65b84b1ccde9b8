package filters

import (
	"bytes"
	"context"

	"github.com/penstock-ws/penstock/engine"
)

// Default is the name of the filter that runs where none is named.
const Default = "broadcast_messages"

// Stock returns a new registry with the filters of this package:
//
//   - broadcast_messages: BroadcastMessages
//   - broadcast_messages_by_token: BroadcastMessagesByToken
//   - broadcast_pubsub: BroadcastPubSub
//   - echo_messages: EchoMessages
//   - history: History
//   - rate_limit: RateLimit
//   - rooms: Rooms
//   - session: Session
//   - stdout_messages: StdoutMessages
//   - stdout_rawdata: StdoutRawData
//   - stream_messages: StreamMessages
//   - worker_relay: WorkerRelay
func Stock() *Registry {
	return &Registry{constructors: map[string]Constructor{
		"broadcast_messages":          BroadcastMessages,
		"broadcast_messages_by_token": BroadcastMessagesByToken,
		"broadcast_pubsub":            BroadcastPubSub,
		"echo_messages":               EchoMessages,
		"history":                     History,
		"rate_limit":                  RateLimit,
		"rooms":                       Rooms,
		"session":                     Session,
		"stdout_messages":             StdoutMessages,
		"stdout_rawdata":              StdoutRawData,
		"stream_messages":             StreamMessages,
		"worker_relay":                WorkerRelay,
	}}
}

// BroadcastMessages sends every message to every connection of the endpoint, the
// sender's included, as a message of the same type; in a cluster to those of every node.
// A connection that is congested misses it, which Env.Hub counts and the sender does not
// notice.
func BroadcastMessages(env Env) (Filter, error) {
	broadcast := func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
		if env.Node != nil {
			_, err := env.Node.All().Broadcast(ctx, m.Type, m.Data)
			return err
		}
		_, err := env.Hub.All().Broadcast(ctx, m.Type, m.Data)
		return err
	}
	return Filter{Handler: engine.Handler{OnMessage: broadcast}}, nil
}

// EchoMessages sends every message back to its sender, as a message of the same
// type. A sender too slow to read its echoes is not read from until it is not.
func EchoMessages(Env) (Filter, error) {
	echo := func(_ context.Context, c *engine.Conn, m engine.Message) error {
		return c.Send(m.Type, m.Data)
	}
	return Filter{Handler: engine.Handler{OnMessage: echo}}, nil
}

// StreamMessages is EchoMessages by way of SendStream: the echo is read piece by piece
// and goes out at the pace of the peer. A worker is busy with it until then.
func StreamMessages(Env) (Filter, error) {
	stream := func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		return c.SendStream(ctx, m.Type, bytes.NewReader(m.Data))
	}
	return Filter{Handler: engine.Handler{OnMessage: stream}}, nil
}
