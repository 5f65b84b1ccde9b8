package hub

import (
	"sync"
	"time"
)

// A sweeper ages the histories of rooms in which nothing is published any more. Its
// timer runs while there are any.
type sweeper struct {
	mu    sync.Mutex
	armed bool
}

// sweepEvery is how often: by so much a history may be kept for too long.
const sweepEvery = time.Second

func (s *sweeper) start(h *Hub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		s.armed = true
		time.AfterFunc(sweepEvery, func() { h.sweep() })
	}
}

// sweep visits all rooms with a history that ends.
func (h *Hub) sweep() {
	h.sweeper.mu.Lock()
	h.sweeper.armed = false
	h.sweeper.mu.Unlock()
	again := false
	for i := range h.rooms.shards {
		s := &h.rooms.shards[i]
		for _, g := range s.list() {
			if g.log != nil && g.log.limits.Age > 0 {
				g.log.note(event{kind: aged})
				g.log.run(background)
				s.drop(g)
				again = again || !g.log.forgotten()
			}
		}
	}
	if again {
		h.sweeper.start(h)
	}
}

func (s *shard) drop(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	s.dropLocked(g)
}
