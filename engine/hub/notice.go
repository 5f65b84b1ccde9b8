package hub

import "github.com/penstock-ws/penstock/engine"

// tell calls the program with what it is still to be told.
func (h *Hub) tell() {
	h.notices.run(h.cfg.Logger, func(tell func()) int { tell(); return 1 })
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
