package bench

import (
	"math"
	"math/rand/v2"
	"time"
)

// A pacer says when one connection's messages are due. The zero value is the closed
// loop: whenever there is room for one.
type pacer struct {
	first, last float64 // messages per nanosecond, at the beginning and the end
	span        float64 // from one to the other, in nanoseconds
	poisson     bool
	phase       float64 // which part of the first gap has passed at the beginning
	start       int64
	at          int64 // when the next message is due; math.MaxInt64: never
	begun       bool
}

// newPacer returns the pacer of the i-th of n connections. Evenly spaced, their
// messages are due in turn.
func newPacer(p Pace, t timing, i, n int) pacer {
	const second = float64(time.Second)
	return pacer{
		first:   p.Rate / second / float64(n),
		last:    p.To / second / float64(n),
		span:    float64(t.warmup + t.duration),
		poisson: p.Poisson,
		phase:   float64(i) / float64(n),
	}
}

func (p *pacer) open() bool { return p.first > 0 }

// take returns when the next message was due, if one is.
func (p *pacer) take(now int64) (due int64, ok bool) {
	if !p.open() {
		return now, true
	}
	if !p.begun {
		p.begin(now)
	}
	if due = p.at; due > now {
		return 0, false
	}
	p.at = due + p.gap(due)
	return due, true
}

func (p *pacer) begin(now int64) {
	p.begun, p.start, p.at = true, now, now
	if p.poisson {
		p.at += p.gap(now)
	} else {
		p.at += int64(p.phase / p.first)
	}
}

// gap is how long after a message that was due at at the next one is.
func (p *pacer) gap(at int64) int64 {
	part := min(float64(at-p.start)/p.span, 1)
	gap := 1 / (p.first + (p.last-p.first)*part)
	if p.poisson {
		gap *= rand.ExpFloat64()
	}
	return int64(min(gap, math.MaxInt64/4))
}
