package interceptors

import (
	"container/list"
	"sync"
	"time"
)

// A window remembers the latest of a sequence of ids. The zero value has seen none.
type window struct {
	mu   sync.Mutex
	seen map[fingerprint]sighting
	ring []fingerprint // the slot that next says is the oldest, once it is full
	next int
}

type sighting struct {
	at   time.Time
	slot int // in the ring: an id that was forgotten and came again stands there twice
}

// add remembers id, in a window of size, and returns true unless it has seen it within
// age.
func (w *window) add(id fingerprint, now time.Time, size int, age time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.seen[id]; ok && now.Sub(s.at) < age {
		return false
	}
	if w.seen == nil {
		w.seen = make(map[fingerprint]sighting)
	}
	if len(w.ring) < size {
		w.next = len(w.ring)
		w.ring = append(w.ring, id)
	} else if old := w.ring[w.next]; w.seen[old].slot == w.next {
		delete(w.seen, old)
	}
	w.ring[w.next] = id
	w.seen[id] = sighting{now, w.next}
	w.next = (w.next + 1) % size
	return true
}

// forget lets id be added again.
func (w *window) forget(id fingerprint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, id)
}

// windows are those of users, of whom the one that was asked for least recently is
// forgotten when there are too many.
type windows struct {
	most int // immutable

	mu     sync.Mutex
	byUser map[fingerprint]*list.Element
	recent list.List // of *userWindow, the latest first
}

type userWindow struct {
	window
	user fingerprint
}

func (u *windows) of(user fingerprint) *window {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.byUser[user]; e != nil {
		u.recent.MoveToFront(e)
		return &e.Value.(*userWindow).window
	}
	if u.recent.Len() >= u.most {
		oldest := u.recent.Back()
		delete(u.byUser, oldest.Value.(*userWindow).user)
		u.recent.Remove(oldest)
	}
	if u.byUser == nil {
		u.byUser = make(map[fingerprint]*list.Element)
	}
	w := &userWindow{user: user}
	u.byUser[user] = u.recent.PushFront(w)
	return &w.window
}
