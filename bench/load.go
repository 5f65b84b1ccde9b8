package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// Group is connections that all send in the same way.
type Group struct {
	// Name tells the groups of a Mixed apart.
	Name string

	// Connections is how many there are. 0: 100. At most MaxConnections.
	Connections int

	// InFlight is how many messages each connection keeps under way at most. 0: 1, or
	// 64 with a Pace. At most MaxInFlight.
	InFlight int

	// PayloadBytes is the size of each message. The first 8 bytes are its number, or
	// as much of it as fits. 0: 128. At most MaxPayload.
	PayloadBytes int

	// Text sends text messages instead of binary ones.
	Text bool

	// Compress offers permessage-deflate (RFC 7692), which the server must agree to,
	// and sends messages compressed: JSON, of which about a sixth is left.
	Compress bool

	// Pace says when messages are due. Zero: when a reply has come.
	Pace Pace
}

// Pace is an open loop: messages are due at times of their own, whether or not the
// server has answered those before. Latency counts from then, also while a message
// waits on the client because InFlight of its connection are under way. Messages that
// are owed when the window ends count with the time that they have waited by then.
type Pace struct {
	// Rate is how many messages per second are due, over all connections of the
	// group. 0: a closed loop. At most MaxRate.
	Rate float64

	// To is the rate at the end of the window, approached evenly from the first
	// message on. 0: Rate.
	To float64

	// Poisson draws the times at random, as of many clients that know nothing of
	// each other; else they are evenly spaced.
	Poisson bool
}

// MaxRate bounds a Pace, in messages per second.
const MaxRate = 10_000_000

// open reports whether p is an open loop.
func (p Pace) open() bool { return p.Rate > 0 }

func (g Group) withDefaults() Group {
	setDefault(&g.Connections, 100)
	inFlight := 1
	if g.Pace.open() {
		inFlight = 64
		setDefault(&g.Pace.To, g.Pace.Rate)
	}
	setDefault(&g.InFlight, inFlight)
	setDefault(&g.PayloadBytes, 128)
	return g
}

// ranges checks each field by itself; nil is none wrong.
func (g Group) ranges() []error {
	return []error{
		inRange("Connections", g.Connections, 1, MaxConnections),
		inRange("InFlight", g.InFlight, 1, MaxInFlight),
		inRange("PayloadBytes", g.PayloadBytes, 1, MaxPayload),
		inRange("Pace.Rate", g.Pace.Rate, 0, MaxRate),
		inRange("Pace.To", g.Pace.To, 0, MaxRate),
		g.Pace.consistent(),
	}
}

// consistent refuses what a closed loop would leave unheeded.
func (p Pace) consistent() error {
	if p.Rate == 0 && (p.To != 0 || p.Poisson) {
		return &ConfigError{"Pace.Rate", p.Rate, "with To or Poisson, a rate over 0"}
	}
	return nil
}

// memory is what the messages of that many senders take on the client.
func (g Group) memory(senders int) int64 {
	const slot = 16 // when it was due, and who lacks it
	return int64(senders) * int64(g.InFlight) * int64(g.PayloadBytes+frame.MaxHeaderSize+slot)
}

func (g Group) opcode() frame.Opcode {
	if g.Text {
		return frame.Text
	}
	return frame.Binary
}

// rules are for what the server sends.
func (g Group) rules() *frame.Rules {
	if g.Compress {
		return &frame.Rules{MaxMessage: int64(g.PayloadBytes + g.PayloadBytes/8 + 64), AllowRSV: frame.RSV1}
	}
	return &frame.Rules{MaxMessage: int64(g.PayloadBytes)}
}

// mode says how the group's latency is to be read.
func (g Group) mode() string {
	if g.Pace.open() {
		return OpenLoop
	}
	return ClosedLoop
}

// heading says in words what the group sends; where is the connections that do.
func (g Group) heading(where string) string {
	kind := "binary"
	if g.Text {
		kind = "text"
	}
	if g.Compress {
		kind = "compressed " + kind
	}
	size := fmt.Sprintf("%d bytes %s", g.PayloadBytes, kind)
	if !g.Pace.open() {
		return fmt.Sprintf("%d in flight %s, %s", g.InFlight, where, size)
	}
	rate := strconv.FormatFloat(g.Pace.Rate, 'f', -1, 64)
	if to := strconv.FormatFloat(g.Pace.To, 'f', -1, 64); g.Pace.To > g.Pace.Rate {
		rate += " rising to " + to
	} else if g.Pace.To < g.Pace.Rate {
		rate += " falling to " + to
	}
	if g.Pace.Poisson {
		rate += " (Poisson)"
	}
	return fmt.Sprintf("%s messages/s, %s", rate, size)
}

// settings stand in Result.Settings, under the names of the command's flags.
func (g Group) settings() map[string]any {
	set := map[string]any{
		"connections": g.Connections,
		"pipeline":    g.InFlight,
		"payload":     g.PayloadBytes,
		"text":        g.Text,
	}
	if g.Compress {
		set["compress"] = true
	}
	if g.Pace.open() {
		set["rate"], set["to"], set["poisson"] = g.Pace.Rate, g.Pace.To, g.Pace.Poisson
	}
	return set
}

// pattern returns what the payloads of the group's messages are cut from.
func (g Group) pattern() []byte {
	if g.Compress {
		return newRecords(2*g.PayloadBytes + 64)
	}
	return newPattern(g.PayloadBytes)
}

// newPattern returns text from which payloads of n bytes are cut. Its period
// does not divide into the offsets that newSource chooses from.
func newPattern(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return bytes.Repeat([]byte(letters), n/len(letters)+2)
}

// newRecords returns n bytes of JSON like that of a feed of prices: always the same.
func newRecords(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, `{"symbol":"%c%c%c","price":%.2f,"size":%d,"side":%q,"time":%d},`,
			'A'+random.IntN(26), 'A'+random.IntN(26), 'A'+random.IntN(26), 1000*random.Float64(), random.IntN(900),
			[]string{"buy", "sell"}[random.IntN(2)], 1_700_000_000_000+random.Int64N(1e9))
	}
	return b[:n]
}

// Timing is the course of a run.
type timing struct {
	warmup, duration, settle time.Duration
}

func (t timing) withDefaults() timing {
	setDefault(&t.duration, 5*time.Second)
	setDefault(&t.settle, 3*time.Second)
	return t
}

func (t timing) ranges() []error {
	return []error{
		inRange("Warmup", t.warmup, 0, MaxDuration),
		inRange("Duration", t.duration, time.Millisecond, MaxDuration),
		inRange("Settle", t.settle, time.Millisecond, MaxDuration),
	}
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

// The Field of the ConfigError about MaxMemory: in an Echo every connection keeps
// messages, in a Fanout the sender alone.
const (
	FieldMemory       = "Connections × InFlight × PayloadBytes"
	FieldSenderMemory = "InFlight × PayloadBytes"
)

// inMemory checks what the messages in flight take.
func inMemory(field string, n int64) error {
	if n > MaxMemory {
		return &ConfigError{field, n, fmt.Sprintf("together at most %d bytes", int64(MaxMemory))}
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

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func inRange[T int | float64 | time.Duration](field string, value, low, high T) error {
	if low <= value && value <= high {
		return nil
	}
	return &ConfigError{field, value, fmt.Sprintf("%v to %v", low, high)}
}
