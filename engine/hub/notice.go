package hub

import (
	"sync"

	"github.com/penstock-ws/penstock/engine"
)

// notices are what the program is still to be told. They are added under the locks
// that order what they tell, and told with none held, one after the other: by whoever
// comes first, those of others included.
type notices struct {
	mu      sync.Mutex
	list    []func()
	telling bool
}

func (n *notices) add(tell func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, tell)
}

// tell tells until nothing is left, unless somebody is at it.
func (n *notices) tell() {
	n.mu.Lock()
	if n.telling {
		n.mu.Unlock()
		return
	}
	n.telling = true
	defer func() { // also after a panic of the program's
		n.telling = false
		n.mu.Unlock()
	}()
	for len(n.list) > 0 {
		next := n.list[0]
		n.list[0] = nil
		n.list = n.list[1:]
		n.call(next)
	}
	n.list = nil
}

// call is for one notice, with the lock given up meanwhile.
func (n *notices) call(tell func()) {
	n.mu.Unlock()
	defer n.mu.Lock()
	tell()
}

func (h *Hub) noticeUser(user string, online bool) {
	if tell := h.cfg.OnUser; tell != nil {
		h.notices.add(func() { tell(user, online) })
	}
}

// noticeMember: c has joined or left; edge: as the first or the last.
func (h *Hub) noticeMember(room string, c *engine.Conn, joined, edge bool) {
	if tell := h.cfg.OnRoom; tell != nil && edge && joined {
		h.notices.add(func() { tell(room, true) })
	}
	if tell := h.cfg.OnMember; tell != nil {
		h.notices.add(func() { tell(room, c, joined) })
	}
	if tell := h.cfg.OnRoom; tell != nil && edge && !joined {
		h.notices.add(func() { tell(room, false) })
	}
}
