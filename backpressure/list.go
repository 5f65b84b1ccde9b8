package backpressure

import "slices"

// The data lane is a doubly linked list: messages leave it at the front when
// they have been written, and anywhere when they are dropped.

// linkLocked appends an item of which size bytes will be written.
func (q *Queue) linkLocked(it *item, size int) {
	q.linkBackLocked(it)
	q.countLocked(size)
}

func (q *Queue) linkBackLocked(it *item) {
	it.prev = q.tail
	if q.tail == nil {
		q.head = it
	} else {
		q.tail.next = it
	}
	q.tail = it
}

// linkFrontLocked puts an item before all others. Its bytes have been counted.
func (q *Queue) linkFrontLocked(it *item) {
	it.next = q.head
	if q.head == nil {
		q.tail = it
	} else {
		q.head.prev = it
	}
	q.head = it
}

func (q *Queue) unlinkLocked(it *item) {
	if it.prev == nil {
		q.head = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		q.tail = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.next, it.prev = nil, nil
}

// popLocked frees the head item.
func (q *Queue) popLocked() {
	it := q.head
	q.unlinkLocked(it)
	q.freeLocked(it)
}

// freeLocked gives back all that an unlinked item holds, and the item.
func (q *Queue) freeLocked(it *item) {
	q.untrackLocked(it)
	q.emptyLocked(it)
	q.account.Add(-it.charge)
	*it = item{}
	items.Put(it)
}

// emptyLocked gives back what an item holds of its message, and leaves it where
// it is, in the backlog as well.
func (q *Queue) emptyLocked(it *item) {
	it.endStream()
	if q.lent == it {
		q.lent = nil
	}
	if it.shared != nil {
		it.shared.release()
	}
	q.cfg.Pool.Put(it.buf)
	q.chargeLocked(it, itemCost-it.charge)
	*it = item{next: it.next, prev: it.prev, charge: it.charge, tracking: it.tracking}
}

// chargeLocked adds to what the account holds for an item.
func (q *Queue) chargeLocked(it *item, n int) {
	it.charge += n
	q.account.Add(n)
}

// settleLocked gives the message that its sender has lent, if it is still here,
// memory of its own.
func (q *Queue) settleLocked() {
	if it := q.lent; it != nil {
		q.lent = nil
		q.settleItemLocked(it)
	}
}

func (q *Queue) settleItemLocked(it *item) {
	it.settle(q.cfg.Pool, q.cfg.ChunkSize)
	q.chargeLocked(it, itemCost+cap(it.buf.B)-it.charge)
}

// countLocked: size more bytes are pending.
func (q *Queue) countLocked(size int) {
	q.pending += size
	if q.pending > q.cfg.HighWater && !q.over.Load() {
		q.over.Store(true)
	}
}

// fellLocked must follow whatever makes pending less.
func (q *Queue) fellLocked() {
	if q.pending <= q.cfg.LowWater && q.over.Load() && !q.starved {
		q.over.Store(false)
		q.notices |= NoticeDrained
	}
	q.wakeLocked()
}

// wakeLocked lets go those who wait for what has been reached.
func (q *Queue) wakeLocked() {
	s := q.seldom
	if s == nil || s.waiters == nil {
		return
	}
	kept := s.waiters[:0]
	for _, w := range s.waiters {
		if q.reachedLocked(w) {
			close(w.ch)
		} else {
			kept = append(kept, w)
		}
	}
	clear(s.waiters[len(kept):])
	s.waiters = kept
	if len(kept) == 0 {
		s.waiters = nil
	}
}

func (q *Queue) forget(w waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.seldom // w has been in it
	s.waiters = slices.DeleteFunc(s.waiters, func(other waiter) bool { return other.ch == w.ch })
}

// releaseLocked frees everything; nobody may be writing.
func (q *Queue) releaseLocked() {
	for q.head != nil {
		q.popLocked()
	}
	q.control.release(q.cfg.Pool)
}

// discardLocked drops what is not on its way: whole messages, and of a message
// in fragments all but the one being written. What is in a write that has not
// returned can only be dropped when it has.
func (q *Queue) discardLocked() {
	q.discard = q.state == writing
	q.dropFromLocked(q.head)
}

// dropFromLocked drops what is not on its way of first and all behind it.
func (q *Queue) dropFromLocked(first *item) {
	before := q.pending
	for it, next := first, (*item)(nil); it != nil; it = next {
		next = it.next
		q.pending -= it.cutOff(q.cfg)
		if it.ready() == 0 && !it.final {
			q.unlinkLocked(it)
			q.freeLocked(it)
		}
	}
	q.lost = q.lost || q.pending < before
	q.fellLocked()
}

// discardAgainLocked goes on with a discard that came during the write that has
// just returned.
func (q *Queue) discardAgainLocked() {
	if q.discard && !q.dead {
		q.discardLocked()
	}
}
