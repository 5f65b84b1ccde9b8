package engine_test

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

const (
	large = 8 << 20
	chunk = 64 << 10
)

var roomy = engine.Config{MaxMessageBytes: 16 << 20}

// sendings are all the ways to send one message.
var sendings = map[string]func(e *engine.Engine, c *engine.Conn, op frame.Opcode, p []byte) error{
	"Send": func(_ *engine.Engine, c *engine.Conn, op frame.Opcode, p []byte) error { return c.Send(op, p) },
	"SendWait": func(_ *engine.Engine, c *engine.Conn, op frame.Opcode, p []byte) error {
		return c.SendWait(context.Background(), op, p)
	},
	"SendPrepared": func(e *engine.Engine, c *engine.Conn, op frame.Opcode, p []byte) error {
		prepared, err := e.Prepare(op, p)
		if err != nil {
			return err
		}
		return c.SendPrepared(prepared)
	},
	"SendStream": func(_ *engine.Engine, c *engine.Conn, op frame.Opcode, p []byte) error {
		return c.SendStream(context.Background(), op, bytes.NewReader(p))
	},
}

// A large message is one message of its own type, in fragments of at most a chunk,
// with what was sent before and after it in its place.
func TestChunksAreOneMessage(t *testing.T) {
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, roomy, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := s.Dial()
			conn := <-open
			for op, payload := range map[frame.Opcode][]byte{frame.Binary: pattern(large), frame.Text: letters(large + 1)} {
				done := make(chan error, 1)
				go func() {
					_ = conn.SendText("before")
					err := send(s.Engine, conn, op, payload)
					_ = conn.SendWait(context.Background(), frame.Text, []byte("after"))
					done <- err
				}()
				require.Equal(t, "before", c.ReadText())
				m := c.ReadMessage()
				require.Equal(t, op, m.Op)
				requireSame(t, payload, m.Data)
				require.LessOrEqual(t, m.Largest, chunk)
				require.Equal(t, (len(payload)+chunk-1)/chunk, m.Fragments)
				require.Equal(t, "after", c.ReadText())
				require.NoError(t, <-done)
			}
			c.Hangup()
		})
	}
}

func TestChunksForGorilla(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, roomy, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c, res, err := gorilla.DefaultDialer.DialContext(t.Context(), s.URL(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = res.Body.Close()
	require.NoError(t, (<-open).SendText(string(letters(large))))
	kind, data, err := c.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, gorilla.TextMessage, kind)
	requireSame(t, letters(large), data)
}

// A sightings interceptor reports the control events that it sees.
type sightings struct {
	interceptors.Passthrough
	seen chan engine.Message
}

func (s sightings) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	if in.Type != frame.Text && in.Type != frame.Binary {
		s.seen <- in.Clone()
	}
	return next.Run(ctx, in)
}

// After a ping has been parsed only what was on its way already comes before the
// pong: the few fragments that the kernels of both sides hold.
func TestChunksLetPongsPass(t *testing.T) {
	cfg := roomy
	cfg.HighWaterBytes = 16 << 20 // a congested connection is not read
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			pings := sightings{seen: make(chan engine.Message, 1)}
			open := make(conns, 1)
			s := enginetest.Start(t, cfg, engine.Endpoint{
				Handler:      engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
				Interceptors: []interceptors.Interceptor{pings},
			})
			c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 32 << 10})
			conn := <-open
			require.NoError(t, conn.Go(func(context.Context) { _ = send(s.Engine, conn, frame.Binary, pattern(large)) }))
			h, _ := c.ReadFrame()
			require.Equal(t, frame.Binary, h.Opcode)
			c.ReadFrame()
			c.Send(frame.Ping, []byte("are you there?"))
			require.Equal(t, frame.Ping, (<-pings.seen).Type)
			fragments, payload := fragmentsBeforePong(t, c, func() {})
			require.Equal(t, "are you there?", string(payload))
			require.LessOrEqual(t, fragments, 12, "of %d fragments of the message", large/chunk)
			c.Reset()
		})
	}
}

// A connection congested by one large message is read from again before the
// message has ended, and then a ping that has waited is answered.
func TestChunksLetPongsPassCongested(t *testing.T) {
	cfg := roomy
	cfg.LowWaterBytes = 512 << 10
	pings := sightings{seen: make(chan engine.Message, 2)} // and the end
	open := make(conns, 1)
	s := enginetest.Start(t, cfg, engine.Endpoint{
		Handler:      engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		Interceptors: []interceptors.Interceptor{pings},
	})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 32 << 10})
	conn := <-open
	require.NoError(t, conn.SendBytes(pattern(large)))
	require.ErrorIs(t, conn.SendText("more"), engine.ErrCongested)
	c.ReadFrame()
	c.Send(frame.Ping, []byte("are you there?"))
	seen := false
	_, payload := fragmentsBeforePong(t, c, func() {
		if !seen && conn.PendingBytes() < cfg.LowWaterBytes { // it is read from again, though there is more to send
			require.Equal(t, frame.Ping, (<-pings.seen).Type)
			seen = true
		}
	})
	require.Equal(t, "are you there?", string(payload))
	c.Reset()
}

// fragmentsBeforePong calls pace before each read.
func fragmentsBeforePong(t *testing.T, c *enginetest.Client, pace func()) (n int, pong []byte) {
	t.Helper()
	for ; ; n++ {
		pace()
		h, payload := c.ReadFrame()
		if h.Opcode == frame.Pong {
			return n, payload
		}
		require.Equal(t, frame.Continuation, h.Opcode)
		require.False(t, h.Fin, "the pong came after the message")
	}
}

// With a peer that stops reading, what waits for it is bounded by the high-water
// mark and one message; then the stall timeout ends it. Nobody else notices.
func TestChunksStalledPeer(t *testing.T) {
	const message = 300_000
	cfg := engine.Config{HighWaterBytes: 1 << 20, WriteStallTimeout: 2 * time.Second}
	var end ending
	open := make(conns, 2)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
	s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	stalled := <-open
	other := s.Dial()

	taken, refused, most := 0, 0, 0
	for {
		err := stalled.SendBytes(pattern(message))
		most = max(most, stalled.PendingBytes())
		if err == engine.ErrCongested {
			if refused++; refused == 1 {
				require.Positive(t, s.Engine.Stats().Buffers, "what is queued is in counted buffers")
			}
			other.SendText("still here")
			require.Equal(t, "still here", other.ReadText())
			continue
		}
		if err != nil {
			break
		}
		taken++
	}
	require.Positive(t, refused)
	require.Greater(t, most, cfg.HighWaterBytes)
	require.LessOrEqual(t, most, cfg.HighWaterBytes+message+64)
	require.Less(t, taken*message, 4<<20, "bytes taken for a peer that reads nothing")
	err := end.await(t)
	require.Equal(t, frame.CloseAbnormal, err.Code)
	require.EqualValues(t, 1, s.Engine.Stats().Stalled)
	require.Zero(t, stalled.PendingBytes())
	other.Hangup()
}

// A peer that is slow but never stops is not stalled.
func TestChunksSlowPeerIsNotStalled(t *testing.T) {
	cfg := engine.Config{MaxMessageBytes: 4 << 20, WriteStallTimeout: time.Second, SendChunkBytes: 16 << 10}
	open := make(conns, 1)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 16 << 10})
	conn := <-open
	require.NoError(t, conn.SendBytes(pattern(2<<20)))
	start := time.Now()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for end := false; !end; { // 16 KiB for each tick: 2.5 seconds
		h, _ := c.ReadFrame()
		end = h.Fin
		<-pace.C
	}
	require.Greater(t, time.Since(start), 2*cfg.WriteStallTimeout, "too fast to show anything")
	c.Hangup()
}

// An endless source counts what has been read from it.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// A stream to a peer that stops reading reads no more from its source than a
// chunk ahead of what the kernels hold.
func TestChunksStreamWaitsForPeer(t *testing.T) {
	cfg := engine.Config{MaxMessageBytes: 1 << 30, WriteStallTimeout: 300 * time.Millisecond}
	var end ending
	open := make(conns, 1)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
	s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	conn := <-open
	var source endless
	var most atomic.Int64
	watched := io.TeeReader(&source, writerFunc(func(p []byte) (int, error) {
		most.Store(max(most.Load(), int64(conn.PendingBytes())))
		return len(p), nil
	}))
	err := conn.SendStream(t.Context(), frame.Binary, watched)
	require.Error(t, err)
	require.Equal(t, frame.CloseAbnormal, end.await(t).Code)
	require.LessOrEqual(t, most.Load(), int64(chunk+1000+kernelHolds), "the response to the handshake may wait, too")
	require.Less(t, source.read.Load(), int64(4<<20))
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
