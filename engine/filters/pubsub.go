package filters

import (
	"context"
	"errors"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
)

// ErrNoBroker: a filter needs a broker, or channels of it, and Env has none.
var ErrNoBroker = errors.New("a broker and at least one of its channels are needed")

// BroadcastPubSub sends what anybody publishes on Env.Channels to every connection of the
// endpoint, on every node: as text if it is UTF-8, else as binary. What a client sends is
// published on the first of the channels as it is, and comes back to all, the sender
// included, from the broker: at most once, and while the broker is away not before it is
// back. A connection that is congested misses it, which Env.Hub counts.
func BroadcastPubSub(env Env) (Filter, error) {
	if env.Node == nil || len(env.Channels) == 0 {
		return Filter{}, ErrNoBroker
	}
	for _, channel := range env.Channels {
		err := env.Node.OnPlain(channel, func(payload []byte) {
			if _, err := env.Put(env.Context, cluster.TypeOf(payload), payload); err != nil {
				env.Logger.Warn("penstock: what was published cannot be sent", "channel", channel, "size", len(payload), "error", err)
			}
		})
		if err != nil {
			return Filter{}, err
		}
	}
	return Filter{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			if err := env.Node.PublishPlain(env.Channels[0], m.Data); err != nil { // counted by the node
				env.Logger.Warn("penstock: a message was not published", "conn", c.ID(), "error", err)
			}
			return nil
		},
	}}, nil
}
