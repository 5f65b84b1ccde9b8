package engine

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

const seamLimit = 8 << 10

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
		{"close reason not UTF-8", wire{}.frame(true, 0, frame.Close, []byte("\x03\xe8gr\xc3")), "1007"},
		{"close reason not UTF-8, nor its code legal", wire{}.frame(true, 0, frame.Close, []byte("\x03\xedgr\xc3")), "1007"},
		{"large text, not UTF-8, in a fragment", wire{}.frame(false, 0, frame.Text, []byte(strings.Repeat("grün ", 900)+"\xff")).frame(true, 0, frame.Ping, nil), "1007"},
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
	s := newSeam(t, seamLimit, granted)
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
	c.transport.init(c, e.server.deflating, nil)
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
		e.start(ep, beginning{sock: &cutSocket{in: slices.Clone(stream)}, deflateBits: 15, response: []byte(preface), scope: scopeOf("Cut\n\n")})
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
