// Package channels holds the set of channels that a node wants, for a broker that tells a
// server how it changes.
package channels

import "sync"

// A Set may be used by any number of goroutines. One at a time has a connection, and tells
// its server of Changes.
type Set struct {
	wake chan struct{} // has one element if the set has changed

	mu      sync.Mutex
	want    map[string]bool // the set
	changed map[string]bool // channels that may have entered or left it since the server was told; true: entered, perhaps unnoticed
	asked   map[string]bool // channels that the server has been told to subscribe
	pending map[string]int  // of those, how many confirmations are to come
}

// New returns an empty set.
func New() *Set {
	return &Set{wake: make(chan struct{}, 1), want: make(map[string]bool), changed: make(map[string]bool)}
}

// Subscribe is as cluster.Broker says.
func (s *Set) Subscribe(channels ...string) { s.put(channels, true) }

// Unsubscribe is as cluster.Broker says.
func (s *Set) Unsubscribe(channels ...string) { s.put(channels, false) }

func (s *Set) put(channels []string, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range channels {
		s.changed[c] = s.changed[c] || wanted && !s.want[c]
		if wanted {
			s.want[c] = true
		} else {
			delete(s.want, c)
		}
	}
	s.signal()
}

func (s *Set) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Changed has an element when there may be Changes.
func (s *Set) Changed() <-chan struct{} { return s.wake }

// Renew is for a new connection, whose server has been told nothing.
func (s *Set) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.pending = make(map[string]bool), make(map[string]int)
	for c := range s.want {
		s.changed[c] = true
	}
	s.signal()
}

// Changes returns what the server is to be told now: which channels to subscribe, some of
// them a second time, for who has subscribed waits for its word, and which ones no more.
func (s *Set) Changes() (enter, leave []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, entered := range s.changed {
		switch {
		case s.want[c] && (entered || !s.asked[c]):
			s.asked[c] = true
			s.pending[c]++
			enter = append(enter, c)
		case !s.want[c] && s.asked[c]:
			delete(s.asked, c)
			leave = append(leave, c)
		}
	}
	clear(s.changed)
	return enter, leave
}

// Confirmed takes the server's word on one of the channels that have entered, and reports
// whether that is live: it may have left the set, and entered it again, since.
func (s *Set) Confirmed(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[channel]--; s.pending[channel] > 0 {
		return false
	}
	delete(s.pending, channel)
	return s.asked[channel] && s.want[channel]
}

// Live reports whether the server has been told to subscribe a channel, and has confirmed
// it each time.
func (s *Set) Live(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[channel] && s.pending[channel] == 0
}
