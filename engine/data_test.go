package engine_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// OnData sees every byte that comes, once and in order: what came with the handshake,
// frames in one piece and in many, large ones, and what breaks the protocol.
func TestOnData(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var mu sync.Mutex
		var seen []byte
		ep := onMessage(echo)
		ep.Inline = inline
		ep.Handler.OnData = func(_ *engine.Conn, b []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, b...)
		}
		s := enginetest.Start(t, engine.Config{}, ep)
		c := s.Ask(enginetest.Handshake{})
		var sent []byte
		write := func(b []byte, pieces int) {
			sent = append(sent, b...)
			for piece := range slices.Chunk(b, pieces) {
				c.Write(piece)
			}
		}
		for _, size := range []int{0, 5, 125, 3000, 70_000, 900_000} {
			write(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, bytes.Repeat([]byte{7}, size)), 64<<10)
		}
		write(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("byte by byte")), 1)
		write(c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, []byte("p")), 1)
		c.ReadResponse()
		for range 6 {
			c.ReadMessage()
		}
		require.Equal(t, "byte by byte", c.ReadText())
		write([]byte{0x83, 0x80}, 2) // an unknown opcode
		c.ExpectClose(frame.CloseProtocolError)
		mu.Lock()
		defer mu.Unlock()
		require.True(t, bytes.Equal(sent, seen), "%d bytes sent, %d seen", len(sent), len(seen))
	})
}

// A panic in it costs the connection and nothing else.
func TestOnDataPanics(t *testing.T) {
	ep := onMessage(echo)
	ep.Handler.OnData = func(_ *engine.Conn, b []byte) {
		if len(b) > 1000 {
			panic("too much")
		}
	}
	s := enginetest.Start(t, engine.Config{}, ep)
	other, c := s.Dial(), s.Dial()
	c.SendText(strings.Repeat("x", 2000))
	c.ExpectClose(frame.CloseInternalError)
	other.SendText("alive")
	require.Equal(t, "alive", other.ReadText())
	other.Hangup()
}
