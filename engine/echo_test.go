package engine_test

import (
	"bytes"
	"net/http"
	"testing"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// echoSizes are around the borders of the length encodings, the pooled buffers,
// the read buffer and the chunk size.
var echoSizes = []int{0, 1, 125, 126, 127, 2047, 2048, 2049, 8191, 8192, 8193, 32767, 32768, 65535, 65536, 65537, 131072, 200000, 1 << 20}

func TestEchoRaw(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		c := enginetest.Start(t, engine.Config{}, ep).Dial()
		for _, n := range echoSizes {
			c.Send(frame.Binary, pattern(n))
			m := c.ReadMessage()
			require.Equal(t, frame.Binary, m.Op)
			requireSame(t, pattern(n), m.Data)
			require.LessOrEqual(t, m.Largest, 64<<10)

			c.SendFragments(frame.Text, letters(n), n/7+1)
			m = c.ReadMessage()
			require.Equal(t, frame.Text, m.Op)
			requireSame(t, letters(n), m.Data)
		}
		c.Hangup()
	})
}

// The same bytes give the same replies however they are split.
func TestEchoSplit(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		for _, size := range []int{1, 2, 3, 7, 13, 64, 1000} {
			c := s.Dial()
			var stream []byte
			stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, nil)...)
			stream = append(stream, c.Frame(frame.Header{Opcode: frame.Text}, []byte("gr"))...)
			stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, []byte("between"))...)
			stream = append(stream, c.Frame(frame.Header{}, []byte("\xc3"))...)
			stream = append(stream, c.Frame(frame.Header{}, nil)...)
			stream = append(stream, c.Frame(frame.Header{Fin: true}, []byte("\xbcn"))...)
			stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(300))...)
			stream = append(stream, c.Frame(frame.Header{Fin: true, Opcode: frame.Close}, frame.AppendClose(nil, 4321, "done"))...)
			c.WriteSplit(stream, size)
			require.Empty(t, c.ReadText())
			require.Equal(t, "grün", c.ReadText())
			require.Equal(t, pattern(300), c.ReadMessage().Data)
			code, reason := c.ReadClose()
			require.Equal(t, frame.CloseCode(4321), code)
			require.Empty(t, reason)
			require.Equal(t, [][]byte{[]byte("between")}, c.Ponged)
			c.ExpectEOF()
			c.Close()
		}
	})
}

func TestEchoGorilla(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	c, res, err := gorilla.DefaultDialer.DialContext(t.Context(), s.URL(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = res.Body.Close()
	for _, n := range echoSizes {
		require.NoError(t, c.WriteMessage(gorilla.TextMessage, letters(n)))
		kind, data, err := c.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, gorilla.TextMessage, kind)
		requireSame(t, letters(n), data)
	}
	require.NoError(t, c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "bye")))
	_, _, err = c.ReadMessage()
	require.True(t, gorilla.IsCloseError(err, gorilla.CloseNormalClosure), "%v", err)
}

func TestEchoCoder(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	client := &http.Client{Transport: &http.Transport{}}
	c, res, err := coder.Dial(t.Context(), s.URL(), &coder.DialOptions{HTTPClient: client})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	if res.Body != nil {
		_ = res.Body.Close()
	}
	c.SetReadLimit(2 << 20)
	for _, n := range echoSizes {
		require.NoError(t, c.Write(t.Context(), coder.MessageBinary, pattern(n)))
		kind, data, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, coder.MessageBinary, kind)
		requireSame(t, pattern(n), data)
	}
	require.NoError(t, c.Close(coder.StatusNormalClosure, "bye"))
}

// What follows the request in the same segment is kept.
func TestEchoEarlyData(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		for _, n := range []int{0, 10, 1000, 3000, 20000} {
			var forge enginetest.Client
			early := forge.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(n))
			early = append(early, forge.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("second"))...)
			c := s.DialWith(enginetest.Handshake{Early: early})
			require.True(t, bytes.Equal(pattern(n), c.ReadMessage().Data))
			require.Equal(t, "second", c.ReadText())
			c.SendText("third")
			require.Equal(t, "third", c.ReadText())
			c.Hangup()
		}
	})
}
