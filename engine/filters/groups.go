package filters

import (
	"context"
	"errors"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// groups are the rooms of one filter, which others do not see: on all nodes, if there is
// a cluster.
type groups struct {
	hub  *hub.Hub
	node *cluster.Node // nil: there is no cluster
}

// groups makes them. name is the filter's.
func (e *Env) groups(name string, cfg hub.Config) (groups, error) {
	if cfg.Logger == nil {
		cfg.Logger = e.Logger
	}
	if e.Join == nil {
		return groups{hub: hub.New(e.Engine, cfg)}, nil
	}
	n, err := e.Join(name, cluster.Config{Hub: cfg})
	if err != nil {
		return groups{}, err
	}
	return groups{n.Hub(), n}, nil
}

// broadcast sends to the members of a room, and waits for nobody.
func (g groups) broadcast(ctx context.Context, room string, op frame.Opcode, payload []byte) (err error) {
	if g.node != nil {
		_, err = g.node.Room(room).Broadcast(ctx, op, payload)
	} else {
		_, err = g.hub.Room(room).Broadcast(ctx, op, payload)
	}
	return err
}

// publish is for rooms with a history. done is called when the message has been
// published, or has not: at once, or, from another goroutine, when the archive of the
// cluster has said so.
func (g groups) publish(ctx context.Context, room string, op frame.Opcode, payload []byte, done func(at hub.Position, err error)) {
	if g.node == nil {
		done(g.hub.Room(room).Publish(ctx, op, payload))
		return
	}
	err := g.node.Room(room).Keep(op, payload, done)
	if errors.Is(err, hub.ErrNoHistory) { // there is no archive
		done(g.node.Room(room).Publish(ctx, op, payload))
	} else if err != nil {
		done(hub.Position{}, err)
	}
}
