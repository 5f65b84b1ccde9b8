package reconnect

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// A backoff counts failures and says how long to wait. It is the run goroutine's.
type backoff struct {
	min, max, stable time.Duration
	failures         int
}

// fail notes that an attempt has failed, or that a connection has ended which had
// lasted for so long; -1: there was none.
func (b *backoff) fail(lasted time.Duration) {
	if lasted >= 0 && lasted >= b.stable {
		b.failures = 0
	}
	b.failures++
}

// most is the longest random wait after the failures so far: it doubles with each.
func (b *backoff) most() time.Duration {
	d := b.min
	for n := 1; n < b.failures && d < b.max; n++ {
		d *= 2
	}
	return min(d, b.max)
}

// wait returns how long to wait. All of it is random (full jitter), for clients that
// have failed together must not try together; what the server asks for comes on top.
func (b *backoff) wait(err error) time.Duration {
	asked := min(retryAfter(err, time.Now()), b.max)
	return asked + rand.N(b.most()+1)
}

// retryAfter returns what a refusal's Retry-After field says (RFC 9110 §10.2.3):
// seconds or a date; 0 without.
func retryAfter(err error, now time.Time) time.Duration {
	var refused *engine.HandshakeError
	if !errors.As(err, &refused) {
		return 0
	}
	field := refused.Header.Get("Retry-After")
	if s, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
