package interceptors

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// RateLimitConfig configures [RateLimit]. Its zero value lets each connection send 100
// text and binary messages in 10 seconds.
type RateLimitConfig struct {
	// Messages is how many messages may come in a Window, in the long run. Default 100. To
	// switch off, leave the interceptor out.
	Messages int

	// Window is the time that Messages are for. Default 10 s.
	Window time.Duration

	// Burst is how many messages may come at once after a pause. In no window do more
	// than Burst + Messages pass. Default: Messages.
	Burst int

	// Key returns what shares one allowance: [ByUser], or anything that can be told from
	// the message and its context. What it returns "" for is limited by connection. nil,
	// the default: each connection has an allowance of its own, kept with it.
	Key func(ctx context.Context, in Inbound) string

	// MaxKeys bounds how many keys are remembered, in some 250 bytes each, whatever their
	// length. Default 65,536. At the limit the key that has used least of its allowance
	// makes place for a new one: see RateLimit. Not used without Key.
	MaxKeys int

	// Message is sent to the peer with each refusal. Default "too many messages".
	Message string

	// Close ends the connection at its first message too many, with 1008. Default: it goes
	// on.
	Close bool
}

// ByUser is a RateLimitConfig.Key: all connections of a user (see [SetUser]) share one
// allowance, and one without a user has its own.
func ByUser(ctx context.Context, _ Inbound) string { return User(ctx) }

// RateLimit returns an interceptor that refuses messages which come too often, with 429
// and the time after which the next would pass. It is a token bucket
// (golang.org/x/time/rate) for each connection or key. A message that is refused uses
// nothing up. Control frames pass it by: the engine limits those itself.
//
// The table of keys is bounded: a flood of new keys costs no memory beyond it. A key
// whose allowance is whole again is forgotten, with the next messages of others;
// that loses nothing. If there is none, the key is forgotten that is nearest to it, and
// the one that has used up most stays longest. So nobody wins anything by having
// his own key pushed out: to be given n messages anew he must have sent n with each
// of the MaxKeys/64 others in the same part of the table, which he cannot choose.
func RateLimit(config RateLimitConfig) *RateLimiter {
	config.Messages = positive("RateLimitConfig.Messages", config.Messages, 100)
	config.Burst = positive("RateLimitConfig.Burst", config.Burst, config.Messages)
	config.MaxKeys = positive("RateLimitConfig.MaxKeys", config.MaxKeys, 1<<16)
	config.Window = positive("RateLimitConfig.Window", config.Window, 10*time.Second)
	if config.Message == "" {
		config.Message = "too many messages"
	}
	a := allowance{rate.Limit(float64(config.Messages) / config.Window.Seconds()), config.Burst}
	return &RateLimiter{config: config, allowance: a, table: newLimiters(a, config.MaxKeys)}
}

// RateLimiter is what [RateLimit] returns.
type RateLimiter struct {
	InboundOnly
	config    RateLimitConfig
	allowance allowance
	table     *limiters
}

func (*RateLimiter) kinds() Kinds { return InboundData }

// Len returns how many keys the table holds: never more than MaxKeys.
func (r *RateLimiter) Len() int { return r.table.len() }

// InterceptInbound refuses a message that comes too early.
func (r *RateLimiter) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	if wait := r.take(ctx, in); wait > 0 {
		return Refusal{Status: http.StatusTooManyRequests, Message: r.config.Message, RetryAfter: wait, Close: r.config.Close}
	}
	return next.Run(ctx, in)
}

// take takes one message from the allowance, or returns how long it has to wait.
func (r *RateLimiter) take(ctx context.Context, in Inbound) time.Duration {
	key := ""
	if r.config.Key != nil {
		key = r.config.Key(ctx, in)
	}
	now := time.Now()
	store := ConnStore(ctx)
	if key != "" || store == nil { // no connection: all that have none share one allowance
		return r.table.take(key, now)
	}
	own, _ := store.Get(r).(*rate.Limiter)
	if own == nil { // messages of one connection come one at a time
		own = r.allowance.limiter()
		store.Set(r, own)
	}
	return r.allowance.spend(own, now)
}

// An allowance is what each connection or key has.
type allowance struct {
	limit rate.Limit
	burst int
}

func (a allowance) limiter() *rate.Limiter { return rate.NewLimiter(a.limit, a.burst) }

// spend takes one message, or returns how long it has to wait.
func (a allowance) spend(l *rate.Limiter, now time.Time) time.Duration {
	if l.AllowN(now, 1) {
		return 0
	}
	return max(a.duration(1-l.TokensAt(now)), 1)
}

// missing returns after how long without a message an allowance is whole again.
func (a allowance) missing(l *rate.Limiter, now time.Time) time.Duration {
	return a.duration(float64(a.burst) - l.TokensAt(now))
}

func (a allowance) duration(tokens float64) time.Duration {
	return time.Duration(tokens / float64(a.limit) * float64(time.Second))
}
