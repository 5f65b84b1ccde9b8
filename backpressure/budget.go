package backpressure

import (
	"slices"
	"sync"
	"sync/atomic"
)

// The marks of a budget, in eighths of its limit. The last eighth is for
// accounts that hold less than their fair share of it, so that those who hold
// much can not take the memory that all others need to go on.
const (
	eighths   = 8
	shedTo    = 5 // Excess is what is used above it
	shedAbove = 6 // from here watchers are told, and Join refuses
	largeTo   = 7 // where accounts above their fair share are refused
)

// Footprint is what a budget counts for a connection that holds nothing: its
// memory while idle, and the allowances of its accounts.
const Footprint = 16 << 10

// A Budget bounds the bytes that peers can make a program hold: what is queued
// for them, what they have announced, and what of theirs waits to be handled. Any
// number of engines may share one. Its limit is never exceeded by more than the
// messages that are being sent at the moment.
//
// A nil *Budget has no limit.
type Budget struct {
	limit int64

	used    atomic.Int64
	members atomic.Int64

	mu       sync.Mutex
	watchers []chan struct{}
}

// NewBudget returns a budget of limit bytes, which must be positive.
func NewBudget(limit int) *Budget {
	return &Budget{limit: int64(limit)}
}

// Limit returns the limit in bytes, 0 for none.
func (b *Budget) Limit() int {
	if b == nil {
		return 0
	}
	return int(b.limit)
}

// Used returns the bytes counted now.
func (b *Budget) Used() int {
	if b == nil {
		return 0
	}
	return int(b.used.Load())
}

// Tight reports whether more than three quarters are used: no time for new
// connections.
func (b *Budget) Tight() bool {
	return b != nil && b.used.Load() > b.mark(shedAbove)
}

// Join counts a connection. It returns false, and counts nothing, if the budget
// is tight. Whoever has joined must Leave.
func (b *Budget) Join() bool {
	if b == nil {
		return true
	}
	if b.Tight() {
		return false
	}
	b.members.Add(1)
	b.add(Footprint)
	return true
}

// Leave counts a connection out.
func (b *Budget) Leave() {
	if b == nil {
		return
	}
	b.members.Add(-1)
	b.add(-Footprint)
}

// Watch returns a channel that yields a value when the budget has become tight: it
// is time to free Excess bytes, from those who hold the most. Unwatch ends that.
func (b *Budget) Watch() <-chan struct{} {
	if b == nil {
		return nil
	}
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = append(b.watchers, ch)
	return ch
}

// Unwatch forgets a channel that Watch has returned.
func (b *Budget) Unwatch(ch <-chan struct{}) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = slices.DeleteFunc(b.watchers, func(w chan struct{}) bool { return w == ch })
}

// Excess returns how many bytes are used above the five eighths that shedding
// aims at.
func (b *Budget) Excess() int {
	if b == nil {
		return 0
	}
	return int(max(0, b.used.Load()-b.mark(shedTo)))
}

// Share returns the bytes that one of the connections may always hold, whatever
// the others do: an equal part of the last eighth.
func (b *Budget) Share() int {
	if b == nil {
		return 0
	}
	return int(b.limit / eighths / max(1, b.members.Load()))
}

func (b *Budget) mark(n int64) int64 { return b.limit / eighths * n }

// fits reports whether an account that would then hold held bytes may take n.
func (b *Budget) fits(n, held int) bool {
	if b.used.Load()+int64(n) <= b.limitFor(held) {
		return true
	}
	b.press()
	return false
}

// take is fits and add in one: whoever asks at the same time sees the bytes as used.
func (b *Budget) take(n, held int) bool {
	limit := b.limitFor(held)
	for {
		used := b.used.Load()
		if used+int64(n) > limit {
			b.press()
			return false
		}
		if b.used.CompareAndSwap(used, used+int64(n)) {
			if used+int64(n) > b.mark(shedAbove) {
				b.press()
			}
			return true
		}
	}
}

func (b *Budget) limitFor(held int) int64 {
	if held > b.Share() {
		return b.mark(largeTo)
	}
	return b.limit
}

// add counts n bytes, without asking.
func (b *Budget) add(n int) {
	if used := b.used.Add(int64(n)); n > 0 && used > b.mark(shedAbove) {
		b.press()
	}
}

func (b *Budget) press() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.watchers {
		select {
		case ch <- struct{}{}:
		default: // has been asked already
		}
	}
}

const (
	// allowance is what an account holds without the budget's knowing; Footprint
	// has it.
	allowance = 4 << 10
	// grain is how much an account takes from the budget at once, so that small
	// messages do not each write to a counter that all cores share.
	grain = 16 << 10
)

// An Account is what one holder has of a budget. It has no lock: its owner's
// serves. The zero value belongs to no budget and bounds nothing.
type Account struct {
	budget *Budget
	held   int
	taken  int // from the budget: held without the allowance, in grains
}

// NewAccount returns an empty account of b, which may be nil.
func NewAccount(b *Budget) Account { return Account{budget: b} }

// Held returns the bytes that the account holds.
func (a *Account) Held() int { return a.held }

// Fits reports whether n more bytes may be held.
func (a *Account) Fits(n int) bool {
	more := inGrains(a.held+n-allowance) - a.taken
	return more <= 0 || a.budget == nil || a.budget.fits(more, a.held+n)
}

// Take is Fits, and sets n bytes aside for the calls of Add that follow: between
// asking and adding there may be an allocation, and with it a garbage collection,
// during which a hundred others would be told that there is room. Add(0) gives back
// what has not been used.
func (a *Account) Take(n int) bool {
	want := inGrains(a.held + n - allowance)
	if more := want - a.taken; more > 0 && a.budget != nil {
		if !a.budget.take(more, a.held+n) {
			return false
		}
		a.taken = want
	}
	return true
}

// inGrains rounds up to what an account takes from the budget.
func inGrains(n int) int { return (max(0, n) + grain - 1) / grain * grain }

// Add counts n more bytes, or fewer, whether they fit or not.
func (a *Account) Add(n int) {
	a.held += n
	if a.budget == nil {
		return
	}
	want := inGrains(a.held - allowance)
	if want > a.taken || n <= 0 && (want == 0 || a.taken-want > 4*grain) {
		a.budget.add(want - a.taken)
		a.taken = want
	}
}
