package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config holds the settings of an [Engine]. The zero value is ready to use: each
// field says what zero stands for. New copies it.
//
// Durations: zero is the default, a negative one switches the matter off where
// the field says that this is possible. Sizes are in bytes and must be positive.
type Config struct {
	// MaxMessageBytes is the largest message payload, in both directions and
	// over all fragments. Default 1 MiB, at most 1 GiB. A peer that sends more is
	// closed with 1009 as soon as a frame header announces it; a larger send
	// closes the connection with 1009 and returns ErrMessageTooBig.
	// Environment: MAX_WS_MESSAGE_BYTES.
	MaxMessageBytes int

	// SendChunkBytes is the largest payload of one outbound frame. Default
	// 64 KiB, at least 125. A larger message goes out as fragments of one message
	// (RFC 6455 §5.4) and the writer waits for the socket to drain between them,
	// so that pings, pongs and closes can pass.
	// Environment: WS_SEND_CHUNK_BYTES.
	SendChunkBytes int

	// Compress agrees to permessage-deflate (RFC 7692) with peers that offer it,
	// without context takeover, so that no connection holds a compressor.
	// Default: off; the variable is set to "on". Environment: WS_COMPRESS.
	Compress bool

	// CompressLevel is how hard to try, from 1, the fastest, to 9; -2 codes bytes
	// only and looks for no repetition. Default 1. Environment: WS_COMPRESS_LEVEL.
	CompressLevel int

	// CompressMinBytes is the payload from which messages are compressed; what
	// would grow by it is sent as it is. Default 256.
	// Environment: WS_COMPRESS_MIN_BYTES.
	CompressMinBytes int

	// MaxInflateRatio is how many times larger than on the wire, and 4 KiB, a
	// compressed message may be; a peer that sends more is closed with 1009.
	// MaxMessageBytes holds as well. Default 250; negative: no ratio is too large
	// (deflate itself ends at 1032).
	MaxInflateRatio int

	// HighWaterBytes bounds what is queued for one peer: above it sends return
	// ErrCongested and the connection's messages are neither handled nor read,
	// until LowWaterBytes is reached. The message that crosses the mark is still
	// taken, so a queue holds at most HighWaterBytes and one message.
	// Default 1 MiB. Environment: WS_HIGH_WATER_BYTES.
	HighWaterBytes int

	// LowWaterBytes is where a congested connection goes on. Default a quarter
	// of HighWaterBytes; it must be below it. Environment: WS_LOW_WATER_BYTES.
	LowWaterBytes int

	// SendClass says what becomes of messages that a peer is too slow for, unless
	// an endpoint, a connection or a message has a class of its own. Default: the
	// zero Class, by which a send returns ErrCongested. It must not change.
	SendClass *backpressure.Class

	// MemoryBudgetBytes is how much resident memory peers may cost the process: idle
	// connections, messages announced, received and not yet handled, and queued.
	// Three eighths of it may be in use at a time; the rest is for what the garbage
	// collector has not freed yet. When three quarters of that are used, what may be
	// dropped is dropped, then the connections that hold the most are ended with 1013,
	// and upgrades are answered with 503. Default: DefaultMemoryBudget(). At least
	// 4 MiB and twelve times MaxMessageBytes.
	// Environment: WS_MEMORY_BUDGET_BYTES.
	MemoryBudgetBytes int

	// Budget, unless nil, is shared with other engines and replaces
	// MemoryBudgetBytes, which must be zero then. It counts what is in use: give it no
	// more than half of what may be resident, and at least four times MaxMessageBytes.
	Budget *backpressure.Budget

	// CorkBytes is how much the replies to a batch of messages, or the sends inside
	// Conn.Cork, may gather before they are written although the batch has not
	// ended. Default 16 KiB; no more than HighWaterBytes counts.
	// Environment: WS_CORK_BYTES.
	CorkBytes int

	// ReadBufferBytes is the size of the pooled buffers that sockets are read
	// into. A connection holds one only while there is something to read; one
	// under TLS holds 4 KiB all the time.
	// Default 32 KiB, at least 4 KiB. Environment: WS_READ_BUFFER_BYTES.
	ReadBufferBytes int

	// InboxMessages and InboxBytes bound what has been received on one
	// connection and not yet handled: at either bound its socket is not read
	// until half of it has been handled. What comes in the read that reaches the bound is taken,
	// too: one message and ReadBufferBytes at the most. Defaults 256 messages and
	// MaxMessageBytes. Environment: WS_INBOX_MESSAGES, WS_INBOX_BYTES.
	InboxMessages int
	InboxBytes    int

	// MaxFragments is how many frames a message may come in; a peer that sends more is
	// closed with 1008. Default 65536: enough for the largest default message in
	// pieces of 16 bytes, and an end to empty ones. Environment: WS_MAX_FRAGMENTS.
	MaxFragments int

	// MinReceiveRate is how many bytes per second a message must come in with, on
	// average, once it has taken ten seconds; a peer that takes longer is
	// closed with 1008. The time in which the engine does not read does not count.
	// Default 512; negative: any rate will do. Environment: WS_MIN_RECEIVE_RATE.
	MinReceiveRate int

	// ControlFramesPerSecond, MessagesPerSecond and BytesPerSecond bound what one
	// peer may send: pings and pongs, data messages, and their payload as it is on the
	// wire. Unused, they save up for one second, or for one message of MaxMessageBytes if that is
	// more. A peer that sends more is closed with 1008. Defaults: 100, and no limit
	// for the others; negative: no limit; at most 2^31-1. Environment: WS_CONTROL_FRAMES_PER_SECOND,
	// WS_MESSAGES_PER_SECOND, WS_BYTES_PER_SECOND.
	ControlFramesPerSecond int
	MessagesPerSecond      int
	BytesPerSecond         int

	// MaxConnections bounds the open connections of the engine; an upgrade beyond is
	// answered with 503. MaxConnectionsPerAddress bounds those of one remote address,
	// as trusted proxies tell it, an IPv6 address standing for its /64; 429.
	// UpgradesPerSecond bounds the upgrades that are answered at all, with a burst of
	// one second's; 503. Default: no limit; negative: none, either.
	// Environment: WS_MAX_CONNECTIONS, WS_MAX_CONNECTIONS_PER_ADDRESS,
	// WS_UPGRADES_PER_SECOND.
	MaxConnections           int
	MaxConnectionsPerAddress int
	UpgradesPerSecond        int

	// IO is how the engine waits for its peers: IOGoroutines or IOLoops. Default:
	// IOGoroutines; the variable is set to "goroutine" or "epoll". Environment: WS_IO.
	IO IO

	// Loops is how many event loops IOLoops has. Default: DefaultLoops().
	// Environment: WS_LOOPS.
	Loops int

	// Workers is how many handlers run at once, over all connections that do
	// not run inline. Default: DefaultWorkers(). Environment: WS_WORKERS.
	Workers int

	// MaxBackground is how many functions given to Conn.Go run at once, over all
	// connections. Default 65536. Environment: WS_MAX_BACKGROUND.
	MaxBackground int

	// PingInterval is the silence after which a peer is pinged. Default 30 s;
	// negative: never. Environment: WS_PING_INTERVAL.
	PingInterval time.Duration

	// IdleTimeout ends a connection from which nothing has been received for so
	// long, pongs included, with 1001. The time in which the engine itself does
	// not read it does not count. Default 75 s; negative: never.
	// Environment: WS_IDLE_TIMEOUT.
	IdleTimeout time.Duration

	// WriteStallTimeout ends a connection whose socket has not taken a byte for
	// so long although some were waiting. On Linux, what the kernel has taken and
	// the peer has not acknowledged for three times as long ends it, too
	// (TCP_USER_TIMEOUT). Default 10 s; negative: never.
	// Environment: WS_WRITE_STALL_TIMEOUT.
	WriteStallTimeout time.Duration

	// StreamStallTimeout ends a connection with 1011 if the source of a SendStream
	// has yielded nothing for so long. Default 30 s; negative: never.
	// Environment: WS_STREAM_STALL_TIMEOUT.
	StreamStallTimeout time.Duration

	// CloseTimeout bounds a closing handshake, from the queueing of our close
	// frame to the peer's closing of its end; then the socket is closed.
	// Default 5 s. Environment: WS_CLOSE_TIMEOUT.
	CloseTimeout time.Duration

	// HandshakeTimeout bounds reading a request's header, under Serve, the answer
	// to one that is refused, and OnOpen, after which the response to the others
	// leaves. Default 10 s. Environment: WS_HANDSHAKE_TIMEOUT.
	HandshakeTimeout time.Duration

	// ShutdownTimeout is how long Serve lets connections end in good order once
	// its context is done. Default 10 s. Environment: WS_SHUTDOWN_TIMEOUT.
	ShutdownTimeout time.Duration

	// ShutdownSpread is the time over which Shutdown spreads its closes, each at a
	// random moment of its share, so that the peers do not come back all at once.
	// Default 0: all at once. The variable may be "off".
	// Environment: WS_SHUTDOWN_SPREAD.
	ShutdownSpread time.Duration

	// AllowedOrigins are patterns for the Origin header of browsers, besides the
	// request's own origin, which is always allowed: "*" is any origin;
	// "https://*.example.com" and "https://example.com:8443" are matched against
	// the whole origin, "*.example.com" and "example.com:443" against its host with
	// any scheme. A star stands for any number of characters except "/"; without a
	// port the scheme's own is meant.
	AllowedOrigins []string

	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Proto and
	// Forwarded (RFC 7239) headers are believed; what the two kinds contradict each
	// other in is not. Default: none.
	TrustedProxies []netip.Prefix

	// Interceptors see every message of every endpoint, before the endpoint's own.
	Interceptors []interceptors.Interceptor

	// Logger receives what an operator must know: handler panics, forced ends.
	// Never payloads. Default: slog.Default().
	Logger *slog.Logger

	// CountBuffers makes Stats.Buffers count, to look for leaks. Default off: it
	// costs all processors a write to one shared counter for every buffer.
	CountBuffers bool
}

const (
	defaultMaxMessage = 1 << 20
	largestMaxMessage = 1 << 30 // gws computes sizes in 32 bits
	defaultChunk      = 64 << 10
	defaultHighWater  = 1 << 20

	defaultCompressMin  = 256
	defaultInflateRatio = 250
	defaultCork         = 16 << 10
	defaultReadBuffer   = 32 << 10
	mostLoops           = 1 << 13
	smallestBuffer      = 4 << 10
	smallestBudget      = 4 << 20
	defaultInbox        = 256
	defaultBackground   = 1 << 16

	defaultFragments   = 1 << 16
	defaultReceiveRate = 512
	defaultControlRate = 100
)

// DefaultWorkers returns the default of Config.Workers: 16 for each processor
// that the program may use. Workers only start while connections wait for one,
// so handlers that never block keep about one running per processor; the rest
// is for handlers that do.
func DefaultWorkers() int { return 16 * runtime.GOMAXPROCS(0) }

// IO is a way to wait for sockets.
type IO uint8

const (
	// IOGoroutines has a goroutine for each connection, on every system and for every
	// kind of connection.
	IOGoroutines IO = iota + 1

	// IOLoops has a few goroutines, each of which waits for many connections with
	// epoll. It is for plain TCP on Linux: other connections are read as with
	// IOGoroutines, and where there is no epoll all are; the log says so once.
	IOLoops
)

// defaultIO is a variable for the sake of the tests, all of which run in both ways.
var defaultIO = IOGoroutines

// String returns the name that WS_IO has for it.
func (io IO) String() string {
	switch io {
	case IOGoroutines:
		return "goroutine"
	case IOLoops:
		return "epoll"
	}
	return fmt.Sprintf("IO(%d)", uint8(io))
}

// DefaultLoops returns the default of Config.Loops: one for each processor that the
// program may use.
func DefaultLoops() int { return runtime.GOMAXPROCS(0) }

// withDefaults returns the configuration with every zero replaced.
func (c Config) withDefaults() Config {
	or(&c.MaxMessageBytes, defaultMaxMessage)
	or(&c.SendChunkBytes, defaultChunk)
	or(&c.CompressLevel, 1)
	or(&c.CompressMinBytes, defaultCompressMin)
	or(&c.MaxInflateRatio, defaultInflateRatio)
	or(&c.HighWaterBytes, defaultHighWater)
	or(&c.LowWaterBytes, c.HighWaterBytes/4)
	or(&c.CorkBytes, defaultCork)
	or(&c.ReadBufferBytes, defaultReadBuffer)
	or(&c.InboxMessages, defaultInbox)
	or(&c.InboxBytes, c.MaxMessageBytes)
	or(&c.MaxFragments, defaultFragments)
	or(&c.MinReceiveRate, defaultReceiveRate)
	or(&c.ControlFramesPerSecond, defaultControlRate)
	or(&c.IO, defaultIO)
	or(&c.Loops, DefaultLoops())
	or(&c.Workers, DefaultWorkers())
	or(&c.MaxBackground, defaultBackground)
	or(&c.PingInterval, 30*time.Second)
	or(&c.IdleTimeout, 75*time.Second)
	or(&c.WriteStallTimeout, 10*time.Second)
	or(&c.StreamStallTimeout, 30*time.Second)
	or(&c.SendClass, new(backpressure.Class))
	if c.Budget == nil {
		or(&c.MemoryBudgetBytes, max(DefaultMemoryBudget(), c.leastResident()))
	}
	or(&c.CloseTimeout, 5*time.Second)
	or(&c.HandshakeTimeout, 10*time.Second)
	or(&c.ShutdownTimeout, 10*time.Second)
	or(&c.Logger, slog.Default())
	c.TrustedProxies = withoutMapping(c.TrustedProxies)
	c.AllowedOrigins, c.Interceptors = slices.Clone(c.AllowedOrigins), slices.Clone(c.Interceptors)
	return c
}

// leastBudget is what one connection could not do without, in use; leastResident
// is the MemoryBudgetBytes of which that is three eighths, or somewhat more.
func (c Config) leastBudget() int   { return max(smallestBudget/4, 4*c.MaxMessageBytes) }
func (c Config) leastResident() int { return max(smallestBudget, 12*c.MaxMessageBytes) }

// inUse is how much of a resident memory may be in use at a time: the heap grows
// to twice that before it is collected, and some more while it is.
func inUse(resident int) int { return resident / 8 * 3 }

// or sets a value that is zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A ConfigError is one mistake in a Config.
type ConfigError struct {
	Field   string // of Config
	Value   any    // what it is
	Allowed string // what would be right
}

// Error names the field, its value and what is allowed.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s is %v: allowed is %s", e.Field, e.Value, e.Allowed)
}

// Validate returns every mistake in c as joined values of *ConfigError, or nil.
// New calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	mistake := func(field string, value any, allowed string) {
		errs = append(errs, &ConfigError{field, value, allowed})
	}
	size := func(field string, value, least, most int) {
		if value < least || value > most {
			mistake(field, value, fmt.Sprintf("%d to %d", least, most))
		}
	}
	size("MaxMessageBytes", c.MaxMessageBytes, 1, largestMaxMessage)
	size("SendChunkBytes", c.SendChunkBytes, frame.MaxControlPayload, largestMaxMessage)
	size("CompressMinBytes", c.CompressMinBytes, 1, largestMaxMessage)
	if c.CompressLevel != -2 && (c.CompressLevel < 1 || c.CompressLevel > 9) {
		mistake("CompressLevel", c.CompressLevel, "1 to 9, or -2")
	}
	size("HighWaterBytes", c.HighWaterBytes, 1, largestMaxMessage)
	if c.LowWaterBytes < 0 || c.LowWaterBytes >= c.HighWaterBytes {
		mistake("LowWaterBytes", c.LowWaterBytes, fmt.Sprintf("0 to below HighWaterBytes, %d", c.HighWaterBytes))
	}
	size("CorkBytes", c.CorkBytes, 1, largestMaxMessage)
	size("ReadBufferBytes", c.ReadBufferBytes, smallestBuffer, 1<<20)
	size("InboxMessages", c.InboxMessages, 1, 1<<20)
	size("InboxBytes", c.InboxBytes, 1, largestMaxMessage)
	size("MaxFragments", c.MaxFragments, 1, largestMaxMessage)
	if c.IO != IOGoroutines && c.IO != IOLoops {
		mistake("IO", c.IO, "IOGoroutines or IOLoops")
	}
	size("Loops", c.Loops, 1, mostLoops)
	size("Workers", c.Workers, 1, 1<<20)
	size("MaxBackground", c.MaxBackground, 1, 1<<24)
	c.checkRates(mistake)
	c.checkMemory(mistake)
	if code := c.SendClass.Code; code != 0 && !code.Sendable() {
		mistake("SendClass.Code", uint16(code), "a code that may stand in a close frame; 1008 and 1013 suit")
	}
	c.checkTimes(mistake)
	for i, p := range c.AllowedOrigins {
		if _, err := parseOrigin(p); err != nil {
			mistake(fmt.Sprintf("AllowedOrigins[%d]", i), strconv.Quote(p), err.Error())
		}
	}
	for i, p := range c.TrustedProxies {
		if !p.IsValid() || p.Addr().Is4In6() {
			mistake(fmt.Sprintf("TrustedProxies[%d]", i), p, "a network like 10.0.0.0/8, ::ffff:10.0.0.0/104 or 2001:db8::/32")
		}
	}
	for i, ic := range c.Interceptors {
		if ic == nil {
			mistake(fmt.Sprintf("Interceptors[%d]", i), "nil", "an Interceptor")
		}
	}
	return errors.Join(errs...)
}

// checkRates: see bucket.take.
func (c Config) checkRates(mistake func(field string, value any, allowed string)) {
	rate := func(field string, value int) {
		if value > math.MaxInt32 {
			mistake(field, value, fmt.Sprintf("at most %d, or negative for no limit", math.MaxInt32))
		}
	}
	rate("ControlFramesPerSecond", c.ControlFramesPerSecond)
	rate("MessagesPerSecond", c.MessagesPerSecond)
	rate("BytesPerSecond", c.BytesPerSecond)
}

func (c Config) checkMemory(mistake func(field string, value any, allowed string)) {
	switch {
	case c.Budget != nil && c.MemoryBudgetBytes != 0:
		mistake("MemoryBudgetBytes", c.MemoryBudgetBytes, "0 with a Budget, which has a limit of its own")
	case c.Budget != nil && c.Budget.Limit() < c.leastBudget():
		mistake("Budget.Limit()", c.Budget.Limit(), fmt.Sprintf("at least 1 MiB and four times MaxMessageBytes: %d", c.leastBudget()))
	case c.Budget == nil && c.MemoryBudgetBytes < c.leastResident():
		mistake("MemoryBudgetBytes", c.MemoryBudgetBytes, fmt.Sprintf("at least 4 MiB and twelve times MaxMessageBytes: %d", c.leastResident()))
	}
}

func (c Config) checkTimes(mistake func(field string, value any, allowed string)) {
	positive := func(field string, d time.Duration) {
		if d <= 0 {
			mistake(field, d, "a positive duration; this cannot be switched off")
		}
	}
	positive("CloseTimeout", c.CloseTimeout)
	positive("HandshakeTimeout", c.HandshakeTimeout)
	positive("ShutdownTimeout", c.ShutdownTimeout)
	if c.ShutdownSpread < 0 {
		mistake("ShutdownSpread", c.ShutdownSpread, "zero or a positive duration")
	}
	if c.PingInterval > 0 && c.IdleTimeout > 0 && c.IdleTimeout <= c.PingInterval {
		mistake("IdleTimeout", c.IdleTimeout, fmt.Sprintf("more than PingInterval, %v, or quiet peers are ended before they are pinged", c.PingInterval))
	}
}

// outbound returns what queues need to know.
func (c Config) outbound(pool *frame.Pool, drops *backpressure.Drops) *backpressure.Config {
	return &backpressure.Config{
		HighWater: c.HighWaterBytes,
		LowWater:  c.LowWaterBytes,
		ChunkSize: c.SendChunkBytes,
		CorkSize:  min(c.CorkBytes, c.HighWaterBytes), // what is held back must not congest
		Class:     c.SendClass,
		Pool:      pool,
		Budget:    c.Budget,
		Drops:     drops,
	}
}
