package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// direct is for tests: no proxy, whatever the environment says.
func direct(*http.Request) (*url.URL, error) { return nil, nil }

// acceptance is the answer of RFC 6455 §4.2.2 to r.
func acceptance(r *http.Request, more http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptFor(r) + "\r\n")
	_ = more.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

func acceptFor(r *http.Request) string {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// A rawServer does with every connection what a test wants. Its connections end with
// the test.
type rawServer struct {
	addr string
}

func serveRaw(t testing.TB, serve func(conn *net.TCPConn)) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the listener
		defer close(ended)
		served := make(chan struct{}, 1<<10)
		n := 0
		for {
			conn, err := ln.Accept()
			if err != nil {
				break
			}
			n++
			go func() { // ends with the test
				defer func() { served <- struct{}{} }()
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				defer stop()
				_ = conn.SetDeadline(time.Now().Add(2 * enginetest.Patience))
				serve(conn.(*net.TCPConn))
			}()
		}
		for range n {
			<-served
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		cancel()
		<-ended
	})
	return &rawServer{addr: ln.Addr().String()}
}

// serveFrames accepts every handshake, and then does what a test wants.
func serveFrames(t testing.TB, more http.Header, serve func(conn *net.TCPConn, r *bufio.Reader)) *rawServer {
	return serveRaw(t, func(conn *net.TCPConn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := conn.Write(acceptance(r, more)); err == nil {
			serve(conn, br)
		}
	})
}

// serveResponse answers every request with a response in which KEY stands for the
// right Sec-WebSocket-Accept, and waits for the client to end.
func serveResponse(t testing.TB, response string) *rawServer {
	return serveRaw(t, func(conn *net.TCPConn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(strings.ReplaceAll(response, "KEY", acceptFor(r))))
		waitEnd(br)
	})
}

// waitEnd reads until the peer has ended.
func waitEnd(r *bufio.Reader) {
	for {
		if _, err := r.Discard(1); err != nil {
			return
		}
	}
}

func dialContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// A dialTally connects, and counts what it has connected and Dial has not closed.
type dialTally struct{ open, made atomic.Int64 }

type talliedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *talliedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

func (d *dialTally) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	d.made.Add(1)
	return &talliedConn{Conn: conn, open: &d.open}, nil
}

// refusedBy wants err to be a refusal.
func refusedBy(t testing.TB, err error) *engine.HandshakeError {
	t.Helper()
	var h *engine.HandshakeError
	require.ErrorAs(t, err, &h)
	return h
}
