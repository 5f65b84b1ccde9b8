package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// oneLoop is a configuration in which all connections share one loop.
func oneLoop() engine.Config { return engine.Config{IO: engine.IOLoops, Loops: 1} }

// A replier is an interceptor that sends to whoever pings.
type replier struct {
	interceptors.InboundOnly
	reply []byte
}

func (i replier) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	if in.Type == frame.Ping {
		_ = engine.FromContext(ctx).SendBytes(i.reply)
	}
	return next.Run(ctx, in)
}

// A connection that becomes congested between two fragments of a message keeps the
// loop's lane to the end of the message: the next connection's is not taken for a part
// of it. That message waits for room, and those behind it wait for their turn.
func TestLoopCongestedInsideMessage(t *testing.T) {
	cfg := oneLoop()
	cfg.HighWaterBytes, cfg.MaxMessageBytes = 100_000, 4<<20
	reply := pattern(4 << 20)
	s := enginetest.Start(t, cfg, engine.Endpoint{
		Inline: true, Handler: engine.Handler{OnMessage: echo}, Interceptors: []interceptors.Interceptor{replier{reply: reply}},
	})
	other, c := s.Dial(), s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	other.SendText("before")
	require.Equal(t, "before", other.ReadText())
	var b []byte
	b = append(b, c.Frame(frame.Header{Opcode: frame.Text}, []byte("one, "))...)
	b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, nil)...)
	b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Continuation}, []byte("two"))...)
	for _, text := range []string{"three", "four"} {
		b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(text))...)
	}
	c.Write(b)
	enginetest.Await(t, func() bool { return s.Engine.Stats().Congested == 1 }, "it should be congested")
	for i := range 10 {
		other.SendText(fmt.Sprint("other ", i))
		require.Equal(t, fmt.Sprint("other ", i), other.ReadText())
	}
	requireSame(t, reply, c.ReadMessage().Data)
	for _, text := range []string{"one, two", "three", "four"} {
		require.Equal(t, text, c.ReadText())
	}
	c.Hangup()
	other.Hangup()
}

// An inbox that a ping fills, which interceptors are shown, between two fragments of a
// message stops the connection behind that message, not in it.
func TestLoopFullInsideMessage(t *testing.T) {
	cfg := oneLoop()
	cfg.InboxMessages = 32 // no more than are handed over at once
	gate := make(chan struct{})
	s := enginetest.Start(t, cfg, engine.Endpoint{
		Handler:      engine.Handler{OnMessage: echoAt(gate)},
		Interceptors: []interceptors.Interceptor{sightings{seen: make(chan engine.Message, 9)}},
	})
	other, c := s.Dial(), s.DialWith(enginetest.Handshake{Target: "/wait"})
	var b []byte
	for i := range 31 {
		b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, fmt.Append(nil, i))...)
	}
	b = append(b, c.Frame(frame.Header{Opcode: frame.Text}, []byte("one, "))...)
	b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, nil)...)
	b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Continuation}, []byte("two"))...)
	c.Write(b)
	enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn >= 31 }, "it should have been read")
	for i := range 10 {
		other.SendText(fmt.Sprint("other ", i))
		require.Equal(t, fmt.Sprint("other ", i), other.ReadText())
	}
	close(gate)
	for i := range 31 {
		require.Equal(t, fmt.Sprint(i), c.ReadText())
	}
	require.Equal(t, "one, two", c.ReadText())
	c.Hangup()
	other.Hangup()
}

// echoAt echoes, to connections of /wait when the gate is open.
func echoAt(gate <-chan struct{}) func(context.Context, *engine.Conn, engine.Message) error {
	return func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		if c.Scope().Path() == "/wait" {
			<-gate
		}
		return echo(ctx, c, m)
	}
}

// A loopGate is a connection whose handler holds up the loop that it is on, so that
// what others send meanwhile is found all at once.
type loopGate struct {
	c    *enginetest.Client
	here chan struct{}
	open chan struct{}
}

func newLoopGate(s *enginetest.Server) *loopGate {
	g := &loopGate{here: make(chan struct{}), open: make(chan struct{})}
	s.Handle("/gate", engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
		g.here <- struct{}{}
		<-g.open
		return nil
	}}})
	g.c = s.DialWith(enginetest.Handshake{Target: "/gate"})
	return g
}

// hold returns when the loop is held up.
func (g *loopGate) hold() {
	g.c.SendText("hold")
	<-g.here
}

func (g *loopGate) release() { g.open <- struct{}{} }

// A handler that ends the loop's goroutine, behind which stand a violation and the
// peer's EOF, does not keep the connection from being read to its end.
func TestLoopGoexitBeforeViolation(t *testing.T) {
	cfg := oneLoop()
	cfg.Logger, cfg.CloseTimeout = quiet, time.Hour
	s := enginetest.Start(t, cfg, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
		runtime.Goexit()
		return nil
	}}})
	g := newLoopGate(s)
	for name, act := range map[string]func(*enginetest.Client){
		"whole": func(c *enginetest.Client) {
			g.hold()
			defer g.release()
			c.Write(wire(fText("x"), []byte{0xff, 0xff}))
			c.CloseWrite()
		},
		"in pieces": func(c *enginetest.Client) {
			c.Write(fStart(confText, "x"))
			c.Send(frame.Ping, nil)
			_, _ = c.ReadFrame() // the pong: a side lane has the connection
			c.Write(wire(fLast("y"), []byte{0xff, 0xff}))
			c.CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				c := s.Dial()
				act(c)
				code, _ := c.ReadClose()
				require.Equal(t, frame.CloseInternalError, code)
				c.ExpectEOF()
				s.AwaitOpen(1)
				c.Close()
			}
		})
	}
	g.c.Hangup()
}

// The end of what a peer sends, which epoll tells of together with bytes before it and
// not again, is found behind those bytes: by the loop, and by a side lane.
func TestLoopHalfCloseBehindBytes(t *testing.T) {
	large := fBinary(patternString(200_000))
	for name, row := range map[string]struct {
		wire   []byte
		echoes int
	}{
		"a message":             {fText("x"), 1},
		"many":                  {bytes.Repeat(fText("x"), 10_000), 10_000},
		"a part of a header":    {fText("x")[:1], 0},
		"a part of a frame":     {fText("xyz")[:8], 0},
		"a fragment":            {fStart(confText, "x"), 0},
		"a part of a large one": {large[:100_000], 0},
		"all but a byte of it":  {large[:len(large)-1], 0},
		"a large one":           {large, 1},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				cfg := oneLoop()
				cfg.CloseTimeout = time.Hour
				ep := onMessage(echo)
				ep.Inline = inline
				s := enginetest.Start(t, cfg, ep)
				g := newLoopGate(s)
				c := s.Dial()
				g.hold()
				c.Write(row.wire) // the kernels hold it
				c.CloseWrite()
				g.release()
				for range row.echoes {
					c.ReadMessage()
				}
				c.ExpectEOF()
				s.AwaitOpen(1)
				c.Close()
				g.c.Hangup()
			})
		})
	}
}

// An OnClose that ends the loop's goroutine, long after the socket has been closed, does
// not bring the connection back to reading: its descriptor is somebody else's by then.
func TestLoopGoexitAfterRelease(t *testing.T) {
	cfg := oneLoop()
	cfg.Logger, cfg.CloseTimeout = quiet, time.Second
	free := make(chan struct{})
	s := enginetest.Start(t, cfg, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}})
	s.Handle("/leave", engine.Endpoint{Inline: true, Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return errors.Join(c.Go(func(context.Context) { <-free }), c.Close(frame.CloseNormal, ""))
		},
		OnClose: func(*engine.Conn, *engine.CloseError) { runtime.Goexit() },
	}})
	g := newLoopGate(s)
	leaving := s.DialWith(enginetest.Handshake{Target: "/leave"})
	leaving.SendText("leave")
	leaving.ReadClose()
	leaving.ReadToEnd() // no answer: the socket is closed after CloseTimeout
	require.Eventually(t, func() bool { return leaving.TryWrite([]byte("x")) != nil }, enginetest.Patience, time.Millisecond)
	var others []*enginetest.Client
	for range 10 {
		others = append(others, s.Dial())
	}
	g.hold()
	close(free)
	enginetest.Await(t, func() bool { return s.Engine.Stats().Background == 0 }, "the function should have returned")
	for _, other := range others {
		other.SendText("mine")
	}
	g.release()
	s.AwaitOpen(11)
	for _, other := range others {
		require.Equal(t, "mine", other.ReadText())
		other.Hangup()
	}
	g.c.Hangup()
}

// A loop stops within one read when the inbox is full: no more messages are handed over
// than may wait and came together.
func TestLoopInboxBound(t *testing.T) {
	cfg := oneLoop()
	cfg.InboxMessages = 32
	gate := make(chan struct{})
	s := enginetest.Start(t, cfg, onMessage(echoAt(gate)))
	other, c := s.Dial(), s.DialWith(enginetest.Handshake{Target: "/wait"})
	const n = 1000 // that one read takes
	var b []byte
	for i := range n {
		b = append(b, fText(fmt.Sprint(i))...)
	}
	c.Write(b)
	enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn >= 32 }, "the inbox should be full")
	for range 3 { // turns of the loop
		other.SendText("x")
		other.ReadText()
	}
	require.LessOrEqual(t, s.Engine.Stats().MessagesIn, uint64(2*32+3))
	close(gate)
	for i := range n {
		require.Equal(t, fmt.Sprint(i), c.ReadText())
	}
	c.Hangup()
	other.Hangup()
}

// A message that a side lane has read may fill the inbox; then the loop reads no more,
// either.
func TestLoopInboxBoundBehindSideLane(t *testing.T) {
	cfg := oneLoop()
	cfg.InboxMessages = 1
	gate := make(chan struct{})
	s := enginetest.Start(t, cfg, onMessage(echoAt(gate)))
	other, c := s.Dial(), s.DialWith(enginetest.Handshake{Target: "/wait"})
	c.Write(wire(fPing(""), fStart(confText, "one, ")))
	_, _ = c.ReadFrame()
	c.Write(fLast("two"))
	enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn == 1 }, "the inbox should be full")
	turns := func(n int) {
		for range n {
			other.SendText("x")
			other.ReadText()
		}
	}
	turns(5)
	c.Write(fText("behind"))
	turns(5)
	require.EqualValues(t, 1+10, s.Engine.Stats().MessagesIn)
	close(gate)
	require.Equal(t, "one, two", c.ReadText())
	require.Equal(t, "behind", c.ReadText())
	c.Hangup()
	other.Hangup()
}

// A connection that is closed while it is congested, with messages behind the one at
// hand, is read on: nothing will make room that could tell the loop to go on.
func TestLoopClosedWhileCongested(t *testing.T) {
	cfg := oneLoop()
	cfg.HighWaterBytes, cfg.MaxMessageBytes, cfg.CloseTimeout = 100_000, 4<<20, time.Hour
	s := enginetest.Start(t, cfg, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		return errors.Join(c.SendBytes(pattern(4<<20)), c.Close(4000, ""))
	}}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	c.Write(bytes.Repeat(fText("x"), 100))
	requireSame(t, pattern(4<<20), c.ReadMessage().Data)
	c.ExpectClose(4000)
	s.AwaitOpen(0)
}

// A part of a frame keeps no goroutine waiting for the rest, and of a buffer, if the frame
// is small, no more than its own size.
func TestLoopPartOfFrameHoldsNoGoroutine(t *testing.T) {
	for _, size := range []int{30, 4000, 4089, 4096, 8000, 16<<10 - 8, 16<<10 - 7, 16 << 10, 50_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			text := string(letters(size))
			s := enginetest.Start(t, oneLoop(), onMessage(echo))
			var clients []*enginetest.Client
			for range 100 {
				c := s.Dial()
				c.SendText("x")
				require.Equal(t, "x", c.ReadText())
				clients = append(clients, c)
			}
			before := runtime.NumGoroutine()
			rest := fText(text)
			for _, c := range clients {
				c.Write(append(fPing(""), rest[:20]...))
			}
			for _, c := range clients {
				h, _ := c.ReadFrame()
				require.Equal(t, frame.Pong, h.Opcode)
			}
			require.Less(t, runtime.NumGoroutine(), before+20)
			for _, c := range clients {
				c.Write(rest[20:])
				require.Equal(t, text, c.ReadText())
				c.Hangup()
			}
		})
	}
}

// A connection that is cut off while a side lane waits for the rest of its message ends.
func TestLoopCutOffInsideMessage(t *testing.T) {
	cfg := oneLoop()
	cfg.CloseTimeout = time.Second
	open := make(conns, 1)
	var end ending
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
	for name, part := range map[string][]byte{"fragments": fStart(confText, "x"), "a large frame": fBinary(patternString(100_000))[:50_000]} {
		t.Run(name, func(t *testing.T) {
			c := s.Dial()
			conn := <-open
			c.Write(append(fPing(""), part...))
			_, _ = c.ReadFrame()
			require.NoError(t, conn.Close(frame.CloseNormal, ""))
			c.ReadClose() // and no answer
			s.AwaitOpen(0)
			c.Close()
		})
	}
}

// Of the goroutines that read messages which came in pieces only so many wait for more.
func TestLoopSideLanesEnd(t *testing.T) {
	const n, kept = 150, 64
	const workers = 40 // idle ones, which end when they will
	s := enginetest.Start(t, oneLoop(), onMessage(echo))
	var clients []*enginetest.Client
	for range n {
		c := s.Dial()
		c.SendText("x")
		require.Equal(t, "x", c.ReadText())
		clients = append(clients, c)
	}
	before := settledGoroutines(t)
	for _, c := range clients {
		c.Write(wire(fPing(""), fStart(confText, "one, ")))
		_, _ = c.ReadFrame()
	}
	enginetest.Await(t, func() bool { return runtime.NumGoroutine() >= before+n-workers }, "each message should have a goroutine")
	for _, c := range clients {
		c.Write(fLast("two"))
		require.Equal(t, "one, two", c.ReadText())
	}
	enginetest.Await(t, func() bool { return runtime.NumGoroutine() <= before+kept+10 }, "most goroutines should have ended")
	for _, c := range clients {
		c.Hangup()
	}
}

// settledGoroutines returns how many there are when those of handshakes have ended.
func settledGoroutines(t *testing.T) (n int) {
	since := time.Now()
	enginetest.Await(t, func() bool {
		if now := runtime.NumGoroutine(); now != n {
			n, since = now, time.Now()
		}
		return time.Since(since) > 100*time.Millisecond
	}, "the number of goroutines should settle")
	return n
}

// A flood that has been refused is read, slowly, to its end: without a CloseTimeout, too.
func TestLoopReadsFloodToItsEnd(t *testing.T) {
	cfg := oneLoop()
	cfg.CloseTimeout = time.Hour
	s := enginetest.Start(t, cfg, onMessage(echo))
	c := s.Dial()
	c.Write(fBinary(string(pattern(4 << 20))))
	c.ExpectClose(frame.CloseMessageTooBig)
	s.AwaitOpen(0)
}

// So are several at once, and beside a connection that never lets the loop rest.
func TestLoopReadsFloodsBesideABusyOne(t *testing.T) {
	for _, busy := range []bool{false, true} {
		cfg := oneLoop()
		cfg.CloseTimeout = time.Hour
		handled := 0 // the loop's
		s := enginetest.Start(t, cfg, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
			if handled++; handled%64 == 0 {
				time.Sleep(20 * time.Microsecond) // the peer is faster
			}
			return nil
		}}})
		stop, over := make(chan struct{}), make(chan struct{})
		b := s.Dial()
		go func() { // ends with stop
			defer close(over)
			messages := bytes.Repeat(fBinary(string(pattern(100))), 1000)
			for busy {
				select {
				case <-stop:
					return
				default:
				}
				if b.TryWrite(messages) != nil {
					return
				}
			}
		}()
		var floods [3]*enginetest.Client
		for i := range floods {
			floods[i] = s.Dial()
		}
		var all sync.WaitGroup
		for _, c := range floods {
			all.Go(func() { // ends when the system has taken it
				assert.NoError(t, c.TryWrite(fBinary(string(pattern(2<<20)))))
			})
		}
		all.Wait()
		for _, c := range floods {
			c.ExpectClose(frame.CloseMessageTooBig)
		}
		s.AwaitOpen(1)
		close(stop)
		<-over
		b.Close()
	}
}
