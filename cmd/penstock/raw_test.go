package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A rawClient speaks WebSocket by hand, so that frames can be seen, and a peer
// can be rude.
type rawClient struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// dialRaw sends a handshake for path with more header lines, and requires the
// status.
func dialRaw(t *testing.T, p *process, path string, status int, lines ...string) *rawClient {
	t.Helper()
	c, resp := shakeRaw(t, p, path, lines...)
	require.Equal(t, status, resp.StatusCode)
	if status == http.StatusSwitchingProtocols {
		require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept")) // RFC 6455 §1.3
	}
	return c
}

// shakeRaw is dialRaw whatever the answer.
func shakeRaw(t *testing.T, p *process, path string, lines ...string) (*rawClient, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	request := []string{
		"GET " + path + " HTTP/1.1",
		"Host: " + p.addr,
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}
	_, err = io.WriteString(conn, strings.Join(append(request, lines...), "\r\n")+"\r\n\r\n")
	require.NoError(t, err)
	c := &rawClient{Conn: conn, t: t, r: bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(t, err)
	return c, resp
}

// send writes one message as one masked frame.
func (c *rawClient) send(op frame.Opcode, payload string) {
	c.t.Helper()
	h := frame.Header{Fin: true, Opcode: op, Masked: true, Mask: [4]byte{1, 2, 3, 4}, Length: int64(len(payload))}
	body := []byte(payload)
	frame.Mask(body, h.Mask, 0)
	_, err := c.Write(append(frame.AppendHeader(nil, h), body...))
	require.NoError(c.t, err)
}

// frame reads one frame.
func (c *rawClient) frame() (frame.Header, string) {
	c.t.Helper()
	for size := 2; ; size++ {
		b, err := c.r.Peek(size)
		require.NoError(c.t, err)
		h, n, err := frame.ParseHeader(b)
		require.NoError(c.t, err)
		if n > 0 {
			_, _ = c.r.Discard(n) // it is buffered
			payload := make([]byte, h.Length)
			_, err := io.ReadFull(c.r, payload)
			require.NoError(c.t, err)
			return h, string(payload)
		}
	}
}

// closeCode reads one frame, which must be a close frame, and returns its code.
func (c *rawClient) closeCode() int {
	c.t.Helper()
	h, payload := c.frame()
	require.Equal(c.t, frame.Close, h.Opcode)
	require.GreaterOrEqual(c.t, len(payload), 2)
	return int(binary.BigEndian.Uint16([]byte(payload)))
}
