package hub

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Hub is a set of connections. Any goroutine may call any method at any time.
//
// What one call has done, every later call sees: a broadcast reaches everyone who
// joined before it began and nobody who left before it began, exactly once each.
// Whoever joins or leaves while it runs may or may not get it.
type Hub struct {
	// immutable
	e *engine.Engine

	members set // locks itself
	totals  totals
}

// New returns an empty hub for connections of e.
func New(e *engine.Engine) *Hub { return &Hub{e: e} }

// Join makes c a member. It returns false if c was one already.
//
// A member stays one, and is kept in memory, until Leave: join in OnOpen and
// leave in OnClose, or leave both to Handler.
func (h *Hub) Join(c *engine.Conn) bool { return h.members.add(c) }

// Leave ends c's membership. It returns false if there was none.
func (h *Hub) Leave(c *engine.Conn) bool { return h.members.remove(c) }

// Handler returns next with its connections as members: each joins before
// next.OnOpen and leaves before next.OnClose, however it ended.
func (h *Hub) Handler(next engine.Handler) engine.Handler {
	wrapped := next
	wrapped.OnOpen = func(ctx context.Context, c *engine.Conn) error {
		h.Join(c)
		if next.OnOpen == nil {
			return nil
		}
		return next.OnOpen(ctx, c)
	}
	wrapped.OnClose = func(c *engine.Conn, err *engine.CloseError) {
		h.Leave(c)
		if next.OnClose != nil {
			next.OnClose(c, err)
		}
	}
	return wrapped
}

// Len returns the number of members, in constant time.
func (h *Hub) Len() int { return h.members.len() }

// Conns yields the members of the moment at which the iteration begins, in no
// order. No lock is held meanwhile: the loop may join, leave, broadcast and wait.
func (h *Hub) Conns() iter.Seq[*engine.Conn] {
	return func(yield func(*engine.Conn) bool) {
		for _, c := range h.members.snapshot() {
			if !yield(c) {
				return
			}
		}
	}
}

// Broadcast sends one message of type op, frame.Text or frame.Binary, to every
// member. The payload is encoded once, and the caller may reuse it. The error is
// that of Engine.Prepare, and then nobody was sent anything; what became of each
// member is in the tally alone. ctx is that of the callback that broadcasts, as
// for engine.Broadcast, or any other.
func (h *Hub) Broadcast(ctx context.Context, op frame.Opcode, payload []byte) (engine.Tally, error) {
	p, err := h.e.Prepare(op, payload)
	if err != nil {
		return engine.Tally{}, err
	}
	return h.BroadcastPrepared(ctx, p), nil
}

// BroadcastPrepared sends p to every member, as Broadcast does.
func (h *Hub) BroadcastPrepared(ctx context.Context, p engine.Prepared) engine.Tally {
	t := engine.Broadcast(ctx, slices.Values(h.members.snapshot()), p)
	h.totals.add(t)
	return t
}

// Totals returns the sum of the tallies of all broadcasts: its Congested
// and Dropped are how many deliveries slow members have missed.
func (h *Hub) Totals() Totals { return h.totals.load() }

// Totals counts deliveries as engine.Tally does, over a hub's life.
type Totals struct {
	Broadcasts, Queued, Congested, Dropped, Closed, Refused uint64
}

type totals struct {
	broadcasts, queued, congested, dropped, closed, refused atomic.Uint64
}

func (s *totals) add(t engine.Tally) {
	s.broadcasts.Add(1)
	s.queued.Add(uint64(t.Queued))
	s.congested.Add(uint64(t.Congested))
	s.dropped.Add(uint64(t.Dropped))
	s.closed.Add(uint64(t.Closed))
	s.refused.Add(uint64(t.Refused))
}

func (s *totals) load() Totals {
	return Totals{
		Broadcasts: s.broadcasts.Load(),
		Queued:     s.queued.Load(),
		Congested:  s.congested.Load(),
		Dropped:    s.dropped.Load(),
		Closed:     s.closed.Load(),
		Refused:    s.refused.Load(),
	}
}
