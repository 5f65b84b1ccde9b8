package hub

import (
	"context"
	"iter"
	"slices"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Group is some of a hub's connections: a view, that costs nothing to make and
// follows who comes and goes.
type Group struct {
	h      *Hub
	in     *index // nil: all
	name   string
	except []*engine.Conn
}

// Except returns the group without some connections, of which there should be few.
// They need not be in it.
func (g Group) Except(conns ...*engine.Conn) Group {
	g.except = slices.Concat(g.except, conns)
	return g
}

// Len returns the number of connections in constant time, those of Except counted.
func (g Group) Len() int {
	if found := g.find(); found != nil {
		return found.len()
	}
	return 0
}

// Conns yields the connections of the moment at which the iteration begins, in no
// order. No lock is held meanwhile: the loop may join, leave, send and wait.
func (g Group) Conns() iter.Seq[*engine.Conn] {
	return func(yield func(*engine.Conn) bool) {
		for _, c := range g.snapshot() {
			if !slices.Contains(g.except, c) && !yield(c) {
				return
			}
		}
	}
}

// Broadcast sends a message of type op, frame.Text or frame.Binary, to every
// connection of the group. It waits for none: the Tally says how many have it queued,
// and how many are too slow for it. ctx is that of the callback, if it is called from
// one: see engine.Broadcast. The caller keeps payload. The error is that of
// Engine.Prepare; then nothing has been sent.
func (g Group) Broadcast(ctx context.Context, op Opcode, payload []byte) (engine.Tally, error) {
	p, err := g.h.e.Prepare(op, payload)
	if err != nil {
		return engine.Tally{}, err
	}
	return g.BroadcastPrepared(ctx, p), nil
}

// BroadcastPrepared is Broadcast for a message that has been prepared.
func (g Group) BroadcastPrepared(ctx context.Context, p engine.Prepared) engine.Tally {
	t := engine.Broadcast(ctx, g.sequence(), p)
	g.h.totals.add(t)
	return t
}

// Opcode is frame.Opcode.
type Opcode = frame.Opcode

func (g Group) find() *group {
	if g.in == nil {
		return &g.h.all
	}
	return g.in.find(g.name)
}

// snapshot returns the members, in a slice that must not be written to.
func (g Group) snapshot() []*engine.Conn {
	if found := g.find(); found != nil {
		return found.snapshot()
	}
	return nil
}

func (g Group) sequence() iter.Seq[*engine.Conn] {
	if len(g.except) == 0 {
		return slices.Values(g.snapshot())
	}
	return g.Conns()
}

// Room is a group that connections join.
type Room struct{ Group }

// Name returns the room's name.
func (r Room) Name() string { return r.name }

// Join makes c, a connection of the hub, a member, until it leaves or ends. It
// returns false if c is one already, or has ended, or if 1024 of its joins and leaves wait
// behind what is published in rooms with a history: so often joins only who means harm.
// If the room has a history, c gets what is published from here on.
func (r Room) Join(c *engine.Conn) bool { return r.h.join(r.name, c, nil) }

// Leave ends c's membership. It returns false if there is none.
func (r Room) Leave(c *engine.Conn) bool { return r.h.leave(r.name, c) }

// Has reports whether c is a member.
func (r Room) Has(c *engine.Conn) bool {
	found := r.find()
	return found != nil && found.has(c)
}
