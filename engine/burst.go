package engine

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A burst is a batch of messages being handled, and the connections whose replies
// it holds back in order to write them together. What is held back is written
// when the burst ends, when a cork is full, when a handler calls Flush, and, for
// handlers that take their time, by the ticker.
type burst struct {
	e    *Engine
	late atomic.Bool // has lasted for a tick

	mu      sync.Mutex
	active  bool
	touched []*Conn
}

// begin starts holding back for c, whose queue the caller corks.
func (b *burst) begin(c *Conn) {
	b.mu.Lock()
	started := !b.active
	b.active = true
	b.late.Store(false) // a tick may have come after the end of the last burst
	b.touched = append(b.touched, c)
	b.mu.Unlock()
	if started {
		c.burst.Store(b)
		b.e.ticker.add(b)
	}
}

// touch notes a connection for which a message is held back. It returns false if
// the burst is over; then the caller must flush.
func (b *burst) touch(c *Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active {
		b.touched = append(b.touched, c)
	}
	return b.active
}

// end writes all that has been held back. It does nothing if none has begun.
func (b *burst) end() {
	b.mu.Lock()
	if !b.active {
		b.mu.Unlock()
		return
	}
	b.active = false
	touched := b.touched
	b.mu.Unlock()
	b.e.ticker.remove(b)
	touched[0].burst.Store(nil)
	for _, c := range touched {
		c.queue.Flush()
	}
	clear(touched)
	b.touched = touched[:0]
}

// overdue reports whether other connections should get their turn.
func (b *burst) overdue() bool { return b.late.Load() }

// tick writes what a burst has held back for at least one whole tick. The burst's
// own connection stays, for it is corked; the others have nothing held back any
// more, and would gather while a handler broadcasts for long.
func (b *burst) tick() {
	if !b.late.Swap(true) {
		return
	}
	var touched []*Conn
	b.mu.Lock()
	if b.active {
		touched = slices.Clone(b.touched)
		clear(b.touched[1:])
		b.touched = b.touched[:1]
	}
	b.mu.Unlock()
	for _, c := range touched {
		c.queue.Flush()
	}
}

// tickEvery is the time after which a handler that still runs no longer holds
// back replies: between one and two ticks.
const tickEvery = time.Millisecond

// tickerRest is how many ticks without a burst the ticker goes on for. Bursts of
// a busy server are much closer together, and must not each wake it.
const tickerRest = 100

// A ticker looks after the bursts of an engine. Its goroutine sleeps while there
// are none.
type ticker struct {
	bursts sync.Pool

	mu     sync.Mutex
	active []*burst
	asleep bool
	wake   chan struct{}
	stop   chan struct{}
}

func newTicker(e *Engine) *ticker {
	t := &ticker{wake: make(chan struct{}, 1), stop: make(chan struct{})}
	t.bursts.New = func() any { return &burst{e: e} }
	return t
}

func (t *ticker) add(b *burst) {
	t.mu.Lock()
	t.active = append(t.active, b)
	wake := t.asleep
	t.asleep = false
	t.mu.Unlock()
	if wake {
		t.wake <- struct{}{}
	}
}

func (t *ticker) remove(b *burst) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.active, b)
	last := len(t.active) - 1
	t.active[i] = t.active[last]
	t.active[last] = nil
	t.active = t.active[:last]
}

// run is the ticker's goroutine; it ends when stop is closed.
func (t *ticker) run() {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	var bursts []*burst
	for quiet := 0; ; {
		if !t.pause(clock, quiet > tickerRest) {
			return
		}
		t.mu.Lock()
		bursts = append(bursts[:0], t.active...)
		quiet++
		if len(bursts) > 0 {
			quiet = 0
		}
		t.asleep = quiet > tickerRest
		t.mu.Unlock()
		for _, b := range bursts {
			b.tick()
		}
		clear(bursts)
	}
}

// pause waits for the next tick, or to be woken; false: to be stopped.
func (t *ticker) pause(clock *time.Timer, asleep bool) bool {
	if asleep {
		select {
		case <-t.wake:
			return true
		case <-t.stop:
			return false
		}
	}
	clock.Reset(tickEvery)
	select {
	case <-clock.C:
		return true
	case <-t.stop:
		return false
	}
}
