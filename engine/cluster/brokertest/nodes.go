package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Nodes tests nodes that share a broker. start is called once for each case.
func Nodes(t *testing.T, start func(t testing.TB) Harness) {
	cases := []struct {
		name  string
		needs func(Harness) bool
		run   func(*testing.T, Harness)
	}{
		{"rooms on three nodes", always, nodesRooms},
		{"users, all, and all but one", always, nodesScopes},
		{"rooms without local members hold no subscription", always, nodesSet},
		{"local delivery does not wait for the broker", always, nodesLocal},
		{"a full outbox drops the oldest, and tells", always, nodesDropOldest},
		{"a full outbox refuses", always, nodesRefuse},
		{"more channels lost than can be told apart", always, nodesLostMany},
		{"what is sent again arrives once", always, nodesAgain},
		{"what the broker refuses is a gap", always, nodesRefused},
		{"what the broker loses is a gap", always, nodesLost},
		{"histories", always, nodesHistory},
		{"presence", always, nodesPresence},
		{"a crashed node's users disappear", always, nodesCrash},
		{"plain channels", always, nodesPlain},
		{"junk on the nodes' channels", always, nodesJunk},
		{"the last words of a node that stops", always, nodesLastWords},
		{"the broker is killed in mid-traffic", mortal, nodesKill},
		{"a room that is joined while the broker is away", mortal, nodesJoinAway},
		{"three nodes, many connections, a silent partition", networked, nodesPartition},
	}
	able := start(t)
	for _, c := range cases {
		if c.needs(able) {
			t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
		}
	}
}

func three(t testing.TB, h Harness) (list [3]*member) {
	for i := range list {
		list[i] = serve(t, h.New(t), nil)
	}
	return list
}

// strange is the name of a room that no broker would take as it is.
const strange = "a b.c*>%/ü\n"

func nodesRooms(t *testing.T, h Harness) {
	m := three(t, h)
	a0, a1 := m[0].dialLive("room=a"), m[1].dialLive("room=a&room=b")
	b2 := m[2].dialLive("room=b")
	odd := m[2].dialLive("room=a%20b.c*%3E%25/%C3%BC%0A")
	long := strings.Repeat("x", 5000)
	far := m[2].dialLive("room=" + long)
	for i := range 300 {
		m[i%3].room("a", fmt.Sprintf("a%d-%d", i%3, i))
		m[i%3].room("b", fmt.Sprintf("b%d-%d", i%3, i))
	}
	m[0].room(strange, "odd")
	m[0].room(long, "long")
	for i := range m { // all that a node has published has arrived when this has
		m[i].room("a", fmt.Sprint("a-end", i))
		m[i].room("b", fmt.Sprint("b-end", i))
	}
	for p, rooms := range map[*peer]string{a0: "a", a1: "ab", b2: "b"} {
		for _, room := range strings.Split(rooms, "") {
			for i := range m {
				p.await(t, fmt.Sprint(room, "-end", i))
				requireStream(t, p, fmt.Sprintf("%s%d-", room, i), 100)
			}
		}
		require.Len(t, p.got(), 303*len(rooms), "each once, and nothing else")
	}
	odd.await(t, "odd")
	far.await(t, "long")
	require.Len(t, odd.got(), 1)
}

// requireStream checks that what one publisher has sent is there, in order.
func requireStream(t testing.TB, p *peer, prefix string, n int) {
	t.Helper()
	last, seen := -1, 0
	for _, s := range p.got() {
		var i int
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			_, err := fmt.Sscan(rest, &i)
			require.NoError(t, err)
			require.Greater(t, i, last, "%s: out of order, or twice", prefix)
			last = i
			seen++
		}
	}
	if n >= 0 {
		require.Equal(t, n, seen, prefix)
	}
}

func nodesScopes(t *testing.T, h Harness) {
	m := three(t, h)
	ctx := context.Background()
	u0, u2, v1 := m[0].dialLive("user=u&room=r"), m[2].dialLive("user=u&room=r"), m[1].dialLive("user=v&room=r")
	m[1].probe("r", u0)
	m[1].probe("r", u2)
	m[0].probe("r", v1)
	eventually(t, "the user's channel is live on both nodes", func() bool {
		_, err := m[1].node.User("u").Broadcast(ctx, frame.Text, []byte("probe-user"))
		require.NoError(t, err)
		return slices.Contains(u0.got(), "probe-user") && slices.Contains(u2.got(), "probe-user")
	})
	_, err := m[1].node.User("u").Broadcast(ctx, frame.Text, []byte("to u"))
	require.NoError(t, err)
	tally, err := m[1].node.All().Broadcast(ctx, frame.Binary, []byte("to all"))
	require.NoError(t, err)
	require.Equal(t, 1, tally.Queued, "the tally is that of the node")
	var self = slices.Collect(m[1].node.Hub().All().Conns())[0]
	_, err = m[1].node.All().Except(self).Broadcast(ctx, frame.Text, []byte("to others"))
	require.NoError(t, err)
	m[1].room("r", "end")
	for _, p := range []*peer{u0, u2} {
		p.await(t, "to others")
		require.Equal(t, []string{"to u", "to all", "to others"}, without(p.await(t, "to others"), "end"))
	}
	v1.await(t, "end")
	require.Equal(t, []string{"to all", "end"}, withoutProbes(v1.got()))
	_, err = m[1].node.User("u").Publish(ctx, frame.Text, nil)
	require.ErrorIs(t, err, hub.ErrNoHistory)
}

func without(list []string, text string) []string {
	return slices.DeleteFunc(withoutProbes(list), func(s string) bool { return s == text })
}

func nodesSet(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m := serve(t, g, nil)
	require.True(t, g.holds("penstock.all"))
	require.False(t, g.holds("penstock.room.a"))
	one, two := m.dialLive("room=a&user=u"), m.dialLive("room=a&room=b")
	require.True(t, g.holds("penstock.room.a") && g.holds("penstock.room.b") && g.holds("penstock.user.u"))
	require.NoError(t, one.ws.Close())
	eventually(t, "the user's channel is given up", func() bool { return !g.holds("penstock.user.u") })
	require.True(t, g.holds("penstock.room.a"), "somebody is left")
	require.NoError(t, two.ws.Close())
	eventually(t, "both are given up", func() bool { return !g.holds("penstock.room.a") && !g.holds("penstock.room.b") })
	require.False(t, m.node.Live(context.Background(), "a"))
	m.dialLive("room=a")
	require.True(t, g.holds("penstock.room.a"))
}

func nodesLocal(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m, other := serve(t, g, nil), serve(t, h.New(t), nil)
	here, there := m.dialLive("room=r"), other.dialLive("room=r")
	m.probe("r", there)
	g.turn(blocked)
	began := time.Now()
	for i := range 1000 {
		m.room("r", fmt.Sprintf("m-%d", i))
	}
	here.await(t, "m-999")
	t.Logf("1000 messages to a local member while the broker takes none: %v", time.Since(began))
	requireStream(t, here, "m-", 1000)
	require.NotContains(t, there.got(), "m-0")
	g.turn(opened)
	there.await(t, "m-999")
	requireStream(t, there, "m-", 1000)
	other.requireNoGaps()
}

func nodesDropOldest(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m := serve(t, g, func(c *cluster.Config) { c.OutboxMessages = 100 })
	other := serve(t, h.New(t), nil)
	here, there := m.dialLive("room=r"), other.dialLive("room=r")
	m.probe("r", there)
	m.shut(g)
	for i := 1; i <= 1000; i++ {
		m.room("r", fmt.Sprintf("m-%d", i))
	}
	require.LessOrEqual(t, m.node.Stats().Waiting, 100)
	require.InDelta(t, 900, m.node.Stats().Dropped, 5) // presence waits there, too
	g.turn(opened)
	arrived := withoutProbes(there.await(t, "m-1000"))
	requireStream(t, there, "m-", -1)
	require.InDelta(t, 100, len(arrived), 5)
	require.Equal(t, "m-990", arrived[len(arrived)-11], "the newest are kept")
	here.await(t, "m-1000")
	requireStream(t, here, "m-", 1000)
	require.Equal(t, []cluster.Gap{{Scope: cluster.Room, Name: "r", Node: m.node.ID()}}, other.gapList(), "one gap, and whose it is")
	m.requireNoGaps()

	// The last words are dropped, and nothing follows on that channel.
	m.shut(g)
	m.room("r", "never")
	m.flood(200)
	g.turn(opened)
	eventually(t, "the gap at the end is told", func() bool { return other.countGaps() == 2 })
	require.NotContains(t, there.got(), "never")
}

// flood fills the outbox with what nobody gets, when the broker is away.
func (m *member) flood(n int) {
	m.t.Helper()
	for range n {
		_, err := m.node.User("nobody").Broadcast(context.Background(), frame.Text, []byte("x"))
		require.NoError(m.t, err)
	}
}

// shut closes g and has the sender busy with something that is not taken any more: what is
// published from then on waits behind it.
func (m *member) shut(g *gate) {
	m.t.Helper()
	g.turn(away)
	before := g.inVain()
	m.flood(1)
	eventually(m.t, "something is on its way, and stays there", func() bool { return g.inVain() > before })
}

func (m *member) gapList() []cluster.Gap {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.gaps)
}

func nodesRefuse(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m := serve(t, g, func(c *cluster.Config) { c.OutboxBytes, c.WhenFull = 2000, cluster.Refuse })
	other := serve(t, h.New(t), nil)
	here, there := m.dialLive("room=r"), other.dialLive("room=r")
	m.probe("r", there)
	g.turn(away)
	refused := 0
	for i := range 100 {
		tally, err := m.node.Room("r").Broadcast(context.Background(), frame.Text, fmt.Appendf(nil, "m-%d", i))
		require.Equal(t, 1, tally.Queued)
		if err != nil {
			require.ErrorIs(t, err, cluster.ErrOutboxFull)
			refused++
		}
	}
	require.Greater(t, refused, 50)
	require.GreaterOrEqual(t, m.node.Stats().Refused, uint64(refused))
	here.await(t, "m-99")
	requireStream(t, here, "m-", 100)
	g.turn(opened)
	eventually(t, "the outbox is empty", func() bool { return m.node.Stats().Waiting == 0 })
	m.room("r", "end")
	there.await(t, "end")
	requireStream(t, there, "m-", 100-refused)
	other.requireNoGaps() // the publisher has been told; nobody else is
}

func nodesLostMany(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m := serve(t, g, func(c *cluster.Config) { c.OutboxMessages = 10 })
	other := serve(t, h.New(t), nil)
	there := other.dialLive("room=r&user=u")
	m.probe("r", there)
	g.turn(away)
	for i := range 3000 {
		m.room(fmt.Sprint("elsewhere", i), "x")
	}
	g.turn(opened)
	eventually(t, "a gap is told in everything", func() bool {
		return other.hasGap(cluster.Room, "r") && other.hasGap(cluster.User, "u") && other.hasGap(cluster.All, "")
	})
	m.room("r", "end")
	there.await(t, "end")
}

func nodesAgain(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	var plain atomic.Int64
	m, other := serve(t, g, nil), serve(t, h.New(t), nil)
	require.NoError(t, other.node.OnPlain("global", func(b []byte) {
		if string(b) == "p" {
			plain.Add(1)
		}
	}))
	there := other.dialLive("room=r")
	m.probe("r", there)
	g.turn(doubtful)
	m.room("r", "m-0")
	require.NoError(t, m.node.PublishPlain("global", []byte("p")))
	m.room("r", "m-1")
	there.await(t, "m-0")
	eventually(t, "it is sent again", func() bool { return other.node.Stats().Again >= 3 })
	g.turn(opened)
	m.room("r", "m-2")
	there.await(t, "m-2")
	requireStream(t, there, "m-", 3)
	other.requireNoGaps()
	eventually(t, "the plain one arrives, or is given up", func() bool {
		return plain.Load() == 1 || m.node.Stats().Dropped == 1
	})
	m.room("r", "m-3")
	there.await(t, "m-3")
	require.LessOrEqual(t, plain.Load(), int64(1), "a plain message has come twice")
}

func nodesRefused(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m, other := serve(t, g, nil), serve(t, h.New(t), nil)
	there := other.dialLive("room=r")
	m.probe("r", there)
	g.turn(refusing)
	m.room("r", "m-0")
	m.room("r", strings.Repeat("big", 100))
	eventually(t, "the gap is told though nothing follows", func() bool { return other.hasGap(cluster.Room, "r") })
	m.room("r", "m-1")
	there.await(t, "m-1")
	requireStream(t, there, "m-", 2)
	require.Equal(t, 1, other.countGaps())
	require.EqualValues(t, 1, m.node.Stats().Dropped)
}

func nodesLost(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m, other := serve(t, g, nil), serve(t, h.New(t), nil)
	there := other.dialLive("room=r")
	m.probe("r", there)
	other.requireNoGaps()
	g.turn(losing)
	m.room("r", "never")
	eventually(t, "it is lost", func() bool { return m.node.Stats().Waiting == 0 && g.inVain() > 0 })
	before := g.inVain()
	m.flood(1) // when this is taken, everything before it has been
	eventually(t, "it is lost", func() bool { return g.inVain() > before })
	g.turn(opened)
	m.room("r", "m-1")
	there.await(t, "m-1")
	require.NotContains(t, there.got(), "never")
	require.Equal(t, []cluster.Gap{{Scope: cluster.Room, Name: "r", Node: m.node.ID()}}, other.gapList())
}

// withHistory has the rooms that begin with h keep what is published.
func withHistory(c *cluster.Config) {
	c.Hub.History = func(room string) hub.History {
		if room[0] == 'h' {
			return hub.History{Messages: 1000}
		}
		return hub.History{}
	}
	c.Hub.Envelope = func(dst []byte, m hub.Published) []byte { return fmt.Appendf(dst, "%d:%s", m.At.Seq, m.Payload) }
	c.Hub.Gap = func(dst []byte, room string, from, to hub.Position) ([]byte, hub.Opcode) {
		return fmt.Appendf(dst, "gap %s %d-%d", room, from.Seq, to.Seq), frame.Text
	}
}

func (m *member) publish(room, text string) {
	m.t.Helper()
	_, err := m.node.Room(room).Publish(context.Background(), frame.Text, []byte(text))
	require.NoError(m.t, err)
}

func nodesHistory(t *testing.T, h Harness) {
	g := newGate(h.New(t))
	m, other := serve(t, g, func(c *cluster.Config) { withHistory(c); c.OutboxMessages = 100 }), serve(t, h.New(t), withHistory)
	here, there := m.dialLive("room=h"), other.dialLive("room=h")
	m.publish("h", "one")
	here.await(t, "1:one")
	there.await(t, "1:one")
	m.shut(g)
	m.publish("h", "two")
	m.publish("h", "three")
	m.flood(200)
	m.publish("h", "four")
	g.turn(opened)
	require.Equal(t, []string{"1:one", "gap h 1-2", "3:four"}, there.await(t, "3:four"), "the members are told where the gap is")

	// A room that nobody here was in for a while: what has come meanwhile is unknown.
	require.NoError(t, there.ws.Close())
	eventually(t, "the room is empty", func() bool { return other.node.Hub().Room("h").Len() == 0 })
	time.Sleep(100 * time.Millisecond) // it is unsubscribed from behind that, which nobody tells
	m.publish("h", "five")
	m.probe("x", other.dialLive("room=x")) // it has passed by
	again := other.dialLive("room=h")
	require.Equal(t, hub.Position{Epoch: other.node.Hub().Room("h").Position().Epoch, Seq: 4}, other.node.Hub().Room("h").Position())
	m.publish("h", "six")
	got := again.await(t, "5:six")
	require.Equal(t, "gap h 3-4", got[0])
	require.Empty(t, m.gapList())
}

func nodesPresence(t *testing.T, h Harness) {
	m := three(t, h)
	agree := func(what string, ok func(n *cluster.Node) bool) {
		t.Helper()
		eventually(t, what, func() bool {
			for i := range m[:] {
				if !ok(m[i].node) {
					return false
				}
			}
			return true
		})
	}
	agree("each knows the two others", func(n *cluster.Node) bool { return len(n.Nodes()) == 2 })
	u0 := m[0].dial("user=u&room=r")
	u1 := m[1].dial("user=u&room=r")
	v1 := m[1].dial("user=" + "%FF%FE" + "&room=r")
	agree("all are there", func(n *cluster.Node) bool {
		return n.Online("u") && n.Online("\xff\xfe") && !n.Online("w") && n.Members("r") == 3
	})
	for i := range 1000 { // more names than fit in one message
		m[1].node.Hub().Room(fmt.Sprint(strings.Repeat("n", 1000), i)).Join(slices.Collect(m[1].node.Hub().User("u").Conns())[0])
	}
	late := serve(t, h.New(t), nil)
	eventually(t, "a new node learns it", func() bool {
		return late.node.Online("u") && late.node.Online("\xff\xfe") && late.node.Members("r") == 3 && len(late.node.Nodes()) == 3 &&
			late.node.Members(strings.Repeat("n", 1000)+"0") == 1 && late.node.Members(strings.Repeat("n", 1000)+"999") == 1
	})
	require.NoError(t, u0.ws.Close())
	agree("the user is still on another node", func(n *cluster.Node) bool { return n.Online("u") && n.Members("r") == 2 })
	require.NoError(t, u1.ws.Close())
	agree("the user is nowhere", func(n *cluster.Node) bool { return !n.Online("u") && n.Members("r") == 1 })
	m[1].stop()
	eventually(t, "a node that leaves is forgotten at once", func() bool {
		return !m[0].node.Online("\xff\xfe") && m[0].node.Members("r") == 0 && len(m[0].node.Nodes()) == 2
	})
	require.True(t, m[1].node.Online("\xff\xfe"), "its own it still has")
	_ = v1
}

func nodesCrash(t *testing.T, h Harness) {
	const lease = 400 * time.Millisecond
	short := func(c *cluster.Config) { c.Lease = lease }
	g := newGate(h.New(t))
	m, other := serve(t, g, short), serve(t, h.New(t), short)
	m.dial("user=x&room=r")
	eventually(t, "it is known", func() bool { return other.node.Online("x") && other.node.Members("r") == 1 })
	g.turn(away)
	gone := time.Now()
	eventually(t, "it is forgotten", func() bool {
		return !other.node.Online("x") && other.node.Members("r") == 0 && len(other.node.Nodes()) == 0
	})
	require.Greater(t, time.Since(gone), lease/3, "before the lease had ended")
	g.turn(opened)
	eventually(t, "it is back", func() bool { return other.node.Online("x") && other.node.Members("r") == 1 })
	other.mu.Lock()
	defer other.mu.Unlock()
	require.True(t, other.nodes[m.node.ID()])
}

func nodesPlain(t *testing.T, h Harness) {
	var mu sync.Mutex
	got := make(map[string][]string)
	listen := func() *member {
		m := serve(t, h.New(t), nil)
		for _, channel := range []string{"global", "other.one"} {
			require.NoError(t, m.node.OnPlain(channel, func(b []byte) {
				mu.Lock()
				defer mu.Unlock()
				got[channel] = append(got[channel], string(b))
			}))
		}
		require.Error(t, m.node.OnPlain("no channel", nil))
		return m
	}
	count := func(channel, text string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range got[channel] {
			if s == text {
				n++
			}
		}
		return n
	}
	a, _ := listen(), listen()
	eventually(t, "both have subscribed", func() bool {
		before := count("global", "probe")
		h.Publish(t, "global", "probe")
		time.Sleep(5 * time.Millisecond)
		return count("global", "probe") == before+2
	})
	h.Publish(t, "global", "hello")
	h.Publish(t, "other.one", "there")
	eventually(t, "both nodes get what a foreign client says", func() bool {
		return count("global", "hello") == 2 && count("other.one", "there") == 2
	})
	require.NoError(t, a.node.PublishPlain("global", []byte("from a node")))
	eventually(t, "both get it, the publisher included", func() bool { return count("global", "from a node") == 2 })
	require.Error(t, a.node.PublishPlain("not a channel", nil))
	require.Equal(t, frame.Text, cluster.TypeOf([]byte("ü")))
	require.Equal(t, frame.Binary, cluster.TypeOf([]byte{0xff}))
}

func nodesJunk(t *testing.T, h Harness) {
	m, other := serve(t, h.New(t), nil), serve(t, h.New(t), nil)
	there := other.dialLive("room=r")
	m.probe("r", there)
	foreign := other.node.Stats().Foreign
	h.Publish(t, "penstock.room.r", "junk")
	h.Publish(t, "penstock.nodes", "junk")
	h.Publish(t, "penstock.all", strings.Repeat("P", 500))
	eventually(t, "junk is counted", func() bool { return other.node.Stats().Foreign == foreign+3 })
	m.room("r", "end")
	there.await(t, "end")
	require.Equal(t, []string{"end"}, withoutProbes(there.got()), "junk is not sent to clients")
}

func nodesLastWords(t *testing.T, h Harness) {
	m, other := serve(t, h.New(t), nil), serve(t, h.New(t), nil)
	there := other.dialLive("room=r")
	m.probe("r", there)
	for i := range 500 {
		m.room("r", fmt.Sprintf("m-%d", i))
	}
	m.stop()
	there.await(t, "m-499")
	requireStream(t, there, "m-", 500)
}

// traffic has every node publish in a room until stop is called, which returns how many
// each has published.
func traffic(m []*member, room string, pause time.Duration) (stop func() []int) {
	ctx, cancel := context.WithCancel(context.Background())
	counts := make([]int, len(m))
	var all sync.WaitGroup
	for i := range m {
		all.Go(func() { // until cancel
			for ctx.Err() == nil {
				m[i].room(room, fmt.Sprintf("n%d-%d", i, counts[i]))
				counts[i]++
				time.Sleep(pause)
			}
		})
	}
	return func() []int {
		cancel()
		all.Wait()
		return counts
	}
}

func nodesKill(t *testing.T, h Harness) {
	nodes := three(t, h)
	m := nodes[:]
	var peers []*peer
	for i := range m {
		peers = append(peers, m[i].dialLive(fmt.Sprintf("room=r&user=u%d", i)))
	}
	for i := range m {
		m[i].probe("r", peers[(i+1)%3])
	}
	stop := traffic(m, "r", time.Millisecond)
	for range 3 {
		time.Sleep(100 * time.Millisecond)
		h.Kill(t)
		time.Sleep(100 * time.Millisecond)
		h.Restart(t)
		m[0].waitBack(m)
	}
	counts := stop()
	m[0].waitBack(m)
	for i := range m {
		m[i].probe("r", peers[(i+1)%3])
		m[i].probe("r", peers[(i+2)%3])
	}
	arrived, total := 0, counts[0]+counts[1]+counts[2]
	for i, p := range peers {
		for from := range m {
			requireStream(t, p, fmt.Sprintf("n%d-", from), map[bool]int{true: counts[from], false: -1}[from == i])
		}
		require.True(t, m[i].hasGap(cluster.Room, "r"), "the room's gap is told")
		require.True(t, m[i].hasGap(cluster.User, fmt.Sprint("u", i)), "the user's, too")
		require.True(t, m[i].hasGap(cluster.All, ""))
		got := len(withoutProbes(p.got()))
		arrived += got
		s := m[i].node.Stats()
		require.Zero(t, s.Waiting)
		t.Logf("node %d: %d of %d arrived, %d of them again, %d gaps", i, got, total, s.Again, s.Gaps)
		require.GreaterOrEqual(t, s.Outages, uint64(3))
	}
	// Nodes that do not wait for each other lose a third and more.
	require.Greater(t, arrived, 3*total*85/100, "what waited for the broker has been lost")
	m[0].agree(m, 3)
}

// waitBack waits until the room is live on all nodes.
func (m *member) waitBack(all []*member) {
	for _, one := range all {
		one.waitLive("r")
	}
}

// agree waits until all nodes agree that n users u0… are online, in room r.
func (m *member) agree(all []*member, n int) {
	m.t.Helper()
	eventually(m.t, "the nodes agree on who is online", func() bool {
		for _, one := range all {
			if one.node.Members("r") != n || len(one.node.Nodes()) != len(all)-1 {
				return false
			}
			for i := range n {
				if !one.node.Online(fmt.Sprint("u", i)) {
					return false
				}
			}
		}
		return true
	})
}

func nodesJoinAway(t *testing.T, h Harness) {
	m, other := serve(t, h.New(t), nil), serve(t, h.New(t), nil)
	first := m.dialLive("room=first")
	other.probe("first", first)
	h.Kill(t)
	eventually(t, "the outage is noticed", func() bool { return m.node.Stats().Outages > 0 })
	p := m.dial("room=r")
	m.room("r", "local")
	p.await(t, "local")
	h.Restart(t)
	m.waitLive("r", "first")
	require.True(t, m.hasGap(cluster.Room, "r"), "what was published before the room was live may be missing")
	other.probe("r", p)
}

func nodesPartition(t *testing.T, h Harness) {
	connections := 900
	if testing.Short() {
		connections = 300
	}
	const rooms, lease = 30, 2 * time.Second
	proxy := NewProxy(t, h.Address)
	short := func(c *cluster.Config) { c.Lease = lease }
	m := []*member{serve(t, h.New(t), short), serve(t, h.New(t), short), serve(t, h.Through(t, proxy), short)}
	peers := make([]*peer, connections)
	for i := range peers { // two in three rooms are on all nodes
		peers[i] = m[i%3].dial(fmt.Sprintf("user=u%d&room=r%d&room=r", i, i%rooms))
	}
	for i := range m {
		m[i].waitLive("r")
	}
	m[0].agree(m, connections)
	stop := traffic(m, "r7", 10*time.Millisecond) // 30 members, on the second node alone
	proxy.Cut()
	eventually(t, "the nodes that are left take the third for dead", func() bool {
		return len(m[0].node.Nodes()) == 1 && len(m[1].node.Nodes()) == 1 && m[0].node.Members("r") == (connections+2)/3+(connections+1)/3
	})
	require.False(t, m[0].node.Online("u2"))
	eventually(t, "and it is alone", func() bool { return len(m[2].node.Nodes()) == 0 && m[2].node.Members("r") == connections/3 })
	proxy.Heal()
	m[0].agree(m, connections)
	stop()
	require.True(t, m[2].hasGap(cluster.Room, "r"))
	if m[0].node.Stats().Outages == 0 { // or this machine was too busy for it
		require.False(t, m[0].hasGap(cluster.Room, "r"), "who was not cut off has no gap")
	}
	for room := range rooms {
		name := fmt.Sprint("r", room)
		for i := range m {
			require.Equal(t, connections/rooms, m[i].node.Members(name), "node %d, room %s", i, name)
		}
	}
	m[2].probe("r", peers[0])
	m[2].room("r", "end")
	var missing bytes.Buffer
	for i, p := range peers {
		eventually(t, "everybody gets the last message", func() bool { return slices.Contains(p.got(), "end") })
		requireStream(t, p, "n1-", -1)
		if n := strings.Count(strings.Join(p.got(), "\n"), "end"); n != 1 {
			fmt.Fprintln(&missing, i, n)
		}
	}
	require.Empty(t, missing.String())
}
