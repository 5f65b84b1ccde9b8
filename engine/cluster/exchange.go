package cluster

import (
	"bytes"
	"context"
	"errors"
	"sync"
)

// Exchange is a broker within the process: the default, and enough for tests of several
// nodes in one process. Its zero value is ready.
type Exchange struct {
	mu       sync.Mutex
	channels map[string]map[*local]struct{}
}

// Broker returns a new connection to x, for one node.
func (x *Exchange) Broker() Broker { return &local{x: x, wake: make(chan struct{}, 1)} }

// mostWaiting is how many messages may wait for a node of an exchange; with more, all
// that wait are lost.
const mostWaiting = 1 << 16

var errOverrun = errors.New("cluster: the node was too slow for the exchange")

// A local is a node's connection. Its set is that of the exchange.
type local struct {
	x    *Exchange     // immutable
	wake chan struct{} // has one element if there may be something to do

	// guarded by x.mu
	queue   []told
	overrun bool
}

// told is a message, or that a channel is live.
type told struct {
	Message
	live bool
}

func (l *local) Subscribe(channels ...string) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	if l.x.channels == nil {
		l.x.channels = make(map[string]map[*local]struct{})
	}
	for _, c := range channels {
		in := l.x.channels[c]
		if in == nil {
			in = make(map[*local]struct{})
			l.x.channels[c] = in
		}
		if _, ok := in[l]; !ok {
			in[l] = struct{}{}
			l.addLocked(told{Message: Message{Channel: c}, live: true})
		}
	}
}

func (l *local) Unsubscribe(channels ...string) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	for _, c := range channels {
		delete(l.x.channels[c], l)
		if len(l.x.channels[c]) == 0 {
			delete(l.x.channels, c)
		}
	}
}

func (l *local) Publish(_ context.Context, batch []Message) (int, error) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	for _, m := range batch {
		m.Payload = bytes.Clone(m.Payload)
		for to := range l.x.channels[m.Channel] {
			to.addLocked(told{Message: m})
		}
	}
	return len(batch), nil
}

// addLocked needs x.mu.
func (l *local) addLocked(what told) {
	if len(l.queue) >= mostWaiting {
		l.queue, l.overrun = nil, true
	}
	if l.overrun { // Run makes all live again
		return
	}
	l.queue = append(l.queue, what)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *local) Run(ctx context.Context, to Events) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		batch, overrun := l.take()
		for _, what := range batch {
			if what.live {
				to.Live(what.Channel)
			} else {
				to.Received(what.Message)
			}
		}
		if overrun {
			to.Lost(errOverrun)
			l.again()
		}
	}
}

func (l *local) take() (batch []told, overrun bool) {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	batch, l.queue = l.queue, nil
	return batch, l.overrun
}

// again makes all channels of the set live.
func (l *local) again() {
	l.x.mu.Lock()
	defer l.x.mu.Unlock()
	l.overrun = false
	for c, in := range l.x.channels {
		if _, ok := in[l]; ok {
			l.addLocked(told{Message: Message{Channel: c}, live: true})
		}
	}
}
