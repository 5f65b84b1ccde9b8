package enginetest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Handshake is how a client introduces itself. The zero value is a correct
// request for "/".
type Handshake struct {
	// Target is what the request line asks for. Default "/".
	Target string

	// Method and Proto replace GET and HTTP/1.1.
	Method, Proto string

	// Header replaces or, with an empty list, removes header lines of the
	// correct request. Names are sent as they are written.
	Header map[string][]string

	// Early is sent together with the request, in one write.
	Early []byte

	// ReceiveBuffer, unless zero, is what a peer that does not read takes before the
	// server notices, in bytes: in memory exactly so much (Flow.SetBuffer), else
	// SO_RCVBUF of the client's socket, of which systems make what they like.
	ReceiveBuffer int
}

// testKey is the Sec-WebSocket-Key of RFC 6455 §1.3, and testAccept the answer.
const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// encode builds the request for a server at host.
func (h Handshake) encode(host string) []byte {
	header := map[string][]string{
		"Host": {host}, "Upgrade": {"websocket"}, "Connection": {"Upgrade"},
		"Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {testKey},
	}
	for name, lines := range h.Header {
		header[name] = lines
	}
	var b bytes.Buffer
	b.WriteString(cmp.Or(h.Method, "GET") + " " + cmp.Or(h.Target, "/") + " " + cmp.Or(h.Proto, "HTTP/1.1") + "\r\n")
	for name, lines := range header {
		for _, line := range lines {
			b.WriteString(name + ": " + line + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return append(b.Bytes(), h.Early...)
}

// Request sends a handshake and returns the response, whatever it is, its body read;
// the connection is closed. It fails the test if no response comes.
func (s *Server) Request(h Handshake) *http.Response {
	s.t.Helper()
	c := s.Ask(h)
	defer c.Close()
	c.readResponse()
	if c.Response.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(io.LimitReader(c.Response.Body, 1<<20))
		require.NoError(s.t, err)
		c.Response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.Response
}

// Dial connects a raw client with a correct handshake for "/". It fails the test if the
// server does not accept.
func (s *Server) Dial() *Client {
	s.t.Helper()
	return s.DialWith(Handshake{})
}

// DialWith is Dial with a handshake of the test's own.
func (s *Server) DialWith(h Handshake) *Client {
	s.t.Helper()
	c := s.Ask(h)
	c.ReadResponse()
	return c
}

// Ask sends a handshake and leaves the response to ReadResponse. It fails the test if
// the server cannot be reached. The client's connection is closed when the test ends.
func (s *Server) Ask(h Handshake) *Client {
	s.t.Helper()
	conn, err := s.connect(h.ReceiveBuffer)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	c := &Client{Conn: conn, t: s.t, r: bufio.NewReaderSize(conn, 4<<10), method: h.Method}
	c.Write(h.encode(s.addr))
	return c
}

// ReadResponse reads the response to the handshake into c.Response. It fails the test if
// that is not the acceptance of RFC 6455 §4.2.2.
func (c *Client) ReadResponse() {
	c.t.Helper()
	c.readResponse()
	require.Equal(c.t, http.StatusSwitchingProtocols, c.Response.StatusCode)
	require.Equal(c.t, testAccept, c.Response.Header.Get("Sec-WebSocket-Accept"))
}

func (c *Client) readResponse() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.SetReadDeadline(time.Now().Add(patience())))
	res, err := http.ReadResponse(c.r, &http.Request{Method: c.method})
	require.NoError(c.t, err)
	c.Response = res
}

func (s *Server) connect(receiveBuffer int) (net.Conn, error) {
	if s.memory != nil {
		return s.connectLink(receiveBuffer)
	}
	d := net.Dialer{Timeout: Patience}
	if receiveBuffer > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			fail := raw.Control(func(fd uintptr) {
				err = setReceiveBuffer(fd, receiveBuffer)
			})
			return errors.Join(fail, err)
		}
	}
	conn, err := d.DialContext(context.Background(), "tcp", s.addr)
	if err != nil || s.trust == nil {
		return conn, err
	}
	return tls.Client(conn, s.trust), nil
}

func (s *Server) connectLink(receiveBuffer int) (net.Conn, error) {
	l, err := s.memory.connect(context.Background())
	if err != nil {
		return nil, err
	}
	if receiveBuffer > 0 {
		l.In.SetBuffer(receiveBuffer)
	}
	return l, nil
}

// Client is a WebSocket peer that speaks raw frames. It reads when it is told to, answers
// nothing by itself, and so is a slow consumer as long as it is not asked to read. One
// goroutine may write and another read. Everything that goes wrong fails the test, also
// what takes longer than Patience.
type Client struct {
	Conn     net.Conn       // a *Link, *net.TCPConn or *tls.Conn
	Response *http.Response // to the handshake

	// Pinged and Ponged hold the payloads of the pings and pongs that came in the
	// way of ReadMessage and ReadClose, which do not answer them.
	Pinged, Ponged [][]byte

	t      testing.TB
	method string // of the handshake
	r      *bufio.Reader
	masked uint32 // frames masked so far
}

// Link returns the client's end of its connection, for faults. It fails the test if that
// is not in memory.
func (c *Client) Link() *Link {
	c.t.Helper()
	l, ok := c.Conn.(*Link)
	require.True(c.t, ok, "a Link needs StartMemory")
	return l
}

// tcp returns the socket under TLS, if there is TLS.
func (c *Client) tcp() *net.TCPConn {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.NetConn().(*net.TCPConn)
	}
	return c.Conn.(*net.TCPConn)
}

// CloseWrite ends the client's direction: the server reads EOF. It fails the test if the
// connection is closed.
func (c *Client) CloseWrite() {
	c.t.Helper()
	if l, ok := c.Conn.(*Link); ok {
		require.NoError(c.t, l.CloseWrite())
		return
	}
	require.NoError(c.t, c.tcp().CloseWrite())
}

// Reset ends the connection with a TCP reset, or what is one in memory.
func (c *Client) Reset() {
	c.t.Helper()
	if l, ok := c.Conn.(*Link); ok {
		l.Reset()
		return
	}
	require.NoError(c.t, c.tcp().SetLinger(0))
	require.NoError(c.t, c.tcp().Close())
}

// Close closes the connection without a closing handshake. Closing it again does nothing.
func (c *Client) Close() { _ = c.Conn.Close() }
