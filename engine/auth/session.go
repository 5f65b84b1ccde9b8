package auth

import (
	"container/heap"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// A session is a connection with an identity.
type session struct {
	// atomic
	identity atomic.Pointer[Identity] // written with the sessions' lock held

	// guarded by the sessions' mu
	conn    *engine.Conn // nil: not open yet
	state   state
	expires time.Time // zero: never
	place   int       // in the heap; -1: it is not there
	links   [2]link   // in the indexes
}

type state uint8

const (
	early state = iota // not open yet
	live
	over // closed, expired or revoked: no refresh brings it back
)

// expiries is a heap of sessions by expiry. heap's functions move its elements.
type expiries []*session

// Len implements heap.Interface.
func (e expiries) Len() int { return len(e) }

// Less implements heap.Interface.
func (e expiries) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }

// Swap implements heap.Interface.
func (e expiries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

// Push implements heap.Interface.
func (e *expiries) Push(x any) {
	s := x.(*session)
	s.place = len(*e)
	*e = append(*e, s)
}

// Pop implements heap.Interface.
func (e *expiries) Pop() any {
	last := len(*e) - 1
	s := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	s.place = -1
	return s
}

// set puts s where its expiry says.
func (e *expiries) set(s *session, expires time.Time) {
	s.expires = expires
	switch {
	case expires.IsZero():
		e.remove(s)
	case s.place < 0:
		heap.Push(e, s)
	default:
		heap.Fix(e, s.place)
	}
}

func (e *expiries) remove(s *session) {
	if s.place >= 0 {
		heap.Remove(e, s.place)
	}
}

// index finds sessions by a name: the user's, or that of one of the issuer's sessions.
// Those of a name are a list, linked through the sessions themselves.
type index struct {
	which int // of a session's links
	first map[string]*session
}

type link struct{ previous, next *session }

func newIndex(which int) index { return index{which, make(map[string]*session)} }

func (x index) add(name string, s *session) {
	if name == "" {
		return
	}
	next := x.first[name]
	s.links[x.which] = link{next: next}
	if next != nil {
		next.links[x.which].previous = s
	}
	x.first[name] = s
}

func (x index) remove(name string, s *session) {
	l := s.links[x.which]
	s.links[x.which] = link{}
	switch {
	case name == "":
	case l.previous != nil:
		l.previous.links[x.which].next = l.next
	case l.next != nil:
		x.first[name] = l.next
	default:
		delete(x.first, name)
	}
	if l.next != nil {
		l.next.links[x.which].previous = l.previous
	}
}
