package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
)

// Broker carries the messages of nodes by PUBLISH and SUBSCRIBE, or, those of
// Config.Sharded in a Redis Cluster, by SPUBLISH and SSUBSCRIBE.
type Broker struct {
	// immutable
	client  redis.UniversalClient
	owned   bool
	silence time.Duration
	sharded func(channel string) bool // nil: none
	wake    chan struct{}             // has one element if the set has changed

	mu      sync.Mutex
	want    map[string]bool // the set
	changed map[string]bool // channels that may have entered or left it since the connection was told; true: entered, perhaps unnoticed
	asked   map[string]bool // channels that the connection has been told to subscribe
	pending map[string]int  // of those, how many confirmations are to come
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
		wake: make(chan struct{}, 1),
		want: make(map[string]bool), changed: make(map[string]bool),
	}, nil
}

// Subscribe is as cluster.Broker says.
func (b *Broker) Subscribe(channels ...string) { b.set(channels, true) }

// Unsubscribe is as cluster.Broker says.
func (b *Broker) Unsubscribe(channels ...string) { b.set(channels, false) }

func (b *Broker) set(channels []string, wanted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range channels {
		b.changed[c] = b.changed[c] || wanted && !b.want[c]
		if wanted {
			b.want[c] = true
		} else {
			delete(b.want, c)
		}
	}
	b.look()
}

// look has the set looked at.
func (b *Broker) look() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run is as cluster.Broker says. After it the broker is of no use any more.
func (b *Broker) Run(ctx context.Context, to cluster.Events) {
	if b.owned {
		defer func() { _ = b.client.Close() }()
	}
	retry.Run(ctx, func() error { return b.connection(ctx, to) }, to.Lost)
}

// forget is for a new connection, which has been told nothing.
func (b *Broker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked, b.pending = make(map[string]bool), make(map[string]int)
	for c := range b.want {
		b.changed[c] = true
	}
	b.look()
}

// left reports whether the server has ended a subscription that it was not asked to end:
// in a cluster, because another one has the channel now.
func (b *Broker) left(channel string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[channel] && b.pending[channel] == 0
}

func (b *Broker) changes() (enter, leave []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c, entered := range b.changed {
		switch {
		case b.want[c] && (entered || !b.asked[c]): // the server confirms a second time, too
			b.asked[c] = true
			b.pending[c]++
			enter = append(enter, c)
		case !b.want[c] && b.asked[c]:
			delete(b.asked, c)
			leave = append(leave, c)
		}
	}
	clear(b.changed)
	return enter, leave
}

// confirmed reports whether a channel is live: it may have left the set and entered it
// again since.
func (b *Broker) confirmed(channel string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending[channel]--; b.pending[channel] > 0 {
		return false
	}
	delete(b.pending, channel)
	return b.asked[channel] && b.want[channel]
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
