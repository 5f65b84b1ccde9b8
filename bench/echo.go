package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// Echo is the closed-loop echo scenario: every connection keeps InFlight
// messages under way and sends the next one when a reply has come.
//
// A closed loop waits for a slow server instead of sending on, so its latency
// is the time a message took at the pace that the server itself allowed. It
// says nothing about a pace that clients would keep up regardless.
//
// The zero value is the default of each field.
type Echo struct {
	// Connections is how many connections are opened before the first message
	// is sent. 0: 100. At most MaxConnections.
	Connections int

	// InFlight is how many messages each connection keeps under way. 0: 1.
	// At most MaxInFlight.
	InFlight int

	// PayloadBytes is the size of each message. The first 8 bytes are its
	// number, or as much of it as fits. 0: 128. At most MaxPayload.
	PayloadBytes int

	// Text sends text messages instead of binary ones.
	Text bool

	// Warmup is how long messages flow before they are counted. 0: not at all.
	Warmup time.Duration

	// Duration is the counted window: replies that come inside it count, and
	// CPU is read at its two ends. 0: 5 s.
	Duration time.Duration

	// Settle is how long after the window the last replies may take; what has not
	// come by then is reported as unanswered. 0: 3 s.
	Settle time.Duration
}

// The limits of a scenario. All messages in flight are kept encoded in memory,
// which may take MaxMemory bytes.
const (
	MaxConnections = 60_000
	MaxInFlight    = 65_536
	MaxPayload     = 64 << 20
	MaxDuration    = 24 * time.Hour
	MaxMemory      = 2 << 30
)

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
	if err := e.Validate(); err != nil {
		return nil, err
	}
	address, err := parseURL(t.URL)
	if err != nil {
		return nil, err
	}
	s := newSession("echo", e.withDefaults(), t)
	conns, err := dialAll(ctx, s.cfg.Connections, dialer{address: address})
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err == nil {
		s.conduct(ctx, conns, watch)
	}
	return s.result(ctx.Err() != nil), nil
}

// Validate returns every mistake in e, joined; each is a *ConfigError.
func (e Echo) Validate() error {
	d := e.withDefaults()
	if err := errors.Join(d.ranges()...); err != nil {
		return err
	}
	return inMemory(FieldMemory, d.Connections, d)
}

// The Field of the ConfigError about MaxMemory: in an Echo every connection keeps
// messages, in a Fanout the sender alone.
const (
	FieldMemory       = "Connections × InFlight × PayloadBytes"
	FieldSenderMemory = "InFlight × PayloadBytes"
)

// ranges checks each field by itself; nil is none wrong.
func (e Echo) ranges() []error {
	return []error{
		inRange("Connections", e.Connections, 1, MaxConnections),
		inRange("InFlight", e.InFlight, 1, MaxInFlight),
		inRange("PayloadBytes", e.PayloadBytes, 1, MaxPayload),
		inRange("Warmup", e.Warmup, 0, MaxDuration),
		inRange("Duration", e.Duration, time.Millisecond, MaxDuration),
		inRange("Settle", e.Settle, time.Millisecond, MaxDuration),
	}
}

// inMemory checks what the messages of that many senders take.
func inMemory(field string, senders int, e Echo) error {
	if bytes := int64(senders) * int64(e.InFlight) * int64(e.PayloadBytes+frame.MaxHeaderSize); bytes > MaxMemory {
		return &ConfigError{field, bytes, fmt.Sprintf("together at most %d bytes", int64(MaxMemory))}
	}
	return nil
}

// ConfigError is one configuration value that is not allowed.
type ConfigError struct {
	Field   string
	Value   any
	Allowed string // what would be
}

// Error names the field, its value and what is allowed.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("bench: %s is %v; allowed: %s", e.Field, e.Value, e.Allowed)
}

func (e Echo) withDefaults() Echo {
	setDefault(&e.Connections, 100)
	setDefault(&e.InFlight, 1)
	setDefault(&e.PayloadBytes, 128)
	setDefault(&e.Duration, 5*time.Second)
	setDefault(&e.Settle, 3*time.Second)
	return e
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func inRange[T int | time.Duration](field string, value, low, high T) error {
	if low <= value && value <= high {
		return nil
	}
	return &ConfigError{field, value, fmt.Sprintf("%v to %v", low, high)}
}

func (e Echo) opcode() frame.Opcode {
	if e.Text {
		return frame.Text
	}
	return frame.Binary
}

// settings are the scenario's part of Result.Settings, under the names of the
// command's flags.
func (e Echo) settings() map[string]any {
	return map[string]any{
		"connections": e.Connections,
		"pipeline":    e.InFlight,
		"payload":     e.PayloadBytes,
		"text":        e.Text,
		"warmup":      e.Warmup.String(),
		"duration":    e.Duration.String(),
	}
}
