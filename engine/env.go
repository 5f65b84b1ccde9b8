package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
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
func ConfigFromEnv() (Config, error) { return ConfigFrom(os.Getenv) }

// ConfigFrom is ConfigFromEnv for a program that has settings from elsewhere, too, a
// file say: getenv returns what a variable is to be taken for, "" if it is not set.
func ConfigFrom(getenv func(name string) string) (Config, error) {
	var c Config
	var errs []error
	for _, v := range c.variables() {
		value := getenv(v.name)
		if value == "" {
			continue
		}
		if allowed := v.set(value); allowed != "" {
			errs = append(errs, &EnvError{v.name, value, allowed})
		}
	}
	return c, errors.Join(errs...)
}

// EnvNames returns the names of all variables that ConfigFromEnv reads, for programs
// that have to tell a misspelt one.
func EnvNames() (names []string) {
	for _, v := range new(Config).variables() {
		names = append(names, v.name)
	}
	return names
}

// Setting is a field of a Config by the name of its variable.
type Setting struct {
	Name  string // of the variable
	Value string // as the variable would have it, but "-2" for a CompressLevel that it cannot have
}

// Settings returns what holds for the fields that have a variable, the defaults filled
// in, in the order of EnvNames: for programs that show their configuration.
func (c Config) Settings() (list []Setting) {
	c = c.withDefaults()
	for _, v := range c.variables() {
		list = append(list, Setting{v.name, v.get()})
	}
	return list
}

// A variable is a field of a Config as the environment has it.
type variable struct {
	name string
	set  func(value string) (allowed string) // "": it is set
	get  func() string
}

func (c *Config) variables() []variable {
	return []variable{
		numberVariable(&c.MaxMessageBytes, "MAX_WS_MESSAGE_BYTES", 1, largestMaxMessage),
		numberVariable(&c.SendChunkBytes, "WS_SEND_CHUNK_BYTES", 125, largestMaxMessage),
		toggleVariable(&c.Compress, "WS_COMPRESS"),
		numberVariable(&c.CompressLevel, "WS_COMPRESS_LEVEL", 1, 9),
		numberVariable(&c.CompressMinBytes, "WS_COMPRESS_MIN_BYTES", 1, largestMaxMessage),
		numberVariable(&c.HighWaterBytes, "WS_HIGH_WATER_BYTES", 2, largestMaxMessage),
		numberVariable(&c.LowWaterBytes, "WS_LOW_WATER_BYTES", 1, largestMaxMessage),
		numberVariable(&c.CorkBytes, "WS_CORK_BYTES", 1, largestMaxMessage),
		numberVariable(&c.ReadBufferBytes, "WS_READ_BUFFER_BYTES", smallestBuffer, 1<<20),
		numberVariable(&c.InboxMessages, "WS_INBOX_MESSAGES", 1, 1<<20),
		numberVariable(&c.InboxBytes, "WS_INBOX_BYTES", 1, largestMaxMessage),
		numberVariable(&c.MemoryBudgetBytes, "WS_MEMORY_BUDGET_BYTES", smallestBudget, math.MaxInt),
		numberVariable(&c.MaxFragments, "WS_MAX_FRAGMENTS", 1, largestMaxMessage),
		rateVariable(&c.MinReceiveRate, "WS_MIN_RECEIVE_RATE"),
		rateVariable(&c.ControlFramesPerSecond, "WS_CONTROL_FRAMES_PER_SECOND"),
		rateVariable(&c.MessagesPerSecond, "WS_MESSAGES_PER_SECOND"),
		rateVariable(&c.BytesPerSecond, "WS_BYTES_PER_SECOND"),
		rateVariable(&c.MaxConnections, "WS_MAX_CONNECTIONS"),
		rateVariable(&c.MaxConnectionsPerAddress, "WS_MAX_CONNECTIONS_PER_ADDRESS"),
		rateVariable(&c.UpgradesPerSecond, "WS_UPGRADES_PER_SECOND"),
		wayVariable(&c.IO, "WS_IO"),
		numberVariable(&c.Loops, "WS_LOOPS", 1, mostLoops),
		numberVariable(&c.Workers, "WS_WORKERS", 1, 1<<20),
		numberVariable(&c.MaxBackground, "WS_MAX_BACKGROUND", 1, 1<<24),
		spanVariable(&c.PingInterval, "WS_PING_INTERVAL", -1),
		spanVariable(&c.IdleTimeout, "WS_IDLE_TIMEOUT", -1),
		spanVariable(&c.WriteStallTimeout, "WS_WRITE_STALL_TIMEOUT", -1),
		spanVariable(&c.StreamStallTimeout, "WS_STREAM_STALL_TIMEOUT", -1),
		spanVariable(&c.CloseTimeout, "WS_CLOSE_TIMEOUT", cannotBeOff),
		spanVariable(&c.HandshakeTimeout, "WS_HANDSHAKE_TIMEOUT", cannotBeOff),
		spanVariable(&c.ShutdownTimeout, "WS_SHUTDOWN_TIMEOUT", cannotBeOff),
		spanVariable(&c.ShutdownSpread, "WS_SHUTDOWN_SPREAD", 0),
	}
}

func numberVariable(field *int, name string, least, most int) variable {
	set := func(value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > most {
			return fmt.Sprintf("a whole number from %d to %d", least, most)
		}
		*field = n
		return ""
	}
	return variable{name, set, func() string { return strconv.Itoa(*field) }}
}

// rateVariable is a number that can be switched off; zero, where it is no default, is off.
func rateVariable(field *int, name string) variable {
	v := numberVariable(field, name, 1, math.MaxInt32)
	set, get := v.set, v.get
	v.set = func(value string) string {
		if value == "off" {
			*field = -1
			return ""
		}
		allowed := set(value)
		if allowed != "" {
			allowed += `, or "off"`
		}
		return allowed
	}
	v.get = func() string {
		if *field <= 0 {
			return "off"
		}
		return get()
	}
	return v
}

func toggleVariable(field *bool, name string) variable {
	set := func(value string) string {
		if value != "on" && value != "off" {
			return `"on" or "off"`
		}
		*field = value == "on"
		return ""
	}
	get := func() string {
		if *field {
			return "on"
		}
		return "off"
	}
	return variable{name, set, get}
}

func wayVariable(field *IO, name string) variable {
	set := func(value string) string {
		for _, io := range []IO{IOGoroutines, IOLoops} {
			if value == io.String() {
				*field = io
				return ""
			}
		}
		return fmt.Sprintf("%q or %q", IOGoroutines, IOLoops)
	}
	return variable{name, set, func() string { return field.String() }}
}

// cannotBeOff stands for no duration that would switch a field off.
const cannotBeOff = time.Duration(math.MinInt64)

// spanVariable is a duration that is off when it has the value off.
func spanVariable(field *time.Duration, name string, off time.Duration) variable {
	set := func(value string) string {
		d, err := time.ParseDuration(value)
		switch {
		case value == "off" && off != cannotBeOff:
			*field = off
		case err == nil && d > 0:
			*field = d
		case off != cannotBeOff:
			return `a positive duration like 30s, or "off"`
		default:
			return "a positive duration like 30s"
		}
		return ""
	}
	get := func() string {
		if *field <= 0 {
			return "off"
		}
		return field.String()
	}
	return variable{name, set, get}
}
