package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dialed is an established connection, past its handshake.
type dialed struct {
	id    int
	conn  net.Conn
	early []byte // what the server sent right behind the handshake
}

const (
	handshakeTimeout = 10 * time.Second

	// dialers connect at once: enough to hide the round trips of a server far
	// away, few enough not to overflow a listener's backlog of 128.
	dialers = 32
)

// dialAll opens n connections, or none: after an error everything is closed.
func dialAll(ctx context.Context, address *url.URL, n int) ([]*dialed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*dialed, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, dialers) {
		wg.Go(func() { // until n are open or ctx is done
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				d, err := dial(ctx, address)
				if err != nil {
					cancel(fmt.Errorf("connection %d of %d: %w", i+1, n, err))
					return
				}
				d.id = i
				conns[i] = d
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return conns, nil
	}
	for _, d := range conns {
		if d != nil {
			d.conn.Close()
		}
	}
	return nil, context.Cause(ctx)
}

// dial opens one connection and shakes hands.
func dial(ctx context.Context, address *url.URL) (*dialed, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	// A ctx that ends interrupts the handshake's reads and writes.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	early, err := handshake(conn, address)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake with %v: %w", address, err)
	}
	return &dialed{conn: conn, early: early}, nil
}

func connect(ctx context.Context, address *url.URL) (net.Conn, error) {
	port := address.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[address.Scheme]
	}
	hostPort := net.JoinHostPort(address.Hostname(), port)
	if address.Scheme == "wss" {
		// HTTP/1.1 alone knows this handshake.
		d := tls.Dialer{Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
		return d.DialContext(ctx, "tcp", hostPort)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", hostPort)
}

// handshake is the client's side of RFC 6455 §4.1. It offers no extension and
// no subprotocol, so that frames are what the scenario says. It returns what
// the server sent behind its answer.
func handshake(conn net.Conn, address *url.URL) (early []byte, err error) {
	key := newKey()
	request := "GET " + address.RequestURI() + " HTTP/1.1\r\n" +
		"Host: " + address.Host + "\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\n\r\n"
	if _, err := conn.Write([]byte(request)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	response.Body.Close() // empty with a 101, and not read with anything else
	if err := accepted(response, key); err != nil {
		return nil, err
	}
	early, _ = r.Peek(r.Buffered())
	return early, nil
}

func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:])
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// accepted checks the server's answer (RFC 6455 §4.1, the numbered list at the end).
func accepted(response *http.Response, key string) error {
	if response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the server answered %s, not 101", response.Status)
	}
	h := response.Header
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		return fmt.Errorf("the server's Upgrade header is %q, not websocket", h.Get("Upgrade"))
	}
	if !hasToken(h.Values("Connection"), "upgrade") {
		return fmt.Errorf("the server's Connection header is %q, without upgrade", h.Values("Connection"))
	}
	if got, want := h.Get("Sec-WebSocket-Accept"), acceptKey(key); got != want {
		return fmt.Errorf("the server's Sec-WebSocket-Accept is %q; %q was due", got, want)
	}
	for _, name := range []string{"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} {
		if value := h.Get(name); value != "" {
			return fmt.Errorf("the server answers with %s %q; none was offered", name, value)
		}
	}
	return nil
}

// acceptKey is the answer to key (RFC 6455 §4.2.2, 5.4).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// parseURL accepts what a Target's URL may be.
func parseURL(text string) (*url.URL, error) {
	bad := &ConfigError{"URL", fmt.Sprintf("%q", text), "ws://host:port/path, or wss"}
	address, err := url.Parse(text)
	if err != nil || address.Hostname() == "" || address.User != nil {
		return nil, bad
	}
	if address.Scheme != "ws" && address.Scheme != "wss" {
		return nil, bad
	}
	return address, nil
}
