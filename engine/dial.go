package engine

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/frame/deflate"
	"github.com/penstock-ws/penstock/interceptors"
)

// DialConfig says how Dial connects, and what becomes of the connection. Its zero
// value connects directly or by the environment's proxy, and leaves messages to
// Conn.Receive.
type DialConfig struct {
	// Engine has the limits, workers and interceptors of the connection. Default: one
	// of its own with the default Config, which is shut down when the connection has
	// ended. Many connections are best dialled by one engine.
	Engine *Engine

	// Endpoint handles the connection. Its Subprotocols are offered to the server,
	// the preferred first; Conn.Scope().Subprotocol() is the one that it has chosen.
	// Admit, of the interceptors and then of the handler, sees the request before it
	// is sent and may add to its header; its error is Dial's. OnOpen has returned when
	// Dial does; messages may have been handled already.
	Endpoint Endpoint

	// Header has fields for the request, such as Authorization, Origin or Cookie, and
	// Host. Those of the handshake itself are Dial's own.
	Header http.Header

	// TLS is for wss targets; the server's name is set. Default: the system's roots.
	TLS *tls.Config

	// Proxy returns the proxy for a request, whose URL has the scheme http or https:
	// nil for none, else an http or https URL, by which a tunnel is asked for
	// (CONNECT; RFC 6455 §4.1), with its user and password if it has any. Default:
	// http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	// NetDial connects to an address. Default: that of a net.Dialer.
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial connects to a ws:// or wss:// URL, whose user and password, if any, become an
// Authorization header. The connection is like one that has been accepted: the same
// methods, limits, order and backpressure; and it always has a reader goroutine, with
// IOLoops, too.
//
// It gives up when ctx is done or HandshakeTimeout has passed. A server's refusal,
// redirections included, is a *HandshakeError. No error tells the target's path, query
// or password.
func Dial(ctx context.Context, target string, cfg DialConfig) (*Conn, error) {
	if err := mayWait(ctx); err != nil {
		return nil, err
	}
	if cfg.Engine != nil {
		return cfg.Engine.dial(ctx, target, cfg)
	}
	e, err := New(Config{}, Endpoint{})
	if err != nil {
		return nil, err
	}
	e.single = true
	c, err := e.dial(ctx, target, cfg)
	if err != nil {
		err = errors.Join(err, e.Shutdown(context.WithoutCancel(ctx)))
	}
	return c, err
}

// A call to a server.
type dialling struct {
	e    *Engine
	ep   *endpoint
	cfg  DialConfig
	url  *url.URL
	r    *http.Request
	key  string
	conn net.Conn
}

func (e *Engine) dial(ctx context.Context, target string, cfg DialConfig) (*Conn, error) {
	d := &dialling{e: e, ep: e.newEndpoint(cfg.Endpoint), cfg: cfg}
	if err := d.request(ctx, target); err != nil {
		return nil, err
	}
	values, err := d.admits()
	if err != nil {
		return nil, err
	}
	d.handshakeHeader()
	if e.draining.Load() {
		return nil, ErrShutdown
	}
	if !e.admission.enterDialled() {
		return nil, ErrNoBudget
	}
	c, err := d.start(ctx, values)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// start connects, shakes hands and begins.
func (d *dialling) start(ctx context.Context, first values) (*Conn, error) {
	o := beginning{scope: &Scope{dialled: true}, values: first}
	opened := false
	defer func() { // deferred: NetDial and Proxy may panic
		if opened {
			return
		}
		d.e.admission.leave(o.scope)
		if d.conn != nil {
			_ = d.conn.Close()
		}
	}()
	if err := d.open(ctx, &o); err != nil {
		return nil, err
	}
	opened = true
	if d.ep.sees&interceptors.Outbounds != 0 {
		o.scope.header = d.r.Header
	}
	o.sock = d.e.newSocket(d.conn, true)
	if c := d.e.start(d.ep, o); c != nil {
		return c, nil
	}
	return nil, ErrShutdown
}

// admits shows the request, whose URL is a copy: where Dial connects is decided.
func (d *dialling) admits() (values, error) {
	shown, u := *d.r, *d.url
	shown.URL = &u
	_, first, err := d.ep.admits(&shown)
	return first, err
}

// open gets d a connection that is open, and fills in o.
func (d *dialling) open(ctx context.Context, o *beginning) error {
	limited, cancel := context.WithTimeout(ctx, d.e.cfg.HandshakeTimeout)
	defer cancel()
	err := d.connect(limited)
	if err == nil {
		err = d.shakeHands(limited, o)
	}
	var refused *HandshakeError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	if cause := limited.Err(); cause != nil { // what it has caused says less
		err = cause
	}
	return fmt.Errorf("engine: dial %s: %w", d.url.Host, err)
}

// request makes the request, as far as Admit may see it.
func (d *dialling) request(ctx context.Context, target string) error {
	u, err := parseTarget(target)
	if err != nil {
		return err
	}
	d.url = u
	for i, p := range d.ep.subprotocols {
		if !isToken(p) || slices.Contains(d.ep.subprotocols[:i], p) {
			return fmt.Errorf("engine: Subprotocols[%d] is %q: a token as in RFC 9110 §5.6.2, once, would be right", i, p)
		}
	}
	header, err := d.givenHeader()
	if err != nil {
		return err
	}
	if user := u.User; user != nil && header.Get("Authorization") == "" {
		header.Set("Authorization", basic(user))
	}
	d.r = (&http.Request{Method: http.MethodGet, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: u.Host, Header: header}).WithContext(ctx)
	if host := header.Get("Host"); host != "" {
		d.r.Host = host
		header.Del("Host")
	}
	return nil
}

// givenHeader returns a copy of DialConfig.Header, its names in the canonical form.
func (d *dialling) givenHeader() (http.Header, error) {
	header := make(http.Header)
	for name, values := range d.cfg.Header {
		if reserved(name) {
			return nil, fmt.Errorf("engine: DialConfig.Header has %s, which Dial sets itself", http.CanonicalHeaderKey(name))
		}
		if !isToken(name) || slices.ContainsFunc(values, func(v string) bool { return strings.ContainsAny(v, "\r\n\x00") }) {
			return nil, fmt.Errorf("engine: DialConfig.Header has the name %q, or a value for it, that is none by RFC 9110 §5", name)
		}
		key := http.CanonicalHeaderKey(name)
		header[key] = append(header[key], values...)
	}
	return header, nil
}

// parseTarget reads a URL by RFC 6455 §3. Its errors do not quote it: it may hold a
// token.
func parseTarget(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errors.New("engine: the target to dial is no ws:// or wss:// URL")
	case u.Hostname() == "":
		return nil, errors.New("engine: the target to dial names no host: ws://host:port/path would be right")
	case u.Fragment != "":
		return nil, errors.New("engine: the target to dial has a fragment (#), which a WebSocket URL must not have")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// reserved are the header fields that the handshake consists of.
func reserved(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Sec-Websocket-Key",
		"Sec-Websocket-Version", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol", "Sec-Websocket-Accept":
		return true
	}
	return false
}

func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) < 0
}

func basic(user *url.Userinfo) string {
	password, _ := user.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
}

// handshakeHeader sets what RFC 6455 §4.1 wants, whatever Admit has made of the header.
func (d *dialling) handshakeHeader() {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	d.key = base64.StdEncoding.EncodeToString(nonce[:])
	h := d.r.Header
	for name := range h {
		if reserved(name) || strings.EqualFold(name, "Host") {
			delete(h, name)
		}
	}
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	h["Sec-Websocket-Version"], h["Sec-Websocket-Key"] = []string{"13"}, []string{d.key}
	if list := d.ep.subprotocols; len(list) > 0 {
		h["Sec-Websocket-Protocol"] = []string{strings.Join(list, ", ")}
	}
	if d.e.cfg.Compress {
		h["Sec-Websocket-Extensions"] = []string{deflate.Offer}
	}
	if _, set := h["User-Agent"]; !set {
		h["User-Agent"] = []string{"penstock"}
	}
}

// within has everything that is done with the connection end when ctx does. The
// returned function ends that; it returns ctx's error if ctx came first.
func (d *dialling) within(ctx context.Context) (end func() error) {
	conn := d.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(longAgo) })
	return func() error {
		if !stop() {
			return ctx.Err()
		}
		return nil
	}
}
