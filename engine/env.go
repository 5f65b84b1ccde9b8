package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"
)

// An EnvError is one environment variable that cannot be used.
type EnvError struct {
	Name    string // the variable
	Value   string // what it is set to
	Allowed string // what would be right
}

// Error names the variable, its value and what is allowed.
func (e *EnvError) Error() string {
	return fmt.Sprintf("%s=%q: allowed is %s", e.Name, e.Value, e.Allowed)
}

// ConfigFromEnv returns a Config with the fields set that the environment
// mentions; the names stand in each field's comment. Sizes are decimal numbers
// of bytes, durations are written like 30s or 1m30s, and "off" where a field can
// be switched off. A variable that is unset or empty leaves its field zero. All
// mistakes are returned at once, as joined values of *EnvError; nothing is read
// at any other time.
func ConfigFromEnv() (Config, error) { return configFrom(os.Getenv) }

// EnvNames returns the names of all variables that ConfigFromEnv reads, for programs
// that have to tell a misspelt one.
func EnvNames() (names []string) {
	_, _ = configFrom(func(name string) string {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return ""
	})
	return names
}

func configFrom(getenv func(name string) string) (Config, error) {
	var c Config
	var errs []error
	number := func(field *int, name string, least, most int) {
		if v := getenv(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < least || n > most {
				errs = append(errs, &EnvError{name, v, fmt.Sprintf("a whole number from %d to %d", least, most)})
				return
			}
			*field = n
		}
	}
	rate := func(field *int, name string) {
		if getenv(name) == "off" {
			*field = -1
			return
		}
		number(field, name, 1, math.MaxInt32)
	}
	toggle := func(field *bool, name string) {
		switch v := getenv(name); v {
		case "", "off":
		case "on":
			*field = true
		default:
			errs = append(errs, &EnvError{name, v, `"on" or "off"`})
		}
	}
	way := func(field *IO, name string) {
		switch v := getenv(name); v {
		case "":
		case IOGoroutines.String():
			*field = IOGoroutines
		case IOLoops.String():
			*field = IOLoops
		default:
			errs = append(errs, &EnvError{name, v, fmt.Sprintf("%q or %q", IOGoroutines, IOLoops)})
		}
	}
	span := func(field *time.Duration, name string, canBeOff bool) {
		if v := getenv(name); v != "" {
			d, err := parseSpan(v, canBeOff)
			if err != nil {
				errs = append(errs, &EnvError{name, v, err.Error()})
				return
			}
			*field = d
		}
	}
	number(&c.MaxMessageBytes, "MAX_WS_MESSAGE_BYTES", 1, largestMaxMessage)
	number(&c.SendChunkBytes, "WS_SEND_CHUNK_BYTES", 125, largestMaxMessage)
	toggle(&c.Compress, "WS_COMPRESS")
	number(&c.CompressLevel, "WS_COMPRESS_LEVEL", 1, 9)
	number(&c.CompressMinBytes, "WS_COMPRESS_MIN_BYTES", 1, largestMaxMessage)
	number(&c.HighWaterBytes, "WS_HIGH_WATER_BYTES", 2, largestMaxMessage)
	number(&c.LowWaterBytes, "WS_LOW_WATER_BYTES", 1, largestMaxMessage)
	number(&c.CorkBytes, "WS_CORK_BYTES", 1, largestMaxMessage)
	number(&c.ReadBufferBytes, "WS_READ_BUFFER_BYTES", smallestBuffer, 1<<20)
	number(&c.InboxMessages, "WS_INBOX_MESSAGES", 1, 1<<20)
	number(&c.InboxBytes, "WS_INBOX_BYTES", 1, largestMaxMessage)
	number(&c.MemoryBudgetBytes, "WS_MEMORY_BUDGET_BYTES", smallestBudget, math.MaxInt)
	number(&c.MaxFragments, "WS_MAX_FRAGMENTS", 1, largestMaxMessage)
	rate(&c.MinReceiveRate, "WS_MIN_RECEIVE_RATE")
	rate(&c.ControlFramesPerSecond, "WS_CONTROL_FRAMES_PER_SECOND")
	rate(&c.MessagesPerSecond, "WS_MESSAGES_PER_SECOND")
	rate(&c.BytesPerSecond, "WS_BYTES_PER_SECOND")
	rate(&c.MaxConnections, "WS_MAX_CONNECTIONS")
	rate(&c.MaxConnectionsPerAddress, "WS_MAX_CONNECTIONS_PER_ADDRESS")
	rate(&c.UpgradesPerSecond, "WS_UPGRADES_PER_SECOND")
	way(&c.IO, "WS_IO")
	number(&c.Loops, "WS_LOOPS", 1, mostLoops)
	number(&c.Workers, "WS_WORKERS", 1, 1<<20)
	number(&c.MaxBackground, "WS_MAX_BACKGROUND", 1, 1<<24)
	span(&c.PingInterval, "WS_PING_INTERVAL", true)
	span(&c.IdleTimeout, "WS_IDLE_TIMEOUT", true)
	span(&c.WriteStallTimeout, "WS_WRITE_STALL_TIMEOUT", true)
	span(&c.StreamStallTimeout, "WS_STREAM_STALL_TIMEOUT", true)
	span(&c.CloseTimeout, "WS_CLOSE_TIMEOUT", false)
	span(&c.HandshakeTimeout, "WS_HANDSHAKE_TIMEOUT", false)
	span(&c.ShutdownTimeout, "WS_SHUTDOWN_TIMEOUT", false)
	span(&c.ShutdownSpread, "WS_SHUTDOWN_SPREAD", false)
	return c, errors.Join(errs...)
}

func parseSpan(v string, canBeOff bool) (time.Duration, error) {
	if canBeOff && v == "off" {
		return -1, nil
	}
	d, err := time.ParseDuration(v)
	if err == nil && d > 0 {
		return d, nil
	}
	if canBeOff {
		return 0, errors.New(`a positive duration like 30s, or "off"`)
	}
	return 0, errors.New("a positive duration like 30s")
}
