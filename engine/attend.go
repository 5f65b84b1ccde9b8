package engine

import (
	"context"

	"github.com/penstock-ws/penstock/interceptors"
)

// Attend is for Admit: it has opened called with the connection that ctx's request
// becomes, and closed when that has ended.
//
// opened is called where Handler.OnOpen is, before it, in the order of the calls of
// Attend. An error ends the connection, as OnOpen's does; then what comes after is
// not opened, and the handler is told neither that the connection has opened nor that
// it has closed. closed is called after OnClose, exactly once if opened was, whatever
// becomes of the connection and its callbacks. If the request is refused neither is.
//
// Attend reports whether ctx is that of a request which an engine asks Admit about;
// if not, it does nothing.
func Attend(ctx context.Context, opened func(*Conn) error, closed func(*Conn)) bool {
	s, ok := interceptors.ConnStore(ctx).(*earlyStore)
	return ok && s.attend(attendant{opened, closed})
}

type attendant struct {
	opened func(*Conn) error
	closed func(*Conn)
}

// attendants are kept among a connection's values: most have none.
type attendants struct {
	list []attendant

	// the goroutine that opens the connection, and later the one that closes it
	told       int  // how many have been told that it has opened
	turnedAway bool // by one of them
}

type attendKey struct{}

func (s *earlyStore) attend(a attendant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return false
	}
	all, _ := s.values[attendKey{}].(*attendants)
	if all == nil {
		all = new(attendants)
		s.values.set(attendKey{}, all)
	}
	all.list = append(all.list, a)
	return true
}

func (c *Conn) attendants() *attendants {
	all, _ := c.Get(attendKey{}).(*attendants)
	return all
}

// openAttended tells the attendants of an opening. It reports whether the handler is
// to be told as well.
func (c *Conn) openAttended() bool {
	all := c.attendants()
	if all == nil {
		return true
	}
	all.turnedAway = true // until the last has agreed: one may panic
	for _, a := range all.list {
		agreed := false
		all.told++
		c.guard(func() error { err := a.opened(c); agreed = err == nil; return err })
		if !agreed {
			return false
		}
	}
	all.turnedAway = false
	return true
}

// closeAttended tells those of the end that were told of the opening, the last first.
// What is deferred goes on after one that panics or ends its goroutine.
func (c *Conn) closeAttended(all *attendants) {
	if all.told == 0 {
		return
	}
	all.told--
	defer c.closeAttended(all)
	c.guard(func() error { all.list[all.told].closed(c); return nil })
}
