package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/internal/channels"
	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
)

// Broker carries the messages of nodes by PUBLISH and SUBSCRIBE, or, those of
// Config.Sharded in a Redis Cluster, by SPUBLISH and SSUBSCRIBE.
type Broker struct {
	client  redis.UniversalClient
	owned   bool
	silence time.Duration
	sharded func(channel string) bool // nil: none
	set     *channels.Set
}

// New returns a broker, which connects when Run is called. The error says what is wrong
// in cfg.
func New(cfg Config) (*Broker, error) {
	client, owned, err := cfg.client()
	if err != nil {
		return nil, err
	}
	return &Broker{
		client: client, owned: owned, silence: cfg.Silence, sharded: sharding(client, cfg.Sharded),
		set: channels.New(),
	}, nil
}

// Subscribe is as cluster.Broker says.
func (b *Broker) Subscribe(channels ...string) { b.set.Subscribe(channels...) }

// Unsubscribe is as cluster.Broker says.
func (b *Broker) Unsubscribe(channels ...string) { b.set.Unsubscribe(channels...) }

// Run is as cluster.Broker says. After it the broker is of no use any more.
func (b *Broker) Run(ctx context.Context, to cluster.Events) {
	if b.owned {
		defer func() { _ = b.client.Close() }()
	}
	retry.Run(ctx, func() error { return b.connection(ctx, to) }, to.Lost)
}

// Publish is as cluster.Broker says: one pipeline.
func (b *Broker) Publish(ctx context.Context, batch []cluster.Message) (settled int, err error) {
	pipe := b.client.Pipeline()
	for _, m := range batch {
		if b.isSharded(m.Channel) {
			pipe.SPublish(ctx, m.Channel, m.Payload)
		} else {
			pipe.Publish(ctx, m.Channel, m.Payload)
		}
	}
	replies, err := pipe.Exec(ctx)
	if err == nil {
		return len(batch), nil
	}
	if len(replies) < len(batch) {
		return 0, b.verdict(ctx, err)
	}
	var refused *cluster.RefusedError
	for i, r := range replies {
		switch err := r.Err(); {
		case err == nil:
		case isRefusal(err):
			if refused == nil {
				refused = new(cluster.RefusedError)
			}
			refused.At, refused.Err = append(refused.At, i), err
		case refused != nil:
			return i, refused
		default:
			return i, b.verdict(ctx, err)
		}
	}
	if refused == nil {
		return 0, b.verdict(ctx, err)
	}
	return len(batch), refused
}

// verdict says what an error means to who publishes. In a cluster it may be another
// server's turn by now, which is looked up.
func (b *Broker) verdict(ctx context.Context, err error) error {
	b.lookAgain(ctx)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w: %w", cluster.ErrAway, err)
	}
	return err
}

func (b *Broker) lookAgain(ctx context.Context) {
	if c, ok := b.client.(*redis.ClusterClient); ok {
		c.ReloadState(ctx)
	}
}

// isRefusal reports whether an error is the server's word on the message.
func isRefusal(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !passing(reply.Error())
}

// passing reports whether a server's error is one of its state, not of the message.
func passing(text string) bool {
	code, _, _ := strings.Cut(text, " ")
	switch code {
	case "LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "NOAUTH", "WRONGPASS", "OOM", "MISCONF", "NOREPLICAS":
		return true
	}
	return false
}
