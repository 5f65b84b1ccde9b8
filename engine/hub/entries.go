package hub

import (
	"slices"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// add makes an entry for the next message, which was published then: by a clock of
// elsewhere, perhaps, so no later than now, and no earlier than the one before.
func (l *log) add(when time.Time) {
	now := time.Now()
	when = now.Add(min(0, when.Sub(now))) // on this process's clock from here on, whatever is done to the wall's
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.entries); n > 0 && when.Before(l.entries[n-1].at) {
		when = l.entries[n-1].at
	}
	if len(l.entries) == cap(l.entries) {
		l.unused = 0 // they will have memory of their own
	}
	l.last++
	l.entries = append(l.entries, entry{at: when})
	l.countLocked()
}

// fill makes p the message of the newest entry, unless that has been forgotten already.
func (l *log) fill(p engine.Prepared) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.entries); n > 0 {
		l.entries[n-1].p, l.entries[n-1].ok = p, true
		l.bytes += p.Len()
		l.countLocked()
	}
}

// clear forgets all entries; what comes next has the number behind last.
func (l *log) clear(last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.bytes, l.unused, l.last = nil, 0, 0, last
	l.countLocked()
}

// get returns the message with the number; false: it is not there any more.
func (l *log) get(number uint64) (p engine.Prepared, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < l.firstLocked() {
		return p, false
	}
	return l.entries[number-l.firstLocked()].p, true
}

func (l *log) firstLocked() uint64 { return l.last + 1 - uint64(len(l.entries)) }

// trim forgets what the room's bounds do not leave.
func (l *log) trim() { l.forget(time.Time{}) }

// forget is trim, and forgets what is older than that. It returns how many entries went.
func (l *log) forget(oldest time.Time) (n int) {
	if l.limits.Age > 0 {
		if aged := time.Now().Add(-l.limits.Age); aged.After(oldest) {
			oldest = aged
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n < len(l.entries) && l.exceeds(len(l.entries)-n, &l.entries[n], oldest) {
		if l.entries[n].ok {
			l.bytes -= l.entries[n].p.Len()
		}
		l.entries[n] = entry{}
		n++
	}
	l.entries = l.entries[n:]
	if l.unused += n; l.unused > len(l.entries) { // or a room would keep the memory of its best days
		l.entries, l.unused = slices.Clone(l.entries), 0
	}
	if len(l.entries) == 0 {
		l.entries = nil
	}
	l.gone.Store(l.last - uint64(len(l.entries)))
	l.countLocked()
	return n
}

// exceeds reports whether the first of n entries is to be forgotten. By its size
// the last one is not.
func (l *log) exceeds(n int, first *entry, oldest time.Time) bool {
	return n > l.limits.Messages || l.limits.Bytes > 0 && l.bytes+cost*n > l.limits.Bytes && n > 1 || first.at.Before(oldest)
}
