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
	start       *int64  // when the run began, for all connections alike
	count       float64 // the next message is due when the rate's integral is this
	at          int64   // which is then
	begun       bool
}

// newPacer returns the pacer of a connection in a group of n, whose numbers follow one
// another, from wherever on, and whose run begins at *start, which nobody reads before.
// Evenly spaced, their messages are due in turn.
func newPacer(p Pace, t timing, number, n int, start *int64) pacer {
	const second = float64(time.Second)
	return pacer{
		first:   p.Rate / second / float64(n),
		last:    p.To / second / float64(n),
		span:    float64(t.warmup + t.duration),
		poisson: p.Poisson,
		start:   start,
		count:   float64(number%n) / float64(n),
	}
}

func (p *pacer) open() bool { return p.first > 0 }

// take returns when the next message was due, if one is.
func (p *pacer) take(now int64) (due int64, ok bool) {
	if !p.open() {
		return now, true
	}
	if !p.begun {
		p.begin()
	}
	if due = p.at; due > now {
		return 0, false
	}
	p.advance()
	return due, true
}

func (p *pacer) begin() {
	p.begun = true
	if p.poisson {
		p.count = 0
		p.advance()
	} else {
		p.at = *p.start + p.when(p.count)
	}
}

// advance goes on to the next message.
func (p *pacer) advance() {
	step := 1.0
	if p.poisson {
		step = rand.ExpFloat64()
	}
	p.count += step
	p.at = *p.start + p.when(p.count)
}

// when returns after which time the rate's integral is count. Gaps from the rate at their
// beginning would be wrong where that changes: at 1 message a second the next is due in a
// second, however steep the rise.
func (p *pacer) when(count float64) int64 {
	ns := 0.0
	if rising := p.span * (p.first + p.last) / 2; count > rising {
		ns = p.span + (count-rising)/p.last
	} else {
		slope := (p.last - p.first) / p.span
		ns = 2 * count / (p.first + math.Sqrt(max(0, p.first*p.first+2*slope*count)))
	}
	return int64(min(math.Round(ns), math.MaxInt64/4))
}
