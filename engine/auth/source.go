package auth

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/penstock-ws/penstock/interceptors"
)

// Source is a place in a handshake where a token may stand. The zero Source is none:
// use the functions that return one.
type Source struct {
	place place
	name  string
}

type place uint8

const (
	inBearer place = iota + 1
	inCookie
	inHeader
	inQuery
	inSubprotocol
)

// Bearer is the header Authorization with the scheme Bearer (RFC 6750 §2.1). Another
// scheme in that header is no token, and stays where it is.
func Bearer() Source { return Source{inBearer, "Authorization"} }

// Header is a header of the program's own, whose whole value is the token.
func Header(name string) Source { return Source{inHeader, http.CanonicalHeaderKey(name)} }

// Cookie is the cookie of that name. Browsers send it with the connections of every
// page, so New refuses it if the engine's AllowedOrigins are too open.
func Cookie(name string) Source { return Source{inCookie, name} }

// Query is a parameter of the URL. Proxies and access logs in front of the program see
// it: prefer the others, or tokens that live for seconds.
func Query(name string) Source { return Source{inQuery, name} }

// Subprotocol is the element behind marker in the subprotocols that the client offers,
// which is where a page can put a token:
//
//	new WebSocket(url, ["bearer", token, "chat"])
//
// Neither element is a subprotocol. A server must choose one of those offered or
// browsers give up: let Endpoint.Subprotocols end with marker, which is chosen if
// nothing better is offered. The token never is. A token must be made of the characters
// of RFC 9110 §5.6.2: JWTs and base64url are.
func Subprotocol(marker string) Source { return Source{inSubprotocol, marker} }

// String says where, for the log.
func (s Source) String() string {
	switch s.place {
	case inBearer, inHeader:
		return "header " + s.name
	case inCookie:
		return "cookie " + s.name
	case inQuery:
		return "query " + s.name
	case inSubprotocol:
		return "subprotocol " + s.name
	}
	return "no source"
}

func (s Source) valid() bool {
	switch s.place {
	case inBearer:
		return true
	case inQuery:
		return s.name != ""
	case inCookie, inHeader, inSubprotocol:
		return isToken(s.name)
	}
	return false
}

// isToken reports whether name is a token of RFC 9110 §5.6.2.
func isToken(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return name != ""
}

// take yields every token of this source, and takes them out of r.
func (s Source) take(r *http.Request, yield func(token string)) {
	switch s.place {
	case inBearer:
		s.takeLines(r, func(line string) (rest string) {
			token, ok := interceptors.BearerToken(line)
			if !ok {
				return line
			}
			yield(token)
			return ""
		})
	case inHeader:
		s.takeLines(r, func(line string) string { yield(textproto.TrimString(line)); return "" })
	case inCookie:
		s.takeCookie(r, yield)
	case inQuery:
		s.takeQuery(r, yield)
	case inSubprotocol:
		s.takeSubprotocol(r, yield)
	}
}

// takeLines replaces each line of a header by what keep leaves of it.
func (s Source) takeLines(r *http.Request, keep func(line string) (rest string)) {
	name := s.name
	if s.place == inCookie {
		name = "Cookie"
	} else if s.place == inSubprotocol {
		name = "Sec-Websocket-Protocol"
	}
	var rest []string
	for _, line := range r.Header[name] {
		if line = keep(line); line != "" {
			rest = append(rest, line)
		}
	}
	if rest == nil {
		delete(r.Header, name)
	} else {
		r.Header[name] = rest
	}
}

func (s Source) takeCookie(r *http.Request, yield func(string)) {
	s.takeLines(r, func(line string) string {
		rest := ""
		for pair := range strings.SplitSeq(line, ";") {
			pair = textproto.TrimString(pair)
			if name, value, _ := strings.Cut(pair, "="); textproto.TrimString(name) == s.name {
				if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
					value = value[1 : n-1]
				}
				yield(value)
				continue
			}
			rest = join(rest, "; ", pair)
		}
		return rest
	})
}

func (s Source) takeQuery(r *http.Request, yield func(string)) {
	var rest strings.Builder // a query may be long
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != s.name {
			if rest.Len() > 0 {
				rest.WriteByte('&')
			}
			rest.WriteString(pair)
			continue
		}
		if strings.Contains(pair, ";") { // to others it may separate
			value = "%"
		}
		yield(unescape(value))
	}
	r.URL.RawQuery = rest.String()
}

// unescape returns what no token can be if value is none, and a value that is too long
// for any as it is.
func unescape(value string) string {
	if len(value) > 3*mostToken {
		return value
	}
	token, err := url.QueryUnescape(value)
	if err != nil {
		return "\x00"
	}
	return token
}

func (s Source) takeSubprotocol(r *http.Request, yield func(string)) {
	marked := false
	s.takeLines(r, func(line string) string {
		rest := ""
		for element := range strings.SplitSeq(line, ",") {
			element = textproto.TrimString(element)
			switch {
			case element == "":
			case marked:
				marked = false
				yield(element)
			case element == s.name:
				marked = true
			default:
				rest = join(rest, ", ", element)
			}
		}
		return rest
	})
}

func join(list, separator, element string) string {
	if list == "" {
		return element
	}
	return list + separator + element
}

// presented is what a handshake presents.
type presented struct {
	token  string
	source Source
}

// extract returns the token of r, or none, and takes every token out of r, whose URL,
// RequestURI and Header it replaces. An empty one is none.
func extract(r *http.Request, sources []Source, longest int) (p presented, err error) {
	u, query := *r.URL, r.URL.RawQuery
	r.URL, r.Header = &u, r.Header.Clone()
	for _, s := range sources {
		s.take(r, func(token string) {
			switch {
			case token == "" || err != nil:
			case len(token) > longest || strings.ContainsFunc(token, func(c rune) bool { return c < ' ' || c == 0x7f }):
				p.source, err = s, ErrMalformed
			case p.token == "":
				p = presented{token, s}
			case p.token != token:
				p.source, err = s, ErrTwoTokens
			}
		})
	}
	if u.RawQuery != query {
		r.RequestURI = u.RequestURI()
	}
	if err != nil {
		p.token = ""
	}
	return p, err
}
