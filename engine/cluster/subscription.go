package cluster

import (
	"context"
	"sync"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
)

// A subscription is a channel that the node wants: of a room or a user while it has
// connections here.
type subscription struct {
	// immutable
	scope    Scope
	name     string
	presence bool // of the nodes, which is no scope
	shared   bool // a room whose history is in the archive

	ready     chan struct{} // shared: closed when the room has all that the archive had
	readyOnce sync.Once

	// guarded by replayer.mu
	reading bool // it waits to be read, or is
	again   bool // after that it is to be read once more

	heard heard // by the broker's goroutine only

	// guarded by Node.mu
	live  chan struct{}          // closed while it is established
	doubt bool                   // messages may have been missed before it is live
	hear  []func(payload []byte) // of a plain channel; only added to
}

// watch has the hub's changes followed.
func (n *Node) watch(cfg hub.Config) hub.Config {
	if history := cfg.History; history != nil && n.cfg.Archive != nil {
		cfg.History = func(room string) hub.History {
			limits := history(room)
			limits.Shared = limits.Messages > 0
			return limits
		}
	}
	onRoom, onUser, onMember := cfg.OnRoom, cfg.OnUser, cfg.OnMember
	cfg.OnRoom = func(room string, occupied bool) {
		n.want(Room, room, occupied)
		if onRoom != nil {
			onRoom(room, occupied)
		}
	}
	cfg.OnUser = func(user string, online bool) {
		n.want(User, user, online)
		n.presence.userChanged(user, online)
		if onUser != nil {
			onUser(user, online)
		}
	}
	cfg.OnMember = func(room string, c *engine.Conn, joined bool) {
		n.presence.roomChanged(room, joined)
		if onMember != nil {
			onMember(room, c, joined)
		}
	}
	return cfg
}

// want is called by the hub, one call after the other.
func (n *Node) want(s Scope, name string, wanted bool) {
	if wanted {
		n.subscribe(s, name)
		return
	}
	c := n.channel(s, name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subs[c] != nil {
		delete(n.subs, c)
		n.cfg.Broker.Unsubscribe(c)
	}
}

func (n *Node) subscribe(s Scope, name string) {
	n.add(n.channel(s, name), &subscription{scope: s, name: name})
}

func (n *Node) subscribePresence() {
	n.add(n.nodesChannel(), &subscription{presence: true})
}

func (n *Node) nodesChannel() string { return n.cfg.Prefix + ".nodes" }

func (n *Node) add(channel string, s *subscription) {
	s.heard, s.live, s.ready = make(heard), make(chan struct{}), make(chan struct{})
	s.shared = s.scope == Room && n.shares(s.name)
	// A history that is older than the subscription lacks what has come between.
	s.doubt = s.scope == Room && !s.shared && n.hub.Room(s.name).Position().Seq > 0
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subs[channel] != nil {
		return
	}
	// What was answered before the nodes' channel was live has not been heard.
	s.doubt = s.doubt || s.presence || n.away
	n.subs[channel] = s
	n.cfg.Broker.Subscribe(channel)
}

func (n *Node) find(channel string) *subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.subs[channel]
}

// Live waits until what other nodes publish in a room arrives here, and what an archive
// has of it is here. It returns false if ctx is done before, or the room has no members
// here.
func (n *Node) Live(ctx context.Context, room string) bool {
	s := n.find(n.channel(Room, room))
	if s == nil {
		return false
	}
	n.mu.Lock()
	live := s.live
	n.mu.Unlock()
	return open(ctx, live) && (!s.shared || open(ctx, s.ready))
}

// open waits until a channel is closed, or ctx is done: false.
func open(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// events is what the broker calls.
func (n *Node) events() Events {
	return Events{Received: n.received, Live: n.established, Lost: n.lost}
}

// established is told by the broker.
func (n *Node) established(channel string) {
	n.mu.Lock()
	s := n.subs[channel]
	if s == nil {
		n.mu.Unlock()
		return
	}
	back := n.away
	n.away = false
	doubt := s.doubt
	s.doubt = false
	n.mu.Unlock()
	if back {
		n.cfg.Logger.Info("penstock: the broker is back", "node", n.ID())
		n.outbox.hold(settleFor)
	}
	if s.shared {
		n.replayer.add(s)
	}
	if doubt {
		n.gap(s, "")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-s.live:
	default:
		close(s.live)
	}
}

// lost is told by the broker.
func (n *Node) lost(err error) {
	n.mu.Lock()
	told := n.away
	n.away = true
	for _, s := range n.subs {
		s.doubt = true
		select {
		case <-s.live:
			s.live = make(chan struct{})
		default:
		}
	}
	n.mu.Unlock()
	if !told {
		n.outbox.hold(holdFor)
		n.stats.outages.Add(1)
		n.cfg.Logger.Warn("penstock: the broker is lost", "node", n.ID(), "error", err)
	}
}

// gap tells that messages may be missing.
func (n *Node) gap(s *subscription, node string) {
	if s.presence {
		n.presence.askAll()
		return
	}
	n.stats.gaps.Add(1)
	switch {
	case s.shared:
		n.replayer.add(s)
	case s.scope == Room:
		n.hub.Room(s.name).Miss()
	}
	if n.cfg.OnGap != nil {
		n.cfg.OnGap(Gap{Scope: s.scope, Name: s.name, Node: node})
	}
}
