package filters

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/interceptors"
)

const (
	defaultRate = "100/10s"
	rateAllowed = "messages and a time like " + defaultRate + ", at least 1/1ms and at most 1000000000/1h"
	mostRate    = 1_000_000_000
)

// RateLimit refuses messages of a connection that come too often, with 429, before any
// filter's OnMessage: interceptors.RateLimit. Its settings are in the environment:
// WS_FILTER_RATE, "100/10s" by default, is how many messages may come in which time;
// WS_FILTER_RATE_BURST, as many by default, how many at once after a pause;
// WS_FILTER_RATE_CLOSE=on closes with 1008 instead of refusing.
func RateLimit(env Env) (Filter, error) {
	var cfg interceptors.RateLimitConfig
	var ok bool
	value := env.Getenv("WS_FILTER_RATE")
	if value == "" {
		value = defaultRate
	}
	if cfg.Messages, cfg.Window, ok = parseRate(value); !ok {
		return Filter{}, &engine.EnvError{Name: "WS_FILTER_RATE", Value: value, Allowed: rateAllowed}
	}
	if burst := env.Getenv("WS_FILTER_RATE_BURST"); burst != "" {
		if cfg.Burst, ok = whole(burst); !ok {
			return Filter{}, &engine.EnvError{Name: "WS_FILTER_RATE_BURST", Value: burst, Allowed: fmt.Sprintf("a whole number from 1 to %d", mostRate)}
		}
	}
	switch ending := env.Getenv("WS_FILTER_RATE_CLOSE"); ending {
	case "", "off":
	case "on":
		cfg.Close = true
	default:
		return Filter{}, &engine.EnvError{Name: "WS_FILTER_RATE_CLOSE", Value: ending, Allowed: `"on" or "off"`}
	}
	return Filter{Interceptors: []interceptors.Interceptor{interceptors.RateLimit(cfg)}}, nil
}

// parseRate reads "100/10s".
func parseRate(s string) (messages int, window time.Duration, ok bool) {
	number, span, _ := strings.Cut(s, "/")
	messages, ok = whole(number)
	window, err := time.ParseDuration(span)
	return messages, window, ok && err == nil && window >= time.Millisecond && window <= time.Hour
}

func whole(s string) (n int, ok bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= mostRate
}
