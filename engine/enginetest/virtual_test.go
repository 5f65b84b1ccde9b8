package enginetest_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// The engine's own timeouts through memory, in virtual time: none of these tests takes
// longer than a moment.

func echo(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) }

// took wants a time since start between d and a sixth more: the sweeper comes by eight
// times in the shortest timeout.
func took(t *testing.T, d time.Duration, start time.Time) {
	t.Helper()
	elapsed := time.Since(start)
	require.GreaterOrEqual(t, elapsed, d)
	require.LessOrEqual(t, elapsed, d+d/4)
}

// ends notes how connections end.
func ends(h engine.Handler) (engine.Endpoint, <-chan *engine.CloseError) {
	list := make(chan *engine.CloseError, 100)
	h.OnClose = func(_ *engine.Conn, err *engine.CloseError) { list <- err }
	return engine.Endpoint{Handler: h}, list
}

func TestVirtualEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
		c := s.Dial()
		c.SendText("hello")
		require.Equal(t, "hello", c.ReadText())
		c.Hangup()
		s.AwaitOpen(0)
		require.Less(t, time.Since(start), time.Second)
	})
}

// Memory needs no bubble, and a test that has none real time.
func TestMemoryWithoutBubble(t *testing.T) {
	s := enginetest.StartMemory(t, engine.Config{IO: engine.IOLoops}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
	c := s.Dial()
	c.SendText("hello")
	require.Equal(t, "hello", c.ReadText())
	large := strings.Repeat("x", 500_000) // more than both buffers
	done := make(chan struct{})
	go func() { defer close(done); c.SendText(large) }()
	require.Equal(t, large, c.ReadText())
	<-done
	c.Hangup()
	res := s.Request(enginetest.Handshake{Method: "POST"})
	require.Equal(t, 405, res.StatusCode)
}

func TestVirtualIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, ended := ends(engine.Handler{})
		s := enginetest.StartMemory(t, engine.Config{}, ep)
		start := time.Now()
		c := s.Dial()
		c.ExpectClose(frame.CloseGoingAway)
		took(t, 75*time.Second, start)
		require.Len(t, c.Pinged, 2, "after 30 and 60 seconds")
		require.Equal(t, engine.CauseIdle, (<-ended).Cause)
	})
}

// Event loops would wait for sockets, and the bubble's clock for them.
func TestVirtualWithoutLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{IO: engine.IOLoops, PingInterval: -1}, engine.Endpoint{})
		s.Dial().ExpectClose(frame.CloseGoingAway)
	})
}

func TestVirtualPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
		c := s.Dial()
		for start, n := time.Now(), 1; n <= 60; n++ {
			h, payload := c.ReadFrame()
			require.Equal(t, frame.Ping, h.Opcode)
			c.Send(frame.Pong, payload)
			took(t, time.Duration(n)*30*time.Second, start)
		}
		c.SendText("still here, half an hour later")
		require.Equal(t, "still here, half an hour later", c.ReadText())
		c.Hangup()
	})
}

func TestVirtualWriteStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, ended := ends(engine.Handler{OnMessage: echo})
		s := enginetest.StartMemory(t, engine.Config{}, ep)
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 1000})
		start := time.Now()
		c.Send(frame.Binary, make([]byte, 5000))
		synctest.Wait()
		require.Equal(t, 1000, c.Link().In.Buffered())
		err := <-ended
		took(t, 10*time.Second, start)
		require.Equal(t, engine.CauseWriteStall, err.Cause)
		require.EqualValues(t, 1, s.Engine.Stats().Stalled)
		c.Close()
	})
}

// A peer that takes something now and then has not stalled. As under TLS, what the engine
// sees of it are pieces of 16 KiB.
func TestVirtualNoWriteStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{IdleTimeout: -1}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
		c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 1000})
		go c.Send(frame.Binary, make([]byte, 200_000))
		for range 10 {
			time.Sleep(8 * time.Second)
			_, err := io.ReadFull(c.Conn, make([]byte, 18<<10))
			require.NoError(t, err)
		}
		require.Equal(t, 1, s.Open())
		c.Reset()
	})
}

func TestVirtualCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, ended := ends(engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Close(frame.CloseNormal, "enough")
		}})
		s := enginetest.StartMemory(t, engine.Config{}, ep)
		c := s.Dial()
		c.SendText("go away")
		start := time.Now()
		code, reason := c.ReadClose()
		require.Equal(t, frame.CloseNormal, code)
		require.Equal(t, "enough", reason)
		c.ExpectEOF()
		require.Less(t, time.Since(start), time.Second, "the server's direction ends behind its close frame")
		require.Equal(t, engine.CauseHandler, (<-ended).Cause, "that is why it ended, whatever it had to wait for")
		took(t, 5*time.Second, start)
	})
}

// A test that does not know whether a message or the end comes is told which.
func TestTryReadMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				return errors.Join(c.SendText("bye"), c.Close(4001, "so soon"))
			},
		}})
		c := s.Dial()
		m, err := c.TryReadMessage()
		require.NoError(t, err)
		require.Equal(t, "bye", string(m.Data))
		_, err = c.TryReadMessage()
		var closed *engine.CloseError
		require.ErrorAs(t, err, &closed)
		require.Equal(t, engine.CloseError{Code: 4001, Reason: "so soon", Remote: true, Cause: engine.CausePeer}, *closed)
		_, err = c.TryReadMessage()
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestVirtualShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep, ended := ends(engine.Handler{})
		s := enginetest.StartMemory(t, engine.Config{ShutdownSpread: time.Minute}, ep)
		var clients []*enginetest.Client
		for range 4 {
			clients = append(clients, s.Dial())
		}
		start := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(2 * time.Minute) }()
		times := make(chan time.Duration, len(clients))
		for _, c := range clients {
			go func() {
				c.ExpectClose(frame.CloseGoingAway)
				times <- time.Since(start)
			}()
		}
		jitter := time.Duration(0)
		for i := range clients {
			at := <-times // each at a random moment of its share
			jitter += at % (15 * time.Second)
			require.GreaterOrEqual(t, at, time.Duration(i)*15*time.Second)
			require.Less(t, at, time.Duration(i+1)*15*time.Second)
			require.Equal(t, engine.CauseShutdown, (<-ended).Cause)
		}
		require.NotZero(t, jitter)
		require.NoError(t, <-stopped)
		_, err := s.NetDial(t.Context(), "", "")
		require.NoError(t, err, "the listener outlives the engine")
		require.Equal(t, 503, s.Request(enginetest.Handshake{}).StatusCode)
	})
}

func TestVirtualHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{})
		start := time.Now()
		_, err := io.ReadAll(s.Link())
		require.NoError(t, err)
		took(t, 10*time.Second, start)
	})
}

// Faults of the network, as a handler learns of them.
func TestFaults(t *testing.T) {
	hello := func(c *enginetest.Client) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("hello"))
	}
	for name, row := range map[string]struct {
		inject func(c *enginetest.Client)
		cause  engine.Cause
		after  time.Duration
	}{
		"cut in a frame": {func(c *enginetest.Client) {
			c.Link().Out.CutAfter(4)
			_, err := c.Conn.Write(hello(c))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}, engine.CauseLost, 0},
		"end in a frame": {func(c *enginetest.Client) { c.Write(hello(c)[:4]); c.CloseWrite() }, engine.CauseLost, 0},
		"reset":          {func(c *enginetest.Client) { c.Reset() }, engine.CauseLost, 0},
		"dead network": {func(c *enginetest.Client) {
			c.Link().Out.Stall()
			c.Link().In.Stall()
			c.SendText("lost")
		}, engine.CauseIdle, 75 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ep, ended := ends(engine.Handler{OnMessage: echo})
				s := enginetest.StartMemory(t, engine.Config{}, ep)
				c := s.Dial()
				start := time.Now()
				row.inject(c)
				require.Equal(t, row.cause, (<-ended).Cause)
				require.GreaterOrEqual(t, time.Since(start), row.after)
			})
		})
	}
}

func TestFaultsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
		c := s.Dial()
		start := time.Now()
		c.Link().Out.SetChunk(1)
		c.Link().Out.SetDelay(time.Second)
		c.Link().In.SetChunk(1)
		c.Link().In.SetDelay(2 * time.Second)
		c.SendText("byte by byte")
		require.Equal(t, "byte by byte", c.ReadText())
		took(t, 3*time.Second, start)
		c.Hangup()
	})
}

// Per-address limits work: clients in memory have the same made-up address, and ports of
// their own.
func TestMemoryAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{MaxConnectionsPerAddress: 2}, engine.Endpoint{})
		first, second := s.Dial(), s.Dial()
		require.NotEqual(t, first.Conn.LocalAddr().String(), second.Conn.LocalAddr().String())
		require.Equal(t, s.Addr(), first.Conn.RemoteAddr().String())
		require.Equal(t, 429, s.Request(enginetest.Handshake{}).StatusCode)
		first.Hangup()
		second.Hangup()
	})
}

// NetDial serves tests that are run over memory and over a port.
func TestDialPort(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}})
	c, err := engine.Dial(t.Context(), "ws://anywhere.invalid/", engine.DialConfig{NetDial: s.NetDial})
	require.NoError(t, err)
	require.NoError(t, c.SendText("hello"))
	m, err := c.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(m.Data))
	require.NoError(t, c.Close(frame.CloseNormal, ""))
	s.AwaitOpen(0)
}

// Without NetDial the server in memory is refused at once, not looked for elsewhere.
func TestMemoryDialledByAddress(t *testing.T) {
	s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{})
	_, err := engine.Dial(t.Context(), s.URL(), engine.DialConfig{})
	require.Error(t, err)
}
