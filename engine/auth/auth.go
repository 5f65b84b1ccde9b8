package auth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config says how connections are authenticated. Verifiers are needed; everything else
// has a default that refuses.
type Config struct {
	// Verifiers are asked in this order until one takes the token. Needed.
	Verifiers []Verifier

	// Sources are where a token may stand; all are looked at. Default: Bearer(),
	// Query("token") and Subprotocol("bearer").
	Sources []Source

	// MaxTokenBytes is the length of the longest token; a longer one is refused with
	// 400, unread. Default 8 KiB, at most 64 KiB.
	MaxTokenBytes int

	// AllowAnonymous lets connections in that present no token; they have no Identity
	// and never expire. A token that is refused is refused all the same. Default: off.
	AllowAnonymous bool

	// Allow, unless nil, decides on a verified identity, of a refresh, too: an error
	// refuses it with 403. The error's text goes to the log, not to the peer. What
	// depends on the request is for Handler.Admit, which finds the identity by From.
	Allow func(Identity) error

	// CloseAfterUpgrade accepts a connection that is refused and closes it at once,
	// with one of Codes: browsers show scripts no HTTP status. The handler does not
	// see it. Default: off, an HTTP status, because refusing is cheaper.
	CloseAfterUpgrade bool

	// Codes are those of close frames.
	Codes Codes

	// Refresh recognises the message by which a client presents a new token on an
	// open connection, and returns the token; RefreshJSON is one. It is called for
	// every data message, must not keep it, and what it recognises never reaches a
	// later interceptor or the handler. Default: nil, no refresh; messages then pass
	// by at no cost.
	Refresh func(m interceptors.Inbound) (token string, ok bool)

	// MaxRevocations is how many revocations are remembered. When there are more,
	// the older half gives way to a rule that refuses every token issued before, and
	// tokens that do not say when they were. Default 131072.
	MaxRevocations int

	// Logger is told, at level Info, why a token was refused and whose it was.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Codes are the close codes of an Auth: 1008, or any from 3000 to 4999. Default: 1008
// for each.
type Codes struct {
	Refused   frame.CloseCode // with CloseAfterUpgrade: no token, or not a good one
	Forbidden frame.CloseCode // likewise: a good token of one who may not
	Expired   frame.CloseCode // the token of an open connection has expired
	Revoked   frame.CloseCode // or was revoked
}

const (
	defaultToken = 8 << 10
	mostToken    = 64 << 10

	defaultRevocations = 1 << 17
)

// Auth authenticates the connections of one or more endpoints. Any goroutine may call
// its methods. There is nothing to close.
type Auth struct {
	// immutable
	cfg Config

	// locks itself
	sessions sessions
}

// New returns an Auth for endpoints of an engine whose Config is of. It returns every
// mistake in cfg, joined. A Cookie among the sources is one if of.AllowedOrigins admit
// pages that nobody has named: such a page could open connections with the cookies of
// whoever looks at it. Should the engine in use have other AllowedOrigins than of, its
// connections that present a cookie are closed.
func New(cfg Config, of engine.Config) (*Auth, error) {
	if cfg.Sources == nil {
		cfg.Sources = []Source{Bearer(), Query("token"), Subprotocol("bearer")}
	}
	cfg.setDefaults()
	if err := cfg.check(of.AllowedOrigins); err != nil {
		return nil, err
	}
	a := &Auth{cfg: cfg}
	a.sessions = sessions{byUser: newIndex(0), bySession: newIndex(1), end: a.end, full: a.full}
	a.sessions.revoked = revocations{keep: cfg.keep(), most: cfg.MaxRevocations, at: make(map[revocation]time.Time)}
	return a, nil
}

func (c *Config) setDefaults() {
	c.Verifiers, c.Sources = slices.Clone(c.Verifiers), slices.Clone(c.Sources)
	or(&c.MaxTokenBytes, defaultToken)
	or(&c.MaxRevocations, defaultRevocations)
	or(&c.Logger, slog.Default())
	for _, code := range c.Codes.all() {
		or(code, frame.ClosePolicyViolation)
	}
}

func (c *Codes) all() [4]*frame.CloseCode {
	return [...]*frame.CloseCode{&c.Refused, &c.Forbidden, &c.Expired, &c.Revoked}
}

func (c *Config) check(allowedOrigins []string) error {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("auth: Config."+format, args...)) }
	if len(c.Verifiers) == 0 || slices.Contains(c.Verifiers, nil) {
		mistake("Verifiers is empty or contains nil: JWT and Secrets make some")
	}
	if len(c.Sources) == 0 {
		mistake("Sources is empty: nil stands for the default")
	}
	for i, s := range c.Sources {
		if !s.valid() {
			mistake("Sources[%d] has no name, or one that cannot be", i)
		}
		if s.isCookie() {
			for _, p := range allowedOrigins {
				if tooOpen(p) {
					mistake("Sources[%d] is a cookie, and the engine's AllowedOrigins have %q: name the origins whose pages may connect as your users", i, p)
				}
			}
		}
	}
	if c.MaxTokenBytes < 1 || c.MaxTokenBytes > mostToken {
		mistake("MaxTokenBytes is %d: allowed is 1 to %d", c.MaxTokenBytes, mostToken)
	}
	if c.MaxRevocations < 2 {
		mistake("MaxRevocations is %d: allowed is 2 and above", c.MaxRevocations)
	}
	for _, code := range c.Codes.all() {
		if *code != frame.ClosePolicyViolation && (*code < 3000 || *code > 4999) {
			mistake("Codes has %d: allowed are 1008 and 3000 to 4999", uint16(*code))
		}
	}
	return errors.Join(errs...)
}

// keep is how long revocations must be remembered.
func (c *Config) keep() (longest time.Duration) {
	for _, v := range c.Verifiers {
		lifetime := v.MaxLifetime()
		if lifetime <= 0 {
			return 0
		}
		longest = max(longest, lifetime)
	}
	return longest
}

func (s Source) isCookie() bool { return s.place == inCookie }

// Interceptor returns what Config.Interceptors of an engine, or Interceptors of an
// Endpoint, are to begin with: an interceptor before it that logs messages would log
// tokens. It is for servers: an engine that dials as well has it with its endpoints. It
// sees data messages if Config.Refresh is set, and else none.
func (a *Auth) Interceptor() interceptors.Interceptor {
	kinds := interceptors.Kinds(0)
	if a.cfg.Refresh != nil {
		kinds = interceptors.InboundData
	}
	return interceptors.Only(kinds, interceptor{a: a})
}

// Verify returns whose token it is, as Admit finds out: for tokens that come another
// way than in a handshake.
func (a *Auth) Verify(token string) (Identity, error) {
	id, err := a.verify(token, time.Now())
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// RevokeUser closes all connections of user and refuses, from now on, every token of
// the user's that was issued before the end of this second, or that does not say when
// it was issued. It returns how many connections there were. Other processes do not
// learn of it, and it does not outlive this one.
func (a *Auth) RevokeUser(user string) int { return a.sessions.revokeUser(user) }

// RevokeSession is RevokeUser for the tokens of one session (sid, or jti).
func (a *Auth) RevokeSession(session string) int { return a.sessions.revokeSession(session) }

func (a *Auth) verify(token string, now time.Time) (Identity, error) {
	if len(token) > a.cfg.MaxTokenBytes {
		return Identity{}, ErrMalformed
	}
	id, err := a.ask(token, now)
	if err != nil {
		return id, err
	}
	a.sessions.mu.Lock()
	revoked := a.sessions.revoked.has(&id, now)
	a.sessions.mu.Unlock()
	if revoked {
		return id, ErrRevoked
	}
	if a.cfg.Allow != nil {
		if err := a.cfg.Allow(id); err != nil {
			return id, &reason{kind: ErrForbidden, why: err.Error(), user: id.User}
		}
	}
	return id, nil
}

// ask asks the verifiers. If none takes the token, what the first says counts that
// knew the token and refused it for its age, or else the first.
func (a *Auth) ask(token string, now time.Time) (Identity, error) {
	var refused error
	for _, v := range a.cfg.Verifiers {
		id, err := v.Verify(token, now)
		if err == nil {
			return id, nil
		}
		if refused == nil || errors.Is(err, ErrExpired) && !errors.Is(refused, ErrExpired) {
			refused = err
		}
	}
	if !errors.Is(refused, ErrInvalid) && !errors.Is(refused, ErrExpired) && !errors.Is(refused, ErrMalformed) {
		refused = &reason{kind: ErrInvalid, why: refused.Error()}
	}
	return Identity{}, refused
}

// log tells the operator about a refusal.
func (a *Auth) log(message string, err error, id Identity, attrs ...any) {
	user := id.User
	if r, ok := errors.AsType[*reason](err); ok {
		user = cmp.Or(user, r.user)
	}
	if user != "" {
		attrs = append(attrs, "user", user)
	}
	a.cfg.Logger.Info(message, append(attrs, "reason", err.Error())...)
}

func (a *Auth) full() {
	a.cfg.Logger.Error("auth: more revocations than MaxRevocations: older tokens of all users are refused", "max", a.cfg.MaxRevocations)
}
