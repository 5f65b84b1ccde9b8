package deflate_test

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame/deflate"
)

const (
	kib  = 1 << 10
	mib  = 1 << 20
	tail = "\x00\x00\xff\xff"
)

func random(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// text is n bytes that compress about as JSON does.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":%d,"name":"user-%d","active":%t,"score":%.3f},`, r.IntN(1e6), r.IntN(500), r.IntN(2) == 0, r.Float64())
	}
	return b.Bytes()[:n]
}

// payloads are of every kind; they also seed the fuzzers.
func payloads() map[string][]byte {
	return map[string][]byte{
		"empty": {}, "one": {'x'}, "Hello": []byte("Hello"), "32": text(32), "33": text(33), "127": text(127), "128": text(128),
		"text 1K": text(kib), "text 40K": text(40 * kib), "text 150K": text(150 * kib),
		"random 100": random(100), "random 70K": random(70 * kib),
		"zeros 65535": make([]byte, 65535), "zeros 65536": make([]byte, 65536), "zeros 300K": make([]byte, 300*kib),
		"ends like a flush": append(text(300), tail...), "is a tail": []byte(tail), "random, ends like a flush": append(random(100), tail...),
		"period 200": bytes.Repeat(random(200), 500), "period 300": bytes.Repeat(random(300), 500),
		"period 5000": bytes.Repeat(random(5000), 20), "period 33000": bytes.Repeat(random(33000), 4),
	}
}

// inflate with no limits to speak of.
func inflate(t testing.TB, src []byte) []byte {
	t.Helper()
	b, err := deflate.Inflate(nil, src, math.MaxInt, 0, nil)
	require.NoError(t, err)
	return b
}

// standard inflates with Go's own library.
func standard(src []byte) ([]byte, error) {
	return io.ReadAll(stdflate.NewReader(io.MultiReader(bytes.NewReader(src), strings.NewReader(tail+"\x01\x00\x00\xff\xff"))))
}

func TestRoundTrip(t *testing.T) {
	for name, payload := range payloads() {
		for level := -2; level <= 9; level++ {
			for _, bits := range []int{9, 15} {
				src := deflate.AppendMessage([]byte("before"), payload, level, bits)
				require.Equal(t, "before", string(src[:6]))
				src = src[6:]
				at := fmt.Sprintf("%s, level %d, %d bits", name, level, bits)
				require.True(t, bytes.Equal(payload, inflate(t, src)), at)
				other, err := standard(src)
				require.NoError(t, err, at)
				require.True(t, bytes.Equal(payload, other), at)
				require.LessOrEqual(t, len(src), len(payload)+len(payload)/(32*kib)*5+6, at)
			}
		}
	}
}

// RFC 7692 §7.2.3.6.
func TestEmptyMessage(t *testing.T) {
	for level := -2; level <= 9; level++ {
		for bits := 8; bits <= 15; bits++ {
			require.Equal(t, "\x00", string(deflate.AppendMessage(nil, nil, level, bits)))
			w := deflate.NewWriter(level, bits)
			require.Equal(t, "\x00", string(w.Finish(nil)))
			require.Equal(t, "\x00", string(w.Finish(w.Append(nil, nil))))
			w.Close()
		}
	}
}

// RFC 7692 §7.1.2: no match reaches beyond the window, and those within it are
// found. Some inputs repeat themselves just below or above the window.
func TestWindow(t *testing.T) {
	inputs := map[string][]byte{"text": text(70 * kib)}
	for bits := 7; bits <= 15; bits++ {
		inputs[fmt.Sprintf("period %d", 1<<bits*3/4)] = bytes.Repeat(random(1<<bits*3/4), 4)
		inputs[fmt.Sprintf("period %d", 1<<bits+1)] = bytes.Repeat(random(1<<bits+1), 4)
	}
	for name, payload := range inputs {
		for bits := 8; bits <= 15; bits++ {
			for _, level := range []int{1, 9} {
				messages := [][]byte{deflate.AppendMessage(nil, payload, level, bits), inPieces(payload, level, bits, 1000)}
				for _, src := range messages {
					p := puff{in: append(src, tail...)}
					require.NoError(t, p.run())
					require.True(t, bytes.Equal(payload, p.out))
					require.LessOrEqual(t, p.farthest, 1<<bits, "%s, level %d, %d bits", name, level, bits)
					if name == "text" {
						require.Greater(t, p.farthest, 1<<bits*7/8, "the window is used")
					}
				}
			}
		}
	}
}

// The test's own measure: a distance just over the window is seen.
func TestPuffSeesDistances(t *testing.T) {
	payload := bytes.Repeat(random(300), 2)
	p := puff{in: append(deflate.AppendMessage(nil, payload, 6, 15), tail...)}
	require.NoError(t, p.run())
	assert.Equal(t, 300, p.farthest)
	assert.Positive(t, p.matches)
	p = puff{in: append(deflate.AppendMessage(nil, payload, 6, 8), tail...)}
	require.NoError(t, p.run())
	assert.Zero(t, p.matches)
}

// The level counts even for small windows, if the message fits them.
func TestLevelOfSmallMessages(t *testing.T) {
	payload := text(2000)
	for level := -2; level <= 9; level++ {
		assert.Equal(t, deflate.AppendMessage(nil, payload, level, 15), deflate.AppendMessage(nil, payload, level, 11))
	}
	assert.NotEqual(t, deflate.AppendMessage(nil, payload, 9, 15), deflate.AppendMessage(nil, payload, 9, 10))
	for _, level := range []int{-2, 0} { // no matches, so the window does not count
		assert.Equal(t, deflate.AppendMessage(nil, payload, level, 15), deflate.AppendMessage(nil, payload, level, 9))
	}
}

func inPieces(payload []byte, level, bits, size int) (dst []byte) {
	w := deflate.NewWriter(level, bits)
	defer w.Close()
	for len(payload) > size {
		dst, payload = w.Append(dst, payload[:size]), payload[size:]
	}
	return w.Finish(w.Append(dst, payload))
}

// Whatever the pieces and flushes: what Append has put out stays, and the
// message is whole without its tail.
func TestWriterSplits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for name, payload := range payloads() {
		for _, level := range []int{-2, 0, 1, 5, 9} {
			for _, bits := range []int{9, 15} {
				w := deflate.NewWriter(level, bits)
				var dst []byte
				for rest := payload; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(1+r.IntN(1+2*len(payload)/3)))
					dst, rest = w.Append(dst, rest[:n]), rest[n:]
					if r.IntN(4) == 0 {
						before := len(dst)
						dst = w.Flush(dst)
						require.GreaterOrEqual(t, len(dst)-before, 5)
						require.Equal(t, tail, string(dst[len(dst)-4:]))
						p := inflate(t, dst[:len(dst)-4])
						require.True(t, bytes.Equal(payload[:len(payload)-len(rest)], p), "all bytes so far")
					}
				}
				before := string(dst)
				dst = w.Finish(dst)
				w.Close()
				require.Equal(t, before, string(dst[:len(before)]), "what is out cannot be called back")
				require.Greater(t, len(dst), len(before), "the tail is all from Finish")
				require.True(t, bytes.Equal(payload, inflate(t, dst)), "%s, level %d, %d bits", name, level, bits)
			}
		}
	}
}

// Every cut of short messages in three.
func TestWriterEverySplit(t *testing.T) {
	for _, payload := range [][]byte{text(40), random(35), make([]byte, 50), append(text(20), tail...)} {
		for _, level := range []int{-2, 0, 1, 6, 9} {
			for i := 0; i <= len(payload); i++ {
				for j := i; j <= len(payload); j += 3 {
					w := deflate.NewWriter(level, 15)
					dst := w.Append(nil, payload[:i])
					dst = w.Append(dst, payload[i:j])
					if j%2 == 0 {
						dst = w.Flush(dst)
					}
					dst = w.Finish(w.Append(dst, payload[j:]))
					w.Close()
					require.Equal(t, string(payload), string(inflate(t, dst)))
				}
			}
		}
	}
}

// A flush right before the end leaves another empty block, without its tail.
func TestFlushThenFinish(t *testing.T) {
	w := deflate.NewWriter(6, 15)
	defer w.Close()
	assert.Equal(t, "\x00"+tail+"\x00", string(w.Finish(w.Flush(nil))))
	b := w.Flush(w.Append(nil, []byte("Hello")))
	assert.Equal(t, string(b)+"\x00", string(w.Finish(b)))
}

// No context takeover: what was compressed before leaves no trace, finished or not.
func TestWriterStartsAfresh(t *testing.T) {
	payload := text(3000)
	for level := -2; level <= 9; level++ {
		for _, bits := range []int{10, 15} {
			want := inPieces(payload, level, bits, len(payload))
			w := deflate.NewWriter(level, bits)
			for range 3 {
				require.Equal(t, want, w.Finish(w.Append(nil, payload)), "level %d, %d bits", level, bits)
			}
			w.Flush(w.Append(nil, payload[:1500]))
			w.Close()
			for range 3 {
				require.Equal(t, want, inPieces(payload, level, bits, len(payload)), "level %d, %d bits", level, bits)
			}
		}
	}
}

func TestWriterPanics(t *testing.T) {
	for _, row := range []struct{ level, bits int }{{-3, 15}, {10, 15}, {6, 7}, {6, 16}, {0, 0}, {6, -1}, {6, 1000}} {
		assert.Panics(t, func() { deflate.NewWriter(row.level, row.bits) }, "%v", row)
		assert.Panics(t, func() { deflate.AppendMessage(nil, nil, row.level, row.bits) }, "%v", row)
	}
}

func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			payload := bytes.Repeat(text(100+g), 20+g)
			for i := range 50 {
				src := deflate.AppendMessage(nil, payload, 1+i%9, 8+i%8)
				b, err := deflate.Inflate(nil, src, len(payload), 0, nil)
				if err != nil || !bytes.Equal(payload, b) {
					t.Errorf("goroutine %d: %v", g, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRoundTrip(f *testing.F) {
	for _, p := range payloads() {
		if len(p) < 2000 {
			f.Add(p, 6, 15, 7)
			f.Add(p, 0, 8, 1000)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte, level, bits, size int) {
		level, bits, size = -2+int(uint(level)%12), 8+int(uint(bits)%8), 1+int(uint(size)%5000)
		for _, src := range [][]byte{deflate.AppendMessage(nil, payload, level, bits), inPieces(payload, level, bits, size)} {
			require.True(t, bytes.Equal(payload, inflate(t, src)))
			p := puff{in: append(src, tail...)}
			require.NoError(t, p.run())
			require.True(t, bytes.Equal(payload, p.out))
			require.LessOrEqual(t, p.farthest, 1<<bits)
		}
	})
}
