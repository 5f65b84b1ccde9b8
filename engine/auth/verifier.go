package auth

import "time"

// Verifier tells whose token it is. [JWT] and [Secrets] make them.
type Verifier interface {
	// Verify returns the identity that token stands for, or an error that satisfies
	// errors.Is with ErrInvalid, ErrExpired or ErrMalformed. The error's text goes to
	// the log: no part of the token may be in it. Any goroutine may call it, before
	// every upgrade and at every refresh.
	Verify(token string, now time.Time) (Identity, error)

	// MaxLifetime is the longest time between the issue of a token and its expiry, as
	// long as revocations must be remembered. Zero: tokens may never expire.
	MaxLifetime() time.Duration
}
