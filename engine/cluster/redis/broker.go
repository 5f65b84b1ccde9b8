package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/penstock-ws/penstock/engine/cluster"
)

// Config says where the Redis is.
type Config struct {
	// URL is that of a single server: redis://user:password@host:port/db, rediss:// with
	// TLS, unix://. Required, unless Client is set.
	URL string

	// Client is used instead of one for URL; whoever has made it closes it. It should not
	// retry (MaxRetries -1): a plain message might arrive twice.
	Client redis.UniversalClient

	// Silence is after how long without a word from the server the connection is taken
	// for dead; half of that into it the server is asked for a word. Default 5 s.
	Silence time.Duration
}

// client returns what Config says.
func (c *Config) client() (client redis.UniversalClient, owned bool, err error) {
	if c.Silence == 0 {
		c.Silence = 5 * time.Second
	}
	if c.Silence < 10*time.Millisecond {
		return nil, false, errors.New("redis: Config.Silence must be at least 10 ms")
	}
	if c.Client != nil {
		return c.Client, false, nil
	}
	if err := CheckURL(c.URL); err != nil {
		return nil, false, err
	}
	o, _ := redis.ParseURL(c.URL) // as it has just been
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = c.Silence, c.Silence, c.Silence
	o.ContextTimeoutEnabled = true
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), true, nil
}

// CheckURL returns an error for what is no Config.URL. It does not quote it: there may be
// a password in it.
func CheckURL(s string) error {
	if _, err := redis.ParseURL(s); err != nil {
		return errors.New("redis: Config.URL is none of a Redis: redis://host:port/db would be one")
	}
	return nil
}

// Broker carries the messages of nodes by PUBLISH and SUBSCRIBE: with a Redis Cluster,
// too, whose servers pass everything on to all of them.
type Broker struct {
	// immutable
	client  redis.UniversalClient
	owned   bool
	silence time.Duration
	wake    chan struct{} // has one element if the set has changed

	mu      sync.Mutex
	want    map[string]bool // the set
	changed map[string]bool // channels that may have entered or left it since the connection was told
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
		client: client, owned: owned, silence: cfg.Silence,
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
		if wanted {
			b.want[c] = true
		} else {
			delete(b.want, c)
		}
		b.changed[c] = true
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

const (
	firstPause   = 20 * time.Millisecond
	longestPause = 250 * time.Millisecond // less than what nodes wait for each other after an outage
)

// Run is as cluster.Broker says. After it the broker is of no use any more.
func (b *Broker) Run(ctx context.Context, to cluster.Events) {
	if b.owned {
		defer func() { _ = b.client.Close() }()
	}
	for pause := firstPause; ; {
		began := time.Now()
		err := b.connection(ctx, to)
		if ctx.Err() != nil {
			return
		}
		to.Lost(err)
		if time.Since(began) > longestPause {
			pause = firstPause
		}
		wait(ctx, pause/2+rand.N(pause))
		pause = min(2*pause, longestPause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// connection is one life of the subscribing connection. Its library would connect again
// by itself, but in silence: here each failure ends it, and the set goes to a new one.
func (b *Broker) connection(ctx context.Context, to cluster.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ps := b.client.Subscribe(ctx)
	defer func() { _ = ps.Close() }()
	if err := ps.Ping(ctx); err != nil {
		return err
	}
	b.forget()
	var last atomic.Int64 // when the server has said something
	last.Store(time.Now().UnixNano())
	failed := make(chan error, 2)
	var all sync.WaitGroup
	all.Go(func() { failed <- b.tellSet(ctx, ps) })      // until ctx is done, or it fails
	all.Go(func() { failed <- b.watch(ctx, ps, &last) }) // until ctx is done, or it fails
	all.Go(func() {                                      // until one of them has ended
		err := <-failed
		failed <- err
		_ = ps.Close()
	})
	err := b.receive(ctx, ps, &last, to)
	cancel()
	all.Wait()
	if other := <-failed; other != nil && !errors.Is(other, context.Canceled) {
		err = other // it came first
	}
	return err
}

// forget is for a new connection, which has been told nothing.
func (b *Broker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked, b.pending = make(map[string]bool), make(map[string]int)
	for c := range b.want {
		b.changed[c] = true
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// tellSet tells the connection how the set changes.
func (b *Broker) tellSet(ctx context.Context, ps *redis.PubSub) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.wake:
		}
		enter, leave := b.changes()
		if len(enter) > 0 {
			if err := ps.Subscribe(ctx, enter...); err != nil {
				return err
			}
		}
		if len(leave) > 0 {
			if err := ps.Unsubscribe(ctx, leave...); err != nil {
				return err
			}
		}
	}
}

func (b *Broker) changes() (enter, leave []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.changed {
		switch {
		case b.want[c] && !b.asked[c]:
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

var errSilent = errors.New("redis: the server has been silent for too long")

// watch ends the connection of a server that is silent.
func (b *Broker) watch(ctx context.Context, ps *redis.PubSub, last *atomic.Int64) error {
	for {
		wait(ctx, b.silence/4)
		silent := time.Since(time.Unix(0, last.Load()))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case silent > b.silence:
			return errSilent
		case silent > b.silence/2:
			if err := ps.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

func (b *Broker) receive(ctx context.Context, ps *redis.PubSub, last *atomic.Int64, to cluster.Events) error {
	for {
		what, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		last.Store(time.Now().UnixNano())
		switch m := what.(type) {
		case *redis.Message:
			to.Received(cluster.Message{Channel: m.Channel, Payload: []byte(m.Payload)})
		case *redis.Subscription:
			if m.Kind == "subscribe" && b.confirmed(m.Channel) {
				to.Live(m.Channel)
			}
		}
	}
}

// Publish is as cluster.Broker says: one pipeline.
func (b *Broker) Publish(ctx context.Context, batch []cluster.Message) (settled int, err error) {
	pipe := b.client.Pipeline()
	for _, m := range batch {
		pipe.Publish(ctx, m.Channel, m.Payload)
	}
	replies, err := pipe.Exec(ctx)
	if err == nil {
		return len(batch), nil
	}
	if len(replies) < len(batch) {
		return 0, verdict(err)
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
			return i, verdict(err)
		}
	}
	if refused == nil {
		return 0, verdict(err)
	}
	return len(batch), refused
}

// verdict says what an error means to who publishes.
func verdict(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w: %w", cluster.ErrAway, err)
	}
	return err
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
