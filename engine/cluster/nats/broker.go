package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/cluster/internal/channels"
	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
)

// Config says where the NATS is.
type Config struct {
	// URL is nats://user:password@host:port or tls://; several servers of a NATS cluster
	// are separated by commas. Required.
	URL string

	// Options come after those of the package: credentials, TLS.
	Options []nats.Option

	// Silence is after how long without a word from the server the connection is taken
	// for dead. Default 5 s.
	Silence time.Duration
}

// Broker carries the messages of nodes on subjects: a channel's name is its subject.
type Broker struct {
	url     string
	options []nats.Option
	silence time.Duration
	set     *channels.Set
	conn    atomic.Pointer[nats.Conn] // nil: none
}

// New returns a broker, which connects when Run is called. The error says what is wrong
// in cfg.
func New(cfg Config) (*Broker, error) {
	if cfg.Silence == 0 {
		cfg.Silence = 5 * time.Second
	}
	if cfg.Silence < 10*time.Millisecond {
		return nil, errors.New("nats: Config.Silence must be at least 10 ms")
	}
	if err := CheckURL(cfg.URL); err != nil {
		return nil, err
	}
	return &Broker{url: cfg.URL, options: cfg.Options, silence: cfg.Silence, set: channels.New()}, nil
}

// CheckURL returns an error for what is no Config.URL. It does not quote it: there may be
// a password in it.
func CheckURL(s string) error {
	for _, one := range strings.Split(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return errors.New("nats: Config.URL is none of a NATS: nats://host:port would be one")
		}
	}
	return nil
}

// Subscribe is as cluster.Broker says.
func (b *Broker) Subscribe(channels ...string) { b.set.Subscribe(channels...) }

// Unsubscribe is as cluster.Broker says.
func (b *Broker) Unsubscribe(channels ...string) { b.set.Unsubscribe(channels...) }

const mostWaiting = 1 << 16 // received messages; with more the connection is given up

// Run is as cluster.Broker says.
func (b *Broker) Run(ctx context.Context, to cluster.Events) {
	retry.Run(ctx, func() error { return b.connection(ctx, to) }, to.Lost)
}

// A link is one life of the connection. Its library would connect again by itself; here
// each failure ends it, and the set goes to a new one, so that it is known what has been
// established since when.
type link struct {
	b        *Broker
	nc       *nats.Conn
	messages chan *nats.Msg
	live     chan []string
	failed   chan error
	subs     map[string]*nats.Subscription // of tellSet
}

// connection runs a link.
func (b *Broker) connection(ctx context.Context, to cluster.Events) error {
	l := &link{
		b: b, messages: make(chan *nats.Msg, mostWaiting), live: make(chan []string),
		failed: make(chan error, 1), subs: make(map[string]*nats.Subscription),
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(b.url, append([]nats.Option{
		nats.NoReconnect(), nats.Timeout(b.silence), nats.FlusherTimeout(b.silence),
		nats.PingInterval(b.silence / 2), nats.MaxPingsOutstanding(1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.fail(err) }),
		nats.ClosedHandler(func(nc *nats.Conn) { l.fail(nc.LastError()); close(closed) }),
	}, b.options...)...)
	if err != nil {
		return err
	}
	l.nc = nc
	b.conn.Store(nc)
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { l.tellSet(ctx) }) // until ctx is done, or it fails
	err = l.receive(ctx, to)
	b.conn.Store(nil)
	cancel()
	all.Wait()
	nc.Close()
	<-closed
	return err
}

var errClosed = errors.New("nats: the connection has ended")

// fail ends the link.
func (l *link) fail(err error) {
	if err == nil {
		err = errClosed
	}
	select {
	case l.failed <- err:
	default:
	}
}

// tellSet tells the server how the set changes.
func (l *link) tellSet(ctx context.Context) {
	l.b.set.Renew()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.b.set.Changed():
		}
		entered, err := l.change(ctx)
		if err != nil {
			l.fail(err)
			return
		}
		select {
		case l.live <- entered:
		case <-ctx.Done():
			return
		}
	}
}

// change returns what has entered the set, when the server has confirmed it.
func (l *link) change(ctx context.Context) (entered []string, err error) {
	enter, leave := l.b.set.Changes()
	for _, c := range leave {
		if err := l.subs[c].Unsubscribe(); err != nil {
			return nil, err
		}
		delete(l.subs, c)
	}
	for _, c := range enter {
		if l.subs[c] != nil { // it has never left
			continue
		}
		s, err := l.nc.ChanSubscribe(c, l.messages)
		if err != nil {
			return nil, err
		}
		l.subs[c] = s
	}
	if len(enter) == 0 {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, l.b.silence)
	defer cancel()
	return enter, l.nc.FlushWithContext(within)
}

func (l *link) receive(ctx context.Context, to cluster.Events) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.failed:
			return err
		case m := <-l.messages:
			to.Received(cluster.Message{Channel: m.Subject, Payload: m.Data})
		case entered := <-l.live:
			for _, c := range entered {
				if l.b.set.Confirmed(c) {
					to.Live(c)
				}
			}
		}
	}
}

// Publish is as cluster.Broker says: the server has taken a batch when it answers the
// ping behind it.
func (b *Broker) Publish(ctx context.Context, batch []cluster.Message) (settled int, err error) {
	nc := b.conn.Load()
	if nc == nil {
		return 0, cluster.ErrAway
	}
	var refused *cluster.RefusedError
	for i, m := range batch {
		switch err := nc.Publish(m.Channel, m.Payload); {
		case err == nil:
		case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
			if refused == nil {
				refused = new(cluster.RefusedError)
			}
			refused.At, refused.Err = append(refused.At, i), err
		case i == 0:
			return 0, fmt.Errorf("%w: %w", cluster.ErrAway, err)
		default:
			return 0, err
		}
	}
	within, cancel := context.WithTimeout(ctx, b.silence) // the library insists on one
	defer cancel()
	if err := nc.FlushWithContext(within); err != nil {
		return 0, err
	}
	if refused != nil {
		return len(batch), refused
	}
	return len(batch), nil
}
