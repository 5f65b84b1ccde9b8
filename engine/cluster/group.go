package cluster

import (
	"context"
	"errors"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// Group is some of the cluster's connections, on every node: a view, that costs nothing
// to make.
type Group struct {
	n      *Node
	scope  Scope
	name   string
	except []*engine.Conn
}

// All returns all connections of all nodes.
func (n *Node) All() Group { return Group{n: n, scope: All} }

// Room returns the members of a room on all nodes.
func (n *Node) Room(name string) Group { return Group{n: n, scope: Room, name: name} }

// User returns a user's connections on all nodes.
func (n *Node) User(name string) Group { return Group{n: n, scope: User, name: name} }

// Except returns the group without some of this node's connections.
func (g Group) Except(conns ...*engine.Conn) Group {
	g.except = append(g.except[:len(g.except):len(g.except)], conns...)
	return g
}

// Broadcast sends a message to this node's connections of the group, as
// hub.Group.Broadcast does, and then leaves it to the outbox for those of the others. It
// waits for nothing. The Tally is that of this node. ErrOutboxFull says that the other
// nodes will not get it, with WhenFull Refuse; after any other error nobody does. The
// caller keeps payload.
func (g Group) Broadcast(ctx context.Context, op frame.Opcode, payload []byte) (engine.Tally, error) {
	t, err := g.local().Broadcast(ctx, op, payload)
	if err != nil {
		return t, err
	}
	return t, g.leave(kindMessage, op, payload)
}

// Publish is Broadcast for a room with a history, as hub.Room.Publish is. Without an
// archive each node keeps the message in its own history: the position is that in this
// node's, and means nothing to others. With an archive it waits until that has the
// message, and the position is the same on all nodes: every member on every node gets it,
// once, at that place. If ctx is done before, nobody knows; Keep does not wait.
func (g Group) Publish(ctx context.Context, op frame.Opcode, payload []byte) (hub.Position, error) {
	if g.scope != Room {
		return hub.Position{}, hub.ErrNoHistory
	}
	if g.n.shares(g.name) {
		return g.keepAndWait(ctx, op, payload)
	}
	at, err := g.n.hub.Room(g.name).Publish(ctx, op, payload)
	if err != nil {
		return at, err
	}
	return at, g.leave(kindKept, op, payload)
}

// publishHere is for what another node has published.
func (g Group) publishHere(ctx context.Context, op frame.Opcode, payload []byte) (hub.Position, error) {
	at, err := g.n.hub.Room(g.name).Publish(ctx, op, payload)
	if errors.Is(err, hub.ErrNoHistory) { // the nodes do not agree on that
		_, err = g.local().Broadcast(ctx, op, payload)
	}
	return at, err
}

// local is the part of the group that is here.
func (g Group) local() hub.Group {
	h := g.n.hub.All()
	switch g.scope {
	case Room:
		h = g.n.hub.Room(g.name).Group
	case User:
		h = g.n.hub.User(g.name)
	}
	if len(g.except) > 0 {
		h = h.Except(g.except...)
	}
	return h
}

func (g Group) leave(k kind, op frame.Opcode, payload []byte) error {
	return g.n.outbox.add(g.n.channel(g.scope, g.name), envelope{kind: k, op: op, payload: payload})
}
