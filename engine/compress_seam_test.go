package engine

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
	"github.com/penstock-ws/penstock/interceptors"
)

// A cutSocket is a peer in memory whose bytes come in pieces, and then the end. It
// takes everything that it is sent.
type cutSocket struct {
	mu     sync.Mutex
	in     []byte
	cuts   []int // lengths of the pieces; what is left is one
	closed bool
}

func (s *cutSocket) read(m memory) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		m.giveBack()
		return 0, net.ErrClosed
	case len(s.in) == 0:
		m.giveBack()
		return 0, io.EOF
	}
	n := len(s.in)
	if len(s.cuts) > 0 {
		n = min(n, s.cuts[0])
	}
	n = copy(m.lend(n), s.in[:n])
	s.in = s.in[n:]
	if len(s.cuts) > 0 {
		if s.cuts[0] -= n; s.cuts[0] == 0 {
			s.cuts = s.cuts[1:]
		}
	}
	return n, nil
}

func (s *cutSocket) Write(bufs [][]byte, _ bool) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	return n, nil
}

func (s *cutSocket) Await(*backpressure.Queue)       { panic("never full") }
func (s *cutSocket) unsent() int                     { return 0 }
func (s *cutSocket) setReadDeadline(time.Time) error { return nil }
func (s *cutSocket) closeWrite() error               { return nil }

func (s *cutSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// A seam runs byte streams through an engine in memory, and notes what comes out.
type seam struct {
	e    *Engine
	eps  map[string]*endpoint
	mu   sync.Mutex
	list map[*Conn][]string
}

const seamLimit = 8 << 10

type seamKey struct{}

func newSeam(t testing.TB) *seam {
	s := &seam{list: map[*Conn][]string{}}
	e, err := New(Config{
		Compress: true, MaxMessageBytes: seamLimit, ReadBufferBytes: smallestBuffer, CountBuffers: true, Logger: slog.New(slog.DiscardHandler),
		Interceptors: []interceptors.Interceptor{seamEvents{s: s}},
	}, Endpoint{})
	require.NoError(t, err)
	s.e = e
	h := Handler{
		OnMessage: func(_ context.Context, c *Conn, m Message) error { s.note(c, m); return nil },
		OnClose:   s.onClose,
	}
	pull := h
	pull.OnMessage = nil
	pull.OnOpen = func(_ context.Context, c *Conn) error {
		return c.Go(func(ctx context.Context) {
			for m, err := range c.Messages(context.WithoutCancel(ctx)) {
				if err == nil {
					s.note(c, m)
				}
			}
		})
	}
	s.eps = map[string]*endpoint{
		"pool":    e.newEndpoint(Endpoint{Handler: h}),
		"inline":  e.newEndpoint(Endpoint{Handler: h, Inline: true}),
		"Receive": e.newEndpoint(Endpoint{Handler: pull}),
	}
	t.Cleanup(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		require.Zero(t, e.Stats().Buffers)
		require.Zero(t, e.Stats().BudgetUsed)
		require.Zero(t, e.Stats().Panics)
	})
	return s
}

// seamEvents notes pings and pongs.
type seamEvents struct {
	interceptors.Passthrough
	s *seam
}

func (i seamEvents) InterceptInbound(ctx context.Context, in Message, next interceptors.InboundFunc) error {
	if in.Type == frame.Ping || in.Type == frame.Pong {
		i.s.note(FromContext(ctx), in)
	}
	return next(ctx, in)
}

func (s *seam) note(c *Conn, m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list[c] = append(s.list[c], fmt.Sprintf("%v %d %q", m.Type, len(m.Data), m.Data))
}

func (s *seam) onClose(c *Conn, err *CloseError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Get(seamKey{}).(chan string) <- strings.Join(append(s.list[c], fmt.Sprint(uint16(err.Code))), "\n")
	delete(s.list, c)
}

// run gives what the handlers were shown of stream, and the code at its end.
func (s *seam) run(t testing.TB, way string, bits int, stream []byte, cuts ...int) string {
	end := make(chan string, 1)
	ep := *s.eps[way]
	open := ep.handler.OnOpen
	ep.handler.OnOpen = func(ctx context.Context, c *Conn) error {
		c.Set(seamKey{}, end)
		if open != nil {
			return open(ctx, c)
		}
		return nil
	}
	_ = s.e.admission.enter(&Scope{})
	s.e.start(&ep, &cutSocket{in: stream, cuts: cuts}, bits, nil, []byte(preface), &Scope{lines: "Cut\n\n", host: "h"})
	select {
	case got := <-end:
		return got
	case <-time.After(10 * time.Second):
		t.Fatalf("no end: %q", stream)
		return ""
	}
}

// packed is a message as compress/flate of Go's library has it.
func packed(p []byte, level int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, level)
	_, _ = w.Write(p)
	_ = w.Flush()
	return b.Bytes()[:b.Len()-4]
}

// wire encodes frames of a client.
type wire []byte

func (w wire) frame(fin bool, rsv byte, op frame.Opcode, payload []byte) wire {
	h := frame.Header{Fin: fin, RSV: rsv, Opcode: op, Masked: true, Length: int64(len(payload))}
	binary.BigEndian.PutUint32(h.Mask[:], 0x9e3779b9*uint32(len(w)+1))
	w = append(frame.AppendHeader(w, h), payload...)
	frame.Mask(w[len(w)-len(payload):], h.Mask, 0)
	return w
}

func (w wire) close() wire {
	return w.frame(true, 0, frame.Close, frame.AppendClose(nil, 4000, ""))
}

const r1 = frame.RSV1

var inboundText = []byte(strings.Repeat(`{"grün":[1,2,3],"b":"compressible"} `, 12))

// inboundSeeds are streams, and what must come of them however they are cut.
func inboundSeeds() []struct {
	name   string
	stream wire
	want   string // the end of what is noted
} {
	text := packed(inboundText, 9)
	noted := fmt.Sprintf("text %d %q", len(inboundText), inboundText)
	seeds := []struct {
		name   string
		stream wire
		want   string
	}{
		{"mixed", wire{}.frame(true, r1, frame.Text, text).frame(true, 0, frame.Text, []byte("plain")).frame(true, r1, frame.Binary, packed([]byte{1}, 9)).close(),
			noted + "\ntext 5 \"plain\"\nbinary 1 \"\\x01\"\n4000"},
		{"fragments", wire{}.frame(false, r1, frame.Text, text[:7]).frame(true, 0, frame.Ping, []byte("between")).frame(false, 0, 0, nil).frame(true, 0, 0, text[7:]).frame(true, 0, frame.Text, nil).close(),
			"ping 7 \"between\"\n" + noted + "\ntext 0 \"\"\n4000"},
		{"fragments not compressed", wire{}.frame(false, 0, frame.Text, []byte("gr\xc3")).frame(true, 0, frame.Pong, nil).frame(true, 0, 0, []byte("\xbcn")).frame(true, r1, frame.Text, text).close(),
			"pong 0 \"\"\ntext 5 \"grün\"\n" + noted + "\n4000"},
		{"empty", wire{}.frame(true, r1, frame.Binary, []byte{0}).frame(true, r1, frame.Text, []byte{0}).close(), "binary 0 \"\"\ntext 0 \"\"\n4000"},
		{"RSV1 on a continuation", wire{}.frame(true, 0, frame.Text, []byte("a")).frame(false, r1, frame.Text, text[:7]).frame(true, r1, 0, text[7:]), "text 1 \"a\"\n1002"},
		{"RSV1 on a ping", wire{}.frame(true, r1, frame.Text, text).frame(true, r1, frame.Ping, nil), noted + "\n1002"},
		{"RSV2", wire{}.frame(true, r1|frame.RSV2, frame.Text, text), "1002"},
		{"RSV3", wire{}.frame(true, frame.RSV3, frame.Text, text), "1002"},
		{"garbage", wire{}.frame(true, r1, frame.Text, text).frame(true, r1, frame.Binary, []byte("\xff\xff\xff")).frame(true, r1, frame.Text, text).close(), noted + "\n1007"},
		{"cut short", wire{}.frame(true, r1, frame.Text, text[:len(text)-9]).close(), "1007"},
		{"no message", wire{}.frame(true, r1, frame.Text, nil).close(), "1007"},
		{"not UTF-8", wire{}.frame(true, 0, frame.Text, []byte("ok")).frame(true, r1, frame.Text, packed([]byte("\xc3("), 9)).close(), "text 2 \"ok\"\n1007"},
		{"not UTF-8, not compressed", wire{}.frame(true, 0, frame.Text, []byte("\xc3(")).close(), "1007"},
		{"large text", wire{}.frame(false, 0, frame.Text, []byte(strings.Repeat("grün ", 300))).frame(true, 0, frame.Ping, nil).frame(true, 0, 0, []byte(strings.Repeat("naïve ", 900))).close(), "\n4000"},
		{"large text, not UTF-8", wire{}.frame(true, 0, frame.Text, []byte(strings.Repeat("grün ", 900)+"\xff"+strings.Repeat("x", 900))).close(), "1007"},
		{"limit", wire{}.frame(true, r1, frame.Binary, packed(noise(seamLimit), 0)).frame(true, 0, frame.Binary, noise(seamLimit)).close(), "\n4000"},
		{"over the limit, packed", wire{}.frame(true, r1, frame.Binary, packed(noise(seamLimit+1), 0)).close(), "1009"},
		{"over the limit", wire{}.frame(true, r1, frame.Text, text).frame(true, 0, frame.Binary, noise(seamLimit+1))[:len(text)+40], noted + "\n1009"},
		{"over the limit in fragments", wire{}.frame(false, 0, frame.Binary, noise(seamLimit)).frame(true, 0, 0, []byte{1}), "1009"},
		{"over the ratio", wire{}.frame(true, r1, frame.Binary, packed(make([]byte, seamLimit+1), 9)).close(), "1009"},
	}
	return seeds
}

func noise(n int) []byte {
	b := make([]byte, n)
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// However a stream is cut, the same comes of it; the header of a compressed message
// can be cut behind the byte that says so.
func TestCompressSplit(t *testing.T) {
	t.Run("granted", func(t *testing.T) { splitAll(t, 0) })
	t.Run("trickling", func(t *testing.T) { splitAll(t, 1<<40) })
}

// splitAll runs every seed with so many announced bytes outstanding.
func splitAll(t *testing.T, granted int64) {
	s := newSeam(t)
	s.e.granted.Add(granted)
	for _, seed := range inboundSeeds() {
		t.Run(seed.name, func(t *testing.T) {
			whole := s.run(t, "inline", 15, slices.Clone(seed.stream))
			require.True(t, strings.HasSuffix(whole, seed.want), "%.200s\nwant %.200s", whole, seed.want)
			step := 1 + len(seed.stream)/600
			for at := 1; at < len(seed.stream); at += step {
				require.Equal(t, whole, s.run(t, "inline", 15, slices.Clone(seed.stream), at), "cut at %d", at)
			}
			require.Equal(t, whole, s.run(t, "inline", 15, slices.Clone(seed.stream), slices.Repeat([]int{1}, len(seed.stream))...), "byte by byte")
			for _, way := range []string{"pool", "Receive"} {
				// what is received before a violation of the framing may be dropped
				if got := s.run(t, way, 15, slices.Clone(seed.stream)); !strings.HasSuffix(whole, "1002") && !strings.HasSuffix(whole, "1009") {
					require.Equal(t, whole, got, way)
				}
			}
		})
	}
}

// Many frames in random pieces.
func TestCompressSplitRandom(t *testing.T) {
	s := newSeam(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		stream := randomStream(rnd)
		want := s.run(t, "inline", 15, slices.Clone(stream))
		require.True(t, strings.HasSuffix(want, "4000"), want)
		for _, way := range []string{"inline", "pool", "Receive"} {
			var cuts []int
			for left := len(stream); left > 0; left -= cuts[len(cuts)-1] {
				cuts = append(cuts, 1+rnd.IntN(min(left, 1+rnd.IntN(6000))))
			}
			require.Equal(t, want, s.run(t, way, 15, slices.Clone(stream), cuts...), way)
		}
	}
}

func randomStream(rnd *rand.Rand) (w wire) {
	for range 1 + rnd.IntN(60) {
		p, rsv := noise(rnd.IntN(20)), byte(0)
		if rnd.IntN(10) == 0 {
			p = noise(rnd.IntN(6000))
		}
		if rnd.IntN(2) == 0 {
			p, rsv = packed(p, rnd.IntN(10)), r1
		}
		op := frame.Binary
		for rnd.IntN(3) == 0 {
			n := rnd.IntN(len(p) + 1)
			w = w.frame(false, rsv, op, p[:n])
			op, rsv, p = 0, 0, p[n:]
			if rnd.IntN(2) == 0 {
				w = w.frame(true, 0, frame.Ping, p[:min(len(p), 9)])
			}
		}
		w = w.frame(true, rsv, op, p)
	}
	return w.close()
}

// FuzzCompressedInbound: any split of any bytes gives the same events and the same
// code, with compression agreed on and without.
func FuzzCompressedInbound(f *testing.F) {
	for _, seed := range inboundSeeds() {
		if len(seed.stream) < 2000 {
			f.Add([]byte(seed.stream), uint64(1))
		}
	}
	s := newSeam(f)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for _, bits := range []int{15, 0} {
			whole := s.run(t, "inline", bits, slices.Clone(stream))
			var cuts []int
			for left := len(stream); left > 0; left -= cuts[len(cuts)-1] {
				cuts = append(cuts, 1+rnd.IntN(min(left, 40)))
			}
			if got := s.run(t, "inline", bits, slices.Clone(stream), cuts...); got != whole {
				t.Fatalf("bits %d: %q in pieces of %v: %s, otherwise %s", bits, stream, cuts, got, whole)
			}
			for _, way := range []string{"pool", "Receive"} {
				got := s.run(t, way, bits, slices.Clone(stream), cuts...)
				at := strings.LastIndexByte(got, '\n') + 1
				if !strings.HasPrefix(whole, got[:at]) {
					t.Fatalf("%s: %q: %s, otherwise %s", way, stream, got, whole)
				}
			}
		}
	})
}

// The marks do not grow over a connection's life, though no read ends between two
// messages, nor while a peer goes on that has been sent away.
func TestCompressMarksAreBounded(t *testing.T) {
	var m marks
	var want []bool
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 3000 {
		for range rnd.IntN(100) { // a read, the last message of which is not whole
			want = append(want, rnd.IntN(2) == 0)
			m.push(want[len(want)-1])
		}
		for ; len(want) > 1; want = want[1:] {
			require.Equal(t, want[0], m.pop())
		}
		require.LessOrEqual(t, cap(m.list), 512)
	}

	e, err := New(Config{Compress: true}, Endpoint{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Shutdown(context.Background())) }()
	c := &Conn{e: e, sock: &cutSocket{in: slices.Repeat(wire{}.frame(true, 0, frame.Text, nil), 10_000)}, deflateBits: 15}
	c.transport.init(c, e.deflating.rules, nil)
	c.transport.discard()
	require.Nil(t, c.transport.more)
}

// A prepared message is compressed once for each window, shared by all who have
// it, and costs nothing for another peer.
func TestCompressPreparedOnce(t *testing.T) {
	e, err := New(Config{Compress: true}, Endpoint{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Shutdown(context.Background())) }()
	text := bytes.Repeat(inboundText, 3)
	p, err := e.Prepare(frame.Text, text)
	require.NoError(t, err)

	require.Same(t, p.p, p.forPeer(e, 0))
	variants := map[*backpressure.Prepared]bool{}
	for bits := deflate.MinBits; bits <= deflate.MaxBits; bits++ {
		v := p.forPeer(e, bits)
		var same sync.WaitGroup
		for range 4 {
			same.Go(func() {
				if p.With(SendOptions{Key: "k"}).forPeer(e, bits) != v {
					t.Errorf("window %d is compressed twice", bits)
				}
			})
		}
		same.Wait()
		variants[v] = true
		require.Less(t, v.Len(), len(text))
		require.Zero(t, testing.AllocsPerRun(100, func() { p.forPeer(e, bits) }))
	}
	require.Len(t, variants, deflate.MaxBits-deflate.MinBits+1)

	for name, payload := range map[string][]byte{"small": text[:100], "incompressible": noise(1000)} {
		p, err := e.Prepare(frame.Binary, payload)
		require.NoError(t, err)
		require.Same(t, p.p, p.forPeer(e, 15), name)
	}
}

// What was received and what was inflated last are not counted, nor kept, after
// the end of a connection whose messages are received by whoever comes.
func TestCompressReceiveAfterTheEnd(t *testing.T) {
	e, err := New(Config{Compress: true, CountBuffers: true}, Endpoint{})
	require.NoError(t, err)
	ended, begun := make(chan *Conn, 1), make(chan *Conn, 1)
	ep := e.newEndpoint(Endpoint{Handler: Handler{
		OnOpen:  func(_ context.Context, c *Conn) error { begun <- c; return nil },
		OnClose: func(c *Conn, _ *CloseError) { ended <- c },
	}})
	text := packed(inboundText, 9)
	stream := wire{}.frame(true, r1, frame.Text, text).frame(true, r1, frame.Text, text).frame(true, r1, frame.Text, text)
	for _, again := range []bool{false, true} {
		_ = e.admission.enter(&Scope{})
		e.start(ep, &cutSocket{in: slices.Clone(stream)}, 15, nil, []byte(preface), &Scope{lines: "Cut\n\n", host: "h"})
		c := <-begun
		m, err := c.Receive(t.Context())
		require.NoError(t, err)
		c.abort(&CloseError{Code: frame.CloseAbnormal})
		<-ended
		deadline := time.Now().Add(10 * time.Second)
		for e.Stats().BudgetUsed != 0 || e.Stats().Buffers != 0 {
			require.True(t, time.Now().Before(deadline), "%+v", e.Stats())
			time.Sleep(time.Millisecond)
		}
		other := e.pool.Get(1 << 10)
		copy(other.B[:1<<10], bytes.Repeat([]byte{'x'}, 1<<10))
		require.Equal(t, inboundText, m.Data, "it may be read until the next Receive")
		e.pool.Put(other)
		if again {
			m, err = c.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, inboundText, m.Data)
			for err == nil {
				_, err = c.Receive(t.Context())
			}
		}
		require.Zero(t, e.Stats().BudgetUsed)
		require.Zero(t, e.Stats().Buffers)
	}
	require.NoError(t, e.Shutdown(t.Context()))
}
