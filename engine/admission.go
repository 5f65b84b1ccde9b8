package engine

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Refusal is why an upgrade was not made: what Stats.RefusedBy counts.
type Refusal uint8

const (
	RefusedRequest     Refusal = iota // no handshake by RFC 6455 §4.2.1
	RefusedOrigin                     // its origin is not allowed
	RefusedHandler                    // Admit said no
	RefusedShutdown                   // the engine is shutting down
	RefusedBudget                     // there is no memory for it
	RefusedConnections                // MaxConnections are open
	RefusedAddress                    // MaxConnectionsPerAddress are open from there
	RefusedRate                       // UpgradesPerSecond is exceeded
	RefusedServer                     // net/http, or a panic of Admit's: our own fault
	refusals
)

var refusalNames = [refusals]string{
	"request", "origin", "handler", "shutdown", "budget", "connections", "address", "rate", "server",
}

// String returns the refusal's name in lower case.
func (r Refusal) String() string {
	if r < refusals {
		return refusalNames[r]
	}
	return "unknown refusal"
}

// An admission counts connections against the limits of the engine.
type admission struct {
	cfg     *Config
	upgrade *rate.Limiter // nil: any rate
	open    atomic.Int64

	mu   sync.Mutex
	from map[netip.Prefix]int // nil: any number
}

func newAdmission(cfg *Config) *admission {
	a := &admission{cfg: cfg}
	if n := cfg.UpgradesPerSecond; n > 0 {
		a.upgrade = rate.NewLimiter(rate.Limit(n), n)
	}
	if cfg.MaxConnectionsPerAddress > 0 {
		a.from = make(map[netip.Prefix]int)
	}
	return a
}

// busy refuses for now.
func busy(status int, why Refusal, reason string) *HandshakeError {
	return &HandshakeError{Status: status, Reason: reason, Header: http.Header{"Retry-After": {"1"}}, why: why}
}

// enter counts a connection that is about to be made; leave counts it out.
func (a *admission) enter(s *Scope) error {
	if a.upgrade != nil && !a.upgrade.Allow() {
		return busy(http.StatusServiceUnavailable, RefusedRate, "too many upgrades")
	}
	if n := a.open.Add(1); a.cfg.MaxConnections > 0 && n > int64(a.cfg.MaxConnections) {
		a.open.Add(-1)
		return busy(http.StatusServiceUnavailable, RefusedConnections, "too many connections")
	}
	if !a.enterFrom(s) {
		a.open.Add(-1)
		return busy(http.StatusTooManyRequests, RefusedAddress, "too many connections from this address")
	}
	if !a.cfg.Budget.Join() {
		a.leaveFrom(s)
		a.open.Add(-1)
		return busy(http.StatusServiceUnavailable, RefusedBudget, "out of memory budget")
	}
	return nil
}

// enterDialled counts a connection that this side makes. Only the budget limits it.
func (a *admission) enterDialled() bool {
	if !a.cfg.Budget.Join() {
		return false
	}
	a.open.Add(1)
	return true
}

func (a *admission) leave(s *Scope) {
	a.cfg.Budget.Leave()
	if !s.dialled {
		a.leaveFrom(s)
	}
	a.open.Add(-1)
}

func (a *admission) enterFrom(s *Scope) bool {
	if a.from == nil {
		return true
	}
	network, ok := networkOf(s)
	if !ok {
		return true // not an IP socket
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from[network] >= a.cfg.MaxConnectionsPerAddress {
		return false
	}
	a.from[network]++
	return true
}

func (a *admission) leaveFrom(s *Scope) {
	if a.from == nil {
		return
	}
	network, ok := networkOf(s)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.from[network]--; a.from[network] == 0 {
		delete(a.from, network)
	}
}

// networkOf returns what one peer is taken to be: an IPv4 address, or the /64 that an
// IPv6 peer usually has for itself.
func networkOf(s *Scope) (netip.Prefix, bool) {
	ip, ok := parseAddr(s.RemoteAddr())
	if !ok {
		return netip.Prefix{}, false
	}
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.WithZone("").Prefix(bits)
	return p, err == nil
}
