package engine

import (
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Scope is the handshake of a connection, kept for its life and read-only.
type Scope struct {
	path        string
	rawQuery    string
	host        string
	lines       string      // the headers as name\nvalue\n…: a map of them costs four times the memory
	header      http.Header // only for endpoints with interceptors, whose outbound side shows it
	remote      string
	secure      bool
	subprotocol string
}

func newScope(r *http.Request, trusted []netip.Prefix) *Scope {
	s := &Scope{
		path:     r.URL.Path,
		rawQuery: r.URL.RawQuery,
		host:     r.Host,
		lines:    headerLines(r.Header),
		remote:   r.RemoteAddr,
		secure:   r.TLS != nil,
	}
	if len(trusted) > 0 {
		s.believe(r.Header, trusted)
	}
	return s
}

func headerLines(h http.Header) string {
	var b strings.Builder
	for name, values := range h {
		for _, v := range values {
			b.WriteString(name)
			b.WriteByte('\n') // neither names nor values have line breaks
			b.WriteString(v)
			b.WriteByte('\n')
		}
	}
	return strings.Clone(b.String()) // without the builder's spare capacity
}

// Path returns the path of the request's URL.
func (s *Scope) Path() string { return s.path }

// RawQuery returns the query of the request's URL, undecoded.
func (s *Scope) RawQuery() string { return s.rawQuery }

// Query decodes the query; each call makes a new map. Malformed pairs are left
// out.
func (s *Scope) Query() url.Values {
	v, _ := url.ParseQuery(s.rawQuery)
	return v
}

// Host returns the Host header.
func (s *Scope) Host() string { return s.host }

// Header returns the first value of a header, or "".
func (s *Scope) Header(name string) string {
	name = http.CanonicalHeaderKey(name)
	for n, v := range s.Headers() {
		if n == name {
			return v
		}
	}
	return ""
}

// Headers yields every header line: its canonical name and value. Lines of the
// same name keep their order.
func (s *Scope) Headers() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := s.lines; rest != ""; {
			var name, value string
			name, rest, _ = strings.Cut(rest, "\n")
			value, rest, _ = strings.Cut(rest, "\n")
			if !yield(name, value) {
				return
			}
		}
	}
}

// RemoteAddr returns the client's address, as net/http has it (host:port) or as
// trusted proxies tell it.
func (s *Scope) RemoteAddr() string { return s.remote }

// Secure reports whether the client came by TLS, here or at a trusted proxy.
func (s *Scope) Secure() bool { return s.secure }

// Subprotocol returns the chosen subprotocol, or "".
func (s *Scope) Subprotocol() string { return s.subprotocol }

// URL returns the ws:// or wss:// URL that the client asked for.
func (s *Scope) URL() string {
	u := url.URL{Scheme: "ws", Host: s.host, Path: s.path, RawQuery: s.rawQuery}
	if s.secure {
		u.Scheme = "wss"
	}
	return u.String()
}

// pageScheme is the scheme of a page of the same origin.
func (s *Scope) pageScheme() string {
	if s.secure {
		return "https"
	}
	return "http"
}
