package peer

import (
	"slices"
	"sync"
)

// Room is the set of connections that a fan-out goes to. It is a slice, because
// that is the cheapest to walk; joining and leaving are not measured.
type Room[T comparable] struct {
	mu      sync.Mutex
	members []T // guarded by mu
}

// Join adds a member.
func (r *Room[T]) Join(member T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, member)
}

// Leave removes a member.
func (r *Room[T]) Leave(member T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.members, member); i >= 0 {
		r.members = slices.Delete(r.members, i, i+1)
	}
}

// Each calls send for every member. Two calls do not overlap, so that every
// member gets broadcasts in the same order and send may write without a lock of its own.
func (r *Room[T]) Each(send func(T)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, member := range r.members {
		send(member)
	}
}
