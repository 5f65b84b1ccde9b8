package engine_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// congest connects a peer that does not read, and sends until that is noticed, and stays so.
func congest(t *testing.T, s *enginetest.Server, open conns) (*enginetest.Client, *engine.Conn) {
	t.Helper()
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	conn := <-open
	overfill(s, conn)
	return c, conn
}

// overfill sends to a peer that does not read, the only one of s, until the connection is
// congested and the kernels take no more. It returns how many messages it was.
func overfill(s *enginetest.Server, conn *engine.Conn) (taken int) {
	for quiet := false; ; {
		switch err := conn.SendBytes(pattern(10_000)); {
		case err == nil:
			taken++
			quiet = false
		case quiet:
			return taken
		default:
			settled(s)
			quiet = true
		}
	}
}

// kernelHolds is more than the kernel takes of what it cannot send yet.
const kernelHolds = 256 << 10

var shallow = engine.Config{HighWaterBytes: 100_000, LowWaterBytes: 20_000, WriteStallTimeout: -1}

// A congested sender is told, at once, every time, and loses nothing that was
// taken; OnDrain comes once when there is room again.
func TestCongestion(t *testing.T) {
	drained := make(chan int, 100)
	open := make(conns, 1)
	s := enginetest.Start(t, shallow, engine.Endpoint{Handler: engine.Handler{
		OnOpen:    open.OnOpen,
		OnMessage: echo,
		OnDrain:   func(c *engine.Conn) { drained <- c.PendingBytes() },
	}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	conn := <-open
	for range 5 {
		taken := overfill(s, conn)
		require.LessOrEqual(t, conn.PendingBytes(), shallow.HighWaterBytes+10_020+kernelHolds)
		for len(drained) > 0 { // the kernels have taken more meanwhile
			<-drained
		}
		start := time.Now()
		for range 100 {
			require.ErrorIs(t, conn.SendText("refused"), engine.ErrCongested)
		}
		require.Less(t, time.Since(start), time.Second, "a refusal does not wait")
		require.Greater(t, conn.PendingBytes(), shallow.LowWaterBytes)
		require.NoError(t, conn.Ping(nil), "control frames are exempt")
		for range taken {
			requireSame(t, pattern(10_000), c.ReadMessage().Data)
		}
		require.LessOrEqual(t, <-drained, shallow.LowWaterBytes+kernelHolds)
		c.SendText("there is room") // its handler comes after all that was to be called
		require.Equal(t, "there is room", c.ReadText())
		require.Empty(t, drained)
	}
	c.Hangup()
}

// Drain waits for what it is asked for; its context and the end of the
// connection end it.
func TestCongestionDrain(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, shallow, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c, conn := congest(t, s, open)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, conn.Drain(short, 0), context.DeadlineExceeded)
	require.NoError(t, conn.Drain(t.Context(), 1<<20), "it is so already")
	require.ErrorIs(t, conn.SendWait(short, frame.Text, nil), context.DeadlineExceeded)

	reading := make(chan struct{})
	go func() {
		defer close(reading)
		for {
			if m, err := c.TryReadMessage(); err != nil || string(m.Data) == "stop" {
				return
			}
		}
	}()
	require.NoError(t, conn.Drain(t.Context(), 0))
	require.Zero(t, conn.PendingBytes())
	require.NoError(t, conn.SendWait(t.Context(), frame.Text, []byte("stop")))
	<-reading

	for conn.SendBytes(pattern(10_000)) == nil {
	}
	errs := make(chan error, 3)
	go func() { errs <- conn.Drain(context.Background(), 0) }()
	go func() { errs <- conn.SendWait(context.Background(), frame.Text, nil) }()
	go func() { errs <- conn.SendStream(context.Background(), frame.Text, readerFunc(nil)) }()
	c.Reset()
	for range 3 {
		err := <-errs
		require.ErrorIs(t, err, net.ErrClosed)
		var closed *engine.CloseError
		require.ErrorAs(t, err, &closed)
	}
}

// While its outbound queue is congested a connection is not handled; when there
// is room again it goes on where it was.
func TestCongestionPausesHandling(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		const messages, size = 100, 20_000
		var handled atomic.Int32
		ep := onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
			handled.Add(1)
			return c.SendBytes(pattern(size))
		})
		ep.Inline = inline
		s := enginetest.Start(t, shallow, ep)
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
		for range messages {
			c.SendText("more")
		}
		enginetest.Await(t, func() bool { return s.Engine.Stats().Congested == 1 }, "the connection should be congested")
		require.Less(t, handled.Load(), int32(messages/2))
		for range messages { // a refused reply would have closed with 1013
			requireSame(t, pattern(size), c.ReadMessage().Data)
		}
		require.EqualValues(t, messages, handled.Load())
		c.Hangup()
	})
}

// With a class that disconnects, the first refused message ends the connection: what was
// queued is dropped, the code is the last that the peer gets.
func TestCongestionDisconnect(t *testing.T) {
	for _, code := range []frame.CloseCode{frame.ClosePolicyViolation, frame.CloseTryAgainLater} {
		cfg := shallow
		cfg.SendClass = &backpressure.Class{Overflow: backpressure.Disconnect, Code: code}
		var end ending
		open := make(conns, 1)
		s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
		conn := <-open
		var err error
		taken := 0
		for err == nil {
			if err = conn.SendBytes(pattern(10_000)); err == nil {
				taken++
			}
		}
		var closed *engine.CloseError
		require.ErrorAs(t, err, &closed)
		require.Equal(t, code, closed.Code)
		require.LessOrEqual(t, conn.PendingBytes(), 76_000+kernelHolds, "what was queued is dropped, but for what is being written")
		require.ErrorIs(t, conn.SendText("later"), net.ErrClosed)
		got := 0
		for {
			h, payload := c.ReadFrame()
			if h.Opcode == frame.Close {
				sent, _, err := frame.ParseClose(payload)
				require.NoError(t, err)
				require.Equal(t, code, sent)
				break
			}
			requireSame(t, pattern(10_000), payload)
			got++
		}
		require.Less(t, got, taken)
		c.CloseWrite()
		c.ExpectEOF()
		require.Equal(t, code, end.await(t).Code)
	}
}

// A peer that pings and does not read fills nothing: pongs are bounded.
func TestCongestionByPings(t *testing.T) {
	cfg := shallow
	cfg.ControlFramesPerSecond = -1 // or that would end it first
	s := enginetest.Start(t, cfg, onMessage(echo))
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
	var burst []byte
	for range 100 {
		burst = append(burst, c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, letters(125))...)
	}
	sent := 0
	for sent < 4<<20 {
		require.NoError(t, c.Conn.SetWriteDeadline(time.Now().Add(enginetest.Patience)))
		n, err := c.Conn.Write(burst)
		require.NoError(t, err)
		sent += n
		require.LessOrEqual(t, s.Engine.Stats().Pending, 16<<10)
	}
	c.Reset()
}
