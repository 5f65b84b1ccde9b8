package hub

import (
	"slices"
	"sync"

	"github.com/penstock-ws/penstock/engine"
)

// A set is an unordered set of connections that is read as immutable slices. A
// change costs constant time and throws the last slice away; the next reader
// makes a new one. So a thousand joins in a row copy nothing, readers of a set
// that does not change allocate nothing, and the price of a change is at most
// eight bytes copied per member of a broadcast, far below that of the sending.
type set struct {
	mu       sync.Mutex
	members  []*engine.Conn
	position map[*engine.Conn]int // in members
	frozen   []*engine.Conn       // a copy of members, never written to; nil: they have changed since
}

func (s *set) add(c *engine.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.position[c]; ok {
		return false
	}
	if s.position == nil {
		s.position = make(map[*engine.Conn]int)
	}
	s.position[c] = len(s.members)
	s.members = append(s.members, c)
	s.frozen = nil
	return true
}

func (s *set) remove(c *engine.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.position[c]
	if !ok {
		return false
	}
	last := len(s.members) - 1
	moved := s.members[last]
	s.members[i], s.position[moved] = moved, i
	s.members[last] = nil
	s.members = s.members[:last]
	delete(s.position, c)
	s.frozen = nil // it would keep c in memory
	if last == 0 {
		s.members, s.position = nil, nil
	}
	return true
}

func (s *set) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

// snapshot returns the members. The slice is shared: it must not be written to.
func (s *set) snapshot() []*engine.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil && len(s.members) > 0 {
		s.frozen = slices.Clone(s.members)
	}
	return s.frozen
}
