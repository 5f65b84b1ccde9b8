package serve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// A beside has the listeners beside the one for clients; nil: there is none. All are made
// before any is served, so that an error finds nothing started.
type beside struct{ metrics, pprof net.Listener }

func (s *server) listenBeside() (b beside, err error) {
	if b.metrics, err = s.listenAt("metrics_addr", s.metricsAddr); err != nil {
		return b, err
	}
	if b.pprof, err = s.listenAt("pprof_addr", s.pprofAddr); err == nil && b.pprof != nil && !isLoopback(b.pprof.Addr()) {
		err = usagef("%s=%q: it is %v, which others can reach", s.source("pprof_addr"), s.pprofAddr, b.pprof.Addr())
	}
	if err != nil {
		b.close()
	}
	return b, err
}

// close ends those that nobody has served.
func (b beside) close() {
	for _, ln := range []net.Listener{b.metrics, b.pprof} {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// listenAt listens on an address that is a setting, if it is one.
func (s *server) listenAt(field, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	ln, err := net.Listen("tcp", addr)
	switch {
	case notHere(err):
		return nil, usagef("%s=%q: %w", s.source(field), addr, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.source(field), err)
	}
	return ln, nil
}

// notHere reports whether an address could not be listened on because it is none of this
// machine's.
func notHere(err error) bool {
	var unknown *net.DNSError
	return errors.As(err, &unknown) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func isLoopback(addr net.Addr) bool {
	a, err := netip.ParseAddrPort(addr.String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}
