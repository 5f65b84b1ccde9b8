package hub

import (
	"sync/atomic"
	"time"
	"weak"
)

// A sweeper ages the histories of rooms in which nothing is published any more. Its
// timer runs while there are any; it keeps no hub alive that is not used any more.
type sweeper struct{ armed atomic.Bool }

// sweepEvery is how often: by so much a history may be kept for too long.
const sweepEvery = time.Second

func (s *sweeper) start(h *Hub) {
	if s.armed.Load() || s.armed.Swap(true) {
		return
	}
	hub := weak.Make(h)
	time.AfterFunc(sweepEvery, func() {
		if h := hub.Value(); h != nil {
			h.sweep()
		}
	})
}

// sweep visits all rooms with a history that ends.
func (h *Hub) sweep() {
	h.sweeper.armed.Store(false)
	again := false
	h.logs(func(s *shard, g *group) {
		if g.log.limits.Age > 0 {
			g.log.trim()
			again = s.drop(g) || again
		}
	})
	if again {
		h.sweeper.start(h)
	}
}

// logs calls visit with all rooms that have a history.
func (h *Hub) logs(visit func(*shard, *group)) {
	for i := range h.rooms.shards {
		s := &h.rooms.shards[i]
		for _, g := range s.list() {
			if g.log != nil {
				visit(s, g)
			}
		}
	}
}

// drop forgets a room of which nothing is left. It returns true if there are
// messages in its history.
func (s *shard) drop(g *group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	s.dropLocked(g)
	return !g.log.emptyLocked()
}
