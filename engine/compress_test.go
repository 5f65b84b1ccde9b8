package engine_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// compressing has no ratio, because what tests send is repetitive beyond it.
var compressing = engine.Config{Compress: true, MaxInflateRatio: -1, ControlFramesPerSecond: -1}

// A packer is a raw client with compress/flate of Go's library. It does its own
// reading, because the kit's takes no reserved bits.
type packer struct {
	*enginetest.Client
	t      testing.TB
	r      *bufio.Reader
	closed bool // it has sent its close frame
}

func dialPacker(t testing.TB, s *enginetest.Server, offer string) *packer {
	t.Helper()
	c := s.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": {offer}}})
	return &packer{Client: c, t: t, r: bufio.NewReader(c.Conn)}
}

func deflated(p []byte, level int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, level)
	_, _ = w.Write(p)
	_ = w.Flush()
	return b.Bytes()[:b.Len()-4]
}

func inflated(p []byte) ([]byte, error) {
	return io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
}

// sendPacked sends a compressed message in fragments of at most size bytes, with a
// ping behind each but the last.
func (c *packer) sendPacked(op frame.Opcode, payload []byte, level, size int) {
	c.t.Helper()
	c.Write(c.packed(op, deflated(payload, level), size))
}

func (c *packer) packed(op frame.Opcode, b []byte, size int) (wire []byte) {
	h := frame.Header{Opcode: op, RSV: frame.RSV1}
	for ; len(b) > size; b = b[size:] {
		wire = append(wire, c.Frame(h, b[:size])...)
		wire = append(wire, c.Frame(frame.Header{Fin: true, Opcode: frame.Ping}, []byte("ping"))...)
		h = frame.Header{}
	}
	h.Fin = true
	return append(wire, c.Frame(h, b)...)
}

func (c *packer) readFrame() (h frame.Header, payload []byte, err error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(enginetest.Patience)); err != nil {
		return h, nil, err
	}
	var b []byte
	for n := 0; n == 0; {
		one, err := c.r.ReadByte()
		if err != nil {
			return h, nil, err
		}
		b = append(b, one)
		if h, n, err = frame.ParseHeader(b); err != nil {
			return h, nil, err
		}
	}
	payload = make([]byte, h.Length)
	_, err = io.ReadFull(c.r, payload)
	return h, payload, err
}

// A packedMessage is what readMessage returns.
type packedMessage struct {
	op         frame.Opcode
	data       []byte // inflated
	compressed bool
	wire       []byte
	fragments  int
	largest    int
}

func (c *packer) readMessage() packedMessage {
	c.t.Helper()
	var m packedMessage
	for {
		h, p, err := c.readFrame()
		require.NoError(c.t, err)
		require.NotEqual(c.t, frame.Close, h.Opcode, "%q instead of a message", p)
		if h.Opcode.IsControl() {
			require.Zero(c.t, h.RSV)
			if h.Opcode == frame.Pong {
				c.Ponged = append(c.Ponged, p)
			} else {
				c.Pinged = append(c.Pinged, p)
			}
			continue
		}
		require.Equal(c.t, m.fragments > 0, h.Opcode == frame.Continuation)
		if m.fragments == 0 {
			m.op, m.compressed = h.Opcode, h.RSV == frame.RSV1
			require.Zero(c.t, h.RSV&^frame.RSV1)
		} else {
			require.Zero(c.t, h.RSV, "reserved bits on a continuation")
		}
		m.fragments++
		m.largest = max(m.largest, len(p))
		m.wire = append(m.wire, p...)
		if h.Fin {
			break
		}
	}
	m.data = m.wire
	if m.compressed {
		var err error
		m.data, err = inflated(m.wire)
		require.NoError(c.t, err)
	}
	return m
}

// expectEnd wants a close with this code and no message before it.
func (c *packer) expectEnd(code frame.CloseCode) {
	c.t.Helper()
	for {
		h, p, err := c.readFrame()
		require.NoError(c.t, err)
		require.True(c.t, h.Opcode.IsControl(), "a message instead of close %v", code)
		if h.Opcode == frame.Close {
			got, reason, err := frame.ParseClose(p)
			require.NoError(c.t, err)
			require.Equal(c.t, code, got, reason)
			break
		}
	}
	if !c.closed {
		c.SendClose(code, "")
	}
	_, _, err := c.readFrame()
	require.ErrorIs(c.t, err, io.EOF)
	c.Close()
}

func (c *packer) hangup() {
	c.t.Helper()
	c.SendClose(frame.CloseNormal, "")
	c.closed = true
	c.expectEnd(frame.CloseNormal)
}

// ways runs a test with echoes in each of the three ways of handling.
func ways(t *testing.T, f func(t *testing.T, ep engine.Endpoint)) {
	t.Run("pool", func(t *testing.T) { f(t, onMessage(echo)) })
	t.Run("inline", func(t *testing.T) { f(t, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: echo}}) })
	t.Run("Receive", func(t *testing.T) {
		f(t, engine.Endpoint{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				for m, err := range c.Messages(ctx) {
					if err == nil {
						_ = c.SendWait(ctx, m.Type, m.Data)
					}
				}
			})
		}}})
	})
}

// random is n bytes that cannot be compressed.
func random(n int) []byte {
	rnd := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	b := make([]byte, n)
	_, _ = rnd.Read(b)
	return b
}

const plainOffer = "permessage-deflate"

func TestCompressEchoRaw(t *testing.T) {
	ways(t, func(t *testing.T, ep engine.Endpoint) {
		s := enginetest.Start(t, compressing, ep)
		c := dialPacker(t, s, plainOffer)
		for _, n := range echoSizes {
			for _, row := range []struct {
				op      frame.Opcode
				payload []byte
			}{{frame.Text, letters(n)}, {frame.Binary, random(n)}} {
				pongs := len(c.Ponged)
				size := 1 + n/5
				pings := (len(deflated(row.payload, 6)) - 1) / size
				c.sendPacked(row.op, row.payload, 6, size)
				m := c.readMessage()
				require.Equal(t, row.op, m.op)
				requireSame(t, row.payload, m.data)
				require.Equal(t, row.op == frame.Text && n >= 256, m.compressed, "%d bytes", n)
				require.LessOrEqual(t, m.largest, 64<<10)
				if !m.compressed {
					require.Len(t, m.wire, n)
				}
				require.LessOrEqual(t, len(c.Ponged)-pongs, pings)

				c.Send(row.op, row.payload) // not compressed
				requireSame(t, row.payload, c.readMessage().data)
			}
		}
		// all kinds in one read
		var wire []byte
		for i := range 50 {
			wire = append(wire, c.packed(frame.Text, deflated(letters(i*7), i%10), 20)...)
			wire = append(wire, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, random(i))...)
		}
		c.Write(wire)
		for i := range 50 {
			m := c.readMessage()
			require.Equal(t, frame.Text, m.op)
			require.Equal(t, string(letters(i*7)), string(m.data))
			require.Equal(t, string(random(i)), string(c.readMessage().data))
		}
		require.Contains(t, c.Ponged, []byte("ping"))
		for n, compressed := range map[int]bool{255: false, 256: true} {
			c.Send(frame.Binary, make([]byte, n))
			m := c.readMessage()
			require.Equal(t, compressed, m.compressed, "%d bytes", n)
			require.Equal(t, make([]byte, n), m.data)
		}
		c.hangup()
	})
}

// A block that says it is the last one, with others behind it (RFC 7692 §7.2.3.4).
func TestCompressFinalBlock(t *testing.T) {
	s := enginetest.Start(t, compressing, onMessage(echo))
	c := dialPacker(t, s, plainOffer)
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	_, _ = w.Write(letters(100))
	_ = w.Close()
	c.Write(c.packed(frame.Text, append(b.Bytes(), 0), 1000))
	require.Equal(t, letters(100), c.readMessage().data)
	c.hangup()
}

func TestCompressGorilla(t *testing.T) {
	ways(t, func(t *testing.T, ep engine.Endpoint) {
		s := enginetest.Start(t, compressing, ep)
		dialer := gorilla.Dialer{EnableCompression: true}
		c, res, err := dialer.DialContext(t.Context(), s.URL(), nil)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_ = res.Body.Close()
		require.Contains(t, res.Header.Get("Sec-WebSocket-Extensions"), plainOffer)
		pongs := 0
		c.SetPongHandler(func(string) error { pongs++; return nil })
		for _, n := range echoSizes {
			require.NoError(t, c.WriteControl(gorilla.PingMessage, []byte("a payload"), time.Now().Add(time.Second)))
			for _, p := range [][]byte{letters(n), random(n)} {
				c.EnableWriteCompression(n%2 == 0 || n > 1000)
				require.NoError(t, c.WriteMessage(gorilla.BinaryMessage, p))
				kind, data, err := c.ReadMessage()
				require.NoError(t, err)
				require.Equal(t, gorilla.BinaryMessage, kind)
				requireSame(t, p, data)
			}
		}
		require.Equal(t, len(echoSizes), pongs)
		require.NoError(t, c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "bye")))
		_, _, err = c.ReadMessage()
		require.True(t, gorilla.IsCloseError(err, gorilla.CloseNormalClosure), "%v", err)
	})
}

func TestCompressCoder(t *testing.T) {
	for name, mode := range map[string]coder.CompressionMode{"takeover offered": coder.CompressionContextTakeover, "no takeover": coder.CompressionNoContextTakeover} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, compressing, onMessage(echo))
			client := &http.Client{Transport: &http.Transport{}}
			c, res, err := coder.Dial(t.Context(), s.URL(), &coder.DialOptions{HTTPClient: client, CompressionMode: mode, CompressionThreshold: 1})
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.CloseNow() })
			require.Contains(t, res.Header.Get("Sec-WebSocket-Extensions"), "client_no_context_takeover")
			c.SetReadLimit(2 << 20)
			for _, n := range echoSizes {
				for _, p := range [][]byte{letters(n), random(n)} {
					require.NoError(t, c.Write(t.Context(), coder.MessageBinary, p))
					_, data, err := c.Read(t.Context())
					require.NoError(t, err)
					requireSame(t, p, data)
				}
			}
			require.NoError(t, c.Close(coder.StatusNormalClosure, "bye"))
		})
	}
}

// A gwsClient hands messages to the test.
type gwsClient struct {
	gws.BuiltinEventHandler
	got chan []byte
}

func (g *gwsClient) OnMessage(_ *gws.Conn, m *gws.Message) {
	g.got <- bytes.Clone(m.Bytes())
	_ = m.Close()
}

func TestCompressGws(t *testing.T) {
	s := enginetest.Start(t, compressing, onMessage(echo))
	g := &gwsClient{got: make(chan []byte, 1)}
	c, res, err := gws.NewClient(g, &gws.ClientOption{Addr: s.URL(), PermessageDeflate: gws.PermessageDeflate{
		Enabled: true, Threshold: 1, ServerContextTakeover: true, ClientContextTakeover: true, ServerMaxWindowBits: 10,
	}})
	require.NoError(t, err)
	require.Contains(t, res.Header.Get("Sec-WebSocket-Extensions"), "server_max_window_bits=10")
	over := make(chan struct{})
	go func() { c.ReadLoop(); close(over) }() // ends with the connection
	for _, n := range echoSizes {
		if n == 0 { // its compressor makes nothing of it, which is no message
			continue
		}
		for _, p := range [][]byte{letters(n), random(n)} {
			require.NoError(t, c.WriteMessage(gws.OpcodeBinary, p))
			select {
			case got := <-g.got:
				requireSame(t, p, got)
			case <-over:
				t.Fatal("closed")
			}
		}
	}
	c.WriteClose(1000, nil)
	<-over
}

// packedViolations are what a peer may do wrong, with compression agreed on.
var packedViolations = []struct {
	name string
	wire func(c *packer) []byte
	code frame.CloseCode
}{
	{"RSV1 on a continuation", func(c *packer) []byte {
		return append(c.Frame(frame.Header{Opcode: frame.Text, RSV: frame.RSV1}, nil), c.Frame(frame.Header{Fin: true, RSV: frame.RSV1}, []byte{0})...)
	}, 1002},
	{"RSV1 on a ping", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Ping, RSV: frame.RSV1}, nil)
	}, 1002},
	{"RSV1 on a close", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Close, RSV: frame.RSV1}, nil)
	}, 1002},
	{"RSV2", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Text, RSV: frame.RSV1 | frame.RSV2}, nil)
	}, 1002},
	{"RSV3", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Text, RSV: frame.RSV3}, nil)
	}, 1002},
	{"garbage", func(c *packer) []byte { return c.packed(frame.Binary, random(1000), 5000) }, 1007},
	{"cut short", func(c *packer) []byte {
		b := deflated(letters(1000), 9)
		return c.packed(frame.Binary, b[:len(b)-7], 5000)
	}, 1007},
	{"nothing", func(c *packer) []byte { return c.packed(frame.Binary, nil, 5000) }, 1007},
	{"over the limit", func(c *packer) []byte { return c.packed(frame.Binary, deflated(random(packedLimit+1), 0), 1<<20) }, 1009},
	{"far over the limit", func(c *packer) []byte { return c.packed(frame.Binary, deflated(letters(50*packedLimit), 9), 1<<20) }, 1009},
	{"over the limit in fragments", func(c *packer) []byte { return c.packed(frame.Text, deflated(letters(packedLimit+1), 1), 9) }, 1009},
	{"over the ratio", func(c *packer) []byte { return c.packed(frame.Binary, deflated(make([]byte, 60_000), 9), 1<<20) }, 1009},
	{"too long on the wire", func(c *packer) []byte {
		return c.packed(frame.Binary, make([]byte, packedLimit+packedLimit/10), 1<<20)[:20]
	}, 1009},
	{"over the limit, not compressed, header only", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, make([]byte, packedLimit+1))[:14]
	}, 1009},
	{"over the limit, not compressed, second header only", func(c *packer) []byte {
		first := c.Frame(frame.Header{Opcode: frame.Binary}, make([]byte, packedLimit))
		return append(first, c.Frame(frame.Header{Fin: true}, []byte{1})[:6]...)
	}, 1009},
	{"not UTF-8", func(c *packer) []byte { return c.packed(frame.Text, deflated([]byte("ok\xc3("), 9), 5000) }, 1007},
	{"not UTF-8, not compressed", func(c *packer) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("\xc3"))
	}, 1007},
}

const packedLimit = 64 << 10

// Each violation costs its own connection, and leaves nothing.
func TestCompressViolation(t *testing.T) {
	for _, v := range packedViolations {
		t.Run(v.name, func(t *testing.T) {
			ways(t, func(t *testing.T, ep engine.Endpoint) {
				var end ending
				ep.Handler.OnClose = end.OnClose
				s := enginetest.Start(t, engine.Config{Compress: true, MaxMessageBytes: packedLimit, MaxInflateRatio: 100}, ep)
				other := dialPacker(t, s, plainOffer)
				other.sendPacked(frame.Text, letters(1000), 9, 5000)
				require.Equal(t, letters(1000), other.readMessage().data)
				c := dialPacker(t, s, plainOffer)
				c.Write(v.wire(c))
				c.expectEnd(v.code)
				s.AwaitOpen(1)
				require.Equal(t, v.code, end.all()[0].Code)
				require.EqualValues(t, 1, s.Engine.Stats().Violations)
				require.Zero(t, s.Engine.Stats().Shed)
				other.sendPacked(frame.Text, letters(1000), 9, 5000)
				require.Equal(t, letters(1000), other.readMessage().data)
				other.hangup()
				requireNothingHeld(t, s)
			})
		})
	}
}

func requireNothingHeld(t *testing.T, s *enginetest.Server) {
	t.Helper()
	s.AwaitOpen(0)
	enginetest.Await(t, func() bool { st := s.Engine.Stats(); return st.BudgetUsed == 0 && st.Buffers == 0 }, "nothing should be held: %+v", s.Engine.Stats())
}

func TestCompressNotAgreedOn(t *testing.T) {
	for name, row := range map[string]struct {
		cfg   engine.Config
		offer string
	}{"off": {engine.Config{}, plainOffer}, "not offered": {compressing, ""}, "declined": {compressing, plainOffer + "; what=1"}} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, ep engine.Endpoint) {
				s := enginetest.Start(t, row.cfg, ep)
				c := dialPacker(t, s, row.offer)
				require.Empty(t, c.Response.Header.Values("Sec-WebSocket-Extensions"))
				c.Send(frame.Text, letters(5000))
				m := c.readMessage()
				require.False(t, m.compressed)
				require.Equal(t, letters(5000), m.data)
				c.sendPacked(frame.Text, letters(10), 9, 5000)
				c.expectEnd(frame.CloseProtocolError)
			})
		})
	}
}

// A message of exactly the limit passes, even if it is longer on the wire.
func TestCompressLimitItself(t *testing.T) {
	for _, limit := range []int{1, 125, packedLimit, 1 << 20} {
		ways(t, func(t *testing.T, ep engine.Endpoint) {
			s := enginetest.Start(t, engine.Config{Compress: true, MaxMessageBytes: limit, MaxInflateRatio: -1}, ep)
			c := dialPacker(t, s, plainOffer)
			for _, level := range []int{0, -2, 6} {
				for _, p := range [][]byte{random(limit), letters(limit), make([]byte, limit)} {
					c.sendPacked(frame.Binary, p, level, 2<<20)
					requireSame(t, p, c.readMessage().data)
				}
			}
			c.Send(frame.Binary, random(limit))
			requireSame(t, random(limit), c.readMessage().data)
			c.hangup()
		})
	}
}

// What comes after a message that cannot be inflated is not received, or there
// would be a gap; and a close that comes after it is not what ended the connection.
func TestCompressNoGap(t *testing.T) {
	ways(t, func(t *testing.T, ep engine.Endpoint) {
		var end ending
		ep.Handler.OnClose = end.OnClose
		s := enginetest.Start(t, compressing, ep)
		c := dialPacker(t, s, plainOffer)
		var wire []byte
		for range 40 {
			wire = append(wire, c.packed(frame.Text, []byte{0xff}, 100)...)
			wire = append(wire, c.packed(frame.Text, deflated([]byte("after the gap"), 1), 100)...)
			wire = append(wire, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("after the gap"))...)
		}
		c.Write(append(wire, c.Frame(frame.Header{Fin: true, Opcode: frame.Close}, frame.AppendClose(nil, 1000, ""))...))
		c.closed = true
		c.expectEnd(frame.CloseInvalidPayload)
		require.Equal(t, frame.CloseInvalidPayload, end.await(t).Code)
		requireNothingHeld(t, s)
		require.EqualValues(t, 1, s.Engine.Stats().Violations)
	})
}

// A budget that does not bear the inflated message ends its connection with 1013;
// that is no violation.
func TestCompressBudget(t *testing.T) {
	ways(t, func(t *testing.T, ep engine.Endpoint) {
		budget := backpressure.NewBudget(4 << 20)
		s := enginetest.Start(t, engine.Config{Compress: true, Budget: budget, MaxInflateRatio: -1}, ep)
		c := dialPacker(t, s, plainOffer)
		c.sendPacked(frame.Binary, make([]byte, 1<<20), 9, 5000)
		requireSame(t, make([]byte, 1<<20), c.readMessage().data)
		other := backpressure.NewAccount(budget)
		other.Add(4<<20*6/8 + 1<<18)
		c.sendPacked(frame.Binary, make([]byte, 1<<20), 9, 5000)
		c.expectEnd(frame.CloseTryAgainLater)
		s.AwaitOpen(0)
		other.Add(-other.Held())
		requireNothingHeld(t, s)
		require.EqualValues(t, 1, s.Engine.Stats().Shed)
		require.Zero(t, s.Engine.Stats().Violations)
	})
}

// What is inflated is in the budget while it is handled, and in full.
func TestCompressBudgetCountsInflated(t *testing.T) {
	seen := make(chan int, 1)
	var s *enginetest.Server
	look := func(context.Context, *engine.Conn, engine.Message) error {
		seen <- s.Engine.Stats().BudgetUsed
		return nil
	}
	for name, ep := range map[string]engine.Endpoint{
		"pool":   onMessage(look),
		"inline": {Inline: true, Handler: engine.Handler{OnMessage: look}},
		"Receive": {Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				for m := range c.Messages(ctx) {
					_ = look(ctx, c, m)
				}
			})
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			s = enginetest.Start(t, compressing, ep)
			c := dialPacker(t, s, plainOffer)
			s.AwaitOpen(1)
			before := s.Engine.Stats().BudgetUsed
			for range 2 {
				c.sendPacked(frame.Binary, make([]byte, 1<<20), 9, 5000)
				used := <-seen - before
				require.GreaterOrEqual(t, used, 1<<20-64<<10)
				require.LessOrEqual(t, used, 1<<20+64<<10)
				enginetest.Await(t, func() bool { return s.Engine.Stats().BudgetUsed <= before }, "it should be given back")
			}
			c.hangup()
		})
	}
}

// A bomb of 1 GiB: one sends it, another one echoes.
func TestCompressBomb(t *testing.T) {
	big := deflateFlushed(make([]byte, 4<<20))
	bomb := append(bytes.Repeat(big, 256), 0) // 1 GiB: each part is inflated by itself
	require.Less(t, len(bomb), 1<<20)
	for name, payload := range map[string][]byte{
		"1 GiB": bomb, "4 MiB": append(slices.Clone(big), 0), "1 MiB and 1": deflated(make([]byte, 1<<20+1), 9),
		"nested": deflated(bomb, 9), // inflates to the bomb, once
	} {
		t.Run(name, func(t *testing.T) {
			ways(t, func(t *testing.T, ep engine.Endpoint) {
				s := enginetest.Start(t, engine.Config{Compress: true, MaxInflateRatio: -1}, ep)
				echoing := dialPacker(t, s, plainOffer)
				control := echoTimes(echoing, nil)
				bombers := make([]*packer, 30)
				for i := range bombers {
					bombers[i] = dialPacker(t, s, plainOffer)
				}
				base := s.Engine.Stats().BudgetUsed
				peak := watchPeaks(s)
				over := make(chan struct{})
				answers := make([]packedMessage, len(bombers))
				go func() { // ends when all have been answered
					defer close(over)
					for i, c := range bombers {
						_ = c.TryWrite(c.packed(frame.Binary, payload, 1<<21))
						for {
							h, p, err := c.readFrame()
							answers[i].op = max(answers[i].op, h.Opcode)
							answers[i].wire = append(answers[i].wire, p...)
							if err != nil || h.Fin {
								break
							}
						}
						c.Close()
						for left := time.Now().Add(time.Second); s.Engine.Stats().BudgetUsed > base+64<<10 && time.Now().Before(left); {
							time.Sleep(100 * time.Microsecond) // its end may have been told before its bomb is let go of
						}
					}
				}()
				beside := echoTimes(echoing, over)
				control = max(control, echoTimes(echoing, nil)) // the machine may have become slower meanwhile
				for _, m := range answers {
					if name == "nested" { // bytes of a bomb are no bomb
						require.Equal(t, frame.Binary, m.op)
						data, err := inflated(m.wire)
						require.NoError(t, err)
						requireSame(t, bomb, data)
						continue
					}
					require.Equal(t, frame.Close, m.op)
					code, _, _ := frame.ParseClose(m.wire)
					require.Equal(t, frame.CloseMessageTooBig, code)
				}
				heap, budget := peak()
				t.Logf("heap + %d KiB, budget + %d KiB, p99 of an echo %v, without %v", heap>>10, (budget-base)>>10, beside, control)
				require.LessOrEqual(t, budget-base, 3<<20+128<<10, "gws's buffer of 2 MiB, and the limit")
				require.Less(t, heap, 64<<20)
				require.Less(t, beside, 20*control+100*time.Millisecond)
				echoing.hangup()
				requireNothingHeld(t, s)
			})
		})
	}
}

func deflateFlushed(p []byte) []byte {
	return append(deflated(p, 9), 0, 0, 0xff, 0xff)
}

// echoTimes returns the 99th percentile of 1000 echoes, or more until over.
func echoTimes(c *packer, over <-chan struct{}) time.Duration {
	all := make([]time.Duration, 0, 1<<16)
	wire := c.packed(frame.Text, deflated(letters(300), 1), 1000)
	for {
		if len(all) >= 1000 {
			select {
			case <-over:
				over = nil
			default:
			}
			if over == nil {
				break
			}
		}
		start := time.Now()
		c.Write(wire)
		_, _, err := c.readFrame()
		require.NoError(c.t, err)
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

// watchPeaks looks every few hundred microseconds.
func watchPeaks(s *enginetest.Server) func() (heap, budget int) {
	stop, over := make(chan struct{}), make(chan struct{})
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base := int(m.HeapAlloc)
	heap, budget := 0, 0
	go func() { // ends with stop
		defer close(over)
		for {
			runtime.ReadMemStats(&m)
			heap = max(heap, int(m.HeapAlloc)-base)
			budget = max(budget, s.Engine.Stats().BudgetUsed)
			select {
			case <-stop:
				return
			case <-time.After(300 * time.Microsecond):
			}
		}
	}()
	return func() (int, int) {
		close(stop)
		<-over
		return heap, budget
	}
}

// A handler that does not return, and one that receives and stops in the middle,
// leave nothing.
func TestCompressLeaves(t *testing.T) {
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(func(context.Context, *engine.Conn, engine.Message) error { crash(); return nil })
				ep.Inline = inline
				s := enginetest.Start(t, engine.Config{Compress: true, Logger: quiet}, ep)
				c := dialPacker(t, s, plainOffer)
				c.sendPacked(frame.Text, letters(1000), 1, 2000)
				c.expectEnd(frame.CloseInternalError)
				requireNothingHeld(t, s)
			})
		})
	}
	t.Run("stops receiving", func(t *testing.T) {
		s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				if _, err := c.Receive(ctx); err == nil {
					_ = c.Close(4000, "enough")
				}
			})
		}}})
		c := dialPacker(t, s, plainOffer)
		c.sendPacked(frame.Text, letters(1000), 1, 2000)
		c.sendPacked(frame.Text, letters(1000), 1, 2000)
		c.expectEnd(4000)
		requireNothingHeld(t, s)
	})
}

// What a handler appends to does not write into the pool's memory.
func TestCompressDataIsClipped(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
			return c.SendText(fmt.Sprint(cap(m.Data) - len(m.Data)))
		})
		ep.Inline = inline
		s := enginetest.Start(t, compressing, ep)
		c := dialPacker(t, s, plainOffer)
		c.sendPacked(frame.Text, letters(1000), 1, 2000)
		require.Equal(t, "0", string(c.readMessage().data))
		c.hangup()
	})
}

const noTakeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

func TestCompressHandshake(t *testing.T) {
	s := enginetest.Start(t, compressing, onMessage(echo))
	for _, row := range []struct {
		offer  []string
		answer string // "": none; "400": refused
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"permessage-deflate"}, noTakeover},
		{[]string{"Permessage-Deflate; Client_Max_Window_Bits"}, noTakeover},
		{[]string{"permessage-deflate; client_max_window_bits=9"}, noTakeover},
		{[]string{"permessage-deflate; server_no_context_takeover"}, noTakeover},
		{[]string{"permessage-deflate; server_max_window_bits=9"}, noTakeover + "; server_max_window_bits=9"},
		{[]string{`permessage-deflate; server_max_window_bits="8"`}, noTakeover + "; server_max_window_bits=8"},
		{[]string{"permessage-deflate; server_max_window_bits=15"}, noTakeover + "; server_max_window_bits=15"},
		{[]string{"permessage-deflate; server_max_window_bits=16"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits"}, ""},
		{[]string{"permessage-deflate; server_max_window_bits=09"}, ""},
		{[]string{"permessage-deflate; unknown"}, ""},
		{[]string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, ""},
		{[]string{"x-permessage-deflate-foo"}, ""},
		{[]string{"x-webkit-deflate-frame, permessage-deflate"}, noTakeover},
		{[]string{"permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=10, permessage-deflate"}, noTakeover + "; server_max_window_bits=10"},
		{[]string{"permessage-deflate; unknown", "permessage-deflate; server_max_window_bits=11"}, noTakeover + "; server_max_window_bits=11"},
		{[]string{"permessage-deflate; =9"}, "400"},
		{[]string{"permessage-deflate; server_max_window_bits="}, "400"},
		{[]string{`permessage-deflate; server_max_window_bits="9`}, "400"},
		{[]string{"permessage deflate"}, "400"},
	} {
		header := map[string][]string{"Sec-WebSocket-Extensions": row.offer}
		if row.answer == "400" {
			require.Equal(t, http.StatusBadRequest, s.Request(enginetest.Handshake{Header: header}).StatusCode, "%q", row.offer)
			continue
		}
		c := s.DialWith(enginetest.Handshake{Header: header})
		var want []string
		if row.answer != "" {
			want = []string{row.answer}
		}
		require.Equal(t, want, c.Response.Header["Sec-Websocket-Extensions"], "%q", row.offer)
		c.Hangup()
	}
	off := enginetest.Start(t, engine.Config{}, onMessage(echo))
	c := off.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": {"permessage deflate"}}})
	require.Empty(t, c.Response.Header["Sec-Websocket-Extensions"])
	c.Hangup()
}

// A handler around ours has no say in what has been agreed on.
func TestCompressHandshakeWrapped(t *testing.T) {
	s := enginetest.Start(t, compressing, onMessage(echo))
	s.HandleHTTP("/wrapped", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=8")
		w.Header().Set("X-Kept", "yes")
		s.Engine.ServeHTTP(w, r)
	}))
	for offer, want := range map[string][]string{plainOffer: {noTakeover}, "other": nil} {
		c := s.DialWith(enginetest.Handshake{Target: "/wrapped", Header: map[string][]string{"Sec-WebSocket-Extensions": {offer}}})
		require.Equal(t, want, c.Response.Header["Sec-Websocket-Extensions"])
		require.Equal(t, "yes", c.Response.Header.Get("X-Kept"))
		c.Hangup()
	}
}

// A peer with a small window gets nothing that refers further back, however the
// message is sent.
func TestCompressWindow(t *testing.T) {
	open := make(conns, 1)
	cfg := engine.Config{Compress: true, CompressLevel: 9}
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	far := slices.Concat(random(400), letters(200), random(400), letters(3000), random(400), random(400)) // repeats itself in 800 bytes, and in 400
	for bits := 8; bits <= 15; bits++ {
		c := dialPacker(t, s, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits))
		conn := <-open
		for name, send := range sendings {
			done := make(chan error, 1)
			go func() { done <- send(s.Engine, conn, frame.Binary, far) }()
			m := c.readMessage()
			require.NoError(t, <-done)
			require.True(t, m.compressed)
			requireSame(t, far, m.data)
			distance := furthest(m.wire)
			require.LessOrEqual(t, distance, 1<<bits, name)
			if bits == 15 {
				require.Greater(t, distance, 512, "the test is worth nothing: %s", name)
			}
		}
		c.hangup()
	}
}

// A message larger than a chunk is compressed as one, RSV1 on the first fragment
// only (readMessage sees to that), with pings of ours in between.
func TestCompressChunks(t *testing.T) {
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			cfg := engine.Config{Compress: true, SendChunkBytes: 1000, MaxMessageBytes: 16 << 20}
			s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := dialPacker(t, s, plainOffer)
			conn := <-open
			for i, payload := range [][]byte{letters(1 << 20), slices.Concat(random(50_000), letters(50_000)), letters(300), letters(3 << 20)} {
				done := make(chan error, 1)
				go func() {
					_ = conn.Ping([]byte("with a payload"))
					err := send(s.Engine, conn, frame.Binary, payload)
					_ = conn.Ping([]byte("with another"))
					_ = conn.SendWait(context.Background(), frame.Text, letters(1000))
					done <- err
				}()
				m := c.readMessage()
				require.NoError(t, <-done)
				require.True(t, m.compressed)
				requireSame(t, payload, m.data)
				require.LessOrEqual(t, m.largest, 1000)
				require.Equal(t, i != 2, m.fragments > 1)
				m = c.readMessage()
				require.True(t, m.compressed)
				requireSame(t, letters(1000), m.data)
				require.Len(t, c.Pinged, 2*(i+1))
			}
			c.hangup()
		})
	}
}

// B1: pings with a payload between compressed messages do not disturb the peer's
// inflater.
func TestCompressPingsBetween(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c, res, err := (&gorilla.Dialer{EnableCompression: true}).DialContext(t.Context(), s.URL(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	_ = res.Body.Close()
	conn := <-open
	for range 20 {
		require.NoError(t, c.WriteControl(gorilla.PingMessage, letters(100), time.Now().Add(time.Second)))
		require.NoError(t, conn.Ping(letters(125)))
		require.NoError(t, conn.SendBytes(letters(1000)))
		_, data, err := c.ReadMessage()
		require.NoError(t, err)
		requireSame(t, letters(1000), data)
	}
}

// One prepared message for peers with and without compression; each gets it in
// its own window.
func TestCompressBroadcast(t *testing.T) {
	const each = 5
	open := make(conns, 1)
	s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	var peers []*packer
	var all []*engine.Conn
	offers := []string{"", plainOffer, plainOffer + "; server_max_window_bits=9"}
	for i := range each * len(offers) {
		peers = append(peers, dialPacker(t, s, offers[i%len(offers)]))
		all = append(all, <-open)
	}
	large := slices.Concat(random(800), letters(18_400), random(800))
	for _, payload := range [][]byte{large, letters(100), random(3000)} {
		p, err := s.Engine.Prepare(frame.Binary, payload)
		require.NoError(t, err)
		tally := engine.Broadcast(t.Context(), slices.Values(all), p)
		require.Equal(t, len(all), tally.Queued)
		wires := map[string]bool{}
		for i, c := range peers {
			m := c.readMessage()
			require.Equal(t, len(payload) == 20_000 && i%len(offers) > 0, m.compressed)
			requireSame(t, payload, m.data)
			wires[string(m.wire)] = true
			if i%len(offers) == 2 && m.compressed {
				require.LessOrEqual(t, furthest(m.wire), 512)
			}
		}
		if len(payload) == 20_000 {
			require.Len(t, wires, len(offers))
		}
	}
	for _, c := range peers {
		c.hangup()
	}
}

// What a stream's source has yielded before it pauses can be inflated at once.
func TestCompressStreamPause(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := dialPacker(t, s, plainOffer)
	conn := <-open
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- conn.SendStream(context.Background(), frame.Text, r) }()
	var wire []byte
	for i := range 5 {
		_, err := w.Write(letters(700))
		require.NoError(t, err)
		for {
			h, p, err := c.readFrame()
			require.NoError(t, err)
			require.False(t, h.Fin)
			require.Equal(t, len(wire) == 0, h.RSV == frame.RSV1)
			wire = append(wire, p...)
			data, _ := io.ReadAll(flate.NewReader(bytes.NewReader(wire))) // ends in the middle
			if len(data) == 700*(i+1) {
				break
			}
		}
	}
	require.NoError(t, w.Close())
	for {
		h, p, err := c.readFrame()
		require.NoError(t, err)
		wire = append(wire, p...)
		if h.Fin {
			break
		}
	}
	require.NoError(t, <-done)
	data, err := inflated(wire)
	require.NoError(t, err)
	requireSame(t, bytes.Repeat(letters(700), 5), data)
	c.hangup()
}

// A stream's memory does not depend on its length.
func TestCompressStreamMemory(t *testing.T) {
	const size = 64 << 20
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{Compress: true, MaxMessageBytes: 128 << 20, PingInterval: -1}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	for name, source := range map[string]io.Reader{"text": &repeating{b: letters(26 * 1000)}, "zeros": &repeating{b: make([]byte, 1000)}, "random": &repeating{b: random(100_000)}} {
		t.Run(name, func(t *testing.T) {
			c := dialPacker(t, s, plainOffer)
			conn := <-open
			peak := watchPeaks(s)
			done := make(chan error, 1)
			go func() { done <- conn.SendStream(context.Background(), frame.Binary, io.LimitReader(source, size)) }()
			pr, pw := io.Pipe()
			go func() { // ends with the message
				for {
					h, p, err := c.readFrame()
					_, _ = pw.Write(p)
					if err != nil || h.Fin {
						_, _ = pw.Write([]byte("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))
						_ = pw.CloseWithError(err)
						return
					}
				}
			}()
			n, err := io.Copy(io.Discard, flate.NewReader(pr))
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, pr)
			require.NoError(t, <-done)
			require.EqualValues(t, size, n)
			heap, _ := peak()
			t.Logf("heap + %d KiB", heap>>10)
			require.Less(t, heap, 48<<20, "the garbage of client and server, and not the stream")
			c.hangup()
		})
	}
}

type repeating struct {
	b  []byte
	at int
}

func (r *repeating) Read(p []byte) (n int, _ error) {
	n = copy(p, r.b[r.at:])
	r.at = (r.at + n) % len(r.b)
	return n, nil
}

// A stream that fails ends as without compression.
func TestCompressStreamFails(t *testing.T) {
	broken := errors.New("broken")
	for name, row := range map[string]struct {
		source io.Reader
		op     frame.Opcode
		err    error
		code   frame.CloseCode
	}{
		"source": {io.MultiReader(bytes.NewReader(letters(300_000)), readerFunc(func([]byte) (int, error) { return 0, broken })), frame.Text, broken, 1011},
		"UTF-8":  {bytes.NewReader(append(letters(300_000), 0xff)), frame.Text, engine.ErrInvalidUTF8, 1011},
		"size":   {bytes.NewReader(letters(1<<20 + 1)), frame.Binary, engine.ErrMessageTooBig, 1009},
	} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := dialPacker(t, s, plainOffer)
			conn := <-open
			done := make(chan error, 1)
			go func() { done <- conn.SendStream(context.Background(), row.op, row.source) }()
			for {
				h, p, err := c.readFrame()
				require.NoError(t, err)
				if h.Opcode == frame.Close {
					code, _, _ := frame.ParseClose(p)
					require.Equal(t, row.code, code)
					break
				}
				require.False(t, h.Fin, "a part must not look like the whole")
			}
			require.ErrorIs(t, <-done, row.err)
			c.Close()
			requireNothingHeld(t, s)
		})
	}
}

// Many goroutines send on one connection, while the peer does the same.
func TestCompressConcurrent(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := dialPacker(t, s, plainOffer)
	conn := <-open
	var wait sync.WaitGroup
	var failed atomic.Int32
	for i := range 8 {
		wait.Go(func() {
			for j := range 50 {
				if conn.SendWait(context.Background(), frame.Binary, bytes.Repeat([]byte{byte(i), byte(j)}, 500+100*i)) != nil {
					failed.Add(1)
				}
			}
		})
	}
	next := [8]byte{}
	for range 8 * 50 {
		m := c.readMessage()
		require.True(t, m.compressed)
		i := m.data[0]
		requireSame(t, bytes.Repeat([]byte{i, next[i]}, 500+100*int(i)), m.data)
		next[i]++
	}
	wait.Wait()
	require.Zero(t, failed.Load())
	c.hangup()
}
