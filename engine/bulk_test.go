package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
				c := s.DialWith(offering(compress))
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

// offering is a handshake with or without an offer of compression.
func offering(compress bool) enginetest.Handshake {
	if !compress {
		return enginetest.Handshake{}
	}
	return enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": {"permessage-deflate"}}}
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
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compress=%t", name, compress), func(t *testing.T) {
				modes(t, func(t *testing.T, inline bool) {
					ep := onMessage(func(context.Context, *engine.Conn, engine.Message) error {
						t.Error("the message was delivered")
						return nil
					})
					ep.Inline = inline
					s := enginetest.Start(t, engine.Config{Compress: compress}, ep)
					c := s.DialWith(offering(compress))
					b := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(row.payload))
					c.Write(b[:len(b)-len(row.payload)+row.sent])
					code, _ := c.ReadClose()
					require.Equal(t, frame.CloseInvalidPayload, code)
					c.Close()
				})
			})
		}
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
		begin := func() *enginetest.Client {
			c := s.Dial()
			c.Write(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(900_000))[:500_000])
			enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers > 0 }, "the message should be coming in")
			return c
		}
		for _, leave := range []func(*enginetest.Client){(*enginetest.Client).Reset, (*enginetest.Client).CloseWrite, (*enginetest.Client).Close} {
			leave(begin())
			s.AwaitOpen(0)
			require.Zero(t, s.Engine.Stats().Buffers)
		}
		begin()
		_ = s.Shutdown(50 * time.Millisecond)
		require.Zero(t, s.Engine.Stats().Buffers)
	})
}

// The peer's end right behind a large message does not keep it from being handled.
func TestBulkBeforeTheEnd(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{MaxMessageBytes: 8 << 20}, ep)
		for _, size := range []int{20_000, 300_000, 1 << 20, 1<<20 + 8, 3 << 20} {
			c := s.Dial()
			b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))
			c.Write(append(fPing(""), b[:1000]...))
			_, _ = c.ReadFrame()
			go func() {
				_ = c.TryWrite(b[1000:])
				c.CloseWrite()
			}()
			require.True(t, bytes.Equal(c.ReadMessage().Data, pattern(size)), "%d bytes", size)
			c.ExpectEOF()
			c.Close()
		}
	})
}

// Nothing is allocated for what a peer announces that is being closed: it has no grant,
// and nobody would get the message.
func TestBulkEnding(t *testing.T) {
	const size = 256 << 20
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{MaxMessageBytes: size, MemoryBudgetBytes: 3 << 30}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	require.NoError(t, (<-open).Close(4000, ""))
	code, _ := c.ReadClose()
	require.EqualValues(t, 4000, code)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.Write(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Masked: true, Length: size}))
	c.Write(make([]byte, 1000))
	time.Sleep(50 * time.Millisecond)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
	c.Close()
}

// A large message that has come whole to a connection that is congested by then stays
// counted while it waits, and is handled when there is room.
func TestBulkWaitsForRoom(t *testing.T) {
	const size = 1 << 20
	modes(t, func(t *testing.T, inline bool) {
		open, got := make(conns, 1), make(chan int, 1)
		s := enginetest.Start(t, engine.Config{HighWaterBytes: 100_000, MaxMessageBytes: 32 << 20, WriteStallTimeout: -1, MemoryBudgetBytes: 1 << 30},
			engine.Endpoint{Inline: inline, Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
				got <- len(m.Data)
				return nil
			}}})
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
		b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))
		c.Write(b[:len(b)-1])
		used := func() int64 { return int64(s.Engine.Stats().BudgetUsed) }
		enginetest.Await(t, func() bool { return used() >= size }, "what is coming in should be counted")
		require.NoError(t, (<-open).SendBytes(pattern(16<<20)))
		enginetest.Await(t, func() bool { return s.Engine.Stats().Congested == 1 }, "the connection should be congested")
		before := used()
		c.Write(b[len(b)-1:])
		time.Sleep(50 * time.Millisecond)
		require.Greater(t, used(), before-size/2)
		require.Empty(t, got)
		require.Len(t, c.ReadMessage().Data, 16<<20)
		require.Equal(t, size, <-got)
		c.Hangup()
	})
}

// What is read together with the end of a large message goes beyond the bounds of the inbox by a
// read buffer at the most, though the message's own buffer may have more room.
func TestBulkInboxBound(t *testing.T) {
	const size, small, smalls, buffer = 270_000, 1000, 200, 4 << 10 // in a buffer of 512 KiB
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		release := sync.OnceFunc(func() { close(leave) })
		cfg := engine.Config{InboxBytes: 1, ReadBufferBytes: buffer}
		s := enginetest.StartMemory(t, cfg, onMessage(func(context.Context, *engine.Conn, engine.Message) error { <-leave; return nil }))
		t.Cleanup(release)
		c := s.Dial()
		c.Link().Out.SetBuffer(1 << 20)
		b := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))
		for range smalls {
			b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(small))...)
		}
		c.Write(b)
		synctest.Wait()
		in := s.Engine.Stats().BytesIn
		require.GreaterOrEqual(t, in, uint64(size))
		require.LessOrEqual(t, in, uint64(size+buffer))
		release()
		c.Hangup()
		require.Equal(t, uint64(size+smalls*small), s.Engine.Stats().BytesIn)
	})
}
