package deflate_test

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// inflations are messages as they stand in frames; they also seed FuzzInflate.
var inflations = []struct {
	section, name string
	src           string
	want          string
	err           error
}{
	{"7692 7.2.3.1", "one block", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello", nil},
	{"7692 7.2.3.1", "in two frames", "\xf2\x48\xcd" + "\xc9\xc9\x07\x00", "Hello", nil},
	{"7692 7.2.3.2", "refers to the message before", "\xf2\x00\x11\x00\x00", "", deflate.ErrCorrupt},
	{"7692 7.2.3.3", "no compression", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello", nil},
	{"7692 7.2.3.4", "BFINAL", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello", nil},
	{"7692 7.2.3.5", "two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello", nil},
	{"7692 7.2.3.6", "empty", "\x00", "", nil},

	{"7692 7.2.1", "empty, by a fixed block", "\x02\x00", "", nil},
	{"7692 7.2.1", "several empty blocks", "\x00\x00\x00\xff\xff\x00\x00\x00\xff\xff\x00", "", nil},
	{"7692 7.2.1", "BFINAL, stored", "\x01\x05\x00\xfa\xffHello\x00", "Hello", nil},
	{"7692 7.2.1", "BFINAL, then a block", "\xf3\x48\xcd\xc9\xc9\x07\x00" + "\xf2\x48\xcd\xc9\xc9\x07\x00", "HelloHello", nil},
	{"7692 7.2.1", "BFINAL twice", "\xf3\x48\xcd\xc9\xc9\x07\x00" + "\xf3\x48\xcd\xc9\xc9\x07\x00" + "\x00", "HelloHello", nil},
	{"7692 7.2.1", "BFINAL, empty, many", strings.Repeat("\x03\x00", 1000) + "\x00", "", nil},
	{"7692 7.2.1", "BFINAL, then a reference to before", "\xf3\x48\xcd\xc9\xc9\x07\x00" + "\xf2\x00\x11\x00\x00", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "data that ends like a flush", "\x00\x05\x00\xfa\xffa\x00\x00\xff\xff\x00", "a" + tail, nil},
	{"7692 7.2.1", "BFINAL data that ends like a flush", "\x01\x05\x00\xfa\xffa\x00\x00\xff\xff\x00", "a" + tail, nil},

	{"7692 7.2.3.6", "not even a header", "", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "tail not cut off", "\xf2\x48\xcd\xc9\xc9\x07\x00" + tail, "", deflate.ErrCorrupt},
	{"7692 7.2.1", "BFINAL without the last octet", "\xf3\x48\xcd\xc9\xc9\x07\x00", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "four bytes of data missing", "\x00\x05\x00\xfa\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "BFINAL, four bytes of data missing", "\x01\x05\x00\xfa\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "nine bytes of data missing", "\x00\x0a\x00\xf5\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "BFINAL, nine bytes of data missing", "\x01\x0a\x00\xf5\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "six bytes of data missing", "\x00\x07\x00\xf8\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "BFINAL, six bytes of data missing", "\x01\x07\x00\xf8\xffH", "", deflate.ErrCorrupt},
	{"7692 7.2.1", "data that ends like our own end", "\x00\x05\x00\xfa\xffa\x02\x00\xfd\xff\x00", "a\x02\x00\xfd\xff", nil},
	{"7692 7.2.1", "data that ends like all of our own end", "\x00\x09\x00\xf6\xffa\x02\x00\xfd\xff\xff\xff\x03\x00\x00", "a\x02\x00\xfd\xff\xff\xff\x03\x00", nil},
	{"7692 7.2.1", "data that ends like our mark", "\x00\x03\x00\xfc\xffa\xff\xff\x00", "a\xff\xff", nil},
	{"1951 3.2.3", "reserved block type", "\x06\x00", "", deflate.ErrCorrupt},
	{"1951 3.2.4", "length and its complement differ", "\x00\x05\x00\xfb\xffHello\x00", "", deflate.ErrCorrupt},
	{"1951 3.2.5", "distance before the beginning", "\x02\x20\x00\x00", "", deflate.ErrCorrupt},
	{"1951 3.2.7", "bad tables", "\xfc\xff\xff\xff\xff\xff\xff\xff", "", deflate.ErrCorrupt},
	{"1952 2.2", "gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xf2\x48\xcd\xc9\xc9\x07\x00", "", deflate.ErrCorrupt},
	{"1950 2.2", "zlib", "\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00", "", deflate.ErrCorrupt},
	{"6455 8.1", "plain text", "Hello, world! Nothing here is compressed.", "", deflate.ErrCorrupt},
}

func TestInflate(t *testing.T) {
	for _, row := range inflations {
		t.Run(row.section+"/"+row.name, func(t *testing.T) {
			src := []byte(row.src)
			for _, dst := range [][]byte{nil, []byte("before"), make([]byte, 3, 1000)} {
				b, err := deflate.Inflate(dst, src, mib, 0, nil)
				require.ErrorIs(t, err, row.err)
				assert.Equal(t, string(dst)+row.want, string(b))
			}
			assert.Equal(t, row.src, string(src), "it is only read")
		})
	}
}

// What an inflater has seen before is out of reach for the next message, also
// after errors.
func TestInflateStartsAfresh(t *testing.T) {
	for range 20 {
		inflate(t, deflate.AppendMessage(nil, text(100*kib), 6, 15))
		_, err := deflate.Inflate(nil, []byte("\xf2\x00\x11\x00\x00"), mib, 0, nil)
		require.ErrorIs(t, err, deflate.ErrCorrupt)
		require.Equal(t, "Hello", string(inflate(t, []byte(inflations[0].src))))
	}
}

// The errors are those of frame's table, with their close codes.
func TestErrorsCarryCloseCodes(t *testing.T) {
	var e *frame.Error
	require.ErrorAs(t, deflate.ErrTooBig, &e)
	assert.Equal(t, frame.CloseMessageTooBig, e.Code)
	require.ErrorAs(t, deflate.ErrCorrupt, &e)
	assert.Equal(t, frame.CloseInvalidPayload, e.Code)
	assert.False(t, errors.As(deflate.ErrNoMemory, &e), "not the peer's fault")
}

func TestInflateLimit(t *testing.T) {
	for _, n := range []int{1, 2, 100, 511, 512, 513, 4096, 32767, 32768, 32769, 100_000} {
		for _, payload := range [][]byte{text(n), make([]byte, n), random(n)} {
			src := deflate.AppendMessage(nil, payload, 6, 15)
			for _, dst := range [][]byte{nil, []byte("before"), make([]byte, 0, n), make([]byte, 2, 10*n)} {
				for _, limit := range []int{-1, 0, n / 2, n - 1} {
					b, err := deflate.Inflate(dst, src, limit, 0, nil)
					require.ErrorIs(t, err, deflate.ErrTooBig, "%d of %d", limit, n)
					require.Equal(t, string(dst), string(b))
				}
				for _, limit := range []int{n, n + 1, math.MaxInt} {
					b, err := deflate.Inflate(dst, src, limit, 0, nil)
					require.NoError(t, err, "%d of %d", limit, n)
					require.Equal(t, string(dst)+string(payload), string(b))
				}
			}
		}
	}
	b, err := deflate.Inflate(nil, []byte{0}, 0, 0, nil)
	require.NoError(t, err, "an empty message always fits")
	assert.Empty(t, b)
}

func TestInflateRatio(t *testing.T) {
	const grace = 4 * kib
	for _, n := range []int{grace, 10_000, mib} {
		src := deflate.AppendMessage(nil, make([]byte, n), 6, 15)
		exact := (n - grace + len(src) - 1) / len(src) // the least ratio that allows n
		for _, ratio := range []int{0, -1, exact, exact + 1, math.MaxInt} {
			if ratio == 0 && exact > 0 || ratio != 0 {
				_, err := deflate.Inflate(nil, src, mib, ratio, nil)
				require.NoError(t, err, "%d bytes, ratio %d", n, ratio)
			}
		}
		if exact > 1 {
			_, err := deflate.Inflate(nil, src, mib, exact-1, nil)
			require.ErrorIs(t, err, deflate.ErrTooBig, "%d bytes, ratio %d", n, exact-1)
		}
	}
	// To the byte.
	stored := func(n int) []byte { return deflate.AppendMessage(nil, make([]byte, n), -2, 15) }
	for n := grace; n < grace+2000; n++ {
		src := stored(n)
		_, err := deflate.Inflate(nil, src, mib, 1, nil)
		require.Equal(t, n <= grace+len(src), err == nil, "%d bytes out of %d", n, len(src))
	}
	// The smaller of both counts.
	src := stored(grace)
	_, err := deflate.Inflate(nil, src, grace-1, 1, nil)
	require.ErrorIs(t, err, deflate.ErrTooBig)
}

// meter gives memory in steps and remembers how much.
type meter struct {
	calls, most int
	refuse      int // calls after which it refuses
	slack       int // bytes more than asked, as size classes give
	less        bool
}

func (m *meter) grow(old []byte, need int) []byte {
	m.calls++
	if m.refuse > 0 && m.calls >= m.refuse {
		return nil
	}
	if m.less {
		need = len(old) + 1
	}
	m.most = max(m.most, need)
	return append(make([]byte, 0, need+m.slack), old...)
}

// A gigabyte of zeros costs the limit, and stops there.
func TestInflateBomb(t *testing.T) {
	w := deflate.NewWriter(9, 15)
	part := w.Flush(w.Append(nil, make([]byte, mib)))
	w.Close()
	bomb := append(bytes.Repeat(part, 1024), 0)
	require.Less(t, len(bomb), 2*mib)
	for _, row := range []struct{ limit, ratio, most int }{{mib, 0, mib}, {100 * mib, 10, 10*len(bomb) + 4*kib}, {10 * mib, 20, 10 * mib}, {1, 0, 1}, {0, 0, 0}} {
		m := meter{}
		b, err := deflate.Inflate(nil, bomb, row.limit, row.ratio, m.grow)
		require.ErrorIs(t, err, deflate.ErrTooBig)
		assert.Empty(t, b)
		assert.Equal(t, row.most, m.most, "memory asked for, at most")
		assert.LessOrEqual(t, m.calls, 12)
	}
}

func TestInflateGrow(t *testing.T) {
	payload := text(100_000)
	src := deflate.AppendMessage(nil, payload, 6, 15)

	m := meter{}
	b, err := deflate.Inflate(nil, src, mib, 0, m.grow)
	require.NoError(t, err)
	assert.Equal(t, string(payload), string(b))
	assert.LessOrEqual(t, m.most, max(2*len(payload), len(payload)+len(src)), "in proportion to what has come")

	m = meter{slack: 999}
	_, err = deflate.Inflate(nil, src, len(payload), 0, m.grow)
	require.NoError(t, err)
	assert.Equal(t, len(payload), m.most, "never more than the limit")

	m = meter{slack: 999}
	_, err = deflate.Inflate(nil, src, len(payload)-1, 0, m.grow)
	require.ErrorIs(t, err, deflate.ErrTooBig, "room over the limit does not lift it")

	short := text(3000)
	m = meter{less: true}
	b, err = deflate.Inflate(nil, deflate.AppendMessage(nil, short, 6, 15), mib, 0, m.grow)
	require.NoError(t, err, "less than asked will do")
	assert.Equal(t, string(short), string(b))
	assert.Equal(t, len(short), m.calls)

	m = meter{}
	b, err = deflate.Inflate(make([]byte, 0, len(payload)), src, mib, 0, m.grow)
	require.NoError(t, err)
	assert.Zero(t, m.calls, "dst has room for exactly the message")
	assert.Len(t, b, len(payload))

	before := make([]byte, 2*len(payload), 3*len(payload))
	b, err = deflate.Inflate(before, src, len(payload), 0, m.grow)
	require.NoError(t, err)
	assert.Zero(t, m.calls, "what is in dst does not count")
	assert.Len(t, b, 3*len(payload))

	_, err = deflate.Inflate(nil, []byte{0}, mib, 0, m.grow)
	require.NoError(t, err)
	assert.Zero(t, m.calls, "an empty message needs no room")
}

func TestInflateRefused(t *testing.T) {
	src := deflate.AppendMessage(nil, text(100_000), 6, 15)
	for refuse := 1; refuse <= 3; refuse++ {
		m := meter{refuse: refuse}
		b, err := deflate.Inflate([]byte("before"), src, mib, 0, m.grow)
		require.ErrorIs(t, err, deflate.ErrNoMemory)
		assert.Equal(t, "before", string(b))
		assert.Equal(t, refuse, m.calls, "refused once, it does not ask again")
	}
	_, err := deflate.Inflate(nil, src, mib, 0, func(old []byte, _ int) []byte { return old })
	require.ErrorIs(t, err, deflate.ErrNoMemory, "no more room than before is a refusal")
}

// On an error, dst is in the last memory that Grow has given, so that its
// owner can give it back.
func TestInflateReturnsTheMemory(t *testing.T) {
	src := deflate.AppendMessage(nil, text(100_000), 6, 15)
	var last []byte
	b, err := deflate.Inflate([]byte("before"), src[:len(src)/2], mib, 0, func(old []byte, need int) []byte {
		last = append(make([]byte, 0, need), old...)
		return last
	})
	require.ErrorIs(t, err, deflate.ErrCorrupt)
	assert.Same(t, &last[0], &b[0])
	assert.Equal(t, "before", string(b))
}

func TestInflateTruncated(t *testing.T) {
	messages := map[string][]byte{
		"text":      deflate.AppendMessage(nil, text(1500), 6, 15),
		"large":     deflate.AppendMessage(nil, text(3*kib), 9, 15),
		"small":     []byte(inflations[0].src),
		"stored":    deflate.AppendMessage(nil, random(300), 0, 15),
		"huffman":   deflate.AppendMessage(nil, text(300), -2, 15),
		"two":       []byte("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
		"BFINAL":    []byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
		"zeros":     deflate.AppendMessage(nil, make([]byte, 100_000), 6, 15),
		"like tail": deflate.AppendMessage(nil, bytes.Repeat([]byte(tail+"ab"), 20), 0, 15),
	}
	for name, src := range messages {
		inflate(t, src)
		for n := range src {
			_, err := deflate.Inflate(nil, src[:n], mib, 0, nil)
			require.Equal(t, whole(src[:n]), err == nil, "%s, cut at %d", name, n) // whole: what is left is a message, too
			if err != nil {
				require.ErrorIs(t, err, deflate.ErrCorrupt)
			}
		}
	}
}

// Cut anywhere, text is all but never taken for a message: with 00 00 ff ff
// appended, one in 20000 of these would be.
func TestInflateTruncatedText(t *testing.T) {
	for n := range 400 {
		src := deflate.AppendMessage(nil, text(100+5*n), 1+n%9, 15)
		for cut := range src {
			_, err := deflate.Inflate(nil, src[:cut], mib, 0, nil)
			if err == nil {
				require.True(t, whole(src[:cut]), "%d bytes, cut at %d", 100+5*n, cut)
			}
		}
	}
}

// However many bytes a stored block lacks, nothing that we append gets into it.
func TestInflateStoredTooShort(t *testing.T) {
	for _, final := range []byte{0, 1} {
		for missing := range 300 {
			for have := range 5 {
				n := byte(have + missing)
				high := byte((have + missing) >> 8)
				src := append([]byte{final, n, high, ^n, ^high}, "Hello"[:have]...)
				_, err := deflate.Inflate(nil, src, mib, 0, nil)
				require.ErrorIs(t, err, deflate.ErrCorrupt, "BFINAL %d, %d there, %d missing", final, have, missing)
			}
		}
	}
}

// After BFINAL any kind of block may follow, at the next byte (RFC 7692 §7.2.1).
func TestInflateFinalBlocks(t *testing.T) {
	for name, payload := range payloads() {
		for _, level := range []int{-2, 0, 9} {
			var src bytes.Buffer
			var want []byte
			for range 3 {
				w, err := stdflate.NewWriter(&src, level)
				require.NoError(t, err)
				_, _ = w.Write(payload)
				require.NoError(t, w.Close())
				want = append(want, payload...)
			}
			whole := append(bytes.Clone(src.Bytes()), 0)
			require.True(t, bytes.Equal(want, inflate(t, whole)), "%s, level %d", name, level)
			mixed := deflate.AppendMessage(bytes.Clone(src.Bytes()), payload, level, 15)
			require.True(t, bytes.Equal(append(want, payload...), inflate(t, mixed)), "%s, level %d", name, level)
			_, err := deflate.Inflate(nil, whole, len(want)-1, 0, nil)
			if len(want) > 0 {
				require.ErrorIs(t, err, deflate.ErrTooBig, "one limit for all")
			}
		}
	}
}

// A stream's end is found also where it coincides with that of the input's buffer.
func TestInflateFinalBlockAtAnyPlace(t *testing.T) {
	for n := 4000; n < 8300; n++ {
		src := []byte{1, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
		src = append(src, make([]byte, n)...)
		src = append(src, inflations[0].src...)
		b, err := deflate.Inflate(nil, src, mib, 0, nil)
		require.NoError(t, err, "%d bytes", n)
		require.Len(t, b, n+5)
	}
}

// Go's own compressor, as a foreign peer.
func TestInflateStandard(t *testing.T) {
	for name, payload := range payloads() {
		for _, level := range []int{-2, 0, 1, 2, 6, 9} {
			var src bytes.Buffer
			w, err := stdflate.NewWriter(&src, level)
			require.NoError(t, err)
			for rest := payload; len(rest) > 0; {
				n := min(len(rest), 1+len(payload)/3)
				_, _ = w.Write(rest[:n])
				require.NoError(t, w.Flush())
				rest = rest[n:]
			}
			require.NoError(t, w.Flush())
			require.True(t, bytes.Equal(payload, inflate(t, src.Bytes()[:src.Len()-4])), "%s, level %d", name, level)
		}
	}
}

// What an inflater has read before has no part in what it makes of a message: not the
// code tables either, of which a block without distance codes has none. This one uses
// some all the same.
func TestInflateForgetsTables(t *testing.T) {
	src := []byte("}\xcdI\n\xc20\x14\x00\xd0\x9e\xe5\xafc0\xf9S\x9a\xdb\x84X)8\x00I\xebF9{](\xa5A\xeab\x1e" +
		"100000,08700000000000000000,0800000\xd1.80000\xc1\xfb0")
	for name, payload := range payloads() {
		for _, level := range []int{-2, 1, 6, 9} {
			inflate(t, deflate.AppendMessage(nil, payload, level, 15))
			_, err := deflate.Inflate(nil, src, mib, 0, nil)
			require.ErrorIs(t, err, deflate.ErrCorrupt, "after %s, level %d", name, level)
		}
	}
}

// Nothing of random bytes may get past the limit or out of the errors' list.
func FuzzInflate(f *testing.F) {
	for _, row := range inflations {
		f.Add([]byte(row.src), 1000, 0)
	}
	for _, p := range payloads() {
		if len(p) < 2000 {
			f.Add(deflate.AppendMessage(nil, p, 6, 15), 500, 3)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, limit, ratio int) {
		limit %= 100_000
		m := meter{}
		b, err := deflate.Inflate([]byte("before"), src, limit, ratio, m.grow)
		require.Equal(t, "before", string(b[:6]))
		require.LessOrEqual(t, m.most, 6+max(0, limit))
		if err != nil {
			require.Len(t, b, 6)
			require.True(t, errors.Is(err, deflate.ErrTooBig) || errors.Is(err, deflate.ErrCorrupt))
			return
		}
		b = b[6:]
		require.LessOrEqual(t, len(b), max(0, limit))
		if ratio > 0 && ratio < 1<<20 {
			require.LessOrEqual(t, len(b), ratio*len(src)+4*kib)
		}
		p := puff{in: append(bytes.Clone(src), tail...)}
		require.NoError(t, p.run())
		require.Equal(t, string(p.out), string(b))
	})
}
