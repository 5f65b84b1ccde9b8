package page

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/interceptors"
)

// An access decides who sees the live view. That a page of another origin does not, the
// view's engine decides.
type access struct {
	token   interceptors.Interceptor // nil: there is none
	proxies []netip.Prefix
}

// tokenPrefix is what the token stands behind among the subprotocols, which are all that
// a script can put into a handshake besides the URL.
const tokenPrefix = "token."

func newAccess(cfg Config) access {
	a := access{proxies: slices.Clone(cfg.TrustedProxies)}
	if cfg.Token != "" {
		a.token = interceptors.TokenAuth(interceptors.TokenAuthConfig{
			Users:   map[string]string{cfg.Token: "viewer"},
			Sources: interceptors.TokenSources{Bearer: true, Subprotocol: tokenPrefix},
			Realm:   "live view",
		})
	}
	return a
}

// admit refuses who may not see it.
func (a *access) admit(r *http.Request) error {
	switch {
	case a.token != nil:
		return a.token.Admit(r)
	case a.local(r):
		return nil
	}
	return interceptors.Refuse(http.StatusForbidden, "without a token the live view is for programs of the server's own machine")
}

// to names what a request comes to: "open", "token" for one that is needed, or "local"
// where none would help.
func (a *access) to(r *http.Request) string {
	switch {
	case a.admit(r) == nil:
		return "open"
	case a.token != nil:
		return "token"
	}
	return "local"
}

// local reports whether a program of this machine asks, as far as that can be known: it
// is a loopback address that asks and is asked, and nothing shows a proxy. The Host is
// compared because a name of anybody's can be made to resolve to 127.0.0.1, and a page of
// that name would be of the same origin.
func (a *access) local(r *http.Request) bool {
	peer, ok := addrOf(r.RemoteAddr)
	return ok && peer.IsLoopback() && !a.isProxy(peer) && !forwarded(r.Header) && loopbackHost(r.Host)
}

func (a *access) isProxy(peer netip.Addr) bool {
	mapped := netip.AddrFrom16(peer.As16()) // as networks may have it
	return slices.ContainsFunc(a.proxies, func(p netip.Prefix) bool { return p.Contains(peer) || p.Contains(mapped) })
}

// forwarded reports whether a header shows that somebody has passed the request on.
func forwarded(h http.Header) bool {
	for name := range h {
		switch name {
		case "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip":
			return true
		}
		if strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// addrOf returns the address of host:port.
func addrOf(remote string) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(remote)
	return ap.Addr().Unmap(), err == nil
}
