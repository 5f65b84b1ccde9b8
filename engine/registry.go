package engine

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// shardCount spreads the locks of the registry, and the sweeper's work.
const shardCount = 16

// A registry holds all connections of an engine.
type registry struct {
	lastID atomic.Uint64
	open   atomic.Int64
	shards [shardCount]shard
}

type shard struct {
	mu    sync.Mutex
	conns []*Conn // unordered; each knows its position
	gone  traffic // of those that have left
}

func (r *registry) add(c *Conn) {
	r.open.Add(1)
	s := &r.shards[c.id%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.position = int32(len(s.conns))
	s.conns = append(s.conns, c)
}

func (r *registry) remove(c *Conn) {
	s := &r.shards[c.id%shardCount]
	s.mu.Lock()
	last := len(s.conns) - 1
	moved := s.conns[last]
	s.conns[c.position] = moved
	moved.position = c.position
	s.conns[last] = nil
	s.conns = s.conns[:last]
	passed, _ := c.traffic()
	s.gone.add(passed) // with the same lock held, so that nobody ever counts it twice, or not at all
	s.mu.Unlock()
	r.open.Add(-1)
}

// each calls f for every connection of a shard, under the shard's lock.
func (s *shard) each(f func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		f(c)
	}
}

// all returns every connection of the moment.
func (r *registry) all() []*Conn {
	conns, _ := r.census()
	return conns
}

// census returns every connection of the moment, and what has passed all others.
func (r *registry) census() (conns []*Conn, gone traffic) {
	conns = make([]*Conn, 0, r.open.Load())
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		conns = append(conns, s.conns...)
		gone.add(s.gone)
		s.mu.Unlock()
	}
	return conns, gone
}

// A clock is the engine's coarse time, in nanoseconds from its start, never
// zero. It moves once for each sweep of a shard.
type clock struct {
	start time.Time
	time  atomic.Int64
}

func (k *clock) now() int64 { return k.time.Load() }
func (k *clock) advance()   { k.time.Store(k.exact()) }

// exact is the time of this moment, on the scale of now.
func (k *clock) exact() int64 { return int64(time.Since(k.start)) + 1 }

// at is a time of this scale as one of the world's.
func (k *clock) at(t int64) time.Time { return k.start.Add(time.Duration(t - 1)) }

// A sweeper holds every connection against the timeouts, one shard after the
// other: no timer per connection.
type sweeper struct {
	e      *Engine
	period time.Duration // between two visits to a shard
	most   int           // ends in one visit
	parks  int           // likewise, nudges
	stop   chan struct{}
	due    []func() // reused between shards
	silent []*Conn  // likewise
}

// endsPerSecond bounds the ends that the sweeper begins for each processor: ten thousand
// peers that are late at the same time are ended over some seconds, and the others hardly
// notice. An end takes some 60 µs of CPU.
const endsPerSecond = 800

// An act is what the sweeper does about a connection.
type act uint8

const (
	ends     act = iota // it is to be ended: endsPerSecond
	pings               // see pingSpread
	relieves            // as often as it is wanted
)

// watch is what the sweeper remembers of a connection.
type watch struct {
	written uint64 // at the last visit
	moved   int64  // when that last changed, or nothing waited
	pinged  int64
}

// newSweeper visits often enough to be exact to an eighth of the shortest
// timeout, but to no more than a second.
func newSweeper(e *Engine) *sweeper {
	period := time.Second
	for _, d := range []time.Duration{e.cfg.PingInterval, e.cfg.IdleTimeout, e.cfg.WriteStallTimeout, e.cfg.CloseTimeout} {
		if d > 0 {
			period = min(period, d/8)
		}
	}
	period = max(period, shardCount*100*time.Microsecond)
	visits := float64(runtime.GOMAXPROCS(0)) * (period / shardCount).Seconds()
	most, parks := int(endsPerSecond*visits), int(parksPerSecond*visits)
	return &sweeper{e: e, period: period, most: max(1, most), parks: max(1, parks), stop: make(chan struct{})}
}

// run is the sweeper's goroutine; it ends when stop is closed.
func (w *sweeper) run() {
	tick := time.NewTicker(w.period / shardCount)
	defer tick.Stop()
	budget := w.e.cfg.Budget
	tight := budget.Watch()
	defer budget.Unwatch(tight)
	for i := 0; ; i++ {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.e.clock.advance()
		w.sweep(&w.e.registry.shards[i%shardCount])
		select {
		case <-tight: // asked here, so that it is no more often than this
			w.e.relieve()
		default:
		}
	}
}

func (w *sweeper) sweep(s *shard) {
	now := w.e.clock.now()
	left := [...]float64{ends: float64(w.most), pings: 1, relieves: math.Inf(1)}
	s.each(func(c *Conn) {
		if c.ep.ping > 0 {
			left[pings] += float64(w.period) / float64(c.ep.pingSpread())
		}
		if do, what := w.check(c, now); do != nil && left[what] >= 1 { // else at the next visit
			left[what]--
			w.due = append(w.due, do)
		}
	})
	for _, do := range w.due {
		do()
	}
	clear(w.due)
	w.due = w.due[:0]
	for _, c := range w.silent {
		c.nudge()
	}
	clear(w.silent)
	w.silent = w.silent[:0]
}

// pingSpread is the time over which peers are pinged that fell silent together: a pong wakes
// a connection, and if all were awake at the same time none had saved memory. A visit
// may ping so many that each gets its turn in this time, whatever their number: a fixed
// bound would be used up by the first ones of a shard each time.
func (p *endpoint) pingSpread() time.Duration {
	most := p.ping
	if p.idle > 0 {
		most = min(most, p.idle-p.ping)
	}
	return most / 4
}

// check returns what is to be done about a connection, and what that is; nil: nothing.
func (w *sweeper) check(c *Conn, now int64) (do func(), what act) {
	cfg := &w.e.cfg
	out := c.queue.Status()
	if !out.Blocked || out.Written != c.watch.written {
		c.watch.written, c.watch.moved = out.Written, now
	}
	c.mu.Lock()
	closing, paused, over, opened := c.closeSince, c.paused || c.noMore, c.sockState != sockOpen, c.opened
	answered := c.answered
	slow := !paused && c.slow.tooSlow(cfg.MinReceiveRate, now)
	rests := c.restsLocked()
	c.mu.Unlock()
	silence := now - c.lastRead.Load()
	if rests && silence > parkAfter && len(w.silent) < w.parks && c.sock.parks() {
		w.silent = append(w.silent, c)
	}
	switch {
	case over:
	case closing != 0 && now-closing > int64(cfg.CloseTimeout):
		if !answered {
			return c.answerLate, ends
		}
		return func() {
			c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "close timeout", Cause: CauseCloseTimeout})
		}, ends
	case out.Blocked && exceeds(now-c.watch.moved, cfg.WriteStallTimeout):
		return func() {
			w.e.counters.stalled.Add(1)
			c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "write stalled", Cause: CauseWriteStall})
		}, ends
	case !opened && exceeds(silence, cfg.HandshakeTimeout):
		return func() {
			c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "OnOpen took longer than HandshakeTimeout", Cause: CauseError})
		}, ends
	case out.Starved:
		return c.queue.Relieve, relieves
	case closing != 0 || paused || c.busy.Load():
	case slow:
		return func() {
			c.shut(&CloseError{Code: frame.ClosePolicyViolation, Reason: "message comes too slowly", Cause: CauseLimit}, false)
			c.interrupt()
		}, ends
	case exceeds(silence, c.ep.idle):
		return func() {
			c.shut(&CloseError{Code: frame.CloseGoingAway, Reason: "idle timeout", Cause: CauseIdle}, false)
		}, ends
	case exceeds(silence, c.ep.ping) && exceeds(now-c.watch.pinged, c.ep.ping):
		return func() {
			c.watch.pinged = now
			c.queue.SendControl(frame.Ping, nil)
		}, pings
	}
	return nil, ends
}

// exceeds: a timeout that is not positive is switched off.
func exceeds(elapsed int64, timeout time.Duration) bool {
	return timeout > 0 && elapsed > int64(timeout)
}
