package brokertest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A member is a node of a test, on a server.
type member struct {
	t    testing.TB
	node *cluster.Node
	url  string

	cancel func()
	ended  chan struct{}

	mu    sync.Mutex
	gaps  []cluster.Gap
	nodes map[string]bool
}

type queryKey struct{}

// serve starts a node. Its connections say in the query who they are (user) and in which
// rooms (room, repeatable), and where they were in them (after).
func serve(t testing.TB, b cluster.Broker, change func(*cluster.Config)) *member {
	m := &member{t: t, ended: make(chan struct{}), nodes: make(map[string]bool)}
	e, err := engine.New(engine.Config{Logger: slog.New(slog.DiscardHandler), MaxMessageBytes: 4 << 20}, engine.Endpoint{})
	require.NoError(t, err)
	cfg := cluster.Config{
		Broker: b, OnGap: m.onGap, OnNode: m.onNode, Logger: slog.New(slog.DiscardHandler), Lease: time.Minute,
		Hub: hub.Config{User: func(c *engine.Conn) string { return c.Get(queryKey{}).(url.Values).Get("user") }},
	}
	if change != nil {
		change(&cfg)
	}
	m.node, err = cluster.New(e, cfg)
	require.NoError(t, err)
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: m.node.Hub().Handler(engine.Handler{
		Admit: func(r *http.Request) error {
			interceptors.ConnStore(r.Context()).Set(queryKey{}, r.URL.Query())
			return nil
		},
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			query := c.Get(queryKey{}).(url.Values)
			after, err := hub.ParsePosition(query.Get("after"))
			for _, room := range query["room"] {
				if err == nil {
					m.node.Hub().Room(room).Resume(c, after)
				} else {
					m.node.Hub().Room(room).Join(c)
				}
			}
			return nil
		},
	})}))
	m.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() { // until cancel
		defer close(m.ended)
		m.node.Run(ctx)
	}()
	t.Cleanup(func() {
		m.stop()
		require.NoError(t, e.Shutdown(context.Background()))
		srv.Close()
	})
	return m
}

// stop ends the node's part in the cluster.
func (m *member) stop() {
	m.cancel()
	await(m.t, "the node has left the cluster", m.ended)
}

func (m *member) onGap(g cluster.Gap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaps = append(m.gaps, g)
}

func (m *member) onNode(id string, alive bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[id] = alive
}

// hasGap reports whether a gap has been told.
func (m *member) hasGap(s cluster.Scope, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.gaps, func(g cluster.Gap) bool { return g.Scope == s && g.Name == name })
}

func (m *member) countGaps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.gaps)
}

// requireNoGaps wants none to have been told, unless this machine was too busy to hear from
// its broker in time.
func (m *member) requireNoGaps() {
	m.t.Helper()
	if m.node.Stats().Outages == 0 {
		require.Zero(m.t, m.countGaps())
	}
}

// A peer is a client and what it has got.
type peer struct {
	ws *websocket.Conn
	mu sync.Mutex
	in []string
}

// dial connects a client, which is in the rooms when it returns, on all nodes.
func (m *member) dial(query string) *peer {
	m.t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(m.url+"?"+query, nil)
	require.NoError(m.t, err)
	p := &peer{ws: ws}
	var reader sync.WaitGroup
	reader.Go(p.read) // until the connection is closed
	m.t.Cleanup(func() { _ = ws.Close(); reader.Wait() })
	return p
}

// dialLive is dial that waits until the rooms are live.
func (m *member) dialLive(query string) *peer {
	m.t.Helper()
	p := m.dial(query)
	values, err := url.ParseQuery(query)
	require.NoError(m.t, err)
	m.waitLive(values["room"]...)
	return p
}

func (m *member) waitLive(rooms ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, room := range rooms {
		require.True(m.t, m.node.Live(ctx, room), "room %q is live", room)
	}
}

func (p *peer) read() {
	for {
		_, text, err := p.ws.ReadMessage()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.in = append(p.in, string(text))
		p.mu.Unlock()
	}
}

func (p *peer) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.in)
}

// await waits for a message and returns all up to it.
func (p *peer) await(t testing.TB, text string) []string {
	t.Helper()
	var got []string
	eventually(t, "a client gets "+text, func() bool {
		got = p.got()
		return slices.Contains(got, text)
	})
	return got[:slices.Index(got, text)+1]
}

func (m *member) room(name, text string) {
	m.t.Helper()
	_, err := m.node.Room(name).Broadcast(context.Background(), frame.Text, []byte(text))
	require.NoError(m.t, err)
}

// probes numbers them over all tests.
var probes atomic.Int64

// probe publishes in a room until a client on another node gets it: the way is open then.
func (m *member) probe(room string, to *peer) {
	m.t.Helper()
	for i := 0; ; i++ {
		text := fmt.Sprint("probe-", probes.Add(1))
		m.room(room, text)
		for range 50 {
			if slices.Contains(to.got(), text) {
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		require.Less(m.t, i, 200, "nothing gets through")
	}
}

// withoutProbes leaves out what probe has sent.
func withoutProbes(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, "probe-") })
}
