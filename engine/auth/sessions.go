package auth

import (
	"sync"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// wakeAtMost is how long after an expiry its connection may be closed, so that many
// different expiries do not each wake the processor.
const wakeAtMost = 200 * time.Millisecond

// clockChecked is how late an expiry may be noticed after somebody has set the clock:
// timers do not follow it.
const clockChecked = time.Minute

// sessions are the open connections of an Auth that have an identity. One timer serves
// all of them, and no goroutine waits.
type sessions struct {
	// immutable
	end  func(c *engine.Conn, why error) // closes; called without the lock
	full func()                          // MaxRevocations are there; likewise

	// guarded by mu
	mu        sync.Mutex
	byUser    index
	bySession index
	open      int
	heap      expiries
	revoked   revocations
	timer     *time.Timer // nil before the first expiry
	wake      time.Time   // when the timer fires; zero: it does not
}

// begin begins a session with its connection. An error says that it is over already.
func (t *sessions) begin(s *session, c *engine.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := s.identity.Load()
	switch {
	case t.revoked.has(id, time.Now()): // since it was verified
		s.state = over
		return ErrRevoked
	case !id.Expires.IsZero() && !time.Now().Before(id.Expires):
		s.state = over
		return ErrExpired
	}
	s.conn, s.state, s.place = c, live, -1
	t.open++
	t.indexLocked(s, id)
	t.expireLocked(s, id.Expires)
	return nil
}

func (t *sessions) indexLocked(s *session, id *Identity) {
	t.byUser.add(id.User, s)
	t.bySession.add(id.Session, s)
}

func (t *sessions) unindexLocked(s *session) {
	id := s.identity.Load()
	t.byUser.remove(id.User, s)
	t.bySession.remove(id.Session, s)
}

// close forgets a session, if that has not happened.
func (t *sessions) close(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.overLocked(s)
}

// overLocked ends a session and returns its connection, nil if it was over.
func (t *sessions) overLocked(s *session) *engine.Conn {
	if s.state != live {
		return nil
	}
	c := s.conn
	t.open--
	t.unindexLocked(s)
	t.heap.remove(s)
	s.state, s.conn = over, nil
	return c
}

// renew gives a session another identity of the same user.
func (t *sessions) renew(s *session, id *Identity) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := s.identity.Load()
	switch {
	case s.state != live || !old.Expires.IsZero() && !time.Now().Before(old.Expires):
		return ErrExpired
	case id.User != old.User || id.User == "":
		return ErrOtherUser
	case t.revoked.has(id, time.Now()):
		return ErrRevoked
	}
	t.unindexLocked(s)
	s.identity.Store(id)
	t.indexLocked(s, id)
	t.expireLocked(s, id.Expires)
	return nil
}

func (t *sessions) expireLocked(s *session, expires time.Time) {
	t.heap.set(s, expires)
	t.armLocked(0)
}

// armLocked has the timer fire for the first expiry, but not before pause has passed.
// A timer that fires too early finds nothing to do and is set again.
func (t *sessions) armLocked(pause time.Duration) {
	if len(t.heap) == 0 {
		if t.timer != nil {
			t.timer.Stop()
		}
		t.wake = time.Time{}
		return
	}
	first := t.heap[0].expires
	if !t.wake.IsZero() && !t.wake.After(first) {
		return
	}
	in := min(max(time.Until(first), pause), clockChecked)
	t.wake = time.Now().Add(in)
	if t.timer == nil {
		t.timer = time.AfterFunc(in, t.expire)
		return
	}
	t.timer.Reset(in)
}

// expire ends what is due. It runs on a goroutine of the timer's.
func (t *sessions) expire() {
	t.mu.Lock()
	var due []*engine.Conn
	for now := time.Now(); len(t.heap) > 0 && !t.heap[0].expires.After(now); {
		due = append(due, t.overLocked(t.heap[0]))
	}
	t.wake = time.Time{}
	t.armLocked(wakeAtMost)
	t.mu.Unlock()
	for _, c := range due {
		t.end(c, ErrExpired)
	}
}

// revokeUser refuses what has been issued to a user, and ends the user's sessions. It
// returns how many there were.
func (t *sessions) revokeUser(user string) int {
	return t.revoke(revocation{user: user}, t.byUser, user)
}

// revokeSession is revokeUser for one of the issuer's sessions.
func (t *sessions) revokeSession(session string) int {
	return t.revoke(revocation{session: session}, t.bySession, session)
}

func (t *sessions) revoke(r revocation, x index, name string) int {
	t.mu.Lock()
	full := t.revoked.add(r, time.Now())
	var due []*engine.Conn
	for s := x.first[name]; s != nil; s = x.first[name] {
		due = append(due, t.overLocked(s))
	}
	t.mu.Unlock()
	if full {
		t.full()
	}
	for _, c := range due {
		t.end(c, ErrRevoked)
	}
	return len(due)
}
