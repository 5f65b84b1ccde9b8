package cluster

import (
	"context"
)

// received is told by the broker.
func (n *Node) received(m Message) {
	s := n.find(m.Channel)
	if s == nil { // it has been unsubscribed
		return
	}
	if s.scope == Plain {
		n.stats.plain.Add(1)
		for _, hear := range n.hearers(s) {
			hear(m.Payload)
		}
		return
	}
	e, ok := parse(m.Payload)
	switch {
	case !ok:
		n.stats.foreign.Add(1)
		return
	case e.node == n.id: // its connections have it
		return
	case e.kind == kindLostAll:
		n.gapEverywhere(e.node.String())
		return
	}
	where := s.heard.note(&e)
	if where == again {
		n.stats.again.Add(1)
		return
	}
	if where == afterGap || e.kind == kindLost {
		n.gap(s, e.node.String())
	}
	n.act(s, &e)
}

// act does what another node has published.
func (n *Node) act(s *subscription, e *envelope) {
	switch {
	case e.kind == kindPresence && s.presence:
		n.presence.hear(e)
	case e.kind == kindPlaced && s.shared:
		at, m, ok := parsePlaced(e.payload)
		if !ok {
			n.stats.foreign.Add(1)
			return
		}
		n.stats.received.Add(1)
		n.place(s, at, m)
	case e.kind == kindMessage || e.kind == kindKept:
		n.stats.received.Add(1)
		n.deliver(s, e)
	}
}

func (n *Node) deliver(s *subscription, e *envelope) {
	g := Group{n: n, scope: s.scope, name: s.name}
	var err error
	if e.kind == kindKept {
		_, err = g.publishHere(context.Background(), e.op, e.payload)
	} else {
		_, err = g.local().Broadcast(context.Background(), e.op, e.payload)
	}
	if err != nil { // it is too big for this node
		n.stats.foreign.Add(1)
		n.cfg.Logger.Warn("penstock: another node's message cannot be sent", "node", e.node, "scope", s.scope, "size", len(e.payload), "error", err)
	}
}

// gapEverywhere is for a node that does not know any more what it could not publish.
func (n *Node) gapEverywhere(node string) {
	n.mu.Lock()
	var all []*subscription
	for _, s := range n.subs {
		if s.scope != Plain {
			all = append(all, s)
		}
	}
	n.mu.Unlock()
	for _, s := range all {
		n.gap(s, node)
	}
}
