package brokertest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Histories tests nodes that share an archive, which must keep what it has taken when it
// is killed.
func Histories(t *testing.T, start func(t testing.TB) Harness) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"one history on all nodes", historyOne},
		{"who comes back on another node", historyResume},
		{"while the archive is away", historyAway},
		{"an archive that has lost everything", historyWiped},
		{"an archive that has lost its latest", historyBack},
		{"who publishes gets it, too", historyOwn},
		{"a node that leaves has the last word", historyLeave},
		{"nothing that was acknowledged is missing", historyKill},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t)) })
	}
}

// shared starts a node whose rooms with h have a history in the archive.
func (h Harness) shared(t testing.TB, change func(*cluster.Config)) *member {
	b := h.New(t)
	return serve(t, b, h.archived(t, b, change))
}

func (h Harness) archived(t testing.TB, b cluster.Broker, change func(*cluster.Config)) func(*cluster.Config) {
	return func(c *cluster.Config) {
		withHistory(c)
		c.Archive = h.Archive(t, b)
		c.Hub.Envelope = func(dst []byte, m hub.Published) []byte { return fmt.Appendf(dst, "%d:%s", m.At.Seq, m.Payload) }
		if change != nil {
			change(c)
		}
	}
}

// kept publishes and returns the position.
func (m *member) kept(room, text string) hub.Position {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at, err := m.node.Room(room).Publish(ctx, frame.Text, []byte(text))
	require.NoError(m.t, err)
	return at
}

// history returns what a client gets that asks a node for all of a room, up to a number.
func (m *member) history(room string, last uint64) []string {
	m.t.Helper()
	p := m.dial("after=0-0&room=" + room)
	eventually(m.t, fmt.Sprintf("all of %s up to %d", room, last), func() bool { return hasNumber(p.got(), last) })
	return p.got()
}

func hasNumber(list []string, number uint64) bool {
	prefix := fmt.Sprintf("%d:", number)
	return slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

// requireNumbers requires the messages from first on, each once, in order, and no gap.
func requireNumbers(t testing.TB, got []string, first, last uint64) {
	t.Helper()
	require.Len(t, got, int(last-first+1))
	for i, text := range got {
		require.True(t, strings.HasPrefix(text, fmt.Sprintf("%d:", first+uint64(i))), "%q is number %d", text, first+uint64(i))
	}
}

func historyOne(t *testing.T, h Harness) {
	const each = 40
	var nodes []*member
	var peers []*peer
	for range 3 {
		m := h.shared(t, nil)
		nodes = append(nodes, m)
		peers = append(peers, m.dialLive("room=h"))
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	places := map[uint64]string{}
	for i, m := range nodes {
		all.Go(func() {
			for n := range each {
				at, err := m.node.Room("h").Publish(context.Background(), frame.Text, fmt.Appendf(nil, "n%d-%d", i, n))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				places[at.Seq] = fmt.Sprintf("%d:n%d-%d", at.Seq, i, n)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	require.Len(t, places, 3*each, "each has a place of its own")
	for i, p := range peers {
		eventually(t, "the last one comes", func() bool { return hasNumber(p.got(), 3*each) })
		got := p.got()
		first := uint64(1)
		requireNumbers(t, got, first, 3*each)
		for _, text := range got {
			require.Contains(t, places, numberOf(text))
			require.Equal(t, places[numberOf(text)], text)
		}
		require.Equal(t, nodes[0].node.Hub().Room("h").Position(), nodes[i].node.Hub().Room("h").Position())
	}
}

func numberOf(text string) (n uint64) {
	_, _ = fmt.Sscanf(text, "%d:", &n)
	return n
}

func historyResume(t *testing.T, h Harness) {
	m, other := h.shared(t, nil), h.shared(t, nil)
	var at hub.Position
	for i := range 20 {
		if last := m.kept("h", fmt.Sprint("m", i)); i == 9 {
			at = last
		}
	}
	p := other.dial("room=h&after=" + at.String())
	eventually(t, "what has been missed", func() bool { return len(p.got()) >= 10 })
	last := other.kept("h", "new")
	eventually(t, "and what is new", func() bool { return hasNumber(p.got(), last.Seq) })
	requireNumbers(t, p.got(), at.Seq+1, last.Seq)
	own := m.dial("room=h")
	m.kept("h", "its own")
	own.await(t, fmt.Sprintf("%d:its own", last.Seq+1))

	// A room that nobody is in on a node is not followed there, and complete when somebody
	// comes back.
	for range 20 {
		require.NoError(t, p.ws.Close())
		eventually(t, "the room is empty", func() bool { return other.node.Hub().Room("h").Len() == 0 })
		last = m.kept("h", "while nobody was there")
		p = other.dial("room=h&after=" + at.String())
		eventually(t, "nothing is missing", func() bool { return hasNumber(p.got(), last.Seq) })
		requireNumbers(t, p.got(), at.Seq+1, last.Seq)
	}
}

func historyAway(t *testing.T, h Harness) {
	m, other := h.shared(t, func(c *cluster.Config) { c.OutboxMessages = 10 }), h.shared(t, nil)
	here, there := m.dialLive("room=h&room=r"), other.dialLive("room=h")
	m.kept("h", "before")
	h.Kill(t)
	var mu sync.Mutex
	var places []uint64
	done := func(at hub.Position, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			places = append(places, at.Seq)
		}
	}
	for i := range 10 {
		require.NoError(t, m.node.Room("h").Keep(frame.Text, fmt.Appendf(nil, "waits-%d", i), done))
	}
	require.ErrorIs(t, m.node.Room("h").Keep(frame.Text, []byte("too many"), done), cluster.ErrOutboxFull)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := other.node.Room("h").Publish(ctx, frame.Text, []byte("does not wait"))
	require.ErrorIs(t, err, context.Canceled)
	m.room("r", "local")
	here.await(t, "local")
	h.Restart(t)
	eventually(t, "what has waited is kept", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(places) == 10
	})
	require.True(t, slices.IsSorted(places))
	eventually(t, "and has reached the other node", func() bool { return len(there.got()) == 12 })
	requireNumbers(t, there.got(), 1, 12)
	m.kept("h", "end")
	eventually(t, "the end comes", func() bool { return hasNumber(there.got(), 13) })
	requireNumbers(t, there.got(), 1, 13)
	require.Equal(t, there.got(), without(here.got(), "local"))
}

// historyWiped: numbers begin again, nobody is told a message under a number that stands
// for another, and all are told the gap.
func historyWiped(t *testing.T, h Harness) {
	m, other := h.shared(t, nil), h.shared(t, nil)
	here, there := m.dialLive("room=h"), other.dialLive("room=h")
	first := m.kept("h", "one")
	m.kept("h", "two")
	there.await(t, "2:two")
	h.Wipe(t)
	again := other.kept("h", "three")
	require.NotEqual(t, first.Epoch, again.Epoch)
	for _, p := range []*peer{here, there} {
		require.Equal(t, []string{"1:one", "2:two", "gap h 2-0", "1:three"}, p.await(t, "1:three"))
	}
	m.kept("h", "four")
	there.await(t, "2:four")
}

// historyBack: a server that was restored from an older copy would give numbers again that
// stand for other messages. Nodes that have seen them do not let it, even if it is one
// that has not who publishes.
func historyBack(t *testing.T, h Harness) {
	m := h.shared(t, nil)
	here := m.dialLive("room=h")
	first := m.kept("h", "one")
	here.await(t, "1:one")
	h.Kill(t)
	old := t.TempDir()
	require.NoError(t, os.CopyFS(old, os.DirFS(h.Dir)))
	h.Restart(t)
	m.waitLive("h")
	m.kept("h", "two")
	here.await(t, "2:two")
	h.Kill(t)
	require.NoError(t, os.RemoveAll(h.Dir))
	require.NoError(t, os.CopyFS(h.Dir, os.DirFS(old)))
	h.Restart(t)
	here.await(t, "gap h 2-0")
	again := h.shared(t, nil).kept("h", "other two")
	require.NotEqual(t, first.Epoch, again.Epoch)
	here.await(t, fmt.Sprintf("%d:other two", again.Seq))
	require.Equal(t, []string{"1:one", "2:two", "gap h 2-0", "1:other two"}, here.got())
}

// A slowShelf is an archive whose pages are let through.
type slowShelf struct {
	cluster.Archive
	let chan struct{}
}

func (s *slowShelf) Read(ctx context.Context, channel string, after uint64) (cluster.Page, error) {
	select {
	case <-s.let:
	case <-ctx.Done():
	}
	return s.Archive.Read(ctx, channel, after)
}

// historyOwn: a client that has joined and publishes gets its message, even if the node
// does not know yet where the room's history ends.
func historyOwn(t *testing.T, h Harness) {
	b := h.New(t)
	slow := &slowShelf{h.Archive(t, b), make(chan struct{})}
	m := serve(t, b, h.archived(t, b, func(c *cluster.Config) { c.Archive = slow }))
	own := m.dial("room=h")
	eventually(t, "it is a member", func() bool { return m.node.Hub().Room("h").Len() == 1 })
	done := make(chan hub.Position, 1)
	require.NoError(t, m.node.Room("h").Keep(frame.Text, []byte("mine"), func(at hub.Position, err error) { done <- at }))
	select {
	case <-done:
	case <-time.After(50 * time.Millisecond): // or not at all
	}
	close(slow.let)
	own.await(t, "1:mine")
}

func historyLeave(t *testing.T, h Harness) {
	m := h.shared(t, nil)
	m.dialLive("room=h")
	m.kept("h", "one")
	h.Kill(t)
	got := make(chan error, 1)
	require.NoError(t, m.node.Room("h").Keep(frame.Text, []byte("two"), func(_ hub.Position, err error) { got <- err }))
	m.stop()
	require.ErrorIs(t, <-got, cluster.ErrLeft)
	require.ErrorIs(t, m.node.Room("h").Keep(frame.Text, nil, nil), cluster.ErrLeft)
}

// An acked is what publishers have been told of: texts by their places, by rooms.
type acked struct {
	mu     sync.Mutex
	places map[string]map[uint64]string
	total  int
}

// publishers publish on all nodes, in all rooms, until stop, and wait for each answer.
func publishers(t testing.TB, nodes []*member, rooms int) (a *acked, stop func()) {
	a = &acked{places: make(map[string]map[uint64]string)}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i, m := range nodes {
		for w := range 4 {
			all.Go(func() { // until cancel
				for n := 0; ctx.Err() == nil; n++ {
					room, text := fmt.Sprint("h", (4*n+w)%rooms), fmt.Sprintf("n%d-%d-%d", i, w, n)
					at, err := m.node.Room(room).Publish(context.Background(), frame.Text, []byte(text))
					if err != nil {
						t.Error(err)
						return
					}
					a.note(t, room, at.Seq, text)
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
	}
	return a, func() { cancel(); all.Wait() }
}

func (a *acked) note(t testing.TB, room string, number uint64, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.places[room] == nil {
		a.places[room] = make(map[uint64]string)
	}
	if was := a.places[room][number]; was != "" {
		t.Errorf("%s and %s have the same place", was, text)
	}
	a.places[room][number] = text
	a.total++
}

func (a *acked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// progress waits until more has been acknowledged.
func (a *acked) progress(t testing.TB, more int) {
	t.Helper()
	before := a.count()
	eventually(t, "publishers go on", func() bool { return a.count() >= before+more })
}

// historyKill: the archive is killed again and again, and a node is cut off, in
// mid-traffic, with many connections in rooms on all nodes. When all is well again
// everybody has got everything that was acknowledged, once, in the same order.
func historyKill(t *testing.T, h Harness) {
	connections := 3000
	if testing.Short() {
		connections = 300
	}
	const rooms = 30
	proxy := NewProxy(t, h.Address)
	through := h.Through(t, proxy)
	plenty := func(c *cluster.Config) {
		c.Hub.History = func(string) hub.History { return hub.History{Messages: 10000, Bytes: -1} }
	}
	nodes := []*member{h.shared(t, plenty), h.shared(t, plenty), serve(t, through, h.archived(t, through, plenty))}
	peers := make([]*peer, connections)
	for i := range peers {
		peers[i] = nodes[i%3].dial(fmt.Sprintf("user=u%d&after=0-0&room=h%d", i, i/3%rooms))
	}
	for _, m := range nodes {
		for r := range rooms {
			m.waitLive(fmt.Sprint("h", r))
		}
	}
	a, stop := publishers(t, nodes, rooms)
	for range 3 {
		a.progress(t, 100)
		h.Kill(t)
		time.Sleep(100 * time.Millisecond)
		h.Restart(t)
	}
	a.progress(t, 100)
	nodes[2].waitLive("h0")
	before := nodes[2].node.Stats().Outages
	proxy.Cut()
	a.progress(t, 100) // by the nodes that are left
	eventually(t, "the cut is noticed", func() bool { return nodes[2].node.Stats().Outages > before })
	proxy.Heal()
	a.progress(t, 100)
	stop()
	for r := range rooms {
		room := fmt.Sprint("h", r)
		requireSameHistory(t, nodes, peers, a.places[room], room, r, rooms)
	}
	for _, m := range nodes {
		require.True(t, m.hasGap(cluster.Room, "h0"), "the program has been told that there was a gap")
	}
	inFirst := 3 // those who have come for the history
	for i := range peers {
		if i/3%rooms == 0 {
			inFirst++
		}
	}
	eventually(t, "the nodes agree on members and users", func() bool {
		for _, m := range nodes {
			if m.node.Members("h0") != inFirst || !m.node.Online("u0") || !m.node.Online("u2") {
				return false
			}
		}
		return true
	})
	t.Logf("%d messages acknowledged, to %d connections", a.count(), connections)
}

// requireSameHistory: what was acknowledged in a room is where it was acknowledged, for
// those who were there, and for one who comes now to whichever node.
func requireSameHistory(t testing.TB, nodes []*member, peers []*peer, places map[uint64]string, room string, r, rooms int) {
	last := uint64(0)
	for number := range places {
		last = max(last, number)
	}
	want := nodes[0].history(room, last)
	requireNumbers(t, want[:last], 1, last)
	texts := map[string]bool{}
	for _, s := range want {
		_, text, _ := strings.Cut(s, ":")
		require.False(t, texts[text], "%s is there twice", text)
		texts[text] = true
	}
	for number, text := range places {
		require.Equal(t, fmt.Sprintf("%d:%s", number, text), want[number-1])
	}
	for _, m := range nodes[1:] {
		require.Equal(t, want[:last], m.history(room, last)[:last], "the nodes agree on %s", room)
	}
	for i, p := range peers {
		if i/3%rooms != r {
			continue
		}
		eventually(t, "a member gets the last one", func() bool { return hasNumber(p.got(), last) })
		require.Equal(t, want[:last], p.got()[:last], "connection %d", i)
	}
}
