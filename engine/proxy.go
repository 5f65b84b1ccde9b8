package engine

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A forwarded is what a header of proxies tells: who came to them, from left to
// right, and by which scheme the nearest of them was asked.
type forwarded struct {
	hops   []string // empty: the header tells of none
	scheme string   // empty: of none
}

// A caller is where a client comes from, as far as is known.
type caller struct {
	remote string // host:port, or an address alone
	secure bool   // by TLS
}

// believe takes the client's address and scheme from trusted proxies' headers. The
// address is the rightmost that is not itself a proxy's, because everything left of
// it may be the client's invention. A proxy that writes one kind of header lets the
// client's own of the other kind pass, so where the two disagree neither counts.
func (c *caller) believe(h http.Header, trusted []netip.Prefix) {
	if !isTrusted(c.remote, trusted) {
		return
	}
	old := forwarded{hops: elements(h["X-Forwarded-For"])}
	if protos := elements(h["X-Forwarded-Proto"]); len(protos) > 0 {
		old.scheme = protos[len(protos)-1]
	}
	standard, ok := parseForwarded(h["Forwarded"])
	if !ok {
		return
	}
	if remote := agree(client(old.hops, trusted), client(standard.hops, trusted), sameAddr); remote != "" {
		c.remote = remote
	}
	if scheme := agree(old.scheme, standard.scheme, sameSecurity); scheme != "" {
		c.secure = isSecure(scheme)
	}
}

// agree returns what one or both of two sources say, or "" if they contradict each
// other.
func agree(a, b string, same func(a, b string) bool) string {
	switch {
	case a == "":
		return b
	case b == "" || same(a, b):
		return a
	}
	return ""
}

func sameAddr(a, b string) bool {
	x, _ := parseAddr(a) // client has parsed both
	y, _ := parseAddr(b)
	return x == y
}

func sameSecurity(a, b string) bool { return isSecure(a) == isSecure(b) }

func isSecure(scheme string) bool {
	return strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss")
}

// client walks the hops from the nearest one, and returns the first that is no proxy,
// the last that is one if what comes then is no address, or "".
func client(hops []string, trusted []netip.Prefix) (addr string) {
	for _, hop := range slices.Backward(hops) {
		if _, ok := parseAddr(hop); !ok {
			return addr
		}
		addr = hop
		if !isTrusted(hop, trusted) {
			return addr
		}
	}
	return addr
}

// parseForwarded reads the lines of a Forwarded header (RFC 7239 §4); false: they
// break its grammar.
func parseForwarded(lines []string) (f forwarded, ok bool) {
	for _, line := range lines {
		for rest := line; ; {
			var element map[string]string
			if element, rest, ok = parseElement(rest); !ok {
				return forwarded{}, false
			}
			if len(element) > 0 {
				f.hops = append(f.hops, element["for"])
				f.scheme = element["proto"]
			}
			if rest == "" {
				break
			}
			rest = rest[1:] // the comma
		}
	}
	return f, true
}

// parseElement reads name=value pairs up to a comma, which it leaves.
func parseElement(s string) (pairs map[string]string, rest string, ok bool) {
	pairs = make(map[string]string)
	for {
		s = strings.TrimLeft(s, " \t;")
		if s == "" || s[0] == ',' {
			return pairs, s, true
		}
		name, value, found := strings.Cut(s, "=")
		name = strings.ToLower(name)
		if _, twice := pairs[name]; !found || twice || strings.ContainsAny(name, " \t,;\"") {
			return nil, "", false
		}
		if pairs[name], s, ok = parseValue(value); !ok {
			return nil, "", false
		}
		s = strings.TrimLeft(s, " \t")
		if s != "" && s[0] != ';' && s[0] != ',' {
			return nil, "", false
		}
	}
}

// parseValue reads a token or a quoted string (RFC 9110 §5.6).
func parseValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, " \t;,\"")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], end > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func isTrusted(addr string, trusted []netip.Prefix) bool {
	ip, ok := parseAddr(addr)
	ip = ip.WithZone("")
	return ok && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.Unmap(), err == nil
}

// withoutMapping writes networks of IPv4 addresses in IPv6 (::ffff:10.0.0.0/104) the
// way addresses are compared: as IPv4.
func withoutMapping(networks []netip.Prefix) []netip.Prefix {
	list := slices.Clone(networks)
	for i, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			list[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return list
}
