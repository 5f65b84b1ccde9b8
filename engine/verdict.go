package engine

import (
	"errors"
	"net"
)

// Verdict is what became of a message that was sent, for those who count or
// choose by it. VerdictOf reads it from the error of a send.
type Verdict uint8

const (
	Queued    Verdict = iota // on its way, in order, or written
	Congested                // not taken: the peer is too slow, it is the caller's turn
	Dropped                  // not taken: the peer is too slow, and the class drops
	Closed                   // not taken: the connection has ended, or is about to
	Refused                  // not taken for its own sake: too big, not UTF-8, or by an interceptor
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Queued:
		return "queued"
	case Congested:
		return "congested"
	case Dropped:
		return "dropped"
	case Closed:
		return "closed"
	case Refused:
		return "refused"
	}
	return "unknown verdict"
}

// VerdictOf returns what the error of a send says about its message.
func VerdictOf(err error) Verdict {
	switch err {
	case nil:
		return Queued
	case ErrCongested:
		return Congested
	case ErrDropped:
		return Dropped
	}
	if _, ok := err.(*CloseError); ok {
		return Closed
	}
	return verdictOfWrapped(err)
}

// verdictOfWrapped is for errors that an interceptor has wrapped.
func verdictOfWrapped(err error) Verdict {
	switch {
	case errors.Is(err, ErrCongested):
		return Congested
	case errors.Is(err, ErrDropped):
		return Dropped
	case errors.Is(err, net.ErrClosed):
		return Closed
	}
	return Refused
}
