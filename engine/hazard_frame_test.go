package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// header64 is a masked frame's header with a 64-bit length, the masking key zero.
func header64(first byte, length uint64) []byte {
	b := []byte{first, masked(127)}
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(length>>shift))
	}
	return append(b, 0, 0, 0, 0)
}

// A length with its top bit set is refused with 1002 wherever it stands, and what
// parses frames never sees it.
func TestLengthTopBit(t *testing.T) {
	for name, row := range map[string]struct {
		before []byte
		first  byte
		cfg    engine.Config
		offer  []string
	}{
		"text":                   {nil, 0x81, engine.Config{}, nil},
		"binary":                 {nil, 0x82, engine.Config{}, nil},
		"first fragment":         {nil, 0x01, engine.Config{}, nil},
		"continuation":           {[]byte{0x02, masked(1), 0, 0, 0, 0, 'x'}, 0x00, engine.Config{}, nil},
		"last fragment":          {[]byte{0x02, masked(1), 0, 0, 0, 0, 'x'}, 0x80, engine.Config{}, nil},
		"the largest limit":      {nil, 0x82, engine.Config{MaxMessageBytes: 1 << 30}, nil},
		"compressed":             {nil, 0xC2, engine.Config{Compress: true}, []string{plainOffer}},
		"not compressed, agreed": {nil, 0x82, engine.Config{Compress: true}, []string{plainOffer}},
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(echo)
				ep.Inline = inline
				s := enginetest.Start(t, row.cfg, ep)
				other := s.Dial()
				lengths := []uint64{1 << 63, 1<<63 | 5, 1<<63 | 1<<31, math.MaxUint64, math.MaxUint64 - 13}
				for _, length := range lengths {
					c := s.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": row.offer}})
					c.Write(append(row.before, header64(row.first, length)...))
					c.ExpectClose(frame.CloseProtocolError)
				}
				other.SendText("undisturbed")
				require.Equal(t, "undisturbed", other.ReadText())
				other.Hangup()
				s.AwaitOpen(0)
				require.Zero(t, s.Engine.Stats().Panics)
				require.EqualValues(t, len(lengths), s.Engine.Stats().Violations)
			})
		})
	}
}

// A panicOnce is a logger that panics the first time.
type panicOnce struct {
	slog.Handler
	used *atomic.Bool
}

func (h panicOnce) Enabled(context.Context, slog.Level) bool { return true }
func (h panicOnce) Handle(ctx context.Context, r slog.Record) error {
	if h.used.CompareAndSwap(false, true) {
		panic("out of the logger")
	}
	return nil
}

// A panic that comes up through the read loop, where no callback's own defence has
// stopped it, costs its connection, with 1011 and an OnClose, and not the process.
// What logs a handler's panic may panic itself, inline on the reader.
func TestReadLoopPanics(t *testing.T) {
	var end ending
	cfg := engine.Config{Logger: slog.New(panicOnce{slog.DiscardHandler, new(atomic.Bool)})}
	s := enginetest.Start(t, cfg, engine.Endpoint{Inline: true, Handler: engine.Handler{
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				panic("out of the handler")
			}
			return echo(ctx, c, m)
		},
		OnClose: end.OnClose,
	}})
	other, c := s.Dial(), s.Dial()
	c.SendText("crash")
	c.ExpectClose(frame.CloseInternalError)
	require.Equal(t, frame.CloseInternalError, end.await(t).Code)
	require.EqualValues(t, 2, s.Engine.Stats().Panics)
	other.SendText("undisturbed")
	require.Equal(t, "undisturbed", other.ReadText())
	other.Hangup()
}

// What a header decides is decided when the header has come: none of the payload
// that it announces is waited for, or counted.
func TestRefusedAtItsHeader(t *testing.T) {
	const size = 900_000 // below the limit
	open := []byte{0x01, masked(1), 0, 0, 0, 0, 'x'}
	for name, row := range map[string]struct {
		wire []byte
		code frame.CloseCode
	}{
		"continuation of nothing":     {header64(0x80, size), 1002},
		"text inside a message":       {append(open, header64(0x81, size)...), 1002},
		"binary inside a message":     {append(open, header64(0x02, size)...), 1002},
		"unknown opcode":              {header64(0x83, size), 1002},
		"unknown control opcode":      {header64(0x8B, size), 1002},
		"reserved bits":               {header64(0xF2, size), 1002},
		"ping of a megabyte":          {header64(0x89, size), 1002},
		"close of a megabyte":         {header64(0x88, size), 1002},
		"not masked":                  {[]byte{0x82, 127, 0, 0, 0, 0, 0, 0x0d, 0xbb, 0xa0}, 1002},
		"length not minimal":          {header64(0x82, 65_535), 1002},
		"over the limit":              {header64(0x82, 1<<20+1), 1009},
		"over the limit with another": {append(open, header64(0x80, 1<<20)...), 1009},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{}, onMessage(echo))
			c := s.Dial()
			base := s.Engine.Stats().BudgetUsed
			c.Write(row.wire)
			code, _ := c.ReadClose()
			require.Equal(t, row.code, code)
			require.LessOrEqual(t, s.Engine.Stats().BudgetUsed, base)
			c.CloseWrite()
			c.ExpectEOF()
			c.Close()
		})
	}
}

// What a peer reads of our end is in our own words: no error of Go's, which would
// tell addresses and more, neither in a close frame nor in an answer to a request.
func TestReasonsTellNothing(t *testing.T) {
	secret := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}, Err: errors.New("i/o timeout")}
	silent := func(*enginetest.Client) {}
	speak := func(c *enginetest.Client) { c.SendText("x") }
	for name, row := range map[string]struct {
		handler engine.Handler
		act     func(c *enginetest.Client)
		code    frame.CloseCode // 0: no close frame
		reason  string
	}{
		"idle":            {engine.Handler{OnMessage: echo}, silent, frame.CloseGoingAway, "idle timeout"},
		"end of sending":  {engine.Handler{OnMessage: echo}, (*enginetest.Client).CloseWrite, 0, ""},
		"inside a frame":  {engine.Handler{OnMessage: echo}, func(c *enginetest.Client) { c.Write([]byte{0x82}); c.CloseWrite() }, 0, ""},
		"peer's own":      {engine.Handler{OnMessage: echo}, func(c *enginetest.Client) { c.SendClose(4000, "127.0.0.1") }, 4000, ""},
		"handler's error": {onMessage(func(context.Context, *engine.Conn, engine.Message) error { return secret }).Handler, speak, frame.CloseInternalError, "internal error"},
		"handler's panic": {onMessage(func(context.Context, *engine.Conn, engine.Message) error { panic(secret) }).Handler, speak, frame.CloseInternalError, "internal error"},
		"OnOpen's error":  {engine.Handler{OnOpen: func(context.Context, *engine.Conn) error { return secret }, OnMessage: echo}, silent, frame.CloseInternalError, "internal error"},
		"a stream's error": {onMessage(func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			_ = c.SendStream(ctx, frame.Binary, io.MultiReader(strings.NewReader("part"), readerFunc(func([]byte) (int, error) { return 0, secret })))
			return nil
		}).Handler, speak, frame.CloseInternalError, "stream failed"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := engine.Config{Logger: quiet}
			if name == "idle" {
				cfg.PingInterval, cfg.IdleTimeout = -1, 100*time.Millisecond
			}
			s := enginetest.Start(t, cfg, engine.Endpoint{Handler: row.handler})
			c := s.Dial()
			row.act(c)
			if row.code == 0 {
				c.ExpectEOF()
				c.Close()
				return
			}
			code, reason := c.ReadClose()
			require.Equal(t, row.code, code)
			require.Equal(t, row.reason, reason)
			c.CloseWrite()
			c.ExpectEOF()
			c.Close()
			enginetest.Await(t, func() bool { return s.Engine.Stats().Buffers == 0 }, "a stream's source gives back its buffer when it has returned")
		})
	}
	t.Run("refusal", func(t *testing.T) {
		ep := onMessage(echo)
		panics := false
		ep.Handler.Admit = func(*http.Request) error {
			if panics {
				panic(secret)
			}
			return secret
		}
		s := enginetest.Start(t, engine.Config{Logger: quiet}, ep)
		for _, panics = range []bool{false, true} {
			body, err := io.ReadAll(s.Request(enginetest.Handshake{}).Body)
			require.NoError(t, err)
			require.NotEmpty(t, body)
			require.NotContains(t, string(body), "127.0.0.1")
			require.NotContains(t, string(body), "timeout")
		}
	})
}

// No size of 2 GiB or more is taken, whatever it is the size of: what parses frames
// computes sizes in 32 bits, and so does what meters them. One that neither sees may be
// larger.
func TestSizesStayBelow2GiB(t *testing.T) {
	unseen := map[string]bool{"MemoryBudgetBytes": true}
	seen := 0
	for f := range reflect.TypeFor[engine.Config]().Fields() {
		if f.Type.Kind() != reflect.Int || !strings.Contains(f.Name, "Bytes") {
			continue
		}
		seen++
		for _, size := range []int64{1 << 31, 1<<31 + 14, 1<<32 - 14, 1 << 32, math.MaxInt64} {
			cfg := engine.Config{MemoryBudgetBytes: 1 << 40, HighWaterBytes: 1 << 30}
			reflect.ValueOf(&cfg).Elem().FieldByIndex(f.Index).SetInt(size)
			if unseen[f.Name] {
				require.NotContains(t, mistakes(cfg.Validate()), f.Name)
			} else {
				require.Contains(t, mistakes(cfg.Validate()), f.Name, "%d", size)
			}
		}
	}
	require.GreaterOrEqual(t, seen, 9)
	for _, name := range []string{"MAX_WS_MESSAGE_BYTES", "WS_SEND_CHUNK_BYTES", "WS_INBOX_BYTES", "WS_HIGH_WATER_BYTES"} {
		t.Setenv(name, "2147483648")
		_, err := engine.ConfigFromEnv()
		require.Error(t, err, name)
		t.Setenv(name, "")
	}
}

// With the largest limit that there is, one byte more is refused at its header, and
// what is announced up to it does not cost its length.
func TestLargestLimit(t *testing.T) {
	const most = 1 << 30
	for name, compress := range map[string]bool{"plain": false, "compress": true} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{MaxMessageBytes: most, MemoryBudgetBytes: 16 << 30, Compress: compress, MinReceiveRate: -1}, onMessage(echo))
			offer := enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Extensions": {plainOffer}}}
			c := s.DialWith(offer)
			c.Write(append(header64(0x82, most), pattern(1000)...))
			c.Reset()
			c = s.DialWith(offer)
			c.Write(header64(0x82, most+1))
			c.ExpectClose(frame.CloseMessageTooBig)
			c = s.DialWith(offer)
			c.Send(frame.Binary, random(100_000))
			requireSame(t, random(100_000), c.ReadMessage().Data)
			c.Hangup()
		})
	}
}

// Text of ours that comes in pieces is checked as one: a rune may stand across two
// reads of a stream's source and across two fragments, wherever they are cut.
func TestRuneAcrossPieces(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{SendChunkBytes: 125}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	for shift := range 9 {
		text := strings.Repeat("x", shift) + strings.Repeat("é€😀", 200) // 9 bytes a time
		for name, source := range map[string]io.Reader{
			"whole":          strings.NewReader(text),
			"halves":         iotest.HalfReader(strings.NewReader(text)),
			"bytes":          iotest.OneByteReader(strings.NewReader(text)),
			"end with bytes": iotest.DataErrReader(strings.NewReader(text)),
		} {
			require.NoError(t, conn.SendStream(t.Context(), frame.Text, source), name)
			require.Equal(t, text, c.ReadText(), name)
		}
		require.NoError(t, conn.SendText(text))
		require.Equal(t, text, c.ReadText())
	}
	c.Hangup()
}
