package engine_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// inTransit is more than there is between the server's kernel and a client with a
// small receive buffer that reads.
const inTransit = 64 << 10

// slowReader reads 4 KiB each millisecond, and counts them.
func slowReader(t *testing.T, c net.Conn) (read *atomic.Int64) {
	read = new(atomic.Int64)
	var wait sync.WaitGroup
	wait.Go(func() {
		b := make([]byte, 4<<10)
		for {
			n, err := c.Read(b)
			read.Add(int64(n))
			if err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		wait.Wait()
	})
	return read
}

// Drain returns when the kernel, too, has sent all but so much: the peer has
// received what is not pending, but for what is in transit.
func TestDrainIsTrueToTheByte(t *testing.T) {
	const size = 600_000
	for name, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{"TCP": enginetest.Start, "TLS": enginetest.StartTLS} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
			conn := <-open
			require.NoError(t, c.Conn.SetReadDeadline(time.Time{}))
			read := slowReader(t, c.Conn)
			for _, n := range []int{200_000, 50_000, 1000, 0} {
				require.NoError(t, conn.Drain(t.Context(), 0))
				before := int64(-1)
				for read.Load() != before { // all has come
					before = read.Load()
					time.Sleep(30 * time.Millisecond)
				}
				require.NoError(t, conn.SendBytes(pattern(size)))
				require.NoError(t, conn.Drain(t.Context(), n))
				missing := before + size - read.Load()
				require.LessOrEqual(t, missing, int64(n+inTransit), "Drain(%d) came early", n)
				require.LessOrEqual(t, conn.PendingBytes(), n)
			}
		})
	}
}

// What the kernel holds is pending, and lost if the peer goes.
func TestDrainLosesWhatTheKernelHolds(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
	conn := <-open
	require.NoError(t, conn.SendBytes(pattern(100_000)))
	enginetest.Await(t, func() bool { return s.Engine.Stats().Pending == 0 }, "the kernel should take it")
	require.Greater(t, conn.PendingBytes(), 10_000, "which does not mean that it has been sent")
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, conn.Drain(short, 0), context.DeadlineExceeded)
	require.NoError(t, conn.Drain(t.Context(), 100_010))
	lost := make(chan error, 1)
	go func() { lost <- conn.Drain(context.Background(), 0) }()
	c.Reset()
	err := <-lost
	var closed *engine.CloseError
	require.ErrorAs(t, err, &closed)
	require.Zero(t, conn.PendingBytes())
}

// A connection that is closed in good order while somebody drains it has lost nothing if
// everything had left this machine by then, and may have if it had not.
func TestDrainAcrossTheEnd(t *testing.T) {
	const size = 100_000
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	for range 5 {
		for _, reads := range []bool{true, false} {
			c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
			conn := <-open
			require.NoError(t, conn.SendBytes(pattern(size)))
			drained := make(chan error, 1)
			go func() { drained <- conn.Drain(context.Background(), 0) }()
			time.Sleep(100 * time.Millisecond) // by now it looks seldom: not between the last byte and the end
			if reads {
				require.Len(t, c.ReadMessage().Data, size)
				c.Hangup()
				require.NoError(t, <-drained)
				continue
			}
			c.SendClose(frame.CloseNormal, "")
			var closed *engine.CloseError
			require.ErrorAs(t, <-drained, &closed)
			require.Equal(t, frame.CloseNormal, closed.Code)
			enginetest.Await(t, func() bool { return conn.PendingBytes() == 0 }, "the socket is closed behind that")
		}
	}
}

// A peer that has closed right behind its close frame does not take ours, which is no loss;
// whoever leaves what was sent to it unread has not got that, however it ends.
func TestDrainAfterTheEnd(t *testing.T) {
	for name, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{"TCP": enginetest.Start, "TLS": enginetest.StartTLS} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			ended := make(chan *engine.CloseError, 1)
			s := start(t, engine.Config{CloseTimeout: time.Second}, engine.Endpoint{Handler: engine.Handler{
				OnOpen: open.OnOpen, OnMessage: echo, OnClose: func(_ *engine.Conn, err *engine.CloseError) { ended <- err },
			}})
			for range 20 {
				c := s.Dial()
				conn := <-open
				require.NoError(t, conn.SendText("hello"))
				require.Equal(t, "hello", c.ReadText())
				require.NoError(t, conn.Drain(t.Context(), 0))
				c.SendClose(frame.CloseNormal, "")
				c.Close()
				if <-ended; name == "TCP" { // under TLS the answer may not even be written
					require.NoError(t, conn.Drain(t.Context(), 0))
				}
			}
			for _, leave := range []func(*enginetest.Client){
				func(c *enginetest.Client) { c.Reset() },
				func(c *enginetest.Client) { c.SendClose(frame.CloseNormal, ""); c.Reset() },
				func(c *enginetest.Client) { c.SendClose(frame.CloseNormal, ""); c.Close() },
				func(c *enginetest.Client) { c.SendClose(frame.CloseNormal, ""); c.CloseWrite() },
				func(*enginetest.Client) {},
			} {
				c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				conn := <-open
				require.NoError(t, conn.SendBytes(pattern(100_000)))
				enginetest.Await(t, func() bool { return s.Engine.Stats().Pending == 0 }, "the kernel should take it")
				leave(c)
				_ = conn.Close(frame.CloseNormal, "") // it may have ended
				<-ended
				var closed *engine.CloseError
				require.ErrorAs(t, conn.Drain(t.Context(), 0), &closed)
				c.Close()
			}
		})
	}
}

// OnDrain comes once for each time that the high-water mark has been passed, and
// whoever waits for room, or for less to be pending, comes back every time.
func TestDrainLosesNoWakeUp(t *testing.T) {
	const rounds = 60
	const high = 40_000
	var drains atomic.Int32
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{HighWaterBytes: high, SendChunkBytes: 4 << 10, WriteStallTimeout: -1}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: open.OnOpen, OnMessage: echo, OnDrain: func(*engine.Conn) { drains.Add(1) },
	}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	conn := <-open
	require.NoError(t, c.Conn.SetReadDeadline(time.Time{}))
	reading := make(chan int)
	var reader sync.WaitGroup
	reader.Go(func() {
		for n := range reading {
			if _, err := io.CopyN(io.Discard, c.Conn, int64(n)); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c.Conn)
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range rounds {
		// The peer does not read, so the mark is passed and stays passed.
		// The kernels may take more for a moment, so it may be passed more than once.
		congested := func() bool { return conn.SendBytes(pattern(1+rnd.IntN(high))) == engine.ErrCongested }
		enginetest.Await(t, func() bool {
			if !congested() {
				return false
			}
			time.Sleep(5 * time.Millisecond)
			return congested()
		}, "it should be congested")
		enginetest.Await(t, func() bool { st := s.Engine.Stats(); return st.Workers == 0 && st.Runnable == 0 }, "OnDrain of such a moment should be over")
		before := drains.Load()
		errs := make(chan error, 8)
		for i := range cap(errs) {
			n := rnd.IntN(high)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
				defer cancel()
				if i%2 == 0 {
					errs <- conn.Drain(ctx, n)
				} else {
					errs <- conn.SendWait(ctx, frame.Binary, []byte("x")) // too small to cross
				}
			}()
		}
		held := conn.PendingBytes()
		for held > 0 {
			n := min(held, 1+rnd.IntN(60_000))
			reading <- n
			held -= n
		}
		done := 0
		for done < cap(errs) {
			select {
			case err := <-errs:
				require.NoError(t, err)
				done++
			case reading <- 1 + rnd.IntN(3): // what was sent meanwhile, and is on its way
			}
		}
		enginetest.Await(t, func() bool { return drains.Load() > before }, "OnDrain should come")
		require.Equal(t, before+1, drains.Load(), "once for each crossing")
	}
	close(reading)
	c.Reset()
	reader.Wait()
}
