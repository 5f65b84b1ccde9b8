package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// dialed is an established connection, past its handshake.
type dialed struct {
	id    int
	group int
	conn  net.Conn
	early []byte // what the server sent right behind the handshake
}

const (
	handshakeTimeout = 10 * time.Second

	// dialers connect at once: enough to hide the round trips of a server far
	// away, few enough not to overflow a listener's backlog of 128.
	dialers = 32
)

// dialer says how connections are opened.
type dialer struct {
	address  *url.URL
	compress bool                                                   // offer permessage-deflate, and insist
	ping     bool                                                   // wait until the server has answered a ping; see awaitPong
	control  func(network, address string, c syscall.RawConn) error // of the new socket; nil: nothing
	rooms    int                                                    // among which connections are spread by a token; 0: there are none
}

// to returns the address of a connection.
func (how dialer) to(id int) *url.URL {
	if how.rooms == 0 {
		return how.address
	}
	address := *how.address
	query := address.Query()
	query.Set("token", fmt.Sprintf("room-%d", id%how.rooms))
	address.RawQuery = query.Encode()
	return &address
}

// dialAll opens n connections, or none: after an error everything is closed.
func dialAll(ctx context.Context, n int, how dialer) ([]*dialed, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*dialed, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, dialers) {
		wg.Go(func() { // until n are open or ctx is done
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				d, err := how.dial(ctx, i)
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
	hangUp(conns)
	return nil, context.Cause(ctx)
}

// hangUp closes connections; nil is none.
func hangUp(conns []*dialed) {
	for _, d := range conns {
		if d != nil {
			d.conn.Close()
		}
	}
}

// dial opens one connection and shakes hands.
func (how dialer) dial(ctx context.Context, id int) (*dialed, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := how.connect(ctx)
	if err != nil {
		return nil, err
	}
	// A ctx that ends interrupts the handshake's reads and writes.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	early, err := handshake(conn, how.to(id), how.compress)
	if err == nil && how.ping {
		early, err = awaitPong(conn, early)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("handshake with %v: %w", how.address, err)
	}
	return &dialed{conn: conn, early: early}, nil
}

func (how dialer) connect(ctx context.Context) (net.Conn, error) {
	address := how.address
	port := address.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[address.Scheme]
	}
	hostPort := net.JoinHostPort(address.Hostname(), port)
	plain := &net.Dialer{Control: how.control}
	if address.Scheme == "wss" {
		// HTTP/1.1 alone knows this handshake.
		d := tls.Dialer{NetDialer: plain, Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
		return d.DialContext(ctx, "tcp", hostPort)
	}
	return plain.DialContext(ctx, "tcp", hostPort)
}

// handshake is the client's side of RFC 6455 §4.1. It offers no subprotocol and no
// extension but the one that the scenario needs, so that frames are what it says.
// It returns what the server sent behind its answer.
func handshake(conn net.Conn, address *url.URL, compress bool) (early []byte, err error) {
	key := newKey()
	offer := ""
	if compress {
		offer = "Sec-WebSocket-Extensions: " + deflate.Offer + "\r\n"
	}
	request := "GET " + address.RequestURI() + " HTTP/1.1\r\n" +
		"Host: " + address.Host + "\r\n" +
		"Upgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\n" + offer + "\r\n"
	if _, err := conn.Write([]byte(request)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	response.Body.Close() // empty with a 101, and not read with anything else
	if err := accepted(response, key, compress); err != nil {
		return nil, err
	}
	early, _ = r.Peek(r.Buffered())
	return early, nil
}

// awaitPong sends a ping and reads until it has been answered (RFC 6455 §5.5.3).
// A server answers handshakes before it counts a connection among those that get
// broadcasts, but pings only once it reads from it. What came is returned behind early, pong included.
func awaitPong(conn net.Conn, early []byte) ([]byte, error) {
	ping := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Ping, Masked: true})
	if _, err := conn.Write(ping); err != nil {
		return nil, err
	}
	const limit = 64 << 10 // a server that has so much to say before is not one to measure
	early = bytes.Clone(early)
	scanner := frame.NewScanner(nil)
	buf := make([]byte, 1<<10)
	for unread := early; ; {
		h, n, ok, err := scanner.Next(unread)
		if err != nil || ok && h.Opcode == frame.Pong {
			return early, nil // an error is found again, and reported, when the flow reads it
		}
		if unread = unread[n:]; ok {
			continue
		}
		if len(early) > limit {
			return nil, fmt.Errorf("no pong within %d bytes", limit)
		}
		n, err = conn.Read(buf)
		if err != nil {
			return nil, fmt.Errorf("await the pong: %w", err)
		}
		early = append(early, buf[:n]...)
		unread = early[len(early)-n:]
	}
}

func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:])
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// accepted checks the server's answer (RFC 6455 §4.1, the numbered list at the end).
func accepted(response *http.Response, key string, compress bool) error {
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
	if value := h.Get("Sec-WebSocket-Protocol"); value != "" {
		return fmt.Errorf("the server answers with Sec-WebSocket-Protocol %q; none was offered", value)
	}
	extensions := h.Values("Sec-WebSocket-Extensions")
	if !compress {
		if len(extensions) > 0 {
			return fmt.Errorf("the server answers with Sec-WebSocket-Extensions %q; none was offered", extensions)
		}
		return nil
	}
	p, ok, err := deflate.Accept(extensions)
	switch {
	case err != nil:
		return fmt.Errorf("the server's Sec-WebSocket-Extensions: %w", err)
	case !ok:
		return errors.New("the server does not agree to permessage-deflate")
	case p.ClientBits < deflate.MaxBits:
		return fmt.Errorf("the server allows %d window bits; messages are compressed with %d", p.ClientBits, deflate.MaxBits)
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
