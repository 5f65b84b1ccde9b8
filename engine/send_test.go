package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// D3: text and binary arrive as what they are, and the caller keeps its memory.
func TestD3Send(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
	conn := <-open
	require.NoError(t, conn.SendText("grün"))
	require.NoError(t, conn.SendBytes([]byte{0xFF}))
	require.NoError(t, conn.Send(frame.Text, nil))
	for _, op := range []frame.Opcode{frame.Continuation, frame.Close, frame.Ping, frame.Pong, 3} {
		err := conn.Send(op, nil)
		require.Error(t, err, "%v", op)
		require.NotErrorIs(t, err, net.ErrClosed)
		require.Error(t, conn.SendStream(t.Context(), op, strings.NewReader("")))
		_, err = s.Engine.Prepare(op, nil)
		require.Error(t, err)
	}
	mine := pattern(500_000) // more than the socket takes at once
	require.NoError(t, conn.SendBytes(mine))
	clear(mine)

	require.Equal(t, "grün", c.ReadText())
	require.Equal(t, []byte{0xFF}, c.ReadMessage().Data)
	require.Empty(t, c.ReadText())
	requireSame(t, pattern(500_000), c.ReadMessage().Data)
	c.Hangup()
}

// Text that is not UTF-8 is refused, and the connection is unharmed.
func TestD3SendInvalidUTF8(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	require.ErrorIs(t, conn.SendText("\xff"), engine.ErrInvalidUTF8)
	require.ErrorIs(t, conn.SendWait(t.Context(), frame.Text, []byte("\xed\xa0\x80")), engine.ErrInvalidUTF8)
	_, err := s.Engine.Prepare(frame.Text, []byte("\xff"))
	require.ErrorIs(t, err, engine.ErrInvalidUTF8)
	c.SendText("unharmed")
	require.Equal(t, "unharmed", c.ReadText())
	c.Hangup()
}

// What OnOpen sends is the first that the client gets, in order, also if it is a
// lot.
func TestD3SendInOnOpen(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				if err := c.SendText("first"); err != nil {
					return err
				}
				if err := c.SendBytes(pattern(500_000)); err != nil {
					return err
				}
				c.Flush()
				return c.SendText("last")
			},
			OnMessage: echo,
		}})
		forge := new(enginetest.Client)
		c := s.DialWith(enginetest.Handshake{Early: forge.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("early"))})
		require.Equal(t, "first", c.ReadText())
		requireSame(t, pattern(500_000), c.ReadMessage().Data)
		require.Equal(t, "last", c.ReadText())
		require.Equal(t, "early", c.ReadText())
		c.Hangup()
	})
}

// A stream may be empty, of any size, come in pieces of any size, and end with
// its last bytes or after them. In virtual time: on a busy machine a source may take
// so long that what it has yielded leaves as a fragment of its own.
func TestD3SendStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(conns, 1)
		s := enginetest.StartMemory(t, engine.Config{SendChunkBytes: 1000}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
		c := s.Dial()
		conn := <-open
		for _, n := range []int{0, 1, 999, 1000, 1001, 2000, 2001, 12_345} {
			for _, source := range []io.Reader{
				bytes.NewReader(letters(n)),
				iotest.OneByteReader(bytes.NewReader(letters(n))),
				iotest.DataErrReader(bytes.NewReader(letters(n))),
				iotest.HalfReader(bytes.NewReader(letters(n))),
			} {
				require.NoError(t, conn.SendStream(t.Context(), frame.Text, source))
				m := c.ReadMessage()
				require.Equal(t, frame.Text, m.Op)
				requireSame(t, letters(n), m.Data)
				require.LessOrEqual(t, m.Largest, 1000)
				require.Equal(t, max(1, (n+999)/1000), m.Fragments)
			}
		}
		c.Hangup()
	})
}

// A rune may lie across the border of two chunks, and the message goes through a
// real socket.
func TestD3SendStreamRunes(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{SendChunkBytes: 1000}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	runes := strings.Repeat("é€😀x", 1000)
	require.NoError(t, conn.SendStream(t.Context(), frame.Text, strings.NewReader(runes)))
	require.Equal(t, runes, c.ReadText())
	c.Hangup()
}

// A stream that fails ends the connection with a code that says so, and what was
// sent of it never looks like a whole message.
func TestD3SendStreamFails(t *testing.T) {
	broken := errors.New("broken source")
	for name, row := range map[string]struct {
		source func(cancel func()) io.Reader
		code   frame.CloseCode
		err    error
	}{
		"at once": {func(func()) io.Reader { return iotest.ErrReader(broken) }, frame.CloseInternalError, broken},
		"in the middle": {func(func()) io.Reader {
			return io.MultiReader(bytes.NewReader(letters(2500)), iotest.ErrReader(broken))
		}, frame.CloseInternalError, broken},
		"not UTF-8":   {func(func()) io.Reader { return strings.NewReader(string(letters(2500)) + "\xff") }, frame.CloseInternalError, engine.ErrInvalidUTF8},
		"half a rune": {func(func()) io.Reader { return strings.NewReader(string(letters(1999)) + "\xc3") }, frame.CloseInternalError, engine.ErrInvalidUTF8},
		"cancelled": {func(cancel func()) io.Reader {
			return io.MultiReader(bytes.NewReader(letters(2500)), readerFunc(func([]byte) (int, error) { cancel(); return 0, context.Canceled }))
		}, frame.CloseGoingAway, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, engine.Config{SendChunkBytes: 1000}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := s.Dial()
			conn := <-open
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			require.ErrorIs(t, conn.SendStream(ctx, frame.Text, row.source(cancel)), row.err)
			require.ErrorIs(t, conn.SendText("later"), net.ErrClosed)
			for {
				h, payload := c.ReadFrame()
				if h.Opcode == frame.Close {
					code, _, err := frame.ParseClose(payload)
					require.NoError(t, err)
					require.Equal(t, row.code, code)
					break
				}
				require.False(t, h.Fin)
			}
			c.CloseWrite()
			c.ExpectEOF()
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Data sent during a stream waits for its end; pings do not.
func TestD3SendStreamKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(conns, 1)
		s := enginetest.StartMemory(t, engine.Config{SendChunkBytes: 1000}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
		c := s.Dial()
		conn := <-open
		r, w := io.Pipe()
		streamed := make(chan error, 1)
		go func() { streamed <- conn.SendStream(t.Context(), frame.Binary, r) }()
		_, err := w.Write(pattern(2000))
		require.NoError(t, err)
		h, _ := c.ReadFrame()
		require.Equal(t, frame.Binary, h.Opcode)
		require.NoError(t, conn.SendText("behind"))
		second := make(chan error, 1)
		go func() { second <- conn.SendStream(t.Context(), frame.Text, strings.NewReader("behind that")) }()
		require.NoError(t, conn.Ping([]byte("passes")))
		h, payload := c.ReadFrame()
		require.Equal(t, frame.Ping, h.Opcode)
		require.Equal(t, "passes", string(payload))
		_, err = w.Write(pattern(500))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, <-streamed)
		h, _ = c.ReadFrame()
		require.Equal(t, frame.Header{Opcode: frame.Continuation, Length: 1000}, h)
		h, _ = c.ReadFrame()
		require.Equal(t, frame.Header{Fin: true, Opcode: frame.Continuation, Length: 500}, h)
		require.Equal(t, "behind", c.ReadText())
		require.Equal(t, "behind that", c.ReadText())
		require.NoError(t, <-second)
		c.Hangup()
	})
}

// D5: codes 1000 to 1014 that may be sent are, as they are given.
func TestD5Codes(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	for _, code := range []frame.CloseCode{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999} {
		c := s.Dial()
		require.NoError(t, (<-open).Close(code, "ü"))
		got, reason := c.ReadClose()
		require.Equal(t, code, got)
		require.Equal(t, "ü", reason)
		c.Close()
	}
}

// Many senders on one connection: every message whole, each sender's in order.
func TestD3SendFromEverywhere(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{SendChunkBytes: 1000}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 256 << 10})
	conn := <-open
	const senders, each = 8, 100
	sizes := []int{10, 3000, 900, 100_000, 1, 2048, 2049}
	errs := make(chan error, senders)
	for i := range senders {
		go func() {
			var err error
			for n := range each {
				p := bytes.Repeat([]byte{byte(i)}, sizes[n%len(sizes)])
				if n%10 == 9 {
					err = errors.Join(err, conn.SendStream(context.Background(), frame.Binary, bytes.NewReader(p)))
				} else {
					err = errors.Join(err, conn.SendWait(context.Background(), frame.Binary, p))
				}
			}
			errs <- err
		}()
	}
	var counts [senders]int
	for range senders * each {
		m := c.ReadMessage()
		sender := m.Data[0]
		require.Len(t, m.Data, sizes[counts[sender]%len(sizes)], "message %d of sender %d", counts[sender], sender)
		require.False(t, slices.ContainsFunc(m.Data, func(b byte) bool { return b != sender }), "messages are mixed up")
		counts[sender]++
	}
	for range senders {
		require.NoError(t, <-errs)
	}
	c.Hangup()
}
