package engine

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/penstock-ws/penstock/frame"
)

// unmasked makes of frames, which must all be masked, what they would be if they were
// not. A frame that is cut off is left out.
func unmasked(b []byte) (out []byte, err error) {
	for len(b) >= 2 {
		size, n := 2, uint64(b[1]&0x7f)
		switch n {
		case 126:
			size = 4
		case 127:
			size = 10
		}
		if len(b) < size+4 {
			break
		}
		if size > 2 {
			n = binary.BigEndian.Uint64(append(make([]byte, 8-(size-2)), b[2:size]...))
		}
		if b[1] < 0x80 {
			return out, errors.New("a client's frame is not masked")
		}
		out = append(append(out, b[0], b[1]&0x7f), b[2:size]...)
		key := [4]byte(b[size:])
		b = b[size+4:]
		payload := append([]byte(nil), b[:min(n, uint64(len(b)))]...)
		frame.Mask(payload, key, 0)
		out, b = append(out, payload...), b[len(payload):]
	}
	return out, nil
}

func newClientSeams(t testing.TB) seams {
	s := newSeams(t)
	for _, seam := range s {
		seam.client = true
	}
	return s
}

// FuzzDialInbound: the same for what a server sends to one who has dialled it.
func FuzzDialInbound(f *testing.F) {
	add := func(stream []byte, seed uint64) {
		if out, err := unmasked(stream); err == nil && len(out) < 2000 {
			f.Add(out, seed)
		}
	}
	for i, seed := range inboundSeeds() {
		add([]byte(seed.stream), uint64(i))
		f.Add([]byte(seed.stream[:min(len(seed.stream), 100)]), uint64(i)) // masked
	}
	for i := range uint64(40) {
		add(RandomInbound(i, InboundLimit, i%2 == 0), i)
	}
	s := newClientSeams(f)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		for _, deflates := range []bool{false, true} {
			if err := s.check(t, stream, deflates, seed); err != nil {
				t.Fatalf("%x: %v", stream, err)
			}
		}
	})
}

// Random streams as in TestInboundStreams, not masked: every one comes to what the
// reference says, however it is cut.
func TestDialInboundStreams(t *testing.T) {
	s := newClientSeams(t)
	first := rand.Uint64() >> 1
	for n := range uint64(300) {
		seed := first + n
		deflates := seed%2 == 0
		stream, err := unmasked(RandomInbound(seed, InboundLimit, deflates))
		if err != nil {
			continue // what was wrong with it was a mask
		}
		if err := s.check(t, stream, deflates, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// A stream of frames, cut at every byte.
func TestDialInboundCuts(t *testing.T) {
	s := newClientSeams(t)
	x := reference{limit: InboundLimit, fragments: InboundFragments, ratio: defaultInflateRatio, client: true}
	stream := []byte("\x81\x05Hello\x89\x01p\x01\x02\xc3\xa9\x80\x01!\x82\x7e\x00\x7e")
	stream = append(append(stream, make([]byte, 126)...), "\x88\x06\x0f\xa0done"...)
	for cut := range len(stream) {
		for _, way := range seamWays {
			r := s[0].see(t, way, 0, stream, 0, append([]int{cut}, 1, 1, 1)[min(1, max(0, 1-cut)):]...)
			if err := x.expect(stream).compare(way, 0, r); err != nil {
				t.Fatalf("%s, cut at %d: %v", way, cut, err)
			}
		}
	}
}
