package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
)

// A life is that of the subscribing connections: one, and in a cluster one more for each
// server that has sharded channels of the set. Their library would connect again by
// itself, but in silence: here each failure ends the life, and the set goes to the next.
type life struct {
	b      *Broker
	failed chan error // the first failure
	all    sync.WaitGroup

	tell sync.Mutex // for who calls to
	to   cluster.Events

	mu    sync.Mutex
	links map[string]*link // by the server's address; "": the ordinary channels'
	over  bool
}

// A link is one connection.
type link struct {
	ps   *redis.PubSub
	last atomic.Int64 // when the server has said something
}

// connection is a life.
func (b *Broker) connection(ctx context.Context, to cluster.Events) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &life{b: b, to: to, failed: make(chan error, 1), links: make(map[string]*link)}
	b.lookAgain(ctx)
	if _, err := l.open(ctx, "", b.client.Subscribe(ctx)); err != nil {
		return err
	}
	b.set.Renew()
	l.all.Go(func() { l.fail(l.tellSet(ctx)) }) // until ctx is done, or it fails
	var err error
	select {
	case err = <-l.failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	cancel()
	l.close()
	l.all.Wait()
	return err
}

func (l *life) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// open begins with a connection whose server answers.
func (l *life) open(ctx context.Context, address string, ps *redis.PubSub) (*link, error) {
	if err := ps.Ping(ctx); err != nil {
		_ = ps.Close()
		return nil, err
	}
	n := &link{ps: ps}
	n.last.Store(time.Now().UnixNano())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		_ = ps.Close()
		return nil, context.Canceled
	}
	l.links[address] = n
	l.all.Go(func() { l.fail(l.receive(ctx, n)) })         // until it is closed
	l.all.Go(func() { l.fail(n.watch(ctx, l.b.silence)) }) // until ctx is done, or it fails
	return n, nil
}

func (l *life) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, n := range l.links {
		_ = n.ps.Close()
	}
}

func (l *life) find(address string) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[address]
}

// linkOf returns the connection for a channel.
func (l *life) linkOf(ctx context.Context, channel string) (*link, error) {
	if !l.b.isSharded(channel) {
		return l.find(""), nil
	}
	server, err := l.b.client.(*redis.ClusterClient).MasterForKey(ctx, channel)
	if err != nil {
		return nil, err
	}
	address := server.Options().Addr
	if n := l.find(address); n != nil {
		return n, nil
	}
	return l.open(ctx, address, server.SSubscribe(ctx))
}

// tellSet tells the connections how the set changes.
func (l *life) tellSet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.b.set.Changed():
		}
		enter, leave := l.b.set.Changes()
		if err := l.each(ctx, enter, (*redis.PubSub).Subscribe, (*redis.PubSub).SSubscribe); err != nil {
			return err
		}
		if err := l.each(ctx, leave, (*redis.PubSub).Unsubscribe, (*redis.PubSub).SUnsubscribe); err != nil {
			return err
		}
	}
}

// each says a command for channels: ordinary ones together, sharded ones one by one, for
// a command may name only those that lie together.
func (l *life) each(ctx context.Context, channels []string, ordinary, sharded func(*redis.PubSub, context.Context, ...string) error) error {
	var rest []string
	for _, c := range channels {
		if !l.b.isSharded(c) {
			rest = append(rest, c)
			continue
		}
		n, err := l.linkOf(ctx, c)
		if err == nil {
			err = sharded(n.ps, ctx, c)
		}
		if err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return ordinary(l.find("").ps, ctx, rest...)
}

var errSilent = errors.New("redis: the server has been silent for too long")

// watch fails when the server is silent.
func (n *link) watch(ctx context.Context, most time.Duration) error {
	for {
		retry.Wait(ctx, most/4)
		silent := time.Since(time.Unix(0, n.last.Load()))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case silent > most:
			return errSilent
		case silent > most/2:
			if err := n.ps.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

var errMoved = errors.New("redis: another server of the cluster has a channel now")

func (l *life) receive(ctx context.Context, n *link) error {
	for {
		what, err := n.ps.Receive(ctx)
		if err != nil {
			return err
		}
		n.last.Store(time.Now().UnixNano())
		if err := l.received(what); err != nil {
			return err
		}
	}
}

func (l *life) received(what any) error {
	l.tell.Lock()
	defer l.tell.Unlock()
	switch m := what.(type) {
	case *redis.Message:
		l.to.Received(cluster.Message{Channel: m.Channel, Payload: []byte(m.Payload)})
	case *redis.Subscription:
		switch m.Kind {
		case "subscribe", "ssubscribe":
			if l.b.set.Confirmed(m.Channel) {
				l.to.Live(m.Channel)
			}
		case "sunsubscribe":
			if l.b.set.Live(m.Channel) { // nobody has asked for that
				return errMoved
			}
		}
	}
	return nil
}
