package backpressure

import "github.com/penstock-ws/penstock/frame"

// admitLocked decides whether a message is taken, before it is queued, and makes
// room for it if its class says how. If it is to take the place of a waiting
// message, that one is returned.
func (q *Queue) admitLocked(m *Message) (v Verdict, old *item) {
	if q.closing || q.dead {
		return Closed, nil
	}
	size := q.cfg.wireSize(m.len())
	old, ok := q.placeLocked(m, size)
	if !ok && q.expireLocked() {
		old, ok = q.placeLocked(m, size)
	}
	if ok && q.acquireLocked(m) {
		return Queued, old
	}
	return q.overflowLocked(m, size), nil
}

// acquireLocked makes sure of the memory of a prepared message that will be referred
// to: the budget bears it once, for whoever is the first to have it waiting.
func (q *Queue) acquireLocked(m *Message) bool {
	return m.Prepared == nil || q.copiesLocked(m) || m.Prepared.acquire(q.account.Held())
}

// placeLocked reports whether there is a place for a message of size bytes: that
// of old, or at the end.
func (q *Queue) placeLocked(m *Message, size int) (old *item, ok bool) {
	cost := q.costOf(m)
	if old = q.backlog.waiting(m); old != nil {
		more, cost := size-old.size(q.cfg), cost-old.charge
		if q.fitsLocked(more, cost) || q.roomLocked(m, more, cost) {
			return old, true
		}
	}
	return nil, q.roomLocked(m, size, cost)
}

// roomLocked reports whether there is room for size more bytes of a message's
// class, in cost more bytes of memory.
func (q *Queue) roomLocked(m *Message, size, cost int) bool {
	if m.Class.Overflow == Congest {
		return !q.over.Load() && q.account.Take(cost)
	}
	return q.fitsLocked(size, cost)
}

// fitsLocked reports whether pending bytes may become more by so many.
func (q *Queue) fitsLocked(more, cost int) bool {
	return (more <= 0 || q.pending == 0 || q.pending+more <= q.cfg.HighWater) && q.account.Take(cost)
}

// costOf is the memory that the queue will be charged for a message, or somewhat
// more. It must not be less: what the budget is asked for is what bounds it.
func (q *Queue) costOf(m *Message) int {
	size := q.cfg.wireSize(m.len())
	switch {
	case q.copiesLocked(m) && q.tailTakesLocked(size):
		return 0
	case q.copiesLocked(m):
		return itemCost + q.cfg.Pool.Size(q.segmentSizeLocked(size, m.Hold))
	case m.Prepared != nil:
		return itemCost
	case m.len() > q.smallest():
		return itemCost + q.cfg.Pool.Size(m.len())
	}
	return itemCost + q.cfg.Pool.Size(frame.MaxHeaderSize+m.len())
}

// overflowLocked does what the class of a message wants if there is no room.
func (q *Queue) overflowLocked(m *Message, size int) Verdict {
	switch m.Class.Overflow {
	case DropOldest:
		if q.dropOldestLocked(m, size) {
			return Queued
		}
	case DropNewest:
	case Disconnect:
		q.overflow = m.Class.closeCode()
		q.discardLocked()
		q.pushCloseLocked(q.overflow, "outbound queue overflow")
		return Overflowed
	default:
		if !q.over.Load() {
			wanted := q.costOf(m)
			if m.Prepared != nil && q.account.Fits(wanted) { // so it is the message's own memory
				wanted += m.Prepared.Len()
			}
			q.starved = true
			q.needSeldomLocked().wanted = wanted
			q.over.Store(true)
		}
		return Congested
	}
	q.missLocked(m)
	return Dropped
}

// refuseLocked ends a send that was not admitted. An overflow has queued the close
// frame, and a drop perhaps a gap; perhaps nobody else is there to write it. It
// unlocks.
func (q *Queue) refuseLocked(v Verdict, hold bool) {
	switch {
	case v == Overflowed:
		q.flushNowLocked(0)
	case v == Dropped && !hold:
		q.flushLocked(0)
	default:
		q.unlockAndTell()
	}
}

// dropOldestLocked drops waiting messages of m's class, the oldest first, until
// there is room for size bytes. It drops none if all of them would not do, or if
// the budget is what lacks room.
func (q *Queue) dropOldestLocked(m *Message, size int) bool {
	if !q.account.Take(q.costOf(m)) {
		return false
	}
	need := min(q.pending, q.pending+size-q.cfg.HighWater)
	if need <= 0 {
		return q.acquireLocked(m) // the budget has got room meanwhile
	}
	l := q.backlog.of(m.Class)
	last := l.enough(need, q.cfg)
	if last == nil {
		q.account.Add(0) // it is not needed
		return false
	}
	if !q.acquireLocked(m) {
		return false
	}
	for done := false; !done; {
		it := l.first()
		done = it == last
		q.dropLocked(it, overflowed)
	}
	if old := q.backlog.waiting(m); old != nil { // there was no room in its place, but only the newest may wait
		q.dropLocked(old, replaced)
	}
	return true
}
