package bench

import (
	"context"
	"time"
)

// Echo is the echo scenario. In its closed loop every connection keeps InFlight
// messages under way and sends the next one when a reply has come; with a Pace,
// messages are due at times of their own.
//
// A closed loop waits for a slow server instead of sending on, so its latency
// is the time a message took at the pace that the server itself allowed. It
// says nothing about a pace that clients would keep up regardless.
//
// The zero value is the default of each field; those that a Group has are described
// there.
type Echo struct {
	Connections  int
	InFlight     int
	PayloadBytes int
	Text         bool
	Compress     bool
	Pace         Pace

	// Beside are peers that behave badly meanwhile. Their own fate is no failure.
	Beside []Hostile

	// Warmup is how long messages flow before they are counted. 0: not at all.
	Warmup time.Duration

	// Duration is the counted window: replies that come inside it count, and
	// CPU is read at its two ends. 0: 5 s.
	Duration time.Duration

	// Settle is how long after the window the last replies may take; what has not
	// come by then is reported as unanswered. 0: 3 s.
	Settle time.Duration
}

// Target is the server under load.
type Target struct {
	// URL is the address to connect to: ws://host:port/path, or wss.
	URL string

	// PID is the server's process on this machine, whose CPU is read. 0: not
	// known, and the Result's ServerCPU is nil.
	PID int
}

// Progress is a glimpse of a run, for a progress bar.
type Progress struct {
	Elapsed  time.Duration // since the first message
	Total    time.Duration // warm-up and window
	Messages uint64        // complete so far, those of the warm-up included
}

// Run carries out the scenario. watch, if not nil, is called about ten times a
// second, from the calling goroutine.
//
// When ctx ends early the Result holds what was measured until then and is
// marked Partial; that is no error. An error means that there is no Result: the
// configuration is wrong, or a connection could not be established. Failures
// during the run are in Result.Failures.
func (e Echo) Run(ctx context.Context, t Target, watch func(Progress)) (*Result, error) {
	return e.mixed().run(ctx, "echo", t, watch)
}

// Validate returns every mistake in e, joined; each is a *ConfigError.
func (e Echo) Validate() error { return e.mixed().Validate() }

// mixed is e as what it is a simple case of.
func (e Echo) mixed() Mixed {
	g := Group{
		Connections:  e.Connections,
		InFlight:     e.InFlight,
		PayloadBytes: e.PayloadBytes,
		Text:         e.Text,
		Compress:     e.Compress,
		Pace:         e.Pace,
	}
	return Mixed{Groups: []Group{g}, Beside: e.Beside, Warmup: e.Warmup, Duration: e.Duration, Settle: e.Settle}
}

// Compresses reports whether the scenario needs a server that agrees to
// permessage-deflate.
func (e Echo) Compresses() bool { return e.mixed().Compresses() }
