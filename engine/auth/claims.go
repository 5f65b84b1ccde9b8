package auth

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are read by parseObject instead of the library's own way, and checked here:
// the library's validation is switched off, and asks for none of these.
type claims struct {
	jwt.Claims
	object map[string]any
	err    error
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *claims) UnmarshalJSON(text []byte) error {
	c.object, c.err = parseObject(text)
	return c.err
}

// latest is the last second of the year 9999: a number beyond is no date.
const latest = 253402300799

// identity holds the claims of a token whose signature is right against the
// configuration.
func (v *JWTVerifier) identity(object map[string]any, now time.Time) (Identity, error) {
	c := claimed{object: object}
	id := Identity{User: c.user(v.cfg.UserClaim), Session: c.text("sid"), Email: c.text("email")}
	if id.Session == "" {
		id.Session = c.text("jti")
	}
	var begins time.Time
	id.Issued, begins, id.Expires = c.date("iat"), c.date("nbf"), c.date("exp")
	refuse := func(why string) (Identity, error) {
		return Identity{}, &reason{kind: ErrInvalid, why: why, user: id.User}
	}
	switch expires, leeway := id.Expires, v.cfg.Leeway; {
	case c.wrong != "":
		return refuse(c.wrong)
	case id.User == "":
		return refuse("no user")
	case v.cfg.Issuer != "" && c.text("iss") != v.cfg.Issuer:
		return refuse("wrong issuer")
	case !c.isFor(v.cfg.Audience):
		return refuse("wrong audience")
	case expires.IsZero() && !v.cfg.AllowNoExpiry:
		return refuse("no exp")
	case !expires.IsZero() && !now.Before(expires.Add(leeway)):
		return Identity{}, &reason{kind: ErrExpired, why: "exp", user: id.User}
	case begins.After(now.Add(leeway)):
		return refuse("not valid yet")
	case id.Issued.After(now.Add(leeway)):
		return refuse("issued in the future")
	case !expires.IsZero() && v.tooLong(id.Issued, expires, now):
		return refuse("valid for longer than MaxLifetime")
	case !expires.IsZero() && !now.Before(expires):
		id.Expires = expires.Add(leeway)
	}
	id.Claims = v.kept(object)
	return id, nil
}

func (v *JWTVerifier) tooLong(issued, expires, now time.Time) bool {
	if issued.IsZero() {
		issued = now
	}
	return v.cfg.MaxLifetime > 0 && expires.Sub(issued) > v.cfg.MaxLifetime
}

func (v *JWTVerifier) kept(object map[string]any) map[string]any {
	if v.cfg.Claims == nil {
		return object
	}
	kept := make(map[string]any)
	for _, name := range v.cfg.Claims {
		if value, ok := object[name]; ok {
			kept[name] = value
		}
	}
	return kept
}

// claimed reads claims of the types that they must have.
type claimed struct {
	object map[string]any
	wrong  string // what is wrong with the first that has another
}

// text returns a string; "" if there is none, or null.
func (c *claimed) text(name string) string {
	v := c.object[name]
	text, ok := v.(string)
	if v != nil && !ok && c.wrong == "" {
		c.wrong = name + " is no string"
	}
	return text
}

// user is a string, or a number without sign, point and exponent, as it is written.
func (c *claimed) user(name string) string {
	if n, ok := c.object[name].(json.Number); ok && !strings.ContainsAny(string(n), "-+.eE") {
		return string(n)
	}
	return c.text(name)
}

// date reads a NumericDate (RFC 7519 §2); zero if there is none.
func (c *claimed) date(name string) time.Time {
	v, has := c.object[name]
	if !has {
		return time.Time{}
	}
	n, _ := v.(json.Number)
	seconds, err := n.Float64()
	if err != nil || !(seconds >= 1 && seconds <= latest) {
		if c.wrong == "" {
			c.wrong = name + " is no date"
		}
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

// isFor reports whether aud, a string or a list of them, has one of our names; without
// names of ours there must be no aud.
func (c *claimed) isFor(names []string) bool {
	switch aud := c.object["aud"].(type) {
	case nil:
		_, null := c.object["aud"]
		return len(names) == 0 && !null
	case string:
		return slices.Contains(names, aud)
	case []any:
		return slices.ContainsFunc(aud, func(a any) bool {
			name, ok := a.(string)
			return ok && slices.Contains(names, name)
		})
	}
	return false
}
