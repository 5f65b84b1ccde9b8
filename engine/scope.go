package engine

import (
	"iter"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Scope is the handshake of a connection, kept for its life and read-only. Of a
// connection that was dialled it is our request, but that Header and Headers are those
// of the server's response, and RemoteAddr is the server's.
type Scope struct {
	header http.Header // only for endpoints with interceptors, whose outbound side shows it
	text   string      // everything else, one behind the other: one allocation, and no strings to point into it
	ends   [partLines]uint32
	secure bool
	usual  uint8 // which of usualHeaders there are besides

	dialled bool // this side has connected
}

// The parts of a Scope's text.
const (
	partPath = iota
	partRawQuery
	partHost
	partRemote
	partSubprotocol
	partLines // the headers as name\nvalue\n…: a map of them costs four times the memory
)

func newScope(r *http.Request, trusted []netip.Prefix, chosen string) *Scope {
	client := caller{r.RemoteAddr, r.TLS != nil}
	if len(trusted) > 0 {
		client.believe(r.Header, trusted)
	}
	return packScope([...]string{r.URL.Path, r.URL.RawQuery, r.Host, client.remote, chosen}, r.Header, client.secure)
}

// keep replaces what a program may not want to be kept: see interceptors.Interceptor.
func (s *Scope) keep(r *http.Request) {
	*s = *packScope([...]string{s.Path(), r.URL.RawQuery, s.Host(), s.RemoteAddr(), s.Subprotocol()}, r.Header, s.secure)
}

func packScope(parts [partLines]string, h http.Header, secure bool) *Scope {
	lines, usual := headerLines(h)
	s := &Scope{secure: secure, usual: usual, text: strings.Join(append(parts[:], lines), "")}
	end := 0
	for i := range s.ends {
		end += len(parts[i])
		s.ends[i] = uint32(end)
	}
	return s
}

func (s *Scope) part(i int) string {
	text := s.text
	if i < partLines {
		text = text[:s.ends[i]]
	}
	if i > 0 {
		text = text[s.ends[i-1]:]
	}
	return text
}

// usualHeaders are in nearly every handshake, so that a bit each stands for them.
var usualHeaders = [...]struct{ name, value string }{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-Websocket-Version", "13"}}

// headerLines returns what is not usual, and what is.
func headerLines(h http.Header) (lines string, usual uint8) {
	var b strings.Builder
	for name, values := range h {
		if bit := usualBit(name, values); bit != 0 {
			usual |= bit
			continue
		}
		for _, v := range values {
			b.WriteString(name)
			b.WriteByte('\n') // neither names nor values have line breaks
			b.WriteString(v)
			b.WriteByte('\n')
		}
	}
	return b.String(), usual
}

// usualBit returns 0 for what is not usual.
func usualBit(name string, values []string) uint8 {
	for i, u := range usualHeaders {
		if name == u.name && len(values) == 1 && values[0] == u.value {
			return 1 << i
		}
	}
	return 0
}

// Path returns the path of the request's URL.
func (s *Scope) Path() string { return s.part(partPath) }

// RawQuery returns the query of the request's URL, undecoded.
func (s *Scope) RawQuery() string { return s.part(partRawQuery) }

// Query decodes the query; each call makes a new map. Malformed pairs are left
// out.
func (s *Scope) Query() url.Values {
	v, _ := url.ParseQuery(s.RawQuery())
	return v
}

// Host returns the Host header.
func (s *Scope) Host() string { return s.part(partHost) }

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
		for i, u := range usualHeaders {
			if s.usual&(1<<i) != 0 && !yield(u.name, u.value) {
				return
			}
		}
		for rest := s.part(partLines); rest != ""; {
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
func (s *Scope) RemoteAddr() string { return s.part(partRemote) }

// Secure reports whether the client came by TLS, here or at a trusted proxy.
func (s *Scope) Secure() bool { return s.secure }

// Subprotocol returns the chosen subprotocol, or "".
func (s *Scope) Subprotocol() string { return s.part(partSubprotocol) }

// URL returns the ws:// or wss:// URL that the client asked for.
func (s *Scope) URL() string {
	u := url.URL{Scheme: "ws", Host: s.Host(), Path: s.Path(), RawQuery: s.RawQuery()}
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
