package enginetest

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Frame encodes a masked frame, as a client must send it (RFC 6455 §5.1).
func (c *Client) Frame(h frame.Header, payload []byte) []byte {
	c.masked++
	h.Masked = true
	binary.BigEndian.PutUint32(h.Mask[:], 0x9e3779b9*c.masked)
	h.Length = int64(len(payload))
	b := append(frame.AppendHeader(nil, h), payload...)
	frame.Mask(b[len(b)-len(payload):], h.Mask, 0)
	return b
}

// Write sends bytes as they are. It fails the test if the connection does not take them
// all within Patience; so do all that send.
func (c *Client) Write(b []byte) {
	c.t.Helper()
	require.NoError(c.t, c.TryWrite(b))
}

// TryWrite is Write for bytes that the server may not take.
func (c *Client) TryWrite(b []byte) error {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(patience())); err != nil {
		return err
	}
	_, err := c.Conn.Write(b)
	return err
}

// WriteSplit sends bytes in writes of n each.
func (c *Client) WriteSplit(b []byte, n int) {
	c.t.Helper()
	for len(b) > 0 {
		n = min(n, len(b))
		c.Write(b[:n])
		b = b[n:]
	}
}

// WriteFrame sends one masked frame.
func (c *Client) WriteFrame(h frame.Header, payload []byte) {
	c.t.Helper()
	c.Write(c.Frame(h, payload))
}

// Send sends a message, or a control frame, as one frame.
func (c *Client) Send(op frame.Opcode, payload []byte) {
	c.t.Helper()
	c.WriteFrame(frame.Header{Fin: true, Opcode: op}, payload)
}

// SendText sends a text message.
func (c *Client) SendText(s string) {
	c.t.Helper()
	c.Send(frame.Text, []byte(s))
}

// SendFragments sends a message in fragments of at most size bytes.
func (c *Client) SendFragments(op frame.Opcode, payload []byte, size int) {
	c.t.Helper()
	f := frame.NewFragmenter(op, payload, size)
	for h, body, ok := f.Next(); ok; h, body, ok = f.Next() {
		c.WriteFrame(h, body)
	}
}

// SendClose sends a close frame; with frame.CloseNoStatus an empty one.
func (c *Client) SendClose(code frame.CloseCode, reason string) {
	c.t.Helper()
	c.Send(frame.Close, frame.AppendClose(nil, code, reason))
}

// ReadFrame returns the next frame. It fails the test if none comes within Patience, or one
// that TryReadFrame objects to; so do all that read.
func (c *Client) ReadFrame() (frame.Header, []byte) {
	c.t.Helper()
	h, payload, err := c.TryReadFrame()
	require.NoError(c.t, err)
	return h, payload
}

// TryReadFrame is ReadFrame for a connection that may end instead. It checks
// what holds for every frame of a server: it is not masked (RFC 6455 §5.1) and
// has no reserved bits.
func (c *Client) TryReadFrame() (frame.Header, []byte, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(patience())); err != nil {
		return frame.Header{}, nil, err
	}
	h, err := c.readHeader()
	if err != nil {
		return h, nil, err
	}
	if h.Masked || h.RSV != 0 {
		return h, nil, errors.New("enginetest: a server's frame is masked or has reserved bits")
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(c.r, payload)
	return h, payload, err
}

func (c *Client) readHeader() (frame.Header, error) {
	var b []byte
	for {
		next, err := c.r.ReadByte()
		if err != nil {
			return frame.Header{}, err
		}
		b = append(b, next)
		h, n, err := frame.ParseHeader(b)
		if n > 0 || err != nil {
			return h, err
		}
	}
}

// Message is what ReadMessage returns.
type Message struct {
	Op        frame.Opcode
	Data      []byte
	Fragments int // frames it came in
	Largest   int // payload of the largest of them
}

// ReadMessage returns the next data message, its fragments put together. It fails the
// test at a close frame, at the end, and if fragments are out of order.
func (c *Client) ReadMessage() Message {
	c.t.Helper()
	m, err := c.TryReadMessage()
	require.NoError(c.t, err)
	return m
}

// TryReadMessage is ReadMessage for a connection that may end instead. At a close frame it
// returns a *engine.CloseError with what stands in it.
func (c *Client) TryReadMessage() (m Message, err error) {
	for {
		h, payload, err := c.TryReadFrame()
		switch {
		case err != nil:
			return m, err
		case h.Opcode == frame.Close:
			return m, closeError(payload)
		case c.keepControl(h, payload):
			continue
		case (h.Opcode == frame.Continuation) != (m.Fragments > 0):
			return m, errors.New("enginetest: fragments out of order")
		case m.Fragments == 0:
			m.Op = h.Opcode
		}
		m.Data = append(m.Data, payload...)
		m.Fragments++
		m.Largest = max(m.Largest, len(payload))
		if h.Fin {
			return m, nil
		}
	}
}

func closeError(payload []byte) error {
	code, reason, err := frame.ParseClose(payload)
	if err != nil {
		return err
	}
	return &engine.CloseError{Code: code, Reason: reason, Remote: true, Cause: engine.CausePeer}
}

func (c *Client) keepControl(h frame.Header, payload []byte) bool {
	switch h.Opcode {
	case frame.Ping:
		c.Pinged = append(c.Pinged, payload)
	case frame.Pong:
		c.Ponged = append(c.Ponged, payload)
	default:
		return false
	}
	return true
}

// ReadText returns the next message's payload. It fails the test as ReadMessage does, and
// if the message is not text.
func (c *Client) ReadText() string {
	c.t.Helper()
	m := c.ReadMessage()
	require.Equal(c.t, frame.Text, m.Op)
	return string(m.Data)
}

// ReadClose passes over data to the close frame and returns what stands in it. It fails
// the test if the connection ends without one.
func (c *Client) ReadClose() (frame.CloseCode, string) {
	c.t.Helper()
	for {
		h, payload := c.ReadFrame()
		if h.Opcode == frame.Close {
			code, reason, err := frame.ParseClose(payload)
			require.NoError(c.t, err)
			return code, reason
		}
		c.keepControl(h, payload)
	}
}

// ExpectClose reads to the server's close frame, answers it, and reads to the end. It fails
// the test if another code stands in it, if more comes behind it, or if the connection does
// not end in good order.
func (c *Client) ExpectClose(code frame.CloseCode) {
	c.t.Helper()
	got, reason := c.ReadClose()
	require.Equal(c.t, code, got, "close reason: %q", reason)
	c.SendClose(code, "")
	c.expectEnd()
}

// expectEnd is what follows when both close frames have been sent.
func (c *Client) expectEnd() {
	c.t.Helper()
	c.ExpectEOF()
	require.NoError(c.t, c.Conn.Close())
}

// ExpectEOF fails the test unless the server has nothing more to say, and ends its
// direction in good order.
func (c *Client) ExpectEOF() {
	c.t.Helper()
	h, payload, err := c.TryReadFrame()
	require.ErrorIs(c.t, err, io.EOF, "%v %q", h, payload)
}

// ReadToEnd reads whatever comes until the connection has ended, in any way. It fails the
// test if it does not end.
func (c *Client) ReadToEnd() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.SetReadDeadline(time.Now().Add(patience())))
	_, err := io.Copy(io.Discard, c.r)
	require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded)
}

// Hangup closes in good order from the client's side, with 1000, and passes over data on
// its way. It fails the test as ExpectCloseReply does.
func (c *Client) Hangup() {
	c.t.Helper()
	c.SendClose(frame.CloseNormal, "")
	c.ExpectCloseReply(frame.CloseNormal)
}

// ExpectCloseReply reads to the server's answer to the client's close frame. It fails the
// test if another code or a reason stands in it, or if the connection does not end in good
// order.
func (c *Client) ExpectCloseReply(code frame.CloseCode) {
	c.t.Helper()
	got, reason := c.ReadClose()
	require.Equal(c.t, code, got)
	require.Empty(c.t, reason, "the reason of an answer")
	c.expectEnd()
}
