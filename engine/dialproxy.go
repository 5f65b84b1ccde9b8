package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// connect gets d a connection on which the handshake can begin: through a proxy if
// there is one, under TLS if the target wants it.
func (d *dialling) connect(ctx context.Context) error {
	proxy, err := d.proxy()
	if err != nil {
		return err
	}
	if proxy == nil {
		err = d.connectTo(ctx, d.url)
	} else {
		err = d.tunnel(ctx, proxy)
	}
	if err != nil || d.url.Scheme != "wss" {
		return err
	}
	return d.secure(ctx, d.cfg.TLS, d.url.Hostname())
}

func (d *dialling) connectTo(ctx context.Context, u *url.URL) error {
	dial := d.cfg.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", addressOf(u))
	if err != nil {
		return err // conn may be a nil pointer then
	}
	d.conn = conn
	return nil
}

// addressOf returns host and port, the scheme's own if u has none.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "wss" || u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (d *dialling) secure(ctx context.Context, cfg *tls.Config, host string) error {
	if cfg = cfg.Clone(); cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	cfg.NextProtos = []string{"http/1.1"} // a handshake is not possible in another version
	conn := tls.Client(d.conn, cfg)
	d.conn = conn
	return conn.HandshakeContext(ctx)
}

// proxy asks for a proxy as for an HTTP request, which is what the environment's
// variables are about.
func (d *dialling) proxy() (*url.URL, error) {
	ask := d.cfg.Proxy
	if ask == nil {
		ask = http.ProxyFromEnvironment
	}
	u := *d.url
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	r := *d.r
	r.URL = &u
	proxy, err := ask(&r)
	switch {
	case err != nil:
		return nil, errors.New("the proxy for it is no URL: http://host:port would be right") // err may quote a password
	case proxy == nil:
		return nil, nil
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, fmt.Errorf("the proxy for it has the scheme %q: http and https are possible, others by NetDial", proxy.Scheme)
	case proxy.Hostname() == "":
		return nil, errors.New("the proxy for it has no host: http://host:port would be right")
	}
	return proxy, nil
}

// tunnel connects through a proxy (RFC 9110 §9.3.6).
func (d *dialling) tunnel(ctx context.Context, proxy *url.URL) error {
	if err := d.connectTo(ctx, proxy); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if proxy.Scheme == "https" {
		cfg := d.cfg.TLS.Clone()
		if cfg != nil {
			cfg.ServerName = "" // is the target's
		}
		if err := d.secure(ctx, cfg, proxy.Hostname()); err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	end := d.within(ctx)
	err := d.askForTunnel(proxy)
	return errors.Join(err, end())
}

func (d *dialling) askForTunnel(proxy *url.URL) error {
	address := addressOf(d.url)
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: make(http.Header)}
	if proxy.User != nil {
		r.Header.Set("Proxy-Authorization", basic(proxy.User))
	}
	if err := r.Write(d.conn); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	resp, br, err := finalResponse(d.conn, r)
	switch {
	case err != nil:
		return fmt.Errorf("proxy: %w", err)
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("the proxy refuses with %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	case br.Buffered() > 0:
		return errors.New("the proxy sends something of its own into the tunnel")
	}
	return nil
}
