package hub

import (
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/penstock-ws/penstock/engine"
)

// shards keep those who join one room from waiting for those who join another.
const shards = 64

// An index finds groups by name. A group is in it while it has members or a history.
type index struct {
	seed   maphash.Seed // immutable
	shards [shards]shard
}

type shard struct {
	mu     sync.Mutex
	groups map[string]*group
}

func (x *index) shard(name string) *shard {
	return &x.shards[maphash.String(x.seed, name)%shards]
}

func (x *index) find(name string) *group {
	s := x.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[name]
}

// add makes c a member of the group, which create makes if there is none. changed is
// called with the group locked, if c was no member; nil: it was.
func (x *index) add(name string, c *engine.Conn, create func() *group, changed func(g *group, n int)) *group {
	g := x.take(name, create)
	defer g.mu.Unlock()
	if !g.set.add(c) {
		return nil
	}
	changed(g, len(g.set.members))
	return g
}

// take returns the group, locked. If there is none it is what create returns; with a nil
// create there is nil.
func (x *index) take(name string, create func() *group) *group {
	s := x.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[name]
	if g == nil {
		if create == nil {
			return nil
		}
		g = create()
		if s.groups == nil {
			s.groups = make(map[string]*group)
		}
		s.groups[name] = g
	}
	g.mu.Lock()
	return g
}

// remove is add's counterpart.
func (x *index) remove(g *group, c *engine.Conn, changed func(g *group, n int)) {
	s := x.shard(g.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.set.remove(c) {
		changed(g, len(g.set.members))
	}
	s.dropLocked(g)
}

// dropLocked forgets a group of which nothing is left. It may have been forgotten
// before, and its name be that of another one.
func (s *shard) dropLocked(g *group) {
	if s.groups[g.name] == g && len(g.set.members) == 0 && (g.log == nil || g.log.emptyLocked()) {
		delete(s.groups, g.name)
	}
}

func (x *index) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range x.shards {
			for _, g := range x.shards[i].list() {
				if !yield(g.name) {
					return
				}
			}
		}
	}
}

func (s *shard) list() []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		list = append(list, g)
	}
	return list
}

// A group is a room, the connections of a user, or all.
type group struct {
	// immutable
	name string
	log  *log // nil: no history

	mu  sync.Mutex
	set set
}

func (g *group) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.set.members)
}

func (g *group) has(c *engine.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.set.has(c)
}

// snapshot returns the members. The slice is shared: it must not be written to.
func (g *group) snapshot() []*engine.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.set.freeze()
}

// A set is an unordered set of connections that is read as immutable slices. A
// change costs constant time and throws the last slice away; the next reader
// makes a new one. So a thousand joins in a row copy nothing, readers of a set
// that does not change allocate nothing, and the price of a change is at most
// eight bytes copied per member of a broadcast, far below that of the sending.
type set struct {
	members  []*engine.Conn
	position map[*engine.Conn]int // in members
	frozen   []*engine.Conn       // a copy of members, never written to; nil: they have changed since
}

func (s *set) add(c *engine.Conn) bool {
	if s.has(c) {
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

func (s *set) has(c *engine.Conn) bool {
	_, ok := s.position[c]
	return ok
}

func (s *set) freeze() []*engine.Conn {
	if s.frozen == nil && len(s.members) > 0 {
		s.frozen = slices.Clone(s.members)
	}
	return s.frozen
}
