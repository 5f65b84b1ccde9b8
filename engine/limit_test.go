package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

const limit = 10_000

var limited = engine.Config{MaxMessageBytes: limit}

func TestLimitInboundExact(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(echo)
		ep.Inline = inline
		c := enginetest.Start(t, limited, ep).Dial()
		for range 3 {
			c.Send(frame.Binary, pattern(limit))
			requireSame(t, pattern(limit), c.ReadMessage().Data)
			c.SendFragments(frame.Binary, pattern(limit), 777)
			requireSame(t, pattern(limit), c.ReadMessage().Data)
		}
		c.Hangup()
	})
}

// The limits of control frames are not those of messages.
func TestLimitSmallerThanControlFrames(t *testing.T) {
	var end ending
	s := enginetest.Start(t, engine.Config{MaxMessageBytes: 1}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}})
	c := s.Dial()
	c.Send(frame.Ping, letters(125))
	c.SendText("x")
	require.Equal(t, "x", c.ReadText())
	require.Equal(t, [][]byte{letters(125)}, c.Ponged)
	c.SendClose(frame.CloseNormal, string(letters(123)))
	code, _ := c.ReadClose()
	require.Equal(t, frame.CloseNormal, code)
	require.Equal(t, string(letters(123)), end.await(t).Reason)
}

func TestLimitInboundOver(t *testing.T) {
	for name, send := range map[string]func(c *enginetest.Client){
		"one frame": func(c *enginetest.Client) { c.Send(frame.Binary, pattern(limit+1)) },
		"header only": func(c *enginetest.Client) {
			c.Write(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, letters(limit+1))[:8])
		},
		"two fragments": func(c *enginetest.Client) { c.SendFragments(frame.Binary, pattern(limit+1), limit) },
		"many fragments": func(c *enginetest.Client) {
			c.SendFragments(frame.Text, letters(limit+1), 100)
		},
		"pings between": func(c *enginetest.Client) {
			c.WriteFrame(frame.Header{Opcode: frame.Text}, letters(limit))
			c.Send(frame.Ping, nil)
			c.WriteFrame(frame.Header{Fin: true}, letters(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				var end ending
				called := make(chan struct{}, 1)
				s := enginetest.Start(t, limited, engine.Endpoint{Inline: inline, Handler: engine.Handler{
					OnMessage: func(context.Context, *engine.Conn, engine.Message) error { called <- struct{}{}; return nil },
					OnClose:   end.OnClose,
				}})
				c := s.Dial()
				send(c)
				c.ExpectClose(frame.CloseMessageTooBig)
				err := end.await(t)
				assert.Equal(t, frame.CloseMessageTooBig, err.Code)
				assert.False(t, err.Remote)
				s.AwaitOpen(0)
				enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "behind OnClose it should be let go of")
				assert.EqualValues(t, 1, s.Engine.Stats().Violations)
				assert.Empty(t, called)
			})
		})
	}
}

// A peer in the middle of a message far over the limit writes it all, and then
// finds 1009 as a frame, not a reset.
func TestLimitInboundWhileWriting(t *testing.T) {
	cfg := limited
	cfg.CloseTimeout = time.Minute // it is read with pauses
	s := enginetest.Start(t, cfg, onMessage(echo))
	c := s.Dial()
	c.Write(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(32<<20)))
	c.ExpectClose(frame.CloseMessageTooBig)
	s.AwaitOpen(0)
}

// A peer that does not stop writing until it fails still finds 1009.
func TestLimitInboundWritingUntilError(t *testing.T) {
	cfg := limited
	cfg.CloseTimeout = time.Second
	var end ending
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}})
	c := s.Dial()
	message := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(1<<20))
	for c.TryWrite(message) == nil {
	}
	code, reason := c.ReadClose()
	require.Equal(t, frame.CloseMessageTooBig, code)
	require.NotEmpty(t, reason)
	require.Equal(t, frame.CloseMessageTooBig, end.await(t).Code)
}

// A flood that goes on after it has been refused is read from slowly, or it would
// cost for CloseTimeout what it cost before.
func TestLimitInboundFloodIsSlowed(t *testing.T) {
	cfg := limited
	cfg.CloseTimeout = time.Second
	var end ending
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}})
	c := s.Dial()
	message := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(1<<20))
	sent, since := 0, time.Now()
	for c.TryWrite(message) == nil {
		sent++
	}
	seconds := time.Since(since).Seconds()
	require.Equal(t, frame.CloseMessageTooBig, end.await(t).Code)
	require.Greater(t, sent, 1, "a peer has time to read its close frame")
	require.Less(t, seconds, 5.0, "CloseTimeout is a second")
	require.Less(t, float64(sent), 100*max(1, seconds), "MiB within %.1f seconds", seconds)
}

func TestLimitOutbound(t *testing.T) {
	over := pattern(limit + 1)
	for name, send := range map[string]func(c *engine.Conn) error{
		"Send":     func(c *engine.Conn) error { return c.SendBytes(over) },
		"SendText": func(c *engine.Conn) error { return c.SendText(string(letters(limit + 1))) },
		"SendWait": func(c *engine.Conn) error { return c.SendWait(context.Background(), frame.Binary, over) },
		"SendStream": func(c *engine.Conn) error { // of a source that does not tell its size
			return c.SendStream(context.Background(), frame.Binary, io.MultiReader(bytes.NewReader(over)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var end ending
			open := make(conns, 1)
			s := enginetest.Start(t, limited, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
			c := s.Dial()
			conn := <-open
			require.NoError(t, conn.SendBytes(pattern(limit)))
			require.ErrorIs(t, send(conn), engine.ErrMessageTooBig)
			require.ErrorIs(t, conn.SendText("later"), net.ErrClosed)
			requireSame(t, pattern(limit), c.ReadMessage().Data)
			c.ExpectClose(frame.CloseMessageTooBig)
			err := end.await(t)
			require.Equal(t, frame.CloseMessageTooBig, err.Code)
			require.False(t, err.Remote)
			s.AwaitOpen(0)
		})
	}
}

// A stream of exactly the limit passes; what is over it never looks whole. In virtual time,
// as TestStreamFragments.
func TestLimitStream(t *testing.T) { synctest.Test(t, limitStream) }

func limitStream(t *testing.T) {
	cfg := limited
	cfg.SendChunkBytes = 1000
	open := make(conns, 1)
	s := enginetest.StartMemory(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	require.NoError(t, conn.SendStream(t.Context(), frame.Binary, bytes.NewReader(pattern(limit))))
	m := c.ReadMessage()
	requireSame(t, pattern(limit), m.Data)
	require.Equal(t, 10, m.Fragments)

	require.ErrorIs(t, conn.SendStream(t.Context(), frame.Binary, bytes.NewReader(pattern(limit+1))), engine.ErrMessageTooBig)
	for {
		h, _ := c.ReadFrame()
		if h.Opcode == frame.Close {
			break
		}
		require.False(t, h.Fin, "a message over the limit ended")
	}
}

func TestLimitPrepared(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, limited, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	_, err := s.Engine.Prepare(frame.Binary, pattern(limit+1))
	require.True(t, errors.Is(err, engine.ErrMessageTooBig))
	p, err := s.Engine.Prepare(frame.Binary, pattern(limit))
	require.NoError(t, err)
	require.Equal(t, limit, p.Len())
	require.NoError(t, conn.SendPrepared(p))
	requireSame(t, pattern(limit), c.ReadMessage().Data)
	c.Hangup()
}
