package brokertest

import (
	"context"
	"errors"
	"sync"

	"github.com/penstock-ws/penstock/engine/cluster"
)

// A gate is a broker that can fail to publish.
type gate struct {
	cluster.Broker

	mu    sync.Mutex
	mode  mode
	tries int             // that did not get through: the broker was away, or lost it
	block chan struct{}   // of blocked: closed when it is over
	set   map[string]bool // what is subscribed
}

type mode uint8

const (
	opened   mode = iota
	away          // nothing is sent
	doubtful      // everything is sent, and nobody knows
	blocked       // it takes its time
	refusing      // what is bigger than a news is refused
	losing        // what it says that it has taken is lost
)

var errUnknown = errors.New("brokertest: nobody knows")

func newGate(b cluster.Broker) *gate { return &gate{Broker: b, set: make(map[string]bool)} }

func (g *gate) turn(m mode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mode == blocked {
		close(g.block)
	}
	if m == blocked {
		g.block = make(chan struct{})
	}
	g.mode = m
}

func (g *gate) Publish(ctx context.Context, batch []cluster.Message) (int, error) {
	g.mu.Lock()
	m, block := g.mode, g.block
	if m == away || m == losing {
		g.tries++
	}
	g.mu.Unlock()
	switch m {
	case away:
		return 0, cluster.ErrAway
	case doubtful:
		_, _ = g.Broker.Publish(ctx, batch)
		return 0, errUnknown
	case blocked:
		select {
		case <-block:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	case losing:
		return len(batch), nil
	case refusing:
		return g.refuse(ctx, batch)
	}
	return g.Broker.Publish(ctx, batch)
}

// refuse refuses messages of more than 100 bytes.
func (g *gate) refuse(ctx context.Context, batch []cluster.Message) (int, error) {
	var rest []cluster.Message
	refused := &cluster.RefusedError{Err: errUnknown}
	for i, m := range batch {
		if len(m.Payload) > 100 {
			refused.At = append(refused.At, i)
		} else {
			rest = append(rest, m)
		}
	}
	if _, err := g.Broker.Publish(ctx, rest); err != nil {
		return 0, err
	}
	if len(refused.At) > 0 {
		return len(batch), refused
	}
	return len(batch), nil
}

func (g *gate) Subscribe(channels ...string) {
	g.mu.Lock()
	for _, c := range channels {
		g.set[c] = true
	}
	g.mu.Unlock()
	g.Broker.Subscribe(channels...)
}

func (g *gate) Unsubscribe(channels ...string) {
	g.mu.Lock()
	for _, c := range channels {
		delete(g.set, c)
	}
	g.mu.Unlock()
	g.Broker.Unsubscribe(channels...)
}

// inVain returns how often something could not be published.
func (g *gate) inVain() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tries
}

func (g *gate) holds(channel string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.set[channel]
}
