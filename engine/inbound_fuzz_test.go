package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/penstock-ws/penstock/frame"
)

var (
	inboundSeed    = flag.Uint64("inbound.seed", 0, "the seed of the first stream of TestInboundStreams")
	inboundStreams = flag.Int("inbound.streams", inboundCount, "how many streams TestInboundStreams sends")
)

// InboundLimit lets lengths of each form pass, InboundFragments is few, so that random
// streams come to it.
const (
	InboundLimit     = 72 << 10
	InboundFragments = 12
)

// seams are the ways in which large frames come: to gws or past it, granted or in pieces.
type seams [4]*seam

func newSeams(t testing.TB) seams {
	s := seams{newSeam(t, InboundLimit, 0), newSeam(t, InboundLimit, 1<<40), newSeam(t, InboundLimit, 0), newSeam(t, InboundLimit, 1<<40)}
	s[2].e.bulkFrom, s[3].e.bulkFrom = 1, 1 // the last: what is small goes past gws, what is large comes in pieces
	return s
}

// check holds what comes of a stream, in ways that the seed chooses, against the
// reference.
func (s seams) check(t testing.TB, stream []byte, deflates bool, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 7692))
	bits := 0
	if deflates {
		bits = []int{9, 12, 15}[rnd.IntN(3)]
	}
	x := reference{limit: InboundLimit, fragments: InboundFragments, deflates: deflates, ratio: defaultInflateRatio, client: s[0].client}.expect(stream)
	ways := [...]string{"inline", "inline, direct", seamWays[2+rnd.IntN(3)]}
	first := frame.CloseCode(0)
	for i, way := range ways {
		early, cuts := 0, []int(nil)
		if i > 0 {
			cuts = randomCuts(rnd, len(stream))
		}
		if len(stream) > 0 && rnd.IntN(4) == 0 {
			early = rnd.IntN(min(len(stream), 5000))
			cuts = randomCuts(rnd, len(stream)-early)
		}
		r := s[rnd.IntN(len(s))].see(t, way, bits, stream, early, cuts...)
		if r == nil {
			return fmt.Errorf("%s: no end", way)
		}
		err := x.compare(way, bits, r)
		switch {
		case err == nil && i == 0:
			first = r.close.Code
		case err == nil && i == 1 && r.close.Code != first:
			err = fmt.Errorf("it ends with %v, in other pieces with %v", r.close.Code, first)
		}
		if err != nil {
			return fmt.Errorf("%s, bits %d, %d bytes early, %d cuts: %w", way, bits, early, len(cuts), err)
		}
	}
	return nil
}

// FuzzInbound: any bytes, however they are cut, come to what an independent reading
// of the RFCs says. See expectation.compare for what is promised.
func FuzzInbound(f *testing.F) {
	for i, seed := range inboundSeeds() {
		if len(seed.stream) < 2000 {
			f.Add([]byte(seed.stream), uint64(i))
		}
	}
	for i := range uint64(40) {
		if stream := RandomInbound(i, InboundLimit, i%2 == 0); len(stream) < 2000 {
			f.Add(stream, i)
		}
	}
	s := newSeams(f)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		for _, deflates := range []bool{false, true} {
			if err := s.check(t, stream, deflates, seed); err != nil {
				t.Fatalf("%x: %v", stream, err)
			}
		}
	})
}

// Random streams, half of them with something wrong: the engine outlives them all,
// and each comes to what the reference says.
func TestInboundStreams(t *testing.T) {
	before := goleak.IgnoreCurrent()
	first := *inboundSeed
	if first == 0 {
		first = rand.Uint64() >> 1
	}
	t.Logf("seed %d", first)
	t.Run("streams", func(t *testing.T) { // whose clean-up ends the engines
		s, began := newSeams(t), time.Now()
		var next atomic.Uint64
		var all sync.WaitGroup
		for range 2 * runtime.GOMAXPROCS(0) {
			all.Go(func() {
				for !t.Failed() {
					n := next.Add(1) - 1
					if n >= uint64(*inboundStreams) {
						return
					}
					seed := first + n
					deflates := seed%2 == 0
					if err := s.check(t, RandomInbound(seed, InboundLimit, deflates), deflates, seed); err != nil {
						t.Errorf("%v\nrepeat with -run %s -args -inbound.streams=1 -inbound.seed=%d", err, "TestInboundStreams", seed)
					}
				}
			})
		}
		all.Wait()
		t.Logf("%d streams in %v", *inboundStreams, time.Since(began).Round(time.Millisecond))
		for _, one := range s {
			st := one.e.Stats()
			t.Logf("%d connections ended with %v", st.Opened, st.Closed)
			require.Equal(t, "text 5 \"alive\"\n4000", one.run(t, "pool", 0, wire{}.frame(true, 0, frame.Text, []byte("alive")).close()))
		}
	})
	require.NoError(t, goleak.Find(before))
}
