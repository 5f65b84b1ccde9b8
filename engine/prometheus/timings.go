package penstockprometheus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// TimingsConfig configures [NewTimings]. Its zero value will do.
type TimingsConfig struct {
	// Buckets are the upper bounds of the classic buckets of both histograms, in seconds,
	// increasing. Default: 100 µs to 10 s, three to a decade. An empty list that is not
	// nil switches the classic buckets off; native ones are always kept.
	Buckets []float64
}

// defaultBuckets are in seconds.
var defaultBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// Timings keeps how long messages wait and how long their handlers take. It is a
// prometheus.Collector; [Timings.Interceptor] feeds it. One value may serve any
// number of engines.
type Timings struct {
	handler, wait *prometheus.Desc
	byType        [2]typeTimings // text, binary
	base          time.Time      // one reading of the clock is cheaper than time.Now, which makes two
}

// typeTimings are the histograms of a type.
type typeTimings struct {
	wait    *histogram
	handler [outcomes]*histogram
}

// NewTimings returns histograms that are empty. The error says what is wrong with
// Buckets.
func NewTimings(cfg TimingsConfig) (*Timings, error) {
	for i, b := range cfg.Buckets {
		if !(b > 0) || i > 0 && !(b > cfg.Buckets[i-1]) { // nor is NaN
			return nil, fmt.Errorf("penstockprometheus: Buckets[%d] is %v; allowed are seconds above 0, each more than the one before", i, b)
		}
	}
	t := &Timings{
		handler: prometheus.NewDesc(namespace+"handler_duration_seconds",
			"Time that a data message's handler and the interceptors after this one took, by outcome. Unit: seconds.",
			[]string{"type", "outcome"}, nil),
		wait: prometheus.NewDesc(namespace+"queue_wait_seconds",
			"Time from the read of a data message to the start of its chain. Unit: seconds.",
			[]string{"type"}, nil),
		base: time.Now(),
	}
	if cfg.Buckets == nil {
		cfg.Buckets = defaultBuckets
	}
	s := newScale(cfg.Buckets)
	for i, op := range []frame.Opcode{frame.Text, frame.Binary} {
		t.byType[i].wait = newHistogram(s, t.wait, op.String())
		for o := range outcomes {
			t.byType[i].handler[o] = newHistogram(s, t.handler, op.String(), o.String())
		}
	}
	return t, nil
}

// Describe implements prometheus.Collector.
func (t *Timings) Describe(to chan<- *prometheus.Desc) {
	to <- t.handler
	to <- t.wait
}

// Collect implements prometheus.Collector.
func (t *Timings) Collect(to chan<- prometheus.Metric) {
	for i := range t.byType {
		to <- t.byType[i].wait
		for _, h := range t.byType[i].handler {
			to <- h
		}
	}
}

// Interceptor returns what is to be registered with the engine: first, to count what
// other interceptors take and refuse as the handler's; last, to leave that out. It sees
// inbound text and binary messages only.
func (t *Timings) Interceptor() interceptors.Interceptor {
	return interceptors.Only(interceptors.InboundData, timer{timings: t})
}

type timer struct {
	interceptors.InboundOnly
	interceptors.Timed
	timings *Timings
}

// InterceptInbound takes the time of the rest of the chain.
func (t timer) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	h := &t.timings.byType[0]
	if in.Type == frame.Binary {
		h = &t.timings.byType[1]
	}
	start := time.Since(t.timings.base)
	if received := engine.ReceivedAt(ctx); !received.IsZero() {
		h.wait.observe(start - received.Sub(t.timings.base))
	}
	ended := panicked
	defer func() { h.handler[ended].observe(time.Since(t.timings.base) - start) }() // also of what panics
	err := next.Run(ctx, in)
	ended = outcomeOf(err)
	return err
}

// outcome is what became of a message.
type outcome uint8

const (
	handled  outcome = iota
	refused          // by an interceptors.Refusal
	closed           // by a *engine.CloseError: the handler ended the connection, or it had ended
	dropped          // a reply was not taken: the peer is too slow
	failed           // by any other error
	panicked         // or called runtime.Goexit
	outcomes
)

var outcomeNames = [outcomes]string{"ok", "refused", "closed", "congested", "error", "panic"}

// String returns the value of the label.
func (o outcome) String() string { return outcomeNames[o] }

func outcomeOf(err error) outcome {
	if err == nil {
		return handled
	}
	if _, ok := errors.AsType[interceptors.Refusal](err); ok {
		return refused
	}
	switch engine.VerdictOf(err) {
	case engine.Closed:
		return closed
	case engine.Congested, engine.Dropped:
		return dropped
	}
	if _, ok := errors.AsType[*engine.CloseError](err); ok {
		return closed
	}
	return failed
}
