package hub

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
)

// members finds what connections belong to.
type members struct {
	shards [shards]struct {
		mu   sync.Mutex
		list map[*engine.Conn]*member
	}
}

// A member is a connection of the hub.
type member struct {
	c *engine.Conn // immutable

	undone atomic.Int32 // joins and leaves of rooms with a history that are noted and not carried out

	mu    sync.Mutex // held while the groups' locks are taken
	ended bool
	user  *group
	rooms []*group // in the order of joining
}

// mostUndone bounds a member's. It is beyond what comes from joining many rooms at once,
// and as many take less memory than a queue at its high-water mark.
const mostUndone = 1024

func (m *members) add(c *engine.Conn) *member {
	s := &m.shards[c.ID()%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = make(map[*engine.Conn]*member)
	}
	if s.list[c] != nil {
		return nil
	}
	s.list[c] = &member{c: c}
	return s.list[c]
}

func (m *members) find(c *engine.Conn) *member {
	s := &m.shards[c.ID()%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[c]
}

func (m *members) take(c *engine.Conn) *member {
	s := &m.shards[c.ID()%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.list[c]
	delete(s.list, c)
	return found
}

func (m *members) rooms(c *engine.Conn) []*group {
	found := m.find(c)
	if found == nil {
		return nil
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	return slices.Clone(found.rooms)
}

func (m *members) user(c *engine.Conn) *group {
	found := m.find(c)
	if found == nil {
		return nil
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	return found.user
}

// enter takes a connection in that is opening.
func (h *Hub) enter(c *engine.Conn) {
	if h.members.add(c) == nil {
		return
	}
	h.all.mu.Lock()
	h.all.set.add(c)
	h.all.mu.Unlock()
	if user := h.cfg.User(c); user != "" {
		h.Identify(c, user)
	}
}

// exit lets go of a connection that has ended.
func (h *Hub) exit(c *engine.Conn) {
	m := h.members.take(c)
	if m == nil {
		return
	}
	h.all.mu.Lock()
	h.all.set.remove(c)
	h.all.mu.Unlock()
	m.mu.Lock()
	m.ended = true
	rooms := m.rooms
	for _, g := range rooms {
		h.rooms.remove(g, c, h.leftLocked(m))
	}
	h.setUserLocked(m, "")
	m.rooms = nil
	m.mu.Unlock()
	h.tell()
	for _, g := range rooms {
		if g.log != nil {
			g.log.run(background)
		}
	}
}

// Identify makes user the user of c, "" nobody. It returns false if c is none of the
// hub's connections, or has ended.
func (h *Hub) Identify(c *engine.Conn, user string) bool {
	m := h.members.find(c)
	if m == nil {
		return false
	}
	m.mu.Lock()
	ended := m.ended
	if !ended {
		h.setUserLocked(m, user)
	}
	m.mu.Unlock()
	h.tell()
	return !ended
}

// setUserLocked needs m's lock.
func (h *Hub) setUserLocked(m *member, user string) {
	if old := m.user; old != nil {
		if old.name == user {
			return
		}
		m.user = nil
		h.users.remove(old, m.c, func(g *group, n int) {
			if n == 0 {
				h.noticeUser(g.name, false)
			}
		})
	}
	if user == "" {
		return
	}
	m.user = h.users.add(user, m.c, func() *group { return &group{name: user} }, func(g *group, n int) {
		if n == 1 {
			h.noticeUser(g.name, true)
		}
	})
}

// join makes c a member of a room. after is where it was before, nil if nowhere.
func (h *Hub) join(room string, c *engine.Conn, after *Position) bool {
	m := h.members.find(c)
	if m == nil || m.undone.Load() >= mostUndone {
		return false
	}
	create := h.creation(room, h.history(room)) // it asks the program, so not under a lock
	m.mu.Lock()
	var g *group
	if !m.ended {
		g = h.rooms.add(room, c, create, func(g *group, n int) {
			h.noticeMember(g.name, c, true, n == 1)
			if g.log != nil {
				g.log.noteMember(event{kind: joined, c: c, after: after}, m)
			}
		})
	}
	if g != nil {
		m.rooms = append(m.rooms, g)
	}
	m.mu.Unlock()
	h.tell()
	if g != nil && g.log != nil {
		g.log.run(background)
	}
	return g != nil
}

// creation returns what makes a room.
func (h *Hub) creation(room string, limits History) func() *group {
	return func() *group {
		g := &group{name: room}
		if limits.Messages > 0 {
			g.log = newLog(h, room, limits)
		}
		return g
	}
}

func (h *Hub) leave(room string, c *engine.Conn) bool {
	m := h.members.find(c)
	if m == nil {
		return false
	}
	m.mu.Lock()
	at := slices.IndexFunc(m.rooms, func(g *group) bool { return g.name == room })
	var g *group
	if at >= 0 {
		g = m.rooms[at]
		m.rooms = slices.Delete(m.rooms, at, at+1)
		h.rooms.remove(g, c, h.leftLocked(m))
	}
	m.mu.Unlock()
	h.tell()
	if g != nil && g.log != nil {
		g.log.run(background)
	}
	return g != nil
}

// leftLocked returns what is to be done while the group is locked that m has left.
func (h *Hub) leftLocked(m *member) func(*group, int) {
	return func(g *group, n int) {
		h.noticeMember(g.name, m.c, false, n == 0)
		if g.log != nil {
			g.log.noteMember(event{kind: left, c: m.c}, m)
		}
	}
}
