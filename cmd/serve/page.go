package serve

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/page"
)

// pageGrace is how long those who watch may take to close.
const pageGrace = time.Second

// withPage answers what is the page's, unless it is switched off. Who watches is let go
// by end, when the others have ended: a shutdown is something to watch.
func (s *server) withPage(e *engine.Engine, next http.Handler) (h http.Handler, end func(), err error) {
	if !s.page {
		return next, func() {}, nil
	}
	p, err := page.New(e, page.Config{Token: s.liveToken, TrustedProxies: s.trustedProxies, Logger: s.logger})
	if err != nil {
		return nil, nil, err
	}
	return p.Before(next), func() {
		ctx, cancel := context.WithTimeout(context.Background(), pageGrace)
		defer cancel()
		_ = p.Shutdown(ctx) // who has not closed by then has been cut off
	}, nil
}

// tellOfPage logs where the page is: the first line on standard output names the
// WebSocket only.
func (s *server) tellOfPage(ln net.Listener) {
	if !s.page || ln.Addr().Network() == "unix" {
		return
	}
	host := ln.Addr().String()
	if all, err := netip.ParseAddrPort(host); err == nil && all.Addr().IsUnspecified() {
		host = net.JoinHostPort("localhost", strconv.Itoa(int(all.Port()))) // which can be opened, and sees the live view
	}
	u := url.URL{Scheme: "http", Host: host, Path: "/"}
	if s.certificate != nil {
		u.Scheme = "https"
	}
	s.logger.Info("page", "url", u.String())
}
