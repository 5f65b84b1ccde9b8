package engine

import (
	"errors"
	"net/url"
	"path"
	"strings"
)

// An originPattern is one element of Config.AllowedOrigins.
type originPattern struct {
	any    bool
	scheme string // "" matches any
	host   string // for path.Match; lower case
}

var errOriginPattern = errors.New(`an origin pattern like "https://*.example.com", "example.com:8443" or "*"`)

// parseOrigin understands "*", "scheme://host[:port]" and "host[:port]".
func parseOrigin(pattern string) (originPattern, error) {
	if pattern == "*" {
		return originPattern{any: true}, nil
	}
	scheme, host, ok := strings.Cut(strings.ToLower(pattern), "://")
	if !ok {
		scheme, host = "", scheme
	}
	if host == "" || strings.ContainsAny(host, `/ ?\`) {
		return originPattern{}, errOriginPattern
	}
	host = strings.ReplaceAll(host, "[", `\[`) // of IPv6 addresses
	return originPattern{scheme: scheme, host: host}, nil
}

// origins decides on Origin headers (RFC 6455 §10.2).
type origins []originPattern

func newOrigins(patterns []string) origins {
	var list origins
	for _, p := range patterns {
		if o, err := parseOrigin(p); err == nil { // Validate has reported the others
			list = append(list, o)
		}
	}
	return list
}

// allow reports whether a page of this origin may connect: the same scheme, host
// and port as the request's, or a pattern that matches.
func (list origins) allow(origin string, s *Scope) bool {
	for _, p := range list {
		if p.any {
			return true
		}
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme == "" || !strings.EqualFold(u.Scheme+"://"+u.Host, origin) {
		return false // "null" among others, and what is more than an origin
	}
	scheme := strings.ToLower(u.Scheme)
	host := withoutDefaultPort(strings.ToLower(u.Host), scheme)
	if scheme == s.pageScheme() && host == withoutDefaultPort(strings.ToLower(s.Host()), scheme) {
		return true
	}
	for _, p := range list {
		if (p.scheme == "" || p.scheme == scheme) && (matches(p.host, host) || matches(p.host, withDefaultPort(host, scheme))) {
			return true
		}
	}
	return false
}

func matches(pattern, host string) bool {
	ok, _ := path.Match(pattern, host) // parseOrigin lets no pattern pass that is none
	return ok
}

func withDefaultPort(host, scheme string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	switch scheme {
	case "https":
		return host + ":443"
	case "http":
		return host + ":80"
	}
	return host
}

func withoutDefaultPort(host, scheme string) string {
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}
