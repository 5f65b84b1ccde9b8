package hub

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultHistoryBytes = 256 << 20
	roomCost            = 600 // what a room in which something is kept takes beside its entries and its name, in bytes
)

// keeping bounds what the histories of a hub take together.
type keeping struct {
	bytes     atomic.Int64
	relieving atomic.Bool
}

// count notes what the history takes now. It is called by whoever is at the events.
func (l *log) count() {
	now := l.bytes + cost*len(l.entries)
	if now > 0 {
		now += roomCost + len(l.room)
	}
	if now == l.counted {
		return
	}
	k, most := &l.h.kept, int64(l.h.cfg.HistoryBytes)
	kept := k.bytes.Add(int64(now - l.counted))
	l.counted = now
	if most > 0 && kept > most && k.relieving.CompareAndSwap(false, true) {
		go l.h.relieve(most - most/8) // ends when no more than that is kept
	}
}

// A relief is one visit to all histories.
type relief struct {
	since  time.Time // what is older is forgotten
	undone sync.WaitGroup

	mu     sync.Mutex
	oldest time.Time // of what is left, the time of the oldest; zero: nothing is left
}

// visit is for whoever is at the events of l.
func (r *relief) visit(l *log) {
	defer r.undone.Done()
	l.forget(r.since)
	l.count() // before it is done, for it is asked for then
	if len(l.entries) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := l.entries[0].at; r.oldest.IsZero() || at.Before(r.oldest) {
		r.oldest = at
	}
}

// relieve has the histories forget what is oldest, until they take no more than enough.
// Each visit moves the limit by a quarter of the time between the oldest message and now:
// by more it might forget far more than it must, by less it would not come to an end.
func (h *Hub) relieve(enough int64) {
	defer h.kept.relieving.Store(false)
	r := new(relief) // the first only looks
	for {
		h.age(r)
		r.undone.Wait()
		if h.kept.bytes.Load() <= enough || r.oldest.IsZero() {
			return
		}
		r = &relief{since: r.oldest.Add(max(0, time.Since(r.oldest))/4 + 1)}
	}
}
