package interceptors

import (
	"container/heap"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiters is a table of limiters by key, of bounded size. It is in shards, so that
// workers seldom wait for one another.
type limiters struct {
	// immutable
	allowance allowance
	prints    fingerprints
	began     time.Time
	shards    []limiterShard // their number is a power of two
}

// mostShards is how many shards a table has, unless they would be smaller than
// leastShard: the fewer keys a shard has, the more its choice of whom to forget is a
// matter of luck.
const (
	mostShards = 64
	leastShard = 64
)

func newLimiters(a allowance, maxKeys int) *limiters {
	n := 1
	for n < mostShards && maxKeys/(2*n) >= leastShard {
		n *= 2
	}
	t := &limiters{allowance: a, prints: newFingerprints(), began: time.Now(), shards: make([]limiterShard, n)}
	for i := range t.shards {
		t.shards[i].most = maxKeys / n
	}
	return t
}

func (t *limiters) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.byFullness)
		s.mu.Unlock()
	}
	return n
}

// take takes one message from the allowance of key, or returns how long it has to wait.
func (t *limiters) take(key string, now time.Time) time.Duration {
	print := t.prints.of(key)
	s := &t.shards[print[0]&uint64(len(t.shards)-1)]
	at := now.Sub(t.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byKey[print]
	if l == nil {
		l = s.addLocked(print, t.allowance)
	}
	wait := t.allowance.spend(l.limiter, now)
	l.fullAt = at + t.allowance.missing(l.limiter, now)
	heap.Fix(&s.byFullness, l.place)
	s.sweepLocked(at)
	return wait
}

type limiterShard struct {
	most int // immutable

	mu         sync.Mutex
	byKey      map[fingerprint]*keyLimiter
	byFullness fullness

	_ [64]byte // a shard's lock is not on the next one's cache line
}

// swept is how many limiters a message may sweep: more than the one that it may add, so
// that the table follows what is in use.
const swept = 2

// sweepLocked forgets limiters that are full: a new one would be no different.
func (s *limiterShard) sweepLocked(at time.Duration) {
	for range swept {
		if len(s.byFullness) == 0 || s.byFullness[0].fullAt > at {
			return
		}
		s.forgetLocked()
	}
}

// forgetLocked forgets the fullest.
func (s *limiterShard) forgetLocked() {
	l := heap.Pop(&s.byFullness).(*keyLimiter)
	delete(s.byKey, l.key)
}

func (s *limiterShard) addLocked(key fingerprint, a allowance) *keyLimiter {
	if len(s.byFullness) >= s.most {
		s.forgetLocked()
	}
	if s.byKey == nil {
		s.byKey = make(map[fingerprint]*keyLimiter)
	}
	l := &keyLimiter{limiter: a.limiter(), key: key}
	s.byKey[key] = l
	heap.Push(&s.byFullness, l)
	return l
}

// A keyLimiter is the limiter of one key. It is guarded by its shard's mu.
type keyLimiter struct {
	limiter *rate.Limiter
	key     fingerprint
	fullAt  time.Duration // since limiters.began
	place   int           // in the heap
}

// fullness is a heap, the limiter that is full or will be soonest at its head.
type fullness []*keyLimiter

func (f fullness) Len() int           { return len(f) }
func (f fullness) Less(i, j int) bool { return f[i].fullAt < f[j].fullAt }

func (f fullness) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].place, f[j].place = i, j
}

func (f *fullness) Push(x any) {
	l := x.(*keyLimiter)
	l.place = len(*f)
	*f = append(*f, l)
}

func (f *fullness) Pop() any {
	last := len(*f) - 1
	l := (*f)[last]
	(*f)[last] = nil
	*f = (*f)[:last]
	return l
}
