package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
	"github.com/penstock-ws/penstock/interceptors"
)

// inline is an endpoint whose handler runs on the loop.
func inline(h func(context.Context, *engine.Conn, engine.Message) error) engine.Endpoint {
	return engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: h}}
}

// sendTogether has the loop find all the frames in one read.
func sendTogether(gate *loopGate, c *enginetest.Client, frames []byte) {
	gate.hold()
	c.Write(frames)
	gate.release()
}

// Messages that come together are handled where they were read: each payload lies where
// its frame lay, behind the one before.
func TestInPlace(t *testing.T) {
	var at []uintptr // the loop's
	s := enginetest.Start(t, oneLoop(), inline(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		at = append(at, uintptr(unsafe.Pointer(unsafe.SliceData(m.Data))))
		return echo(ctx, c, m)
	}))
	gate, c := newLoopGate(s), s.Dial()
	texts := []string{"one", "and two", strings.Repeat("x", 300), "four", strings.Repeat("x", 5000), "six"}
	var b []byte
	size := 0
	for i, text := range texts {
		b = append(b, fText(text)...)
		if i > 0 {
			size += len(texts[i-1]) + len(fText(text)) - len(text)
		}
	}
	sendTogether(gate, c, b)
	for _, text := range texts {
		require.Equal(t, text, c.ReadText())
	}
	c.Hangup()
	gate.c.Hangup()
	s.AwaitOpen(0)
	require.Len(t, at, len(texts))
	require.EqualValues(t, size, at[len(at)-1]-at[0])
}

// echoes are the ways in which what is read on a loop is handled.
var echoes = map[string]engine.Endpoint{
	"inline":  inline(echo),
	"workers": onMessage(echo),
	"Receive": {Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
		return c.Go(func(ctx context.Context) {
			for {
				m, err := c.Receive(ctx)
				if err != nil || c.Send(m.Type, m.Data) != nil {
					return
				}
			}
		})
	}}},
}

// eachEcho runs a test with all of them, with and without compression.
func eachEcho(t *testing.T, f func(t *testing.T, ep engine.Endpoint, compress bool)) {
	for name, ep := range echoes {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, compress=%t", name, compress), func(t *testing.T) { f(t, ep, compress) })
		}
	}
}

// What stands between them, and is gws's, keeps its place, and so does a large one.
func TestWholeAmongOthers(t *testing.T) {
	eachEcho(t, func(t *testing.T, ep engine.Endpoint, compress bool) {
		cfg := oneLoop()
		cfg.Compress, cfg.CompressMinBytes = compress, 1<<20
		s := enginetest.Start(t, cfg, ep)
		gate, c := newLoopGate(s), s.DialWith(offering(compress))
		var b []byte
		var want []string
		text := func(texts ...string) {
			for _, text := range texts {
				if h := (frame.Header{Fin: true, Opcode: frame.Text, RSV: frame.RSV1}); compress && len(text) > 3 {
					b = append(b, c.Frame(h, deflate.AppendMessage(nil, []byte(text), 1, 15))...)
				} else {
					b = append(b, fText(text)...)
				}
			}
			want = append(want, texts...)
		}
		text("1", "2 is longer", "3", "")
		b = append(b, fPing("a")...)
		text("4")
		b = append(b, fPing("b")...)
		text("5", "6")
		b = append(b, wire(fStart(confText, "frag"), fPing("c"), fLast("ments"))...)
		want = append(want, "fragments")
		text("7 is longer, too", "8 is longer, too", "9")
		b = append(b, fStart(confText, "not ")...)
		sendTogether(gate, c, b)
		b = nil
		b = append(b, fLast("yet")...)
		want = append(want, "not yet")
		text("10", "11 comes before many")
		for i := range 200 {
			text(fmt.Sprint("one of many: ", i))
		}
		text(string(randomLetters(300_000)), "the last")
		c.Write(b)
		for _, text := range want {
			require.True(t, text == c.ReadText(), text[:min(len(text), 30)])
		}
		require.Equal(t, [][]byte{[]byte("a"), []byte("b"), []byte("c")}, c.Ponged)
		c.Hangup()
		gate.c.Hangup()
	})
}

// The memory of a message that waits for a worker, or is with one, is not used for those that
// come meanwhile, whatever their sizes; and the budget counts about what they hold.
func TestWholeWaiting(t *testing.T) {
	const clients, rounds = 40, 200
	for _, io := range []engine.IO{engine.IOGoroutines, engine.IOLoops} {
		for _, size := range []int{5, 129, 513, 2049, 5000} {
			t.Run(fmt.Sprintf("%v, %d bytes", io, size), func(t *testing.T) {
				cfg := oneLoop()
				cfg.IO, cfg.Workers, cfg.InboxBytes, cfg.Budget = io, 1, 8<<20, backpressure.NewBudget(1<<30)
				open := make(chan struct{})
				let := sync.OnceFunc(func() { close(open) })
				t.Cleanup(let)
				s := enginetest.Start(t, cfg, onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
					<-open
					return echo(ctx, c, m)
				}))
				list := make([]*enginetest.Client, clients)
				for i := range list {
					list[i] = s.Dial()
				}
				heap, used := heapInUse(), cfg.Budget.Used()
				payload := func(client, round int) []byte {
					b := bytes.Repeat([]byte{byte(client), byte(round)}, size/2+1)
					return b[:size-(client+round)%3]
				}
				for round := range rounds {
					for i, c := range list {
						c.Send(frame.Binary, payload(i, round))
					}
					enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn == uint64(clients*(round+1)) }, "not all have come")
				}
				used = cfg.Budget.Used() - used
				require.Greater(t, used, clients*rounds*size*9/10)
				require.Less(t, heapInUse()-heap, used*5/2)
				let()
				for i, c := range list { // more come while others wait, in memory that is used again
					for round := range rounds {
						requireSame(t, payload(i, round), c.ReadMessage().Data)
						c.Send(frame.Binary, payload(i, rounds+round))
					}
				}
				for i, c := range list {
					for round := range rounds {
						requireSame(t, payload(i, rounds+round), c.ReadMessage().Data)
					}
					c.Hangup()
				}
			})
		}
	}
}

// seenPayloads shows what interceptors are given.
type seenPayloads struct {
	interceptors.InboundOnly
	mu   sync.Mutex
	list []string
}

func (p *seenPayloads) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	p.mu.Lock()
	p.list = append(p.list, string(in.Data))
	p.mu.Unlock()
	return next.Run(ctx, in)
}

// Pings that interceptors see keep their payload and their place while they wait.
func TestWholePingEvents(t *testing.T) {
	entered, open := make(chan struct{}, 1), make(chan struct{})
	t.Cleanup(func() { close(open) })
	cfg := oneLoop()
	cfg.Workers = 1
	seen := new(seenPayloads)
	s := enginetest.Start(t, cfg, with(engine.Handler{OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
		if string(m.Data) == "hold" {
			entered <- struct{}{}
			<-open
		}
		return nil
	}}, interceptors.Only(interceptors.InboundData|interceptors.InboundPing, seen)))
	c := s.Dial()
	c.SendText("hold")
	<-entered
	want := []string{"hold"}
	for _, text := range []string{"one", "two", "six", "ten"} {
		c.Send(frame.Ping, []byte(text))
		c.ReadFrame() // it has been read
		want = append(want, text)
	}
	c.SendText("end")
	want = append(want, "end")
	open <- struct{}{}
	c.Hangup()
	s.AwaitOpen(0)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Equal(t, want, seen.list)
}

// Of texts that come together the first that is not UTF-8 ends the connection, behind the
// answers to those before it.
func TestWholeText(t *testing.T) {
	eachEcho(t, func(t *testing.T, ep engine.Endpoint, compress bool) {
		cfg := oneLoop()
		cfg.Compress = compress
		seen := new(runs)
		ep.Interceptors = []interceptors.Interceptor{seen.only()}
		s := enginetest.Start(t, cfg, ep)
		gate, c := newLoopGate(s), s.DialWith(offering(compress))
		sendTogether(gate, c, wire(fText("a"), fBinary("\xff"), fText("ä"), fText("\xc3"), fText("b"), fText("c")))
		if ep.Inline { // else they may wait for a worker when the close frame is sent
			require.Equal(t, "a", c.ReadText())
			require.Equal(t, "\xff", string(c.ReadMessage().Data))
			require.Equal(t, "ä", c.ReadText())
		}
		c.ExpectClose(frame.CloseInvalidPayload)
		gate.c.Hangup()
		s.AwaitOpen(0)
		seen.mu.Lock()
		defer seen.mu.Unlock()
		require.LessOrEqual(t, len(seen.list), 3)
		require.EqualValues(t, 1, s.Engine.Stats().Violations)
	})
}

// A large text, too, which is checked as it comes, or when it has been inflated.
func TestWholeTextLarge(t *testing.T) {
	eachEcho(t, func(t *testing.T, ep engine.Endpoint, compress bool) {
		for _, deflated := range []bool{false, true} {
			if deflated && !compress {
				continue
			}
			cfg := oneLoop()
			cfg.Compress = compress
			s := enginetest.Start(t, cfg, ep)
			c := s.DialWith(offering(compress))
			text, h := randomLetters(300_000), frame.Header{Fin: true, Opcode: frame.Text}
			text[len(text)-1] = 0xc3
			if deflated {
				text, h.RSV = deflate.AppendMessage(nil, text, 1, 15), frame.RSV1
			}
			c.Write(c.Frame(h, text))
			c.ExpectClose(frame.CloseInvalidPayload)
			require.EqualValues(t, 1, s.Engine.Stats().Violations)
		}
	})
}

// randomLetters cannot be compressed too well.
func randomLetters(n int) []byte {
	b, rnd := make([]byte, n), rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = 'a' + byte(rnd.IntN(26))
	}
	return b
}

// A handler that writes where it should not, into its message, spoils no other; nor does
// one that appends to it.
func TestInPlaceOwnMemory(t *testing.T) {
	s := enginetest.Start(t, oneLoop(), inline(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		defer func() {
			_ = append(m.Data, "over the next frame"...)
			clear(m.Data)
		}()
		return echo(ctx, c, m)
	}))
	gate, c := newLoopGate(s), s.Dial()
	var b []byte
	for i := range 100 {
		b = append(b, fText(fmt.Sprint("message ", i))...)
	}
	sendTogether(gate, c, b[:len(b)-3])
	c.Write(b[len(b)-3:])
	for i := range 100 {
		require.Equal(t, fmt.Sprint("message ", i), c.ReadText())
	}
	c.Hangup()
	gate.c.Hangup()
}

// When a handler closes the connection those behind are not handled any more.
func TestInPlaceClosed(t *testing.T) {
	handled := 0 // the loop's
	s := enginetest.Start(t, oneLoop(), inline(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		if handled++; handled == 3 {
			return c.Close(frame.CloseNormal, "enough")
		}
		return echo(ctx, c, m)
	}))
	gate, c := newLoopGate(s), s.Dial()
	sendTogether(gate, c, wire(fText("1"), fText("2"), fText("3"), fText("4"), fText("5")))
	require.Equal(t, "1", c.ReadText())
	require.Equal(t, "2", c.ReadText())
	c.ExpectClose(frame.CloseNormal)
	gate.c.Hangup()
	s.AwaitOpen(0)
	require.Equal(t, 3, handled)
}

// A peer that does not read is not served further: what came together with the message
// whose answer was too much waits, and comes in order.
func TestInPlaceCongested(t *testing.T) {
	cfg := oneLoop()
	cfg.HighWaterBytes, cfg.MaxMessageBytes = 100_000, 8<<20
	answer := strings.Repeat("x", 4<<20)
	var handled atomic.Int32
	s := enginetest.Start(t, cfg, inline(func(_ context.Context, c *engine.Conn, m engine.Message) error {
		handled.Add(1)
		return c.SendText(string(m.Data) + answer)
	}))
	gate, c := newLoopGate(s), s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	sendTogether(gate, c, wire(fText("1"), fText("2"), fText("3"), fText("4")))
	enginetest.Await(t, func() bool { return s.Engine.Stats().Congested == 1 }, "it should be congested")
	c.SendText("5") // is not read over what waits in the buffer
	gate.hold()     // the loop has been through
	gate.release()
	require.EqualValues(t, 1, handled.Load())
	for _, text := range []string{"1", "2", "3", "4", "5"} {
		require.True(t, c.ReadText() == text+answer)
	}
	c.Hangup()
	gate.c.Hangup()
}

// A part of a frame behind those that are whole is not handled before its rest has come.
func TestInPlaceBeforeAPart(t *testing.T) {
	next := fText("the last one")
	for cut := 1; cut < len(next); cut++ {
		s := enginetest.Start(t, oneLoop(), inline(echo))
		gate, c := newLoopGate(s), s.Dial()
		sendTogether(gate, c, append(wire(fText("1"), fText("2")), next[:cut]...))
		require.Equal(t, "1", c.ReadText())
		require.Equal(t, "2", c.ReadText())
		sendTogether(gate, c, append(next[cut:len(next):len(next)], wire(fText("3"), fText("4"))...))
		for _, text := range []string{"the last one", "3", "4"} {
			require.Equal(t, text, c.ReadText())
		}
		c.Hangup()
		gate.c.Hangup()
	}
}

// Messages that came alone are handled when all those of the loop's turn have been read.
func TestLoneMessagesAreReadFirst(t *testing.T) {
	happened := make(chan string, 100)
	ep := inline(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		happened <- "handled"
		return echo(ctx, c, m)
	})
	ep.Handler.OnData = func(*engine.Conn, []byte) { happened <- "read" }
	s := enginetest.Start(t, oneLoop(), ep)
	gate, clients := newLoopGate(s), []*enginetest.Client{s.Dial(), s.Dial(), s.Dial()}
	enginetest.Await(t, func() bool { // the kernel may bring one a little late
		gate.hold()
		for _, c := range clients {
			c.SendText("alone")
		}
		gate.release()
		var order []string
		for _, c := range clients {
			require.Equal(t, "alone", c.ReadText())
			order = append(order, <-happened, <-happened)
		}
		return slices.Equal(order, []string{"read", "read", "read", "handled", "handled", "handled"})
	}, "all are read before one is handled")
	for _, c := range clients {
		c.Hangup()
	}
	gate.c.Hangup()
}

// Messages that wait for the others of their turn hold no more memory than is meant.
func TestAloneMemory(t *testing.T) {
	cfg := oneLoop()
	cfg.ReadBufferBytes, cfg.CountBuffers = 1<<20, true
	var s *enginetest.Server
	var most atomic.Int64
	s = enginetest.Start(t, cfg, inline(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		most.Store(max(most.Load(), int64(s.Engine.Stats().Buffers)))
		return echo(ctx, c, m)
	}))
	gate := newLoopGate(s)
	clients := make([]*enginetest.Client, 30)
	for i := range clients {
		clients[i] = s.Dial()
	}
	enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers == 0 }, "the responses should have been written")
	gate.hold()
	for _, c := range clients {
		c.SendText("alone")
	}
	gate.release()
	for _, c := range clients {
		require.Equal(t, "alone", c.ReadText())
		c.Hangup()
	}
	gate.c.Hangup()
	require.LessOrEqual(t, most.Load(), int64(6), "4 MiB, one of the loop's, one of the gate's")
}
