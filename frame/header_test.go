package frame_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// headerRows are headers and their only encoding; they also seed FuzzParseHeader.
var headerRows = []struct {
	section string
	h       frame.Header
	wire    []byte
}{
	{"5.7", head(true, frame.Text, 5), raw(0x81, 5)},
	{"5.7", masked(head(true, frame.Text, 5), 0x37, 0xfa, 0x21, 0x3d), raw(0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d)},
	{"5.7", head(false, frame.Text, 3), raw(0x01, 3)},
	{"5.7", head(true, frame.Continuation, 2), raw(0x80, 2)},
	{"5.7", head(true, frame.Ping, 5), raw(0x89, 5)},
	{"5.7", masked(head(true, frame.Pong, 5), 1, 2, 3, 4), raw(0x8a, 0x85, 1, 2, 3, 4)},
	{"5.7", head(true, frame.Binary, 256), raw(0x82, 0x7e, 1, 0)},
	{"5.7", head(true, frame.Binary, 65536), raw(0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0)},
	{"5.2", head(true, frame.Binary, 0), raw(0x82, 0)},
	{"5.2", head(true, frame.Binary, 125), raw(0x82, 125)},
	{"5.2", head(true, frame.Binary, 126), raw(0x82, 126, 0, 126)},
	{"5.2", head(true, frame.Binary, 127), raw(0x82, 126, 0, 127)},
	{"5.2", head(true, frame.Binary, 65535), raw(0x82, 126, 0xff, 0xff)},
	{"5.2", head(true, frame.Binary, 1<<31), raw(0x82, 127, 0, 0, 0, 0, 0x80, 0, 0, 0)},
	{"5.2", masked(head(true, frame.Binary, math.MaxInt64), 0, 0, 0, 0), raw(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)},
	{"5.2", frame.Header{Fin: true, RSV: frame.RSV1 | frame.RSV2 | frame.RSV3, Opcode: 0xf}, raw(0xff, 0)},
	{"RFC 7692 6", frame.Header{RSV: frame.RSV1, Opcode: frame.Binary, Length: 1}, raw(0x42, 1)},
}

func TestHeader(t *testing.T) {
	for _, row := range headerRows {
		t.Run(fmt.Sprintf("%s %x", row.section, row.wire), func(t *testing.T) {
			wire := frame.AppendHeader([]byte("before"), row.h)
			assert.Equal(t, cat([]byte("before"), row.wire), wire)
			assert.Equal(t, len(row.wire), row.h.Size())

			for n := range row.wire {
				h, size, err := frame.ParseHeader(row.wire[:n])
				require.NoError(t, err)
				require.Zero(t, size, "%d bytes are not enough", n)
				require.Zero(t, h)
			}
			h, size, err := frame.ParseHeader(cat(row.wire, []byte("payload")))
			require.NoError(t, err)
			assert.Equal(t, len(row.wire), size)
			assert.Equal(t, row.h, h)
		})
	}
}

// badHeaders are refused at the byte with offset decided (RFC 6455 §5.2).
var badHeaders = []struct {
	wire    []byte
	decided int
	err     *frame.Error
}{
	{raw(0x82, 126, 0, 0), 3, frame.ErrLengthNotMinimal},
	{raw(0x82, 126, 0, 125), 3, frame.ErrLengthNotMinimal},
	{raw(0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), 7, frame.ErrLengthNotMinimal},
	{raw(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4), 7, frame.ErrLengthNotMinimal},
	{raw(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0), 2, frame.ErrLengthTopBit},
	{raw(0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4), 2, frame.ErrLengthTopBit},
}

func TestParseHeaderRefuses(t *testing.T) {
	for _, row := range badHeaders {
		for n := range len(row.wire) + 1 {
			h, size, err := frame.ParseHeader(row.wire[:n])
			require.Zero(t, h)
			require.Zero(t, size)
			if n <= row.decided {
				require.NoError(t, err, "%x", row.wire[:n])
			} else {
				require.Same(t, row.err, err, "%x", row.wire[:n])
			}
		}
	}
}

func TestNegativeLengthIsRefused(t *testing.T) {
	for _, length := range []int64{-1, math.MinInt64} {
		h := head(true, frame.Binary, length)
		wire := frame.AppendHeader(nil, h)
		assert.Len(t, wire, h.Size())
		_, _, err := frame.ParseHeader(wire)
		assert.Same(t, frame.ErrLengthTopBit, err)
	}
}

func TestAppendHeaderKeepsToItsBits(t *testing.T) {
	wire := frame.AppendHeader(nil, frame.Header{RSV: 0xff, Opcode: 0xff})
	assert.Equal(t, raw(0x7f, 0), wire)
}

func TestAppendHeaderAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, frame.MaxHeaderSize)
	h := masked(head(true, frame.Binary, 1<<40), 1, 2, 3, 4)
	assert.Zero(t, testing.AllocsPerRun(100, func() { dst = frame.AppendHeader(dst[:0], h) }))
	assert.Len(t, dst, frame.MaxHeaderSize)
}

func FuzzParseHeader(f *testing.F) {
	for _, row := range headerRows {
		f.Add(row.wire)
	}
	for _, row := range badHeaders {
		f.Add(row.wire)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := frame.ParseHeader(b)
		if n == 0 || err != nil {
			require.Zero(t, h)
			require.Zero(t, n)
			if err == nil {
				require.Less(t, len(b), frame.MaxHeaderSize, "there is enough for every header")
			}
			return
		}
		require.Equal(t, n, h.Size())
		require.GreaterOrEqual(t, h.Length, int64(0))
		require.Equal(t, b[:n], frame.AppendHeader(nil, h), "every header has one encoding")
	})
}

func TestMask(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	r := rand.New(rand.NewPCG(1, 2))
	for length := range 140 {
		for pos := range 9 {
			plain := make([]byte, length)
			for i := range plain {
				plain[i] = byte(r.Uint32())
			}
			want := make([]byte, length)
			for i, c := range plain {
				want[i] = c ^ key[(pos+i)%4]
			}
			// Room around it must stay untouched, at any alignment.
			room := cat(raw(1, 2, 3)[:length%4], plain, raw(4, 5, 6, 7, 8, 9, 10, 11))
			got := room[length%4:][:length]
			next := frame.Mask(got, key, pos)
			require.Equal(t, want, got, "length %d, pos %d", length, pos)
			require.Equal(t, (pos+length)%4, next)
			require.Equal(t, raw(4, 5, 6, 7, 8, 9, 10, 11), room[length%4+length:])
			require.Equal(t, raw(1, 2, 3)[:length%4], room[:length%4])
		}
	}
}

func TestMaskInPieces(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	whole := bytes.Repeat([]byte("penstock"), 20)
	want := bytes.Clone(whole)
	frame.Mask(want, key, 0)
	r := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		got, pos := bytes.Clone(whole), 0
		for rest := got; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			pos = frame.Mask(rest[:n], key, pos)
			rest = rest[n:]
		}
		require.Equal(t, want, got)
	}
}

func TestOpcode(t *testing.T) {
	for o := range frame.Opcode(16) {
		assert.Equal(t, o == 8 || o == 9 || o == 10, o.IsControl(), "%v", o)
		assert.Equal(t, o <= 2, o.IsData(), "%v", o)
	}
	assert.Equal(t, "continuation text binary close ping pong opcode 0xb",
		fmt.Sprint(frame.Continuation, " ", frame.Text, " ", frame.Binary, " ", frame.Close, " ", frame.Ping, " ", frame.Pong, " ", frame.Opcode(11)))
}
