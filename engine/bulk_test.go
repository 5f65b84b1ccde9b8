package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// bulkSizes are around the length from which gws does not get a payload, and beyond the
// largest buffer that is kept.
var bulkSizes = []int{256<<10 - 5, 256<<10 - 4, 256<<10 - 3, 256<<10 - 2, 256 << 10, 300_001, 1 << 20, 1<<20 + 2000}

// Messages of which gws does not get the payload arrive whole, in their places among
// those that are gws's, however they are cut.
func TestBulk(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%t", compress), func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(echo)
				ep.Inline = inline
				cfg := engine.Config{MaxMessageBytes: 2 << 20, Compress: compress, CompressMinBytes: 4 << 20}
				s := enginetest.Start(t, cfg, ep)
				h := enginetest.Handshake{Header: map[string][]string{}}
				if compress {
					h.Header["Sec-WebSocket-Extensions"] = []string{"permessage-deflate"}
				}
				c := s.DialWith(h)
				text := strings.Repeat("aä€𝄞", 120_000) // of 10 bytes
				for i, size := range bulkSizes {
					var b []byte
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("before"))...)
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))...)
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("between"))...)
					whole := text[:len(text)-10*i]
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(whole))...)
					b = append(b, c.Frame(frame.Header{Opcode: frame.Text}, []byte("frag"))...)
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Continuation}, []byte(text))...) // gws's
					go func() {
						for len(b) > 0 {
							n := min(len(b), 1+rand.IntN(100_000))
							if c.TryWrite(b[:n]) != nil {
								return
							}
							b = b[n:]
						}
					}()
					require.Equal(t, "before", c.ReadText())
					m := c.ReadMessage()
					require.Equal(t, frame.Binary, m.Op)
					require.True(t, bytes.Equal(pattern(size), m.Data), "%d bytes", size)
					require.Equal(t, "between", c.ReadText())
					require.True(t, c.ReadText() == whole, "text of %d bytes", len(whole))
					require.True(t, c.ReadText() == "frag"+text, "text in fragments")
				}
				c.Hangup()
			})
		})
	}
}

// A large text that is not UTF-8 is refused where it ceases to be, and at its end if
// that is in the middle of a rune.
func TestBulkText(t *testing.T) {
	for name, row := range map[string]struct {
		payload string
		sent    int
	}{
		"in the middle": {strings.Repeat("a", 300_000) + "\xff" + strings.Repeat("a", 300_000), 400_000},
		"at the end":    {strings.Repeat("a", 300_000) + "\xe2\x82", 300_002},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(func(context.Context, *engine.Conn, engine.Message) error {
					t.Error("the message was delivered")
					return nil
				})
				ep.Inline = inline
				s := enginetest.Start(t, engine.Config{}, ep)
				c := s.Dial()
				b := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(row.payload))
				c.Write(b[:len(b)-len(row.payload)+row.sent])
				code, _ := c.ReadClose()
				require.Equal(t, frame.CloseInvalidPayload, code)
				c.Close()
			})
		})
	}
}

// The memory of a large message serves for the next.
func TestBulkReuse(t *testing.T) {
	const size, count = 1 << 20, 100
	s := enginetest.Start(t, engine.Config{}, onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		return c.SendText("got it")
	}))
	c := s.Dial()
	b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range count {
		c.Write(b)
		require.Equal(t, "got it", c.ReadText())
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(count*size*3/4), "with the race detector, pools drop every fourth buffer")
	c.Hangup()
}

// A peer that goes away in the middle of a large message leaves no memory behind, nor
// does one that stays and says no more.
func TestBulkCut(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		for _, leave := range []func(*enginetest.Client){(*enginetest.Client).Reset, (*enginetest.Client).CloseWrite, (*enginetest.Client).Close} {
			c := s.Dial()
			b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(900_000))
			c.Write(b[:500_000])
			enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers > 0 }, "the message should be coming in")
			leave(c)
			s.AwaitOpen(0)
			require.Zero(t, s.Engine.Stats().Buffers)
		}
		c := s.Dial()
		b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(900_000))
		c.Write(b[:500_000])
		enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers > 0 }, "the message should be coming in")
		_ = s.Shutdown(50 * time.Millisecond)
		require.Zero(t, s.Engine.Stats().Buffers)
	})
}
