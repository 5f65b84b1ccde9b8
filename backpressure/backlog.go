package backpressure

import (
	"math"
	"slices"
	"time"
)

// A backlog is what a queue knows of waiting messages that may still be dropped
// or replaced, and of those that have been dropped. Queues whose peer keeps up
// have none.
type backlog struct {
	keys    map[key]*item
	classes []classQueue
}

type key struct {
	class *Class
	name  string
}

// A classQueue lists the tracked messages of a class, in the order of the
// queue. The first ones may be on their way to the socket.
type classQueue struct {
	class          *Class
	oldest, newest *item
	lost           Lost
}

// of returns the list of a class; nil if there is none.
func (b *backlog) of(c *Class) *classQueue {
	if b == nil {
		return nil
	}
	for i := range b.classes {
		if b.classes[i].class == c {
			return &b.classes[i]
		}
	}
	return nil
}

func (b *backlog) make(c *Class) *classQueue {
	if l := b.of(c); l != nil {
		return l
	}
	b.classes = append(b.classes, classQueue{class: c, lost: Lost{Class: c}})
	return &b.classes[len(b.classes)-1]
}

// waiting returns the message whose place m is to take; nil if there is none.
func (b *backlog) waiting(m *Message) *item {
	if b == nil || m.Key == "" {
		return nil
	}
	if it := b.keys[key{m.Class, m.Key}]; it != nil && it.waits() {
		return it
	}
	return nil
}

// first returns the message that has waited longest; nil if none waits.
func (l *classQueue) first() *item {
	if l == nil {
		return nil
	}
	it := l.oldest
	for it != nil && !it.waits() { // at most those of one write
		it = it.younger
	}
	return it
}

// enough returns the last of as many of the oldest messages as are needed to free
// n bytes; nil if all are not enough.
func (l *classQueue) enough(n int, cfg *Config) *item {
	for it := l.first(); it != nil; it = it.younger {
		if n -= it.size(cfg); n <= 0 {
			return it
		}
	}
	return nil
}

func (l *classQueue) push(it *item) {
	it.older, it.younger = l.newest, nil
	if l.newest == nil {
		l.oldest = it
	} else {
		l.newest.younger = it
	}
	l.newest = it
}

func (l *classQueue) pushFront(it *item) {
	it.older, it.younger = nil, l.oldest
	if l.oldest == nil {
		l.newest = it
	} else {
		l.oldest.older = it
	}
	l.oldest = it
}

func (l *classQueue) remove(it *item) {
	if it.older == nil {
		l.oldest = it.younger
	} else {
		it.older.younger = it.younger
	}
	if it.younger == nil {
		l.newest = it.older
	} else {
		it.younger.older = it.older
	}
}

// trackLocked notes that an item may be dropped or replaced; front: it has been
// put before all others.
func (q *Queue) trackLocked(it *item, m *Message, front bool) {
	if q.backlog == nil {
		q.backlog = new(backlog)
	}
	it.class, it.key, it.payload = m.Class, m.Key, m.len()
	it.touch()
	if l := q.backlog.make(m.Class); front {
		l.pushFront(it)
	} else {
		l.push(it)
	}
	if m.Key == "" {
		return
	}
	if q.backlog.keys == nil {
		q.backlog.keys = make(map[key]*item)
	}
	if k := (key{m.Class, m.Key}); !front || q.backlog.keys[k] == nil { // the newest one is to be replaced
		q.backlog.keys[k] = it
	}
}

// touch starts the time that an item may wait.
func (it *item) touch() {
	if it.class.TTL <= 0 {
		return
	}
	at := now()
	if it.until = at + int64(it.class.TTL); it.until < at {
		it.until = math.MaxInt64 // the sum is beyond what it can hold
	}
}

// waits reports whether the socket is not being offered the item now, and has
// not taken any of it.
func (it *item) waits() bool { return it.flying == 0 && !it.begun && !it.cut }

// untrackLocked: the item will be written, or has been dropped.
func (q *Queue) untrackLocked(it *item) {
	if it.class == nil {
		return
	}
	b := q.backlog
	l := b.of(it.class)
	l.remove(it)
	if k := (key{it.class, it.key}); it.key != "" && b.keys[k] == it {
		delete(b.keys, k)
		if len(b.keys) == 0 {
			b.keys = nil // it would keep the size it once had
		}
	}
	it.tracking = tracking{}
	if l.oldest == nil && l.lost.Messages() == 0 {
		q.forgetLocked(l.class)
	}
}

// forgetLocked ends the list of a class of which nothing is known any more.
func (q *Queue) forgetLocked(c *Class) {
	b := q.backlog
	b.classes = slices.DeleteFunc(b.classes, func(l classQueue) bool { return l.class == c })
	if len(b.classes) == 0 {
		q.backlog = nil
	}
}

// epoch is what now counts from.
var epoch = time.Now()

// now returns a monotonic time in nanoseconds.
func now() int64 { return int64(time.Since(epoch)) }

// clockLocked returns the time if anything may expire.
func (q *Queue) clockLocked() int64 {
	if q.backlog == nil {
		return 0
	}
	return now()
}

// expired reports whether the item has waited for longer than it may.
func (it *item) expired(at int64) bool { return it.until != 0 && it.waits() && at > it.until }

// expireLocked drops what has waited for longer than it may, and reports whether
// that was anything.
func (q *Queue) expireLocked() (any bool) {
	if q.backlog == nil {
		return false
	}
	at := now()
	for i := range q.backlog.classes {
		if q.backlog.classes[i].class.TTL == 0 {
			continue
		}
		for it, next := q.backlog.classes[i].first(), (*item)(nil); it != nil; it = next {
			next = it.younger
			if it.expired(at) {
				q.dropLocked(it, expired)
				any = true
			} else if it.key == "" {
				break // the younger ones expire later; but replacing renews
			}
		}
	}
	return any
}

// A reason is why a message was dropped.
type reason uint8

const (
	overflowed reason = iota
	expired
	replaced
)

// dropLocked drops a tracked message. If its class wants that, a gap stays where
// it was, unless a newer one replaces it.
func (q *Queue) dropLocked(it *item, why reason) {
	class := it.class
	lost := q.lostLocked(class, it.payload, why)
	q.pending -= it.size(q.cfg)
	q.untrackLocked(it)
	if class.Gap == nil || why == replaced {
		next := it.next
		q.unlinkLocked(it)
		q.freeLocked(it)
		q.mergeGapsLocked(next)
	} else {
		q.emptyLocked(it)
		gap := lost // not lost itself: without a gap nothing must be allocated
		it.gap = &gap
		q.mergeGapsLocked(it)
	}
	q.fellLocked()
}

// missLocked drops a message that has never been queued.
func (q *Queue) missLocked(m *Message) {
	lost := q.lostLocked(m.Class, m.len(), overflowed)
	if m.Class.Gap == nil {
		return
	}
	it, gap := newItem(), lost
	it.gap = &gap
	q.chargeLocked(it, itemCost)
	q.linkBackLocked(it) // not by linkLocked: it makes nobody congested
	q.mergeGapsLocked(it)
}

// mergeGapsLocked makes one gap of those of each class that stand side by side,
// it and what follows having come to stand behind others. So there are never more
// than there are messages between them, for each class.
func (q *Queue) mergeGapsLocked(it *item) {
	for next := (*item)(nil); it != nil && it.gap != nil; it = next {
		next = it.next
		for p := it.prev; p != nil && p.gap != nil; p = p.prev {
			if p.gap.Class == it.gap.Class {
				p.gap.add(*it.gap)
				q.unlinkLocked(it)
				q.freeLocked(it)
				break
			}
		}
	}
}

// lostLocked counts a message that is dropped.
func (q *Queue) lostLocked(c *Class, payload int, why reason) Lost {
	lost := Lost{Class: c, Bytes: payload}
	d := q.cfg.Drops
	switch why {
	case overflowed:
		lost.Overflowed = 1
		if c.Overflow == DropOldest {
			d.Oldest.Add(1)
		} else {
			d.Newest.Add(1)
		}
	case expired:
		lost.Expired = 1
		d.Expired.Add(1)
	case replaced:
		lost.Replaced = 1
		d.Replaced.Add(1)
	}
	if q.backlog == nil {
		q.backlog = new(backlog)
	}
	q.backlog.make(c).lost.add(lost)
	q.notices |= NoticeDropped
	return lost
}

// TakeLost returns what has been dropped since it was last called, a value for
// each class.
func (q *Queue) TakeLost() []Lost {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.backlog == nil {
		return nil
	}
	var all []Lost
	for i := range q.backlog.classes {
		if l := &q.backlog.classes[i]; l.lost.Messages() > 0 {
			all = append(all, l.lost)
			l.lost = Lost{Class: l.class}
		}
	}
	for _, lost := range all {
		if q.backlog.of(lost.Class).oldest == nil {
			q.forgetLocked(lost.Class)
		}
	}
	return all
}

// Shed drops all waiting messages of classes that drop the oldest, and returns
// how many bytes of memory that has freed.
func (q *Queue) Shed() int {
	q.mu.Lock()
	before := q.account.Held()
	if q.backlog != nil && !q.dead {
		for i := range q.backlog.classes {
			l := &q.backlog.classes[i]
			for l.class.Overflow == DropOldest && l.first() != nil {
				q.dropLocked(l.first(), overflowed)
			}
		}
	}
	freed := before - q.account.Held()
	q.unlockAndTell()
	return freed
}

// Held returns the memory that the queue holds for its peer, in bytes.
func (q *Queue) Held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.account.Held()
}
