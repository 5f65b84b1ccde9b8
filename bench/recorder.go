package bench

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// recorder counts the replies of one loop. It belongs to the loop's goroutine;
// received alone may be read by others meanwhile.
type recorder struct {
	window   *window
	counting bool
	late     bool    // the window has ended
	groups   []tally // of what is counted
	all      uint64  // complete messages, counted or not
	plains   int64   // replies counted that came uncompressed to compressed messages
	interval time.Duration
	ticks    []tick        // of the window, one for each interval
	tick     *tick         // the current one, while counting
	received atomic.Uint64 // all, as of the last publish
}

// tally is what one group of connections has.
type tally struct {
	latency  *hdrhistogram.Histogram // nanoseconds, of replies
	longest  int64                   // exact, where the histogram rounds
	messages int64                   // complete ones
	owed     int64                   // due, and not come by the window's end
}

// longestLatency is where the histogram ends; what takes longer is recorded as
// this, and shows in full as the maximum.
const longestLatency = int64(10 * time.Minute)

func newRecorder(w *window, interval time.Duration, groups int) *recorder {
	r := &recorder{window: w, interval: interval, groups: make([]tally, groups)}
	for i := range r.groups {
		r.groups[i].latency = newHistogram()
	}
	return r
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency, 3)
}

// at says when the replies that follow came.
func (r *recorder) at(now int64) {
	from, to := r.window.from.Load(), r.window.to.Load()
	r.counting = from <= now && now < to
	r.late = now >= to
	if r.counting {
		r.tick = r.tickAt(now, from)
	}
}

// reply takes one reply: in a fan-out, one delivery.
func (r *recorder) reply(group int, latency int64) {
	if r.counting {
		r.groups[group].add(latency)
		r.tick.slowest = max(r.tick.slowest, latency)
	}
}

// plain takes note that the reply was not compressed, where its message was.
func (r *recorder) plain() {
	if r.counting {
		r.plains++
	}
}

// owe takes a message that the window's end has found waiting since it was due. The end
// is the same for all: one that waits until its loop has noticed would have waited longer.
func (r *recorder) owe(group int, due int64) {
	end, _ := r.window.ended()
	if due >= end {
		return
	}
	r.groups[group].owed++
	r.groups[group].add(end - due)
	last := r.tickAt(end-1, r.window.from.Load())
	last.slowest = max(last.slowest, end-due)
}

func (t *tally) add(latency int64) {
	t.longest = max(t.longest, latency)
	// Cannot fail: the value lies between the histogram's ends.
	_ = t.latency.RecordValue(min(max(latency, 0), longestLatency))
}

func (t *tally) merge(of tally) {
	t.latency.Merge(of.latency)
	t.longest = max(t.longest, of.longest)
	t.messages += of.messages
	t.owed += of.owed
}

// complete takes a message that has been received by all who were to receive it.
func (r *recorder) complete(group int) {
	r.all++
	if r.counting {
		r.groups[group].messages++
		r.tick.messages++
	}
}

// publish makes the number of messages known to the progress bar.
func (r *recorder) publish() { r.received.Store(r.all) }

// window is the span of time in which replies count, in nanoseconds of the
// session's clock. It opens and shuts while loops ask.
type window struct {
	from, to atomic.Int64
}

func newWindow() *window {
	w := new(window)
	w.from.Store(math.MaxInt64)
	w.to.Store(math.MaxInt64)
	return w
}

func (w *window) open(now int64) { w.from.Store(now) }
func (w *window) shut(now int64) { w.to.Store(now) }

// ended returns when the window was shut; false: it has not been, or was never open.
func (w *window) ended() (at int64, ok bool) {
	at = w.to.Load()
	return at, at != math.MaxInt64
}
