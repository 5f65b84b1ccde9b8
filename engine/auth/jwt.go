package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWTConfig says which JWTs are believed (RFC 7519, RFC 8725). Algorithms and a key
// are needed; everything else has a default.
type JWTConfig struct {
	// Algorithms are those that a token's header may name. Needed.
	Algorithms []Algorithm

	// Keys verify signatures, besides those of KeyFile.
	Keys []Key

	// KeyFile is the path of a JWK Set (RFC 7517), a regular file of at most 1 MiB and
	// 256 keys. A changed file is read again; while it is broken or missing the old
	// keys stay, and the error is logged. Replace it by a rename: a file that is
	// written in place is read half.
	KeyFile string

	// PollEvery is how often at most the file is read, on demand, by one of the
	// handshakes; a token with a key ID that nobody knows has it read once a second.
	// Default 10 s; negative: never, but by JWTVerifier.Reload.
	PollEvery time.Duration

	// Issuer is what iss must be. Default: anything, or nothing.
	Issuer string

	// Audience are the names of this service, one of which aud must contain. Default:
	// none, and a token with an aud is for somebody else and refused (RFC 7519 §4.1.3).
	Audience []string

	// Leeway is how much the clocks may differ: for nbf, iat, and exp when a token is
	// presented. A connection ends at exp, or at exp and Leeway if it was later than
	// exp already when it began. Default 5 s, at most 5 minutes; negative: none.
	Leeway time.Duration

	// MaxLifetime is the longest time from iat to exp, or from now to exp of a token
	// without iat; longer ones are refused. Revocations are remembered for as long. So a
	// token without iat that was refused as too long may outlive one: have iat written.
	// Default 31 days; negative: any time, and revocations are remembered for ever.
	MaxLifetime time.Duration

	// AllowNoExpiry takes tokens without exp, and their connections never expire.
	// Revocations are remembered for ever then.
	AllowNoExpiry bool

	// UserClaim is the claim that names the user, a string or a whole number; a token
	// without it is refused. Default sub.
	UserClaim string

	// Claims are the names of those that Identity.Claims keeps. Default: all. An empty
	// list that is not nil: none.
	Claims []string

	// Logger is told of a KeyFile that is broken. Default: slog.Default().
	Logger *slog.Logger
}

const (
	defaultPoll     = 10 * time.Second
	defaultLeeway   = 5 * time.Second
	mostLeeway      = 5 * time.Minute
	defaultLifetime = 31 * 24 * time.Hour
)

// JWTVerifier is the Verifier that JWT returns.
type JWTVerifier struct {
	// immutable
	cfg    JWTConfig // without keys
	parser *jwt.Parser

	// locks itself
	keys keyFile
}

// JWT returns a verifier of signed JWTs. The session of an identity is the claim sid,
// or jti if there is none; its email is the claim email. It returns every mistake in
// cfg, joined.
func JWT(cfg JWTConfig) (*JWTVerifier, error) {
	fixed, keyErr := cfg.fixedKeys()
	if err := errors.Join(cfg.check(), keyErr); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	names := make([]string, len(cfg.Algorithms))
	for i, a := range cfg.Algorithms {
		names[i] = string(a)
	}
	v := &JWTVerifier{cfg: cfg, parser: jwt.NewParser(jwt.WithValidMethods(names), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())}
	v.keys.path, v.keys.every, v.keys.fixed, v.keys.pinned, v.keys.log = cfg.KeyFile, cfg.PollEvery, fixed, cfg.Algorithms, cfg.Logger
	if err := v.keys.load(); err != nil {
		return nil, err
	}
	return v, nil
}

func (c *JWTConfig) check() error {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("auth: JWTConfig."+format, args...)) }
	if len(c.Algorithms) == 0 {
		mistake("Algorithms is empty: name those that your tokens are signed with, and no others")
	}
	for i, a := range c.Algorithms {
		if _, ok := schemes[a]; !ok {
			mistake("Algorithms[%d] is %q: allowed are HS, RS, PS and ES with 256, 384 or 512, and EdDSA", i, string(a))
		}
	}
	if len(c.Keys) == 0 && c.KeyFile == "" {
		mistake("Keys and KeyFile are empty")
	}
	if c.Leeway > mostLeeway {
		mistake("Leeway is %v: allowed is up to %v", c.Leeway, mostLeeway)
	}
	if slices.Contains(c.Audience, "") {
		mistake("Audience contains an empty name")
	}
	return errors.Join(errs...)
}

func (c *JWTConfig) fixedKeys() (keys []*key, err error) {
	var errs []error
	for i, k := range c.Keys {
		own, err := newKey(k, c.Algorithms)
		if err != nil {
			errs = append(errs, fmt.Errorf("auth: JWTConfig.Keys[%d]: %w", i, err))
			continue
		}
		keys = append(keys, own)
	}
	return keys, errors.Join(errs...)
}

func (c *JWTConfig) setDefaults() {
	c.Keys = nil
	c.Algorithms, c.Audience, c.Claims = slices.Clone(c.Algorithms), slices.Clone(c.Audience), slices.Clone(c.Claims)
	or(&c.PollEvery, defaultPoll)
	or(&c.Leeway, defaultLeeway)
	or(&c.MaxLifetime, defaultLifetime)
	or(&c.UserClaim, "sub")
	or(&c.Logger, slog.Default())
	c.Leeway, c.MaxLifetime = max(c.Leeway, 0), max(c.MaxLifetime, 0)
}

// or sets a value that is zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Reload reads KeyFile now. On an error the keys stay as they are.
func (v *JWTVerifier) Reload() error { return v.keys.load() }

// MaxLifetime implements Verifier.
func (v *JWTVerifier) MaxLifetime() time.Duration {
	if v.cfg.AllowNoExpiry || v.cfg.MaxLifetime == 0 {
		return 0
	}
	return v.cfg.MaxLifetime + v.cfg.Leeway
}

// Verify implements Verifier. What a token claims is looked at when its signature is
// known to be right.
func (v *JWTVerifier) Verify(token string, now time.Time) (Identity, error) {
	v.keys.poll(now, v.cfg.PollEvery)
	h, err := parseHeader(token)
	if err != nil {
		return Identity{}, err
	}
	if !slices.Contains(v.cfg.Algorithms, h.algorithm) {
		return Identity{}, invalid("an algorithm that is not allowed")
	}
	keys := v.find(h, now)
	if len(keys) == 0 {
		return Identity{}, invalid("no key for it")
	}
	var c claims
	_, err = v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if t.Method != schemes[h.algorithm].method { // the library read another algorithm than we did
			return nil, ErrInvalid
		}
		set := jwt.VerificationKeySet{Keys: make([]jwt.VerificationKey, len(keys))}
		for i, k := range keys {
			set.Keys[i] = k
		}
		return set, nil
	})
	switch { // the library's own words may quote the token
	case c.err != nil:
		return Identity{}, invalid("claims: " + c.err.Error())
	case errors.Is(err, jwt.ErrTokenMalformed):
		return Identity{}, invalid("not a JWT")
	case err != nil:
		return Identity{}, invalid("wrong signature")
	}
	return v.identity(c.object, now)
}

// find returns the keys that may have signed, after a look at the file if there are none.
func (v *JWTVerifier) find(h header, now time.Time) []any {
	keys := v.keys.current.Load().find(h.id, h.algorithm)
	if len(keys) == 0 && h.id != "" {
		v.keys.poll(now, soonest)
		keys = v.keys.current.Load().find(h.id, h.algorithm)
	}
	return keys
}

// header is what we believe of a token's first part: which key it asks for.
type header struct {
	algorithm Algorithm
	id        string
}

// parseHeader is stricter than the library: a name that occurs twice, or an extension
// that must be understood (RFC 7515 §4.1.11), is refused.
func parseHeader(token string) (header, error) {
	first, rest, _ := strings.Cut(token, ".")
	if strings.Count(rest, ".") != 1 {
		return header{}, invalid("not three parts")
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(first)
	if err != nil {
		return header{}, invalid("header is no base64url")
	}
	object, err := parseObject(text)
	if err != nil {
		return header{}, invalid("header: " + err.Error())
	}
	if _, ok := object["crit"]; ok {
		return header{}, invalid("header has crit")
	}
	algorithm, ok := object["alg"].(string)
	if !ok {
		return header{}, invalid("header has no alg")
	}
	id, ok := object["kid"].(string)
	if _, has := object["kid"]; has && !ok {
		return header{}, invalid("kid is no string")
	}
	return header{Algorithm(algorithm), id}, nil
}
