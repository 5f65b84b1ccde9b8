package auth

import (
	"slices"
	"time"
)

// A revocation refuses what was issued to a user, or in a session, until a time.
type revocation struct{ user, session string }

// revocations belong to the sessions' lock.
type revocations struct {
	keep time.Duration // zero: for ever
	most int
	at   map[revocation]time.Time

	// floor is the latest of those that there was no room for: what was issued until
	// then is refused, whoever's it is.
	floor time.Time
}

// has reports whether id was issued before it was revoked. Issuers write whole
// seconds, so the second of the revocation counts as before; what does not say when it
// was issued was, too.
func (r *revocations) has(id *Identity, now time.Time) bool {
	for _, by := range [...]revocation{{user: id.User}, {session: id.Session}} {
		at, ok := r.at[by]
		if ok && !r.past(at, now) && !id.Issued.After(at) {
			return true
		}
	}
	return !r.floor.IsZero() && !id.Issued.After(r.floor)
}

// past reports whether everything that at refuses has expired.
func (r *revocations) past(at, now time.Time) bool {
	return r.keep > 0 && now.Sub(at) > r.keep
}

// add reports whether the floor had to rise for it.
func (r *revocations) add(by revocation, now time.Time) (full bool) {
	if by == (revocation{}) {
		return false
	}
	if len(r.at) >= r.most {
		full = r.shrink(now)
	}
	r.at[by] = now.Round(0) // tokens have no monotonic clock
	return full
}

// shrink forgets what is past and, if that makes hardly any room, the older half of
// the rest, at the price of the floor; then it returns true.
func (r *revocations) shrink(now time.Time) bool {
	var rest []time.Time
	for by, at := range r.at {
		if r.past(at, now) {
			delete(r.at, by)
		} else {
			rest = append(rest, at)
		}
	}
	if len(rest) <= min(r.most-r.most/8, r.most-1) {
		return false
	}
	slices.SortFunc(rest, time.Time.Compare)
	r.floor = rest[len(rest)/2]
	for by, at := range r.at {
		if !at.After(r.floor) {
			delete(r.at, by)
		}
	}
	return true
}
