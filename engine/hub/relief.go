package hub

import (
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

// countLocked notes what the history takes now.
func (l *log) countLocked() {
	now := l.bytes + cost*len(l.entries)
	if now > 0 {
		now += l.ownCost()
	}
	if now != l.counted {
		l.h.kept.bytes.Add(int64(now - l.counted))
		l.counted = now
		l.h.relieve()
	}
}

// ownCost is what the room takes beside its entries.
func (l *log) ownCost() int { return roomCost + len(l.room) }

// over is by how much the histories exceed their bound.
func (h *Hub) over() int64 {
	if h.cfg.HistoryBytes < 0 {
		return 0
	}
	return max(0, h.kept.bytes.Load()-int64(h.cfg.HistoryBytes))
}

// full reports whether more comes than can be forgotten meanwhile.
func (h *Hub) full() bool { return h.over() > int64(h.cfg.HistoryBytes)/4+backlog }

// relieve sees to it that what is too much is forgotten. It does not wait for that.
func (h *Hub) relieve() {
	if h.over() > 0 && h.kept.relieving.CompareAndSwap(false, true) {
		go h.forgetOldest() // ends when little enough is kept; it waits for nobody
	}
}

// forgetOldest has all histories forget what is oldest, until an eighth of the bound is
// free.
func (h *Hub) forgetOldest() {
	forgotten := 1
	for h.over() > 0 && forgotten > 0 { // 0: others have forgotten something meanwhile, and the next message begins anew
		forgotten = 0
		cut := h.cut(h.over() + int64(h.cfg.HistoryBytes)/8)
		h.logs(func(s *shard, g *group) {
			forgotten += g.log.forget(cut)
			s.drop(g)
		})
	}
	h.kept.relieving.Store(false)
	if forgotten > 0 {
		h.relieve() // what came after the last look has started none
	}
}

// cut returns a time before which there are so many bytes, or little more: it looks at what
// there is by times of equal length, and again at that time in which the limit lies, while
// there is much in that.
func (h *Hub) cut(bytes int64) time.Time {
	from, now := time.Now(), time.Now()
	h.logs(func(_ *shard, g *group) {
		if at, ok := g.log.oldest(); ok && at.Before(from) {
			from = at
		}
	})
	var by histogram
	for by.step = now.Sub(from)/times + 1; ; by.step = by.step/times + 1 {
		by.from, by.bytes = from, [times]int64{}
		h.logs(func(_ *shard, g *group) { g.log.weigh(&by) })
		i := 0
		for ; i < times-1 && by.bytes[i] < bytes; i++ {
			bytes -= by.bytes[i]
		}
		from = from.Add(time.Duration(i) * by.step)
		if by.step == 1 || by.bytes[i]-bytes <= int64(h.cfg.HistoryBytes)/16 {
			return from.Add(by.step)
		}
	}
}

// times is how many a histogram has.
const times = 1024

// A histogram says how much was published when.
type histogram struct {
	from  time.Time
	step  time.Duration
	bytes [times]int64
}

// weigh adds the entries, the room to its last.
func (l *log) weigh(by *histogram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.entries {
		e := &l.entries[i]
		at := e.at.Sub(by.from)
		if at < 0 || at/by.step >= times {
			continue
		}
		size := cost
		if e.ok {
			size += e.p.Len()
		}
		if i == len(l.entries)-1 {
			size += l.ownCost()
		}
		by.bytes[at/by.step] += int64(size)
	}
}

// oldest returns when the first entry was published.
func (l *log) oldest() (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return at, false
	}
	return l.entries[0].at, true
}
