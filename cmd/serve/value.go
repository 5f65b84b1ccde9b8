package serve

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/penstock-ws/penstock/engine"
)

const onOrOff = `"on" or "off"`

func setSwitch(p *bool, v string) bool {
	*p = v == "on"
	return v == "on" || v == "off"
}

func setPort(s *settings, v string) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	s.port = int(n)
	return err == nil
}

const hostAllowed = "a host name or an IP address; 0.0.0.0 or :: for all"

func setHost(s *settings, v string) (ok bool) {
	s.host, ok = hostName(v)
	return ok
}

// hostName takes the brackets from an IPv6 address. An empty name, which would mean all
// interfaces, is more likely an unset variable in a script.
func hostName(v string) (string, bool) {
	if inner, ok := strings.CutPrefix(v, "["); ok {
		v = strings.TrimSuffix(inner, "]")
	}
	return v, v != "" && !strings.ContainsAny(v, "[]/ ")
}

func setMetrics(s *settings, v string) bool {
	name, port, err := net.SplitHostPort(v)
	if err != nil || !setPort(new(settings), port) {
		return false
	}
	s.metricsAddr = v
	_, ok := hostName(name)
	return ok
}

// setPprof takes only what this machine alone can reach: a profile shows memory.
func setPprof(s *settings, v string) bool {
	name, port, err := net.SplitHostPort(v)
	if err != nil || !setPort(new(settings), port) {
		return false
	}
	s.pprofAddr = v
	addr, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

func setOrigin(s *settings, v string) bool {
	s.allowOrigins = append(s.allowOrigins, v)
	return engine.Config{AllowedOrigins: []string{v}}.Validate() == nil
}

// setProxy takes networks, or single addresses.
func setProxy(s *settings, v string) bool {
	p, err := netip.ParsePrefix(v)
	if err != nil {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return false
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	s.trustedProxies = append(s.trustedProxies, p)
	return engine.Config{TrustedProxies: []netip.Prefix{p}}.Validate() == nil
}

func setToken(s *settings, v string) bool {
	user, token, _ := strings.Cut(v, "=")
	if user == "" || token == "" || s.tokens[token] != "" {
		return false
	}
	if s.tokens == nil {
		s.tokens = make(map[string]string)
	}
	s.tokens[token] = user
	return true
}

func setLevel(s *settings, v string) bool {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if v == strings.ToLower(level.String()) {
			s.logLevel = level
			return true
		}
	}
	return false
}
