package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
)

// Contract tests a broker against what cluster.Broker says. start is called once for each
// case.
func Contract(t *testing.T, start func(t testing.TB) Harness) {
	cases := []struct {
		name  string
		needs func(Harness) bool
		run   func(*testing.T, Harness)
	}{
		{"everybody who subscribes gets everything in order", always, contractOrder},
		{"a channel is its own", always, contractChannels},
		{"payloads arrive as they are", always, contractPayloads},
		{"a client that is no node", always, contractForeign},
		{"nothing before it is subscribed or after", always, contractSet},
		{"a channel that leaves and enters is live in the end", always, contractToggle},
		{"a channel that enters again is told again", always, contractAgain},
		{"thousands of channels", always, contractMany},
		{"the set is established when Run begins", always, contractBeforeRun},
		{"a killed broker is lost and comes back with the set", mortal, contractKill},
		{"the set changes while the broker is away", mortal, contractChangeAway},
		{"nothing is taken while the broker is away", mortal, contractAway},
		{"Run waits for a broker that is not there yet", mortal, contractLate},
		{"a silent network is noticed", networked, contractSilence},
		{"a silent network confirms nothing", networked, contractUnconfirmed},
		{"Run ends while the network is silent", networked, contractEndSilent},
	}
	able := start(t)
	for _, c := range cases {
		if c.needs(able) {
			t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
		}
	}
}

func always(Harness) bool      { return true }
func mortal(h Harness) bool    { return h.Kill != nil }
func networked(h Harness) bool { return h.Through != nil }

func numbered(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%d", prefix, i))
	}
	return list
}

func contractOrder(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("c"), open(t, h.New(t)).join("c")
	list := numbered("m", 500)
	for i := 0; i < len(list); i += 50 {
		a.say("c", list[i:i+50]...)
	}
	require.Equal(t, list, b.wait("c", len(list)))
	require.Equal(t, list, a.wait("c", len(list)), "the publisher's own come back")
}

func contractChannels(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("one.x"), open(t, h.New(t)).join("one.y", "one.x.y", "end")
	a.say("one.x", "x")
	a.say("one", "nobody")
	a.say("one.x.y", "xy")
	a.say("one.y", "y")
	a.say("end", ".")
	b.wait("end", 1)
	require.Equal(t, []string{"y"}, b.wait("one.y", 1))
	require.Equal(t, []string{"xy"}, b.wait("one.x.y", 1))
	require.Empty(t, b.payloads("one.x"))
	require.Equal(t, []string{"x"}, a.wait("one.x", 1))
}

func contractPayloads(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)), open(t, h.New(t)).join("c%2F_-", "c")
	list := []string{"", "\x00\xff\r\n", strings.Repeat("x", 512<<10), "last"}
	a.waitRunning()
	for _, s := range list {
		a.sayWhenBack("c", s)
	}
	a.say("c%2F_-", "!")
	require.Equal(t, list, b.wait("c", len(list)))
	b.wait("c%2F_-", 1)
}

// waitRunning waits until something can be published.
func (p *tap) waitRunning() { p.join("running.probe") }

func contractForeign(t *testing.T, h Harness) {
	a := open(t, h.New(t)).join("global")
	h.Publish(t, "global", "hello")
	require.Equal(t, []string{"hello"}, a.wait("global", 1))
}

func contractSet(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("end"), open(t, h.New(t)).join("end")
	a.say("c", "too early")
	b.join("c")
	a.say("c", "in time")
	b.wait("c", 1)
	b.Unsubscribe("c")
	b.Unsubscribe("c", "never")
	eventually(t, "it is unsubscribed", func() bool {
		before := len(b.payloads("c"))
		a.say("c", "perhaps")
		a.say("end", ".")
		b.wait("end", len(a.wait("end", 1)))
		return len(b.payloads("c")) == before
	})
	for _, s := range b.payloads("c") {
		require.NotEqual(t, "too early", s)
	}
}

func contractToggle(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("end"), open(t, h.New(t)).join("c")
	for range 200 {
		b.Unsubscribe("c")
		b.Subscribe("c")
	}
	b.join("after") // everything before has been told
	eventually(t, "messages arrive", func() bool {
		a.say("c", "m")
		return len(b.payloads("c")) > 0
	})
	for range 99 {
		b.Unsubscribe("c")
		b.Subscribe("c")
	}
	b.Unsubscribe("c")
	b.join("later")
	eventually(t, "none arrive", func() bool {
		before := len(b.payloads("c"))
		a.say("c", "m")
		a.say("later", "m")
		b.wait("later", 1)
		return len(b.payloads("c")) == before
	})
}

// However soon: a node has another subscription then, which waits for it.
func contractAgain(t *testing.T, h Harness) {
	b := open(t, h.New(t)).join("c")
	for i := range 100 {
		b.Unsubscribe("c")
		b.Subscribe("c")
		b.waitLive("c", 2+i)
	}
}

func contractMany(t *testing.T, h Harness) {
	const n = 5000
	a, b := open(t, h.New(t)), open(t, h.New(t))
	list := numbered("many.", n)
	for i := range list { // one by one, as rooms come
		b.Subscribe(list[i])
	}
	for _, c := range list {
		b.waitLive(c, 1)
	}
	a.waitRunning()
	for _, c := range list {
		a.say(c, c)
		if t.Failed() {
			return
		}
	}
	eventually(t, "each has arrived", func() bool { // channels of several servers have no order
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.received) >= n
	})
	for _, c := range list {
		require.Equal(t, []string{c}, b.payloads(c))
		if len(c) > 8 { // the rest is like the first thousand
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(t, b.received, n)
}

func contractBeforeRun(t *testing.T, h Harness) {
	b := h.New(t)
	b.Subscribe("c", "d")
	b.Unsubscribe("d")
	p := open(t, b)
	p.waitLive("c", 1)
	p.join("end")
	p.say("d", "no")
	p.say("c", "yes")
	p.say("end", ".")
	p.wait("c", 1) // by another server than "end", perhaps
	p.wait("end", 1)
	require.Equal(t, []string{"yes"}, p.payloads("c"))
	require.Empty(t, p.payloads("d"))
}

func contractKill(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("a"), open(t, h.New(t)).join("c", "d")
	for round := 1; round <= 3; round++ {
		h.Kill(t)
		a.waitLost(1)
		b.waitLost(round)
		h.Restart(t)
		b.waitLive("c", round+1)
		b.waitLive("d", round+1)
		a.waitLive("a", round+1)
		a.sayWhenBack("c", fmt.Sprint("c", round))
		a.sayWhenBack("d", fmt.Sprint("d", round))
		b.wait("c", round)
		b.wait("d", round)
	}
	require.Equal(t, []string{"c1", "c2", "c3"}, b.payloads("c"))
}

func contractChangeAway(t *testing.T, h Harness) {
	a, b := open(t, h.New(t)).join("a"), open(t, h.New(t)).join("old", "stays")
	h.Kill(t)
	b.waitLost(1)
	b.Unsubscribe("old")
	b.Subscribe("new")
	h.Restart(t)
	b.waitLive("stays", 2)
	b.waitLive("new", 1)
	a.waitLive("a", 2)
	a.sayWhenBack("old", "no")
	a.sayWhenBack("new", "yes")
	a.sayWhenBack("stays", "yes")
	b.wait("new", 1)
	b.wait("stays", 1)
	require.Empty(t, b.payloads("old"))
}

func contractAway(t *testing.T, h Harness) {
	a := open(t, h.New(t)).join("a")
	h.Kill(t)
	a.waitLost(1)
	eventually(t, "the broker is known to be away", func() bool {
		settled, err := a.try("a", "1", "2")
		require.Error(t, err, "a dead broker takes messages")
		require.Zero(t, settled)
		return errors.Is(err, cluster.ErrAway)
	})
}

func contractLate(t *testing.T, h Harness) {
	h.Kill(t)
	b := open(t, h.New(t))
	b.Subscribe("c")
	b.waitLost(2)
	h.Restart(t)
	b.waitLive("c", 1)
	b.say("c", "m")
	b.wait("c", 1)
}

func contractSilence(t *testing.T, h Harness) {
	p := NewProxy(t, h.Address)
	a, b := open(t, h.New(t)).join("a"), open(t, h.Through(t, p)).join("c")
	lost := b.timesLost()
	for attempt := 1; ; attempt++ {
		time.Sleep(3 * time.Second) // longer than Silence: a connection on which nothing happens is no dead one
		now := b.timesLost()
		if now == lost {
			break
		}
		require.Less(t, attempt, 3, "an idle connection is taken for dead, and not because this machine is busy")
		lost = now
	}
	lives := b.timesLive("c")
	p.Cut()
	b.waitLost(lost + 1)
	a.say("c", "missed")
	p.Heal()
	b.waitLive("c", lives+1)
	a.say("c", "heard")
	require.Equal(t, []string{"heard"}, b.wait("c", 1))
}

func contractUnconfirmed(t *testing.T, h Harness) {
	p := NewProxy(t, h.Address)
	b := open(t, h.Through(t, p)).join("c")
	p.Cut()
	b.Subscribe("new")
	settled, err := b.try("c", "1", "2")
	require.Error(t, err)
	require.Zero(t, settled, "it has been taken by nobody")
	b.waitLost(1)
	require.Zero(t, b.timesLive("new"), "a channel is live of which the broker has not heard")
	p.Heal()
	b.waitLive("new", 1)
}

func contractEndSilent(t *testing.T, h Harness) {
	p := NewProxy(t, h.Address)
	b := h.Through(t, p)
	live := make(chan struct{})
	var once sync.Once
	b.Subscribe("c")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		b.Run(ctx, cluster.Events{
			Received: func(cluster.Message) {}, Live: func(string) { once.Do(func() { close(live) }) }, Lost: func(error) {},
		})
	}()
	await(t, "live", live)
	p.Cut()
	cancel()
	await(t, "Run has returned", ended)
}

func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		require.FailNow(t, "it has not happened", what)
	}
}
