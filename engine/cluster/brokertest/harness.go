package brokertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
)

// Harness is a broker that tests can connect to, and break.
type Harness struct {
	// New returns a new connection. Its Silence should be below a second.
	New func(t testing.TB) cluster.Broker

	// Publish publishes as a client that is no node. Required.
	Publish func(t testing.TB, channel, payload string)

	// Kill ends the broker as a crash would, and Restart starts it again, at the same
	// address. Nil: it cannot die.
	Kill, Restart func(t testing.TB)

	// Through returns a connection by way of p. Nil: there is no network between.
	Through func(t testing.TB, p *Proxy) cluster.Broker

	// Archive returns what keeps histories, by way of a connection that New or Through
	// has returned. Nil: there is none.
	Archive func(t testing.TB, b cluster.Broker) cluster.Archive

	// Wipe makes the archive forget everything. Required with Archive.
	Wipe func(t testing.TB)

	// Dir is where the archive keeps its data. Required with Archive and Kill.
	Dir string

	// Address is that of the broker, for a Proxy. Empty: there is none.
	Address string
}

// patience is how long something may take that must happen.
const patience = 20 * time.Second

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	require.Eventually(t, happened, patience, 2*time.Millisecond, what)
}

// open returns a new connection, which runs, and the archive behind it.
func (h Harness) open(t testing.TB) (*tap, cluster.Archive) {
	b := h.New(t)
	return open(t, b).join("archive.probe"), h.Archive(t, b)
}

// shelves numbers the channels of all tests.
var shelves atomic.Int64

// A tap is a running broker and what it has told.
type tap struct {
	t testing.TB
	cluster.Broker

	mu       sync.Mutex
	received []cluster.Message
	live     map[string]int // how often, by channel
	lost     int
	inside   int // callbacks under way
	overlaps bool
}

// open runs a broker until the test ends.
func open(t testing.TB, b cluster.Broker) *tap {
	p := &tap{t: t, Broker: b, live: make(map[string]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { b.Run(ctx, cluster.Events{Received: p.onReceived, Live: p.onLive, Lost: p.onLost}) })
	t.Cleanup(func() {
		cancel()
		all.Wait()
		require.False(t, p.overlaps, "two callbacks at once")
	})
	return p
}

func (p *tap) event(f func()) {
	p.mu.Lock()
	p.overlaps = p.overlaps || p.inside > 0
	p.inside++
	f()
	p.mu.Unlock()
	p.mu.Lock()
	p.inside--
	p.mu.Unlock()
}

func (p *tap) onReceived(m cluster.Message) {
	m.Payload = append([]byte{}, m.Payload...)
	p.event(func() { p.received = append(p.received, m) })
}
func (p *tap) onLive(channel string) { p.event(func() { p.live[channel]++ }) }
func (p *tap) onLost(error)          { p.event(func() { p.lost++ }) }

// join subscribes and waits until the channels are live.
func (p *tap) join(channels ...string) *tap {
	p.t.Helper()
	p.Subscribe(channels...)
	for _, c := range channels {
		p.waitLive(c, 1)
	}
	return p
}

func (p *tap) waitLive(channel string, times int) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s is live %d times", channel, times), func() bool { return p.timesLive(channel) >= times })
}

func (p *tap) waitLost(times int) {
	p.t.Helper()
	eventually(p.t, "the broker is lost", func() bool { return p.timesLost() >= times })
}

func (p *tap) timesLost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (p *tap) timesLive(channel string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live[channel]
}

// payloads returns what has come on a channel.
func (p *tap) payloads(channel string) (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.received {
		if m.Channel == channel {
			list = append(list, string(m.Payload))
		}
	}
	return list
}

// wait waits until n payloads have come on a channel, and returns them.
func (p *tap) wait(channel string, n int) []string {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%d messages on %s", n, channel), func() bool { return len(p.payloads(channel)) >= n })
	return p.payloads(channel)
}

// say publishes, which must succeed.
func (p *tap) say(channel string, payloads ...string) {
	p.t.Helper()
	settled, err := p.try(channel, payloads...)
	require.NoError(p.t, err)
	require.Equal(p.t, len(payloads), settled)
}

func (p *tap) try(channel string, payloads ...string) (int, error) {
	var batch []cluster.Message
	for _, s := range payloads {
		batch = append(batch, cluster.Message{Channel: channel, Payload: []byte(s)})
	}
	return p.Publish(context.Background(), batch) // without a deadline, too, it comes to an end
}

// sayWhenBack publishes as soon as the broker takes it.
func (p *tap) sayWhenBack(channel, payload string) {
	p.t.Helper()
	eventually(p.t, "the broker takes messages again", func() bool {
		_, err := p.try(channel, payload)
		return err == nil
	})
}
