package bench

import (
	"math/rand/v2"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

func newTestFlow(e Echo) (*flow, *recorder) {
	g := e.mixed().withDefaults().Groups[0]
	w := newWindow()
	w.open(0)
	rec := newRecorder(w, time.Second, 1)
	rec.at(1)
	return newFlow(newSource(g, 1, g.pattern()), true, g.rules()), rec
}

// echoServer answers the frames in out as an echo server would, some of them cut
// into fragments with a ping in between.
type echoServer struct {
	t       *testing.T
	scanner frame.Scanner
	header  frame.Header
	payload []byte
	pongs   int
	closed  bool
}

func newEchoServer(t *testing.T) *echoServer {
	return &echoServer{t: t, scanner: frame.NewScanner(&frame.Rules{ExpectMask: true})}
}

// take reads what a client wrote and appends the answer to dst.
func (s *echoServer) take(b, dst []byte) []byte {
	for len(b) > 0 {
		if left := s.scanner.Remaining(); left > 0 {
			n := int(min(left, int64(len(b))))
			s.payload = append(s.payload, b[:n]...)
			s.scanner.Skip(int64(n))
			b = b[n:]
		} else {
			h, n, ok, err := s.scanner.Next(b)
			require.NoError(s.t, err)
			b = b[n:]
			if !ok {
				continue
			}
			s.header, s.payload = h, s.payload[:0]
		}
		if s.scanner.AtBoundary() {
			frame.Mask(s.payload, s.header.Mask, 0)
			dst = s.answer(dst)
		}
	}
	return dst
}

func (s *echoServer) answer(dst []byte) []byte {
	put := func(op frame.Opcode, fin bool, payload []byte) {
		dst = frame.AppendHeader(dst, frame.Header{Fin: fin, Opcode: op, Length: int64(len(payload))})
		dst = append(dst, payload...)
	}
	switch s.header.Opcode {
	case frame.Pong:
		require.Equal(s.t, "hello", string(s.payload))
		s.pongs++
	case frame.Close:
		s.closed = true
		put(frame.Close, true, s.payload)
	default:
		if s.header.Opcode == frame.Text {
			require.True(s.t, utf8.Valid(s.payload))
		}
		cut := rand.IntN(len(s.payload) + 1)
		put(s.header.Opcode, false, s.payload[:cut])
		put(frame.Ping, true, []byte("hello"))
		put(frame.Continuation, true, s.payload[cut:])
	}
	return dst
}

// However the bytes are split in both directions, every reply is recognised,
// the ring never overtakes itself, pongs go out, and the end is orderly.
func TestFlowInAnySplit(t *testing.T) {
	for _, e := range []Echo{
		{InFlight: 1, PayloadBytes: 1}, {InFlight: 5, PayloadBytes: 7, Text: true}, {InFlight: 3, PayloadBytes: 8},
		{InFlight: 32, PayloadBytes: 128}, {InFlight: 2, PayloadBytes: 70_000, Text: true},
	} {
		f, rec := newTestFlow(e)
		server := newEchoServer(t)
		var replies []byte
		for now := int64(1); f.stage != stageClosed; now++ {
			f.refill(now)
			if f.done > 500 {
				f.drain(rec)
			}
			require.LessOrEqual(t, f.next-f.done, f.slots)
			a, _ := f.pending()
			n := rand.IntN(len(a) + 1)
			replies = server.take(a[:n], replies)
			read := rand.IntN(len(replies) + 1)
			if now%2 == 0 { // replies overtake the news of the write
				require.Nil(t, f.input(replies[:read], now, rec))
				f.refill(now)
				f.wrote(n)
			} else {
				f.wrote(n)
				require.Nil(t, f.input(replies[:read], now, rec))
			}
			replies = replies[read:]
		}
		require.True(t, server.closed)
		require.Positive(t, server.pongs)
		require.Equal(t, f.done, f.next)
		require.Equal(t, int64(f.done), rec.groups[0].latency.TotalCount())
	}
}

// A message costs no allocation.
func TestFlowAllocatesNothing(t *testing.T) {
	f, rec := newTestFlow(Echo{InFlight: 32})
	reply := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Length: 128})
	head := len(reply)
	reply = append(reply, f.pattern...)
	f.refill(1)
	allocs := testing.AllocsPerRun(1000, func() {
		number := spelled(f.base + f.done)
		copy(reply[head:], number[:])
		if fail := f.input(reply, 2, rec); fail != nil {
			t.Fatal(fail.text)
		}
		f.refill(2)
		a, b := f.pending()
		f.wrote(len(a))
		f.wrote(len(b))
	})
	require.Zero(t, allocs)
}

// Whatever a server sends, it cannot do worse than fail its connection, and
// what is left to write stays within what the flow owns.
func FuzzFlowInput(f *testing.F) {
	f.Add([]byte{0x82, 0}, []byte{0x89, 1, 'x'})
	f.Add([]byte{0x02, 1, 'x', 0x80, 127, 0}, []byte{0, 0, 0, 0, 0, 0, 200})
	f.Add([]byte{0x88, 2, 3, 0xe8}, []byte{0x81, 126, 0, 128})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		flow, rec := newTestFlow(Echo{InFlight: 2, PayloadBytes: 20})
		flow.refill(1)
		if flow.input(one, 2, rec) == nil && flow.stage != stageClosed {
			flow.refill(2)
			_ = flow.input(two, 3, rec)
			flow.refill(3)
		}
		a, b := flow.pending()
		require.LessOrEqual(t, len(a)+len(b), len(flow.ring)+len(flow.control.frames))
	})
}

func BenchmarkFlow(b *testing.B) {
	f, rec := newTestFlow(Echo{InFlight: 32})
	reply := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Length: 128})
	head := len(reply)
	reply = append(reply, f.pattern...)
	f.refill(1)
	b.ReportAllocs()
	for b.Loop() {
		number := spelled(f.base + f.done)
		copy(reply[head:], number[:])
		if fail := f.input(reply, 2, rec); fail != nil {
			b.Fatal(fail.text)
		}
		f.refill(2)
	}
}

func TestNumber(t *testing.T) {
	for range 1000 {
		n := rand.Uint64() & (1<<48 - 1)
		s := spelled(n)
		require.True(t, utf8.Valid(s[:]))
		for digits := 1; digits <= numberBytes; digits++ {
			got, ok := unspell(s, digits)
			require.True(t, ok)
			require.Equal(t, n&(1<<(6*digits)-1), got)
			require.Zero(t, numberGap(got, n, digits))
			require.Equal(t, int64(3), numberGap(got+3, n, digits))
			require.Equal(t, int64(-3), numberGap(got-3, n, digits))
		}
	}
	_, ok := unspell([numberBytes]byte{'0', '/'}, 2)
	require.False(t, ok)
	_, ok = unspell([numberBytes]byte{'p'}, 1)
	require.False(t, ok)
}

// Two connections' messages differ, so that a server that mixes them up is caught.
func TestFlowsDiffer(t *testing.T) {
	a, _ := newTestFlow(Echo{})
	b, _ := newTestFlow(Echo{})
	require.NotEqual(t, a.base, b.base)
}
