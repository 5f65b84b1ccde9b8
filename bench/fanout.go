package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Fanout is the closed-loop fan-out scenario, for a server that sends every
// message to all of its connections: one connection, the sender, keeps InFlight
// messages under way, and each of them is complete when every connection has
// received it, the sender's own included. Then the next one goes out.
//
// With Rooms there are as many senders, each of which fans out to the connections of its
// own room: those that have come with the same query parameter token, for a server that
// keeps them apart by it.
//
// Every connection checks every delivery: one that is lost, doubled, out of order,
// altered or another room's fails the connection, and the others go on without it. The
// first connection of each room is its sender; when one fails the run is over.
//
// Before the first message each connection waits for the server to answer a
// ping, so that all of them are among those that get broadcasts. The server must
// send nothing else meanwhile, and have no other clients.
//
// The zero value is the default of each field.
type Fanout struct {
	// Connections is how many connections receive, the sender included.
	// 0: 1000. At most MaxConnections.
	Connections int

	// Rooms is among how many rooms the connections are spread. 0: one, of all, for a
	// server that knows none. At most Connections.
	Rooms int

	// InFlight is how many messages the sender keeps under way. 0: 1.
	// At most MaxInFlight.
	InFlight int

	// PayloadBytes is the size of each message. The first 8 bytes are its
	// number, or as much of it as fits. 0: 128. At most MaxPayload.
	PayloadBytes int

	// Text sends text messages instead of binary ones.
	Text bool

	// Stalled is how many more connections shake hands and never read again,
	// with a receive buffer as small as the kernel grants (on Linux; elsewhere of its default
	// size). No message waits for them, and whatever the server does to them is
	// no failure. 0: none. At most MaxConnections.
	Stalled int

	// Warmup is how long messages flow before they are counted. 0: not at all.
	Warmup time.Duration

	// Duration is the counted window: deliveries that come inside it count, and
	// CPU is read at its two ends. 0: 5 s.
	Duration time.Duration

	// Settle is how long after the window the last deliveries may take; what has
	// not come by then is reported as unanswered. 0: 3 s.
	Settle time.Duration
}

// Run carries out the scenario; see Echo.Run, whose ways it shares. Latency in
// the Result is that of deliveries: from when a message was due to be sent until one
// connection received it, for all connections.
func (f Fanout) Run(ctx context.Context, t Target, watch func(Progress)) (*Result, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(t.URL)
	if err != nil {
		return nil, err
	}
	f = f.withDefaults()
	s := newSession("fanout", plan{groups: []Group{f.group()}, timing: f.timing()}, t)
	for room := range max(f.Rooms, 1) {
		s.sources = append(s.sources, newSource(f.group(), f.receivers(room), s.patterns[0]))
	}
	s.extra = map[string]any{"stalled": f.Stalled, "rooms": f.Rooms}
	stalled, conns, err := f.dial(ctx, address)
	defer hangUp(stalled)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err == nil {
		s.conduct(ctx, conns, watch)
	}
	return s.result(ctx.Err() != nil), nil
}

// dial opens all connections; the stalled ones are the caller's to close, even
// after an error.
func (f Fanout) dial(ctx context.Context, address *url.URL) (stalled, conns []*dialed, err error) {
	if f.Stalled > 0 {
		stalled, err = dialAll(ctx, f.Stalled, dialer{address: address, ping: true, control: smallBuffer})
		if err != nil {
			return nil, nil, fmt.Errorf("stalled %w", err)
		}
	}
	conns, err = dialAll(ctx, f.Connections, dialer{address: address, ping: true, rooms: f.Rooms})
	return stalled, conns, err
}

// receivers returns how many connections are in a room.
func (f Fanout) receivers(room int) int {
	rooms := max(f.Rooms, 1)
	return (f.Connections - room + rooms - 1) / rooms
}

// Validate returns every mistake in f, joined; each is a *ConfigError.
func (f Fanout) Validate() error {
	d := f.withDefaults()
	mistakes := slices.Concat(d.group().ranges(), d.timing().ranges(), []error{
		inRange("Stalled", d.Stalled, 0, MaxConnections), inRange("Rooms", d.Rooms, 0, max(d.Connections, 0)),
	})
	if err := errors.Join(mistakes...); err != nil {
		return err
	}
	return inMemory(FieldSenderMemory, d.group().memory(1))
}

func (f Fanout) withDefaults() Fanout {
	setDefault(&f.Connections, 1000)
	g := f.group().withDefaults()
	f.InFlight, f.PayloadBytes = g.InFlight, g.PayloadBytes
	return f
}

// group is all connections of a Fanout, of which one sends.
func (f Fanout) group() Group {
	return Group{Connections: f.Connections, InFlight: f.InFlight, PayloadBytes: f.PayloadBytes, Text: f.Text}
}

func (f Fanout) timing() timing {
	return timing{f.Warmup, f.Duration, f.Settle}.withDefaults()
}
