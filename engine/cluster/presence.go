package cluster

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine/cluster/internal/retry"
)

// A presence tells the other nodes who is online here, and knows who is on the others. A
// node's own state has a version that each change makes one higher. Nodes send their
// changes, and their version from time to time, which is their heartbeat; a node that has
// not got all the changes asks for the whole. Nothing is stored anywhere else.
type presence struct {
	n    *Node         // immutable
	wake chan struct{} // has one element if there may be something to do

	mu      sync.Mutex
	users   map[string]bool // of this node, online
	rooms   map[string]int  // of this node, members
	changed state           // since the last version
	news    []heardNews
	all     tallies // of the others

	// owned by run
	version uint64
	peers   map[nodeID]*peer
	asked   bool // somebody wants the whole state
}

// tallies are what is known of all other nodes together.
type tallies struct {
	nodes map[nodeID]struct{}
	users map[string]int // on how many nodes
	rooms map[string]int // members
}

// state is who is online, or what of that has changed: a user with 0 is not, a room with
// 0 is empty.
type state struct {
	users, rooms map[string]int
}

func newState() state { return state{make(map[string]int), make(map[string]int)} }

func (s state) empty() bool { return len(s.users)+len(s.rooms) == 0 }

// A peer is another node.
type peer struct {
	heard   time.Time
	version uint64
	state   state
	partial state // of a whole that comes in parts
	parts   int   // that have come
}

// presenceNews is what nodes tell each other.
type presenceNews struct {
	Type    string    `json:"type"`            // beat, change, whole, ask, bye
	Version uint64    `json:"version"`         // after a change; of beat and whole
	To      string    `json:"to,omitempty"`    // ask: whom; "": all
	Part    int       `json:"part,omitempty"`  // whole: from 0
	Last    bool      `json:"last,omitempty"`  // whole
	Users   []tallied `json:"users,omitempty"` // change, whole
	Rooms   []tallied `json:"rooms,omitempty"`
}

type tallied struct {
	Name []byte `json:"name"` // names need not be UTF-8
	N    int    `json:"n"`
}

type heardNews struct {
	from nodeID
	presenceNews
}

const (
	gatherFor = 10 * time.Millisecond // changes that go out together
	mostPart  = 128 << 10             // bytes of names in a message
)

func (p *presence) init(n *Node) {
	p.n, p.wake = n, make(chan struct{}, 1)
	p.users, p.rooms, p.changed = make(map[string]bool), make(map[string]int), newState()
	p.peers = make(map[nodeID]*peer)
	p.all = tallies{make(map[nodeID]struct{}), make(map[string]int), make(map[string]int)}
}

// userChanged is told by the hub.
func (p *presence) userChanged(user string, online bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if online {
		p.users[user] = true
		p.changed.users[user] = 1
	} else {
		delete(p.users, user)
		p.changed.users[user] = 0
	}
	signal(p.wake)
}

// roomChanged is told by the hub.
func (p *presence) roomChanged(room string, joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if joined {
		p.rooms[room]++
	} else if p.rooms[room]--; p.rooms[room] == 0 {
		delete(p.rooms, room)
	}
	p.changed.rooms[room] = p.rooms[room]
	signal(p.wake)
}

// hear takes what another node tells.
func (p *presence) hear(e *envelope) {
	h := heardNews{from: e.node}
	if json.Unmarshal(e.payload, &h.presenceNews) != nil {
		p.n.stats.foreign.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news = append(p.news, h)
	signal(p.wake)
}

// askAll is for after a gap.
func (p *presence) askAll() { p.say(presenceNews{Type: "ask"}) }

func (p *presence) say(news presenceNews) {
	text, _ := json.Marshal(news) // cannot fail
	// What finds no room is asked for when a heartbeat has got through.
	_ = p.n.outbox.add(p.n.nodesChannel(), envelope{kind: kindPresence, payload: text})
}

// run tells and hears until ctx is done.
func (p *presence) run(ctx context.Context) {
	every := p.n.cfg.Lease / 6
	tick := time.NewTicker(every)
	defer tick.Stop()
	p.say(presenceNews{Type: "ask"})
	for beat := true; ; {
		select {
		case <-ctx.Done():
			p.say(presenceNews{Type: "bye"})
			return
		case <-tick.C:
			if beat {
				p.say(presenceNews{Type: "beat", Version: p.version})
			}
			beat = !beat
			p.expire(time.Now().Add(-p.n.cfg.Lease))
		case <-p.wake:
			retry.Wait(ctx, gatherFor)
		}
		p.hearAll()
		p.tell()
	}
}

// tell sends what has changed, and the whole to who has asked.
func (p *presence) tell() {
	p.mu.Lock()
	var changed state
	if !p.changed.empty() {
		changed, p.changed = p.changed, newState()
	}
	var whole state
	if p.asked {
		whole = p.wholeLocked()
	}
	p.mu.Unlock()
	if !changed.empty() {
		p.inParts(changed, func(part presenceNews, _ int, _ bool) {
			p.version++
			part.Type, part.Version = "change", p.version
			p.say(part)
		})
	}
	if p.asked {
		p.asked = false
		p.inParts(whole, func(part presenceNews, i int, last bool) {
			part.Type, part.Version, part.Part, part.Last = "whole", p.version, i, last
			p.say(part)
		})
	}
}

func (p *presence) wholeLocked() state {
	s := newState()
	for user := range p.users {
		s.users[user] = 1
	}
	for room, n := range p.rooms {
		s.rooms[room] = n
	}
	return s
}

// inParts calls say for parts of s that a broker takes, for one at least.
func (p *presence) inParts(s state, say func(part presenceNews, i int, last bool)) {
	var part presenceNews
	size, i := 0, 0
	add := func(to *[]tallied, name string, n int) {
		if size += len(name) + 20; size > mostPart {
			say(part, i, false)
			part, size, i = presenceNews{}, len(name)+20, i+1
		}
		*to = append(*to, tallied{[]byte(name), n})
	}
	for user, n := range s.users {
		add(&part.Users, user, n)
	}
	for room, n := range s.rooms {
		add(&part.Rooms, room, n)
	}
	say(part, i, true)
}

// hearAll takes in what the others have told.
func (p *presence) hearAll() {
	p.mu.Lock()
	news := p.news
	p.news = nil
	p.mu.Unlock()
	for _, h := range news {
		p.take(h)
	}
}

func (p *presence) take(h heardNews) {
	from := p.peers[h.from]
	if h.Type == "bye" {
		if from != nil {
			p.remove(h.from, from)
		}
		return
	}
	if from == nil {
		from = &peer{state: newState()}
		p.peers[h.from] = from
		p.mu.Lock()
		p.all.nodes[h.from] = struct{}{}
		p.mu.Unlock()
		p.tellNode(h.from, true)
	}
	from.heard = time.Now()
	switch h.Type {
	case "ask":
		p.asked = p.asked || h.To == "" || h.To == p.n.ID()
	case "beat":
		if h.Version != from.version {
			p.ask(h.from)
		}
	case "change":
		if h.Version != from.version+1 {
			p.ask(h.from)
			return
		}
		from.version++
		p.apply(from, h.presenceNews)
	case "whole":
		p.gather(from, h.presenceNews)
	}
}

func (p *presence) ask(node nodeID) { p.say(presenceNews{Type: "ask", To: node.String()}) }

// apply changes what is known of a peer.
func (p *presence) apply(from *peer, news presenceNews) {
	var changed []string
	p.mu.Lock()
	for _, u := range news.Users {
		set(from.state.users, p.all.users, string(u.Name), u.N)
	}
	for _, r := range news.Rooms {
		set(from.state.rooms, p.all.rooms, string(r.Name), r.N)
		changed = append(changed, string(r.Name))
	}
	p.mu.Unlock()
	p.tellMembers(changed)
}

func (p *presence) tellMembers(rooms []string) {
	if tell := p.n.cfg.OnMembers; tell != nil {
		for _, room := range rooms {
			tell(room)
		}
	}
}

// set gives a name another tally, and its sum with it.
func set(of, all map[string]int, name string, n int) {
	store(all, name, all[name]+n-of[name])
	store(of, name, n)
}

func store(in map[string]int, name string, n int) {
	if n == 0 {
		delete(in, name)
	} else {
		in[name] = n
	}
}

// gather puts the parts of a whole together.
func (p *presence) gather(from *peer, news presenceNews) {
	if news.Part == 0 {
		from.partial, from.parts = newState(), 0
	}
	if news.Part != from.parts { // one has been lost; the next heartbeat asks again
		from.parts = -1
		return
	}
	from.parts++
	for _, u := range news.Users {
		from.partial.users[string(u.Name)] = u.N
	}
	for _, r := range news.Rooms {
		from.partial.rooms[string(r.Name)] = r.N
	}
	if news.Last {
		p.replace(from, from.partial)
		from.version, from.partial, from.parts = news.Version, state{}, -1
	}
}

// replace makes a peer's state another one.
func (p *presence) replace(from *peer, by state) {
	p.mu.Lock()
	replace(from.state.users, by.users, p.all.users)
	changed := replace(from.state.rooms, by.rooms, p.all.rooms)
	p.mu.Unlock()
	p.tellMembers(changed)
}

// replace returns the names that have another tally now.
func replace(old, by, all map[string]int) (changed []string) {
	for name := range old {
		if _, ok := by[name]; !ok {
			set(old, all, name, 0)
			changed = append(changed, name)
		}
	}
	for name, n := range by {
		if old[name] != n {
			set(old, all, name, n)
			changed = append(changed, name)
		}
	}
	return changed
}

// expire forgets the nodes that have not been heard of since.
func (p *presence) expire(since time.Time) {
	for id, of := range p.peers {
		if of.heard.Before(since) {
			p.remove(id, of)
		}
	}
}

func (p *presence) remove(id nodeID, of *peer) {
	delete(p.peers, id)
	p.replace(of, newState())
	p.mu.Lock()
	delete(p.all.nodes, id)
	p.mu.Unlock()
	p.tellNode(id, false)
}

func (p *presence) tellNode(id nodeID, alive bool) {
	if tell := p.n.cfg.OnNode; tell != nil {
		tell(id.String(), alive)
	}
}

// Online reports whether a user has connections, on whichever node.
func (n *Node) Online(user string) bool {
	if n.hub.User(user).Len() > 0 {
		return true
	}
	n.presence.mu.Lock()
	defer n.presence.mu.Unlock()
	return n.presence.all.users[user] > 0
}

// Members returns how many members a room has, on all nodes.
func (n *Node) Members(room string) int {
	here := n.hub.Room(room).Len()
	n.presence.mu.Lock()
	defer n.presence.mu.Unlock()
	return here + n.presence.all.rooms[room]
}

// Nodes returns the ids of the other nodes that are alive, in no order.
func (n *Node) Nodes() []string {
	n.presence.mu.Lock()
	defer n.presence.mu.Unlock()
	var ids []string
	for id := range n.presence.all.nodes {
		ids = append(ids, id.String())
	}
	return ids
}
