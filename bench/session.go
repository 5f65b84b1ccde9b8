package bench

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// session is one run of a scenario.
type session struct {
	// immutable
	name     string // the scenario's
	plan     plan
	sources  []*source      // of each room, in a fan-out; none: each connection has its own
	extra    map[string]any // settings beyond those of the plan
	told     map[string]any // settings instead of those of the plan, where its terms are not the caller's
	storm    *url.URL       // where clients come and go; nil: connections stay
	target   Target
	started  time.Time      // the session's clock counts from here
	rules    []*frame.Rules // of each group
	patterns [][]byte       // of each group
	client   cpuClock
	server   cpuClock // reads nothing without a PID

	// the calling goroutine
	driver    string
	recorders []*recorder
	begun     int64    // when the connections were let loose
	before    sample   // at the window's beginning
	samples   []sample // at the ends of its intervals
	after     sample   // at its end: the last of them

	window   *window
	failures failureLog
	hostile  []*hostility

	phase    atomic.Int32  // a phase
	draining chan struct{} // closed when phase is phaseDrain or later
	stopped  chan struct{} // closed when phase is phaseStop
}

// plan is what a scenario comes down to.
type plan struct {
	groups []Group
	beside []Hostile
	timing
}

// phase is what the drivers are to do.
type phase = int32

const (
	phaseRun   phase = iota // keep messages in flight
	phaseDrain              // send no more, await the replies, say goodbye
	phaseStop               // hang up
)

func newSession(name string, p plan, t Target) *session {
	s := &session{
		name:     name,
		plan:     p,
		target:   t,
		started:  time.Now(),
		client:   ownCPU(),
		server:   processCPU(t.PID),
		window:   newWindow(),
		draining: make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	for _, g := range p.groups {
		s.rules = append(s.rules, g.rules())
		s.patterns = append(s.patterns, g.pattern())
	}
	return s
}

// now is the session's clock, in nanoseconds.
func (s *session) now() int64 { return int64(time.Since(s.started)) }

// conduct drives the connections through warm-up, window and goodbye.
func (s *session) conduct(ctx context.Context, conns []*dialed, watch func(Progress)) {
	carry := s.carry(ctx, conns)
	pacify := s.unleash(ctx)
	defer pacify()
	opened := s.plan.warmup == 0
	s.begun = s.now()
	if opened {
		s.open()
		s.begun = s.before.at
	}
	var carried sync.WaitGroup
	for _, run := range carry {
		carried.Go(run) // until its connections are done or phaseStop
	}
	over := make(chan struct{})
	go func() { carried.Wait(); close(over) }() // ends with the carriers

	w := watcher{s, watch, s.now()}
	if !opened && w.wait(ctx, over, s.plan.warmup) {
		opened = true
		s.open()
	}
	if opened {
		s.count(ctx, over, w)
	}
	release := s.finish(ctx)
	<-over
	release()
}

// carry returns what drives the connections, each part on a goroutine of its own.
func (s *session) carry(ctx context.Context, conns []*dialed) []func() {
	if s.storm != nil {
		return s.visitors(ctx, s.storm)
	}
	return s.carriers(conns)
}

// count waits for the window's end, interval by interval.
func (s *session) count(ctx context.Context, over <-chan struct{}, w watcher) {
	interval := intervalOf(s.plan.duration)
	for next := interval; ; next += interval {
		until := min(next, s.plan.duration)
		going := w.wait(ctx, over, time.Duration(s.before.at-s.now())+until)
		s.after = s.sample()
		if !going || until == s.plan.duration {
			break
		}
		s.samples = append(s.samples, s.after)
	}
	s.samples = append(s.samples, s.after)
	s.window.shut(s.after.at)
}

// open begins the counted window.
func (s *session) open() {
	s.before = s.sample()
	s.window.open(s.before.at)
}

// finish lets the connections end in good order, or drops them once ctx is
// over. release ends the watching of ctx.
func (s *session) finish(ctx context.Context) (release func() bool) {
	if ctx.Err() == nil {
		s.phase.Store(phaseDrain)
	}
	close(s.draining)
	return context.AfterFunc(ctx, func() {
		s.phase.Store(phaseStop)
		close(s.stopped)
	})
}

// flow prepares the n-th connection's flow, with the bytes that came on the
// heels of the handshake.
func (s *session) flow(d *dialed, rec *recorder) (*flow, *failure) {
	g := s.plan.groups[d.group]
	var src *source
	sends := true
	if s.fans() {
		src, sends = s.sources[s.room(d.id)], d.id < len(s.sources)
	} else {
		src = newSource(g, 1, s.patterns[d.group])
		src.pace = newPacer(g.Pace, s.plan.timing, d.id, g.Connections, &s.begun)
	}
	f := newFlow(src, sends, s.rules[d.group])
	f.group = d.group
	rec.at(s.now())
	return f, f.input(d.early, s.now(), rec)
}

// fans reports whether the connections of a room get the messages of one of them.
func (s *session) fans() bool { return len(s.sources) > 0 }

// room returns the room of a fan-out's connection, whose sender is the connection with
// the room's number.
func (s *session) room(id int) int { return id % len(s.sources) }

// lost reports whether a room's sender has failed.
func (s *session) lost() bool {
	return slices.ContainsFunc(s.sources, func(src *source) bool { return src.lost })
}

// paced reports whether any group is an open loop.
func (s *session) paced() bool {
	return slices.ContainsFunc(s.plan.groups, func(g Group) bool { return g.Pace.open() })
}

func (s *session) recorder() *recorder {
	r := newRecorder(s.window, intervalOf(s.plan.duration), len(s.plan.groups))
	s.recorders = append(s.recorders, r)
	return r
}

// received is the number of messages so far.
func (s *session) received() (n uint64) {
	for _, r := range s.recorders {
		n += r.received.Load()
	}
	return n
}

// watcher waits, and reports progress meanwhile.
type watcher struct {
	s     *session
	watch func(Progress)
	began int64
}

const watchInterval = 100 * time.Millisecond

// wait returns true when d has passed, false if ctx or the run ended before.
func (w watcher) wait(ctx context.Context, over <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-timer.C:
			w.report()
			return true
		case <-tick.C:
			w.report()
		case <-ctx.Done():
			return false
		case <-over:
			return false
		}
	}
}

func (w watcher) report() {
	if w.watch == nil {
		return
	}
	w.watch(Progress{
		Elapsed:  time.Duration(w.s.now() - w.began),
		Total:    w.s.plan.warmup + w.s.plan.duration,
		Messages: w.s.received(),
	})
}

// sample is a reading of all clocks at one instant.
type sample struct {
	at             int64
	client, server cpuReading
	memory         int64 // the server's
}

// sample reads the three clocks as close to each other as can be had: being
// preempted between two of them would charge one side's CPU to another span.
func (s *session) sample() sample {
	const tight, tries = int64(50 * time.Microsecond), 10
	memory := residentMemory(s.target.PID) // first: messages that come after the clocks are read count, their CPU does not
	best, width := sample{}, int64(0)
	for try := range tries {
		at := s.now()
		got := sample{at: at, client: s.client.read(), server: s.server.read()}
		if w := s.now() - at; try == 0 || w < width {
			best, width = got, w
		}
		if width < tight {
			break
		}
	}
	best.memory = memory
	return best
}
