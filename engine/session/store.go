package session

import (
	"context"
	"errors"
	"time"
)

// Store keeps sessions by key. Any goroutine may call its methods.
type Store interface {
	// Get returns a session, which the caller may change. The error is ErrNotFound if
	// there is none, or its time is over; any other says that nobody knows.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set keeps a session for ttl from now on, whatever was there before. 0: for ever;
	// otherwise at least a millisecond: ErrTTL. ErrFull if there is no room, and what was
	// there before stays. The caller keeps data.
	Set(ctx context.Context, key string, data []byte, ttl time.Duration) error

	// Delete forgets a session. It is no error if there is none.
	Delete(ctx context.Context, key string) error
}

// ErrNotFound: there is no such session, or its time is over.
var ErrNotFound = errors.New("session: not found")

// ErrFull: a store with a bound has no room for a session.
var ErrFull = errors.New("session: the store is full")

// ErrTTL: a time to live is negative, or less than a millisecond and not 0.
var ErrTTL = errors.New("session: a time to live must be at least a millisecond, or 0 for ever")

// CheckTTL returns ErrTTL for one that no Store takes.
func CheckTTL(ttl time.Duration) error {
	if ttl != 0 && ttl < time.Millisecond {
		return ErrTTL
	}
	return nil
}
