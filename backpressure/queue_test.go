package backpressure_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// Every kind of thing that a queue writes, over a wire that first takes k bytes,
// then as many at a time as each row says: the peer gets the same messages.
func TestShortWrites(t *testing.T) {
	small, large, shared := pattern(1, 100), pattern(2, 1000), pattern(3, 700)
	script := func(r *rig) {
		r.mustSend(small)
		r.mustSend(large)
		r.SendControl(frame.Ping, []byte("ping"))
		r.Send(prep(prepare(frame.Text, shared), false))
		r.Cork()
		r.mustSend(small)
		r.Send(prep(prepare(frame.Text, small), true))
		r.Uncork()
		r.SendControl(frame.Pong, []byte("pong"))
		r.Close(frame.CloseGoingAway, "away", false)
	}
	for _, row := range []struct {
		name string
		step int // from one k to the next
		then func(int) int
		wait bool
	}{
		{"all", 1, nil, false},
		{"all, waiting", 1, nil, true},
		{"one byte", 301, func(int) int { return 1 }, false},
		{"one byte, waiting", 301, func(int) int { return 1 }, true},
		{"all but one byte", 7, func(n int) int { return max(1, n-1) }, false},
		{"13 bytes", 13, func(int) int { return 13 }, true},
	} {
		for _, mask := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, mask %v", row.name, mask), func(t *testing.T) {
				for k := 0; k < 3000; k += row.step {
					r := newRig(t, backpressure.Config{ChunkSize: 300, CorkSize: 1000, Mask: mask})
					r.wire.setRoom(k)
					script(r)
					if awaiting, _, _ := r.wire.state(); !awaiting {
						r.wantFinished(nil)
						break // all of it fits into k
					}
					r.wire.atMost = row.then
					for range 3000 {
						if awaiting, _, _ := r.wire.state(); !awaiting {
							break
						}
						r.allow(unlimited, row.wait)
					}
					r.wantFinished(nil)
					tr := r.transcript()
					tr.want(t, small, large, shared, small, small)
					assert.Len(t, tr.controls, 2)
					assert.Equal(t, frame.CloseGoingAway, tr.code)
					assert.Equal(t, "away", tr.reason)
				}
			})
		}
	}
}

// The wire fails after k bytes, for every k: the queue ends there, reports it
// once, writes nothing more and gives everything back.
func TestErrorAtEveryByte(t *testing.T) {
	for i := range 4 {
		inResume, mask := i%2 == 1, i >= 2
		for k := range 2000 {
			r := newRig(t, backpressure.Config{ChunkSize: 300, CorkSize: 1000, Mask: mask})
			r.wire.failAt(k, errBroken)
			if inResume {
				r.wire.setRoom(k / 2)
			}
			r.send(pattern(1, 100))
			r.send(pattern(2, 1000))
			r.SendControl(frame.Ping, []byte("ping"))
			r.send(pattern(2, 200))
			r.Close(frame.CloseNormal, "", false)
			if awaiting, _, _ := r.wire.state(); awaiting {
				r.allow(unlimited, k%2 == 0)
			}
			_, _, err := r.events.counts()
			r.wantFinished(err)
			if err == nil {
				break
			}
			require.Equal(t, errBroken, err)
			require.Equal(t, k, len(r.wire.taken()))
			assert.ErrorIs(t, r.Drain(context.Background(), 0), net.ErrClosed)
		}
	}
}

// Fragments of RFC 6455 §5.4 at the edges of ChunkSize, and the headers' sizes.
func TestFragments(t *testing.T) {
	for _, row := range []struct {
		size, chunk int
		order       []string
	}{
		{0, 300, []string{"binary fin"}},
		{125, 300, []string{"binary fin"}},
		{126, 300, []string{"binary fin"}},
		{300, 300, []string{"binary fin"}},
		{301, 300, []string{"binary", "continuation fin"}},
		{600, 300, []string{"binary", "continuation fin"}},
		{601, 300, []string{"binary", "continuation", "continuation fin"}},
		{backpressure.SmallMessage, 1 << 16, []string{"binary fin"}},
		{backpressure.SmallMessage + 1, 1 << 16, []string{"binary fin"}},
		{1 << 16, 1 << 16, []string{"binary fin"}},
		{1<<16 + 1, 1 << 16, []string{"binary", "continuation fin"}},
		{1 << 17, 1 << 17, []string{"binary fin"}},
	} {
		want := slices.Repeat(row.order, 5)
		for _, blocked := range []bool{false, true} {
			r := newRig(t, backpressure.Config{ChunkSize: row.chunk, CorkSize: 100, HighWater: 1 << 20})
			if blocked {
				r.wire.setRoom(0)
			}
			payload := pattern(1, row.size)
			prepared := prepare(frame.Binary, payload)
			assert.Equal(t, payload, prepared.Payload())
			assert.Equal(t, row.size, prepared.Len())
			assert.Equal(t, frame.Binary, prepared.Opcode())
			r.mustSend(payload)
			r.Send(prep(prepared, false))
			r.Cork()
			r.mustSend(payload)
			r.Send(prep(prepared, false))
			r.Uncork()
			r.Send(prep(prepared, true))
			r.Flush()
			if blocked {
				one := r.Pending() / 5
				assert.Equal(t, 5*one, r.Pending(), "each way costs the same")
				r.allow(unlimited, false)
				r.allowAll()
				assert.Equal(t, 5*one, len(r.wire.taken()))
			}
			tr := r.transcript()
			tr.want(t, payload, payload, payload, payload, payload)
			assert.Equal(t, want, tr.order)
			r.Close(frame.CloseAbnormal, "", false)
			r.wantFinished(nil)
		}
	}
}

// allowAll resumes as often as the queue asks for it.
func (r *rig) allowAll() {
	for range 10000 {
		if awaiting, _, _ := r.wire.state(); !awaiting {
			return
		}
		r.allow(unlimited, false)
	}
	r.tb.Error("the queue makes no progress")
}

// A ping that is queued while a train is under way leaves behind the current
// fragment, wherever the socket stopped.
func TestControlPassesTrain(t *testing.T) {
	const chunk, fragments = 300, 10
	payload := pattern(1, chunk*fragments)
	whole := chunk + 4
	for stop := range whole * (fragments - 1) {
		r := newRig(t, backpressure.Config{ChunkSize: chunk})
		r.wire.setRoom(stop)
		r.mustSend(payload)
		r.SendControl(frame.Ping, []byte("now"))
		r.allow(unlimited, false)
		tr := r.transcript()
		tr.want(t, payload)
		require.Equal(t, []control{{frame.Ping, "now", (stop + whole - 1) / whole}}, tr.controls, "stopped after %d bytes", stop)
	}
}

// A ping that a cork held back is not overtaken by the first message after it,
// and one that comes during a message's direct write is not forgotten.
func TestControlAndDirectWrite(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.Cork()
	r.SendControl(frame.Ping, nil)
	r.Uncork()
	r.mustSend([]byte("direct"))
	assert.Equal(t, []string{"ping", "binary fin"}, r.transcript().order)

	r.wire.during = func([]byte, bool) {
		r.wire.during = nil
		r.SendControl(frame.Pong, nil)
	}
	r.mustSend([]byte("direct"))
	assert.Equal(t, []string{"ping", "binary fin", "binary fin", "pong"}, r.transcript().order)
}

// The same with a ping queued while the writer is inside Write: one more
// fragment is already on its way then, no more.
func TestControlDuringTrainWrite(t *testing.T) {
	for at := 1; at <= 10; at++ {
		r := newRig(t, backpressure.Config{ChunkSize: 300})
		writes := 0
		r.wire.during = func([]byte, bool) {
			if writes++; writes == at {
				r.SendControl(frame.Ping, nil)
			}
		}
		r.mustSend(pattern(1, 3000))
		assert.Equal(t, []control{{frame.Ping, "", at}}, r.transcript().controls)
	}
}

// A peer that pings and does not read costs a bounded amount of memory, and when
// it reads again it gets the newest answer (RFC 6455 §5.5.3).
func TestPongFlood(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.wire.setRoom(0)
	const last = 5000
	name := func(i int) []byte { return fmt.Appendf(nil, "%05d %s", i, strings.Repeat("x", 100)) }
	for i := range last + 1 {
		require.Equal(t, backpressure.Queued, r.SendControl(frame.Pong, name(i)))
		require.LessOrEqual(t, r.Pending(), 2*backpressure.ControlLimit)
		require.LessOrEqual(t, r.cfg.Pool.Out(), int64(2))
	}
	assert.False(t, r.Congested(), "control frames are exempt from the marks")
	r.mustSend([]byte("data"))
	r.allow(unlimited, false)
	tr := r.transcript()
	tr.want(t, []byte("data"))
	require.NotEmpty(t, tr.controls)
	assert.Equal(t, string(name(last)), tr.controls[len(tr.controls)-1].payload)
	assert.True(t, slices.IsSortedFunc(tr.controls, func(a, b control) int { return strings.Compare(a.payload, b.payload) }))
	assert.Zero(t, r.Pending())
	assert.Zero(t, r.cfg.Pool.Out())
}

// Pending bytes that give way in the control lane count like written ones.
func TestControlThatGivesWayLowersPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{HighWater: 4500, LowWater: 1200})
		r.wire.setRoom(0)
		r.SendControl(frame.Ping, nil) // the wire has seen this one
		filler := pattern(0, 125)
		for r.Pending()+127 <= backpressure.ControlLimit+2 {
			r.SendControl(frame.Pong, filler)
		}
		r.mustSend(pattern(0, 1000)) // crosses
		require.True(t, r.Congested())
		drain := make(chan error, 1)
		go func() { drain <- r.Drain(t.Context(), 1200) }()
		ctx, cancel := context.WithCancel(t.Context())
		wait := make(chan error, 1)
		go func() { wait <- sendWait(&r.Queue, ctx, data(frame.Binary, nil)) }()
		synctest.Wait()
		r.SendControl(frame.Pong, filler) // the others give way
		synctest.Wait()
		assert.Less(t, r.Pending(), 1200)
		assert.False(t, r.Congested())
		drained, _, _ := r.events.counts()
		assert.Equal(t, 1, drained)
		cancel() // before the fix SendWait span here, deaf to ctx
		require.NoError(t, <-drain)
		require.NoError(t, <-wait)
		r.Fail(errBroken)
		r.wantFinished(errBroken)
	})
}

// The marks, to the byte: a queue at HighWater takes one more message, one byte
// above it takes none until LowWater is reached.
func TestMarks(t *testing.T) {
	const high, low = 1000, 400
	fill := func(r *rig, total int) { // total bytes with a header each of 4
		r.mustSend(pattern(0, total-4))
		require.Equal(r.tb, total, r.Pending())
	}
	newFull := func(t *testing.T) *rig {
		r := newRig(t, backpressure.Config{HighWater: high, LowWater: low})
		r.wire.setRoom(0)
		return r
	}
	for _, send := range []struct {
		name string
		do   func(*rig) backpressure.Verdict
	}{
		{"Send", func(r *rig) backpressure.Verdict { return r.send([]byte("x")) }},
		{"SendPrepared", func(r *rig) backpressure.Verdict {
			return r.Send(prep(prepare(frame.Text, nil), false))
		}},
		{"SendPrepared held", func(r *rig) backpressure.Verdict {
			return r.Send(prep(prepare(frame.Text, nil), true))
		}},
		{"OpenStream", func(r *rig) backpressure.Verdict { _, v := r.OpenStream(frame.Text, 0); return v }},
	} {
		t.Run(send.name, func(t *testing.T) {
			r := newFull(t)
			fill(r, high)
			assert.False(t, r.Congested())
			assert.Equal(t, backpressure.Queued, send.do(r), "at the mark")

			r = newFull(t)
			fill(r, high+1)
			assert.True(t, r.Congested())
			assert.Equal(t, backpressure.Congested, send.do(r), "above the mark")
			assert.Equal(t, high+1, r.Pending())

			r.allow(high-low, false) // one byte more than LowWater is left
			assert.Equal(t, low+1, r.Pending())
			assert.Equal(t, backpressure.Congested, send.do(r), "above the low mark")
			drained, _, _ := r.events.counts()
			assert.Zero(t, drained)

			r.allow(1, false)
			assert.Equal(t, low, r.Pending())
			assert.False(t, r.Congested())
			drained, _, _ = r.events.counts()
			assert.Equal(t, 1, drained)
			assert.Equal(t, backpressure.Queued, send.do(r), "at the low mark")

			r.allow(0, false)
			r.allow(100, false)
			drained, _, _ = r.events.counts()
			assert.Equal(t, 1, drained, "once for each crossing")
			fill2 := high + 1 - r.Pending()
			if fill2 > 4+126 && send.name != "OpenStream" {
				r.mustSend(pattern(0, fill2-4))
				r.allowAll()
				drained, _, _ = r.events.counts()
				assert.Equal(t, 2, drained)
			}
		})
	}
}

// The message that crosses the mark is taken whatever its size; so a queue holds
// HighWater and one message.
func TestMessageThatCrosses(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 1000})
	r.wire.setRoom(0)
	huge := pattern(1, 1<<20)
	r.mustSend(huge)
	for range 10 {
		require.Equal(t, backpressure.Congested, r.send([]byte("x")))
	}
	assert.Equal(t, backpressure.Queued, r.SendControl(frame.Ping, nil), "control is exempt")
	assert.Equal(t, uint64(1), r.Totals().Messages)
	r.allowAll()
	r.transcript().want(t, huge)
}

// Overflow with Disconnect is terminal wherever the queue stands: the close frame
// comes as soon as the protocol allows, nothing follows it, later sends are Closed.
func TestDisconnect(t *testing.T) {
	cfg := backpressure.Config{HighWater: 1000, ChunkSize: 300, CorkSize: 1 << 20, Class: &backpressure.Class{Overflow: backpressure.Disconnect, Code: frame.ClosePolicyViolation}}
	big := pattern(1, 2000)
	overflow := func(r *rig) {
		r.tb.Helper()
		require.Equal(r.tb, backpressure.Overflowed, r.send([]byte("one too many")))
		require.Equal(r.tb, backpressure.Closed, r.send([]byte("later")))
		require.Equal(r.tb, backpressure.Closed, r.SendControl(frame.Pong, nil))
	}
	want := func(r *rig, order ...string) {
		r.tb.Helper()
		r.wantFinished(nil)
		tr := r.transcript()
		assert.Equal(r.tb, append(order, "close"), tr.order)
		assert.Equal(r.tb, frame.ClosePolicyViolation, tr.code)
		assert.Empty(r.tb, tr.messages)
		assert.ErrorIs(r.tb, r.Drain(context.Background(), 0), backpressure.ErrClosed, "messages were lost")
	}
	t.Run("full socket", func(t *testing.T) {
		r := newRig(t, cfg)
		r.wire.setRoom(0)
		r.mustSend(big)
		overflow(r)
		r.allow(unlimited, false)
		want(r)
	})
	t.Run("inside a fragment", func(t *testing.T) {
		r := newRig(t, cfg)
		r.wire.setRoom(400)
		r.mustSend(big)
		overflow(r)
		r.allow(unlimited, false)
		want(r, "binary", "continuation")
	})
	t.Run("during a write", func(t *testing.T) {
		r := newRig(t, cfg)
		r.wire.during = func([]byte, bool) {
			r.wire.during = nil
			overflow(r)
		}
		r.mustSend(big)
		want(r, "binary")
	})
	t.Run("corked", func(t *testing.T) {
		r := newRig(t, cfg)
		r.Cork()
		r.mustSend(big)
		overflow(r) // nobody else is there to write the close frame
		want(r)
	})
	t.Run("behind a stream", func(t *testing.T) {
		r := newRig(t, cfg)
		s, _ := r.OpenStream(frame.Text, 0)
		require.NoError(t, s.Write(t.Context(), []byte("part"), false))
		r.mustSend(big)
		overflow(r)
		want(r, "text")
		assert.ErrorIs(t, s.Write(t.Context(), nil, true), backpressure.ErrClosed)
	})
	t.Run("by opening a stream", func(t *testing.T) {
		r := newRig(t, cfg)
		r.Cork()
		r.mustSend(big)
		s, v := r.OpenStream(frame.Text, 0)
		assert.Nil(t, s)
		assert.Equal(t, backpressure.Congested, v, "a stream waits, whatever the class")
		overflow(r)
		want(r)
	})
	t.Run("by a held message", func(t *testing.T) {
		r := newRig(t, cfg)
		r.Send(prep(prepare(frame.Text, big), true))
		assert.Equal(t, backpressure.Overflowed, r.Send(prep(prepare(frame.Text, nil), true)))
		want(r)
	})
}

// Close with discard at every byte of a train and what follows it: the frame
// under way is finished, nothing else begins, and the rest is given back.
func TestDiscardCutsTrain(t *testing.T) {
	const chunk = 300
	first, second, third := pattern(1, 100), pattern(2, 4*chunk), pattern(3, 100)
	ends := []int{0, 102} // of frames
	for range 4 {
		ends = append(ends, ends[len(ends)-1]+chunk+4)
	}
	for stop := range 102 + 4*(chunk+4) {
		r := newRig(t, backpressure.Config{ChunkSize: chunk})
		r.wire.setRoom(stop)
		r.mustSend(first)
		r.mustSend(second)
		r.mustSend(third)
		require.True(t, r.Close(frame.CloseNormal, "cut", true))
		frames, found := slices.BinarySearch(ends, stop)
		rest := 0
		if !found {
			rest = ends[frames] - stop
		}
		const closeFrame = 2 + 2 + len("cut")
		require.Equal(t, rest+closeFrame, r.Pending(), "stopped after %d bytes", stop)
		r.allow(unlimited, stop%2 == 0)
		tr := r.transcript()
		require.True(t, tr.closed)
		require.Len(t, tr.order, frames+1)
		r.wantFinished(nil)
	}
}

// Close with discard over many small messages: all share one buffer, but only
// the one under way is finished.
func TestDiscardKeepsOnlyTheFrameUnderWay(t *testing.T) {
	for stop := range 30 * 12 {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(stop)
		r.Cork()
		for i := range 30 {
			r.mustSend(pattern(i, 10))
		}
		r.Flush()
		r.Close(frame.CloseNormal, "", true)
		r.allow(unlimited, false)
		tr := r.transcript()
		require.Equal(t, (stop+11)/12, len(tr.messages), "stopped after %d bytes", stop)
		require.True(t, tr.closed)
		r.wantFinished(nil)
	}
}

// A discard while a goroutine is blocked in Write cannot call back what Write was
// given; but what it then did not take is dropped.
func TestDiscardDuringBlockedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{HighWater: 1 << 20})
		r.wire.setRoom(0)
		for i := range 20 {
			r.mustSend(pattern(i, 3000))
		}
		go r.wire.resume(&r.Queue, true)
		synctest.Wait()
		r.Close(frame.CloseTryAgainLater, "", true)
		r.wire.setRoom(1)
		synctest.Wait()
		assert.Equal(t, 3000+4-1+4, r.Pending(), "the rest of one frame, and the close frame")
		r.wire.setRoom(unlimited)
		synctest.Wait()
		assert.Equal(t, []string{"binary fin", "close"}, r.transcript().order)
		r.wantFinished(nil)
	})
}

// A direct write is not in the lane while it is under way: a discard must find
// what is left of it.
func TestDiscardDuringDirectWrite(t *testing.T) {
	for _, row := range []struct {
		room  int
		order []string
	}{
		{0, []string{"close"}},
		{1, []string{"binary fin", "close"}},
		{unlimited, []string{"binary fin", "close"}},
	} {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(row.room)
		r.wire.during = func([]byte, bool) {
			r.wire.during = nil
			r.mustSend([]byte("queued behind"))
			r.Close(frame.CloseNormal, "", true)
		}
		r.mustSend([]byte("direct"))
		if row.room != unlimited {
			r.allow(unlimited, false)
		}
		assert.Equal(t, row.order, r.transcript().order)
		r.wantFinished(nil)
	}
}

// A discard between two writes of a message that is still in its sender's memory.
func TestDiscardWhileDrainedIsTold(t *testing.T) {
	r := newRig(t, backpressure.Config{ChunkSize: 1000, HighWater: 2500, LowWater: 2100})
	r.wire.during = func([]byte, bool) { r.Close(frame.CloseNormal, "", false) }
	r.events.onDrained = func() { r.Close(frame.CloseNormal, "", true) }
	r.mustSend(pattern(0, 3000))
	assert.Equal(t, []string{"binary", "close"}, r.transcript().order)
	r.wantFinished(nil)
}

// The preface goes before everything, a control frame included, is not cut by a
// discard, waits for Release, flushed or not, and makes nobody congested. (Here it is a frame,
// so that the wire can follow.)
func TestPreface(t *testing.T) {
	preface := append(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Text, Length: 100}), pattern(0, 100)...)
	for _, discard := range []bool{false, true} {
		for stop := range 110 {
			r := newRig(t, backpressure.Config{HighWater: 50})
			lent := slices.Clone(preface)
			r.Preface(lent)
			poison(lent)
			assert.Equal(t, len(preface), r.Pending())
			assert.False(t, r.Congested())
			r.SendControl(frame.Ping, nil)
			r.mustSend(nil)
			r.Flush()
			assert.Zero(t, r.wire.writes)
			r.wire.setRoom(stop)
			r.Release()
			r.Close(frame.CloseNormal, "", discard)
			r.allow(unlimited, false)
			want := []string{"text fin", "ping", "binary fin", "close"}
			if discard && stop <= len(preface)+2 { // the ping is out, the message has not begun
				want = slices.Delete(want, 2, 3)
			}
			require.Equal(t, want, r.transcript().order, "stopped after %d bytes", stop)
			r.wantFinished(nil)
		}
	}
}

// A second Close can discard, but the first one's code stands.
func TestCloseTwice(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.wire.setRoom(0)
	r.mustSend(pattern(0, 100))
	assert.True(t, r.Close(frame.CloseGoingAway, "first", false))
	assert.Equal(t, 102+9, r.Pending())
	assert.Equal(t, backpressure.Closed, r.send(nil))
	assert.False(t, r.Close(frame.CloseInternalError, "second", false))
	assert.False(t, r.Close(frame.CloseInternalError, "third", true))
	assert.Equal(t, 9, r.Pending())
	r.allow(unlimited, false)
	tr := r.transcript()
	assert.Equal(t, frame.CloseGoingAway, tr.code)
	assert.Equal(t, "first", tr.reason)
	assert.Empty(t, tr.messages)
	r.wantFinished(nil)
}

// CloseAbnormal writes what is queued and no frame.
func TestCloseAbnormal(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.Close(frame.CloseAbnormal, "", false)
	r.wantFinished(nil)
	assert.Empty(t, r.wire.taken())

	r = newRig(t, backpressure.Config{})
	r.wire.setRoom(50)
	r.mustSend(pattern(0, 100))
	r.SendControl(frame.Ping, nil)
	r.Close(frame.CloseAbnormal, "", false)
	_, finished, _ := r.events.counts()
	assert.Zero(t, finished)
	r.allow(unlimited, false)
	assert.Equal(t, []string{"binary fin", "ping"}, r.transcript().order)
	r.wantFinished(nil)
}

// A stream is a barrier: later data waits behind it, control frames do not.
func TestStreamBarrier(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	s, v := r.OpenStream(frame.Text, 0)
	require.Equal(t, backpressure.Queued, v)
	r.mustSend([]byte("behind"))
	assert.Empty(t, r.wire.taken())
	r.SendControl(frame.Ping, []byte("1"))
	require.NoError(t, s.Write(t.Context(), []byte("a"), false))
	r.SendControl(frame.Ping, []byte("2"))
	r.mustSend([]byte("behind, too"))
	require.NoError(t, s.Write(t.Context(), nil, false))
	_, blocked := progress(&r.Queue)
	assert.False(t, blocked, "a slow producer is not a stalled socket")
	require.NoError(t, s.Write(t.Context(), []byte("b"), true))
	assert.ErrorIs(t, s.Write(t.Context(), nil, true), backpressure.ErrClosed, "the message has ended")
	assert.Equal(t, []string{"ping", "text", "ping", "continuation", "continuation fin", "binary fin", "binary fin"}, r.transcript().order)
	r.transcript().want(t, []byte("ab"), []byte("behind"), []byte("behind, too"))
	r.Close(frame.CloseNormal, "", false)
	r.wantFinished(nil)
}

// Close without discard waits for an open stream.
func TestCloseBehindStream(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	s, _ := r.OpenStream(frame.Text, 0)
	require.NoError(t, s.Write(t.Context(), []byte("a"), false))
	r.Close(frame.CloseNormal, "", false)
	require.NoError(t, s.Write(t.Context(), []byte("b"), false))
	require.NoError(t, s.Write(t.Context(), []byte("c"), true))
	assert.Equal(t, []string{"text", "continuation", "continuation fin", "close"}, r.transcript().order)
	r.wantFinished(nil)
}

// Abort sends what came before the stream and the fragment under way, drops what
// waits behind it, and closes; a queue that is closing keeps its code.
func TestStreamAbort(t *testing.T) {
	for _, closing := range []bool{false, true} {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(0)
		r.mustSend(pattern(0, 3000))
		s, _ := r.OpenStream(frame.Text, 0)
		require.NoError(t, s.Write(t.Context(), []byte("a"), false))
		require.Equal(t, backpressure.Queued, r.Send(data(frame.Binary, []byte("behind"))))
		want := frame.CloseInternalError
		if closing {
			r.Close(frame.CloseNormal, "", false)
			want = frame.CloseNormal
		}
		s.Abort(frame.CloseInternalError, "")
		s.Abort(frame.CloseGoingAway, "again")
		require.ErrorIs(t, s.Write(t.Context(), []byte("b"), true), backpressure.ErrClosed)
		r.allow(unlimited, false)
		tr := r.transcript()
		assert.Equal(t, []string{"binary fin", "close"}, tr.order, "the text had not begun")
		assert.Equal(t, want, tr.code)
		r.wantFinished(nil)
	}
}

// A stream that is given up behind another leaves that one alone.
func TestStreamAbortBehindStream(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	a, _ := r.OpenStream(frame.Text, 0)
	require.NoError(t, a.Write(t.Context(), []byte("a"), false))
	b, _ := r.OpenStream(frame.Binary, 0)
	require.NoError(t, b.Write(t.Context(), []byte("b"), false))
	b.Abort(frame.CloseGoingAway, "")
	require.NoError(t, a.Write(t.Context(), []byte("a"), true))
	assert.Equal(t, []string{"text", "continuation fin", "close"}, r.transcript().order)
	r.wantFinished(nil)
}

// A cancelled stream stops at the next fragment although the socket keeps up.
func TestStreamCancelled(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	s, _ := r.OpenStream(frame.Text, 0)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.Write(ctx, []byte("a"), false))
	cancel()
	require.ErrorIs(t, s.Write(ctx, []byte("b"), true), context.Canceled)
	s.Abort(frame.CloseGoingAway, "")
	assert.Equal(t, []string{"text", "close"}, r.transcript().order)
	r.wantFinished(nil)
}

// A stream copies each fragment and holds one: the producer waits for the socket.
func TestStreamWaitsForSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		s, _ := r.OpenStream(frame.Binary, 0)
		r.wire.setRoom(0)
		payload := pattern(1, 5000)
		written := 0
		done := make(chan error, 1)
		go func() {
			p := make([]byte, 100)
			for ; written < len(payload); written += 100 {
				copy(p, payload[written:])
				if err := s.Write(t.Context(), p, written+100 == len(payload)); err != nil {
					done <- err
					return
				}
				poison(p)
			}
			done <- nil
		}()
		for i := range len(payload) / 100 {
			synctest.Wait()
			require.Equal(t, min(len(payload), (i+1)*100), written, "one fragment is pending, the next one waits")
			require.Equal(t, 102, r.Pending())
			r.allow(102, i%2 == 0)
		}
		synctest.Wait()
		require.NoError(t, <-done)
		r.transcript().want(t, payload)
		r.Close(frame.CloseNormal, "", false)
		r.allow(unlimited, false)
		r.wantFinished(nil)
	})
}

// However far a stream has come when it is cancelled, the peer never gets a
// message that looks whole.
func TestStreamCancel(t *testing.T) {
	for room := range 9 * 32 { // with more, the last fragment is taken
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, backpressure.Config{})
			r.wire.setRoom(room)
			s, _ := r.OpenStream(frame.Binary, 0)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				for i := range 10 {
					if err := s.Write(ctx, pattern(i, 30), i == 9); err != nil {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
			r.send([]byte("behind the stream"))
			synctest.Wait()
			cancel()
			err := <-failed
			require.ErrorIs(t, err, context.Canceled)
			r.Close(frame.CloseInternalError, "stream failed", true)
			assert.ErrorIs(t, s.Write(t.Context(), nil, true), backpressure.ErrClosed)
			r.allowAll()
			tr := r.transcript()
			assert.Empty(t, tr.messages)
			assert.True(t, tr.closed)
			r.wantFinished(nil)
		})
	}
}

// Whoever waits in Stream.Write, Drain or SendWait is let go by every end.
func TestEndReleasesEverybody(t *testing.T) {
	ends := map[string]func(*rig){
		"Fail":    func(r *rig) { r.Fail(errBroken) },
		"discard": func(r *rig) { r.Close(frame.CloseNormal, "", true) },
		"error":   func(r *rig) { r.wire.failAt(0, errBroken) },
	}
	for name, end := range ends {
		for _, blocked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, backpressure.Config{HighWater: 100})
					r.wire.setRoom(0)
					s, _ := r.OpenStream(frame.Text, 0)
					require.NoError(t, s.Write(t.Context(), pattern(0, 200), false))
					if blocked {
						go r.wire.resume(&r.Queue, true)
					}
					results := make(chan error, 3)
					go func() { results <- s.Write(t.Context(), nil, true) }()
					go func() { results <- r.Drain(t.Context(), 0) }()
					go func() { results <- sendWait(&r.Queue, t.Context(), data(frame.Text, nil)) }()
					synctest.Wait()
					end(r)
					if name == "error" && !blocked {
						r.allow(1, false)
					}
					if name == "discard" {
						r.allow(unlimited, false)
					}
					synctest.Wait()
					if name != "discard" || blocked {
						require.Len(t, results, 3)
					}
					for range 3 {
						err := <-results
						if name != "discard" { // else all that Drain waits for may have been written
							assert.ErrorIs(t, err, net.ErrClosed)
						}
					}
					r.wire.failAt(0, errBroken)
					synctest.Wait()
				})
			})
		}
	}
}

// Close while a goroutine is blocked in Write: the close frame follows what was
// queued, from that goroutine.
func TestCloseDuringBlockedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(10)
		payload := pattern(1, 9000)
		r.mustSend(payload)
		go r.wire.resume(&r.Queue, true)
		synctest.Wait()
		assert.True(t, r.Close(frame.CloseNormal, "", false))
		synctest.Wait()
		_, finished, _ := r.events.counts()
		assert.Zero(t, finished)
		r.wire.setRoom(unlimited)
		synctest.Wait()
		r.wantFinished(nil)
		tr := r.transcript()
		tr.want(t, payload)
		assert.True(t, tr.closed)
	})
}

// Fail while another goroutine is inside Write: it is final at once, the memory
// comes back when Write returns, and nothing more is written or reported.
func TestFailDuringWrite(t *testing.T) {
	t.Run("blocked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, backpressure.Config{HighWater: 1000})
			r.wire.setRoom(0)
			r.mustSend(pattern(1, 9000))
			go r.wire.resume(&r.Queue, true)
			synctest.Wait()
			r.Fail(errBroken)
			_, finished, err := r.events.counts()
			assert.Equal(t, 1, finished)
			assert.Equal(t, errBroken, err)
			assert.Zero(t, r.Pending())
			assert.False(t, r.Congested())
			assert.Equal(t, backpressure.Closed, r.send(nil))
			_, blocked := progress(&r.Queue)
			assert.False(t, blocked)
			r.wire.setRoom(100)
			synctest.Wait()
			r.wantFinished(errBroken)
			assert.Equal(t, 100, len(r.wire.taken()))
			assert.Equal(t, uint64(100), r.Totals().Written)
			drained, _, _ := r.events.counts()
			assert.Zero(t, drained, "Drained after Finished")
		})
	})
	for _, size := range []int{10, 9000} { // direct, and through the lane
		t.Run("not blocked", func(t *testing.T) {
			r := newRig(t, backpressure.Config{})
			r.wire.during = func([]byte, bool) {
				r.mustSend([]byte("behind"))
				r.Fail(errBroken)
				r.Fail(errors.New("too late"))
			}
			r.mustSend(pattern(1, size))
			r.wantFinished(errBroken)
			assert.Equal(t, 1, r.wire.writes)
		})
	}
	t.Run("waiting", func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(0)
		r.mustSend(pattern(1, 9000))
		r.Fail(errBroken)
		r.wantFinished(errBroken)
		r.wire.resume(&r.Queue, false) // the wire does not know
		r.Resume(true)
		assert.Equal(t, 1, r.wire.writes)
		assert.Equal(t, 1, r.wire.awaited)
	})
}

// While the queue is corked nothing is written, whoever sends, until CorkSize.
func TestCork(t *testing.T) {
	t.Run("many senders", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1 << 20, HighWater: 1 << 21})
		r.Cork()
		var senders sync.WaitGroup
		for id := range 20 {
			senders.Go(func() {
				for i := range 50 {
					r.mustSend(pattern(id, 10+i))
					r.Send(prep(prepare(frame.Text, pattern(id, 1)), i%2 == 0))
				}
				r.mustSend(pattern(id, 9000))
				r.SendControl(frame.Pong, nil)
			})
		}
		senders.Wait()
		assert.Zero(t, r.wire.writes)
		r.Uncork()
		assert.Zero(t, r.wire.writes, "switching it off writes nothing")
		r.Flush()
		r.allowAll()
		tr := r.transcript()
		assert.Equal(t, 20*101, len(tr.messages))
		assert.Len(t, tr.controls, 20)
		assert.Zero(t, r.cfg.Pool.Out())
	})
	t.Run("size", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1000})
		r.Cork()
		for range 9 {
			r.mustSend(pattern(0, 109)) // 111 with its header
		}
		assert.Zero(t, r.wire.writes, "999 bytes")
		r.Cork()
		r.mustSend(nil)
		assert.Equal(t, 1, r.wire.writes, "1001 bytes, one write")
		r.mustSend(nil)
		assert.Equal(t, 1, r.wire.writes, "still corked")
		r.Flush()
		assert.Equal(t, 2, r.wire.writes)
		assert.Equal(t, 11, len(r.transcript().messages))
	})
	t.Run("a Resume that nobody asked for", func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		r.Cork()
		r.mustSend(nil)
		r.Resume(false)
		r.Resume(true)
		assert.Zero(t, r.wire.writes)
	})
	t.Run("exactly the size", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1000})
		r.Cork()
		r.mustSend(pattern(0, 996))
		assert.Equal(t, 1, r.wire.writes)
	})
	t.Run("held", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1000})
		p := prepare(frame.Text, pattern(0, 109))
		for range 9 {
			r.Send(prep(p, true))
		}
		assert.Zero(t, r.wire.writes)
		r.Send(prep(p, true))
		assert.Equal(t, 1, r.wire.writes)
		r.Send(prep(p, true))
		r.mustSend(nil) // not held: everything goes
		assert.Zero(t, r.Pending())
	})
	t.Run("drain", func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		r.Cork()
		r.mustSend(pattern(0, 10))
		require.NoError(t, r.Drain(t.Context(), 0), "must not wait for the cork")
		assert.Equal(t, 1, r.wire.writes)
	})
	t.Run("large message", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1 << 20, HighWater: 1 << 21})
		r.Cork()
		payload := pattern(0, 100000)
		r.mustSend(payload)
		assert.Zero(t, r.wire.writes)
		r.Flush()
		r.allowAll()
		r.transcript().want(t, payload)
	})
	t.Run("from another goroutine during a write", func(t *testing.T) {
		r := newRig(t, backpressure.Config{CorkSize: 1 << 20})
		lent, want := pattern(1, 9000), pattern(1, 9000)
		r.wire.atMost = func(n int) int { return min(n, 5000) }
		r.wire.during = func([]byte, bool) {
			r.wire.during = nil
			r.Cork()
			r.mustSend([]byte("corked"))
		}
		require.Equal(t, backpressure.Queued, r.Send(data(frame.Binary, lent)))
		poison(lent)
		r.allowAll()
		r.transcript().want(t, want, []byte("corked"))
	})
}

// A message of the sender's memory is copied as far as the socket did not take it,
// and no further than that: Send returns, the memory changes, the peer gets what
// was sent.
func TestLentMemory(t *testing.T) {
	payload := pattern(1, 3000)
	for room := 0; room < 3100; room += 7 {
		r := newRig(t, backpressure.Config{ChunkSize: 1000})
		r.wire.setRoom(room)
		r.mustSend(payload)
		r.allow(unlimited, false)
		r.transcript().want(t, payload)
		require.Zero(t, r.cfg.Pool.Out())
	}
	// all of it taken: no copy at all
	r := newRig(t, backpressure.Config{ChunkSize: 1000})
	r.wire.during = func([]byte, bool) { assert.Zero(t, r.cfg.Pool.Out()) }
	r.mustSend(payload)
	r.transcript().want(t, payload)
}

// Memory that is in a write must not be given back or written to: another sender
// appends to the segment that is under way, while control frames fly behind it.
func TestSegmentGrowsDuringWrite(t *testing.T) {
	for stop := 1; stop < 130; stop++ {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(0)
		r.mustSend([]byte("full")) // what is queued from here on is a segment
		r.mustSend(pattern(1, 100))
		r.allow(6+stop%102, false) // stops inside it
		r.SendControl(frame.Ping, []byte("ping"))
		r.wire.during = func([]byte, bool) {
			r.wire.during = nil
			r.mustSend(pattern(2, 100))
		}
		r.wire.atMost = func(n int) int { return min(n, stop) }
		r.allow(unlimited, false)
		r.wire.atMost = nil
		r.allowAll()
		tr := r.transcript()
		tr.want(t, []byte("full"), pattern(1, 100), pattern(2, 100))
		require.Len(t, tr.controls, 1)
		require.Zero(t, r.Pending())
	}
}

// Control frames that wait while others are half written come before the close
// frame, not behind it, and are not lost.
func TestCloseBehindWaitingControl(t *testing.T) {
	for stop := 1; stop < 12; stop++ {
		r := newRig(t, backpressure.Config{})
		r.wire.setRoom(0)
		r.SendControl(frame.Ping, []byte("first"))
		r.allow(3, false) // stops inside it
		r.SendControl(frame.Ping, []byte("second"))
		r.Close(frame.CloseNormal, "", false)
		r.allow(stop, false) // perhaps inside the close frame
		r.allowAll()
		assert.Equal(t, []string{"ping", "ping", "close"}, r.transcript().order)
		r.wantFinished(nil)
	}
}

// Await comes when there is more to write and nobody writes, and only then.
func TestAwait(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 1 << 20, ChunkSize: 1000})
	r.mustSend(pattern(0, 10))
	assert.Zero(t, r.wire.awaited, "all taken")
	r.wire.setRoom(12)
	r.mustSend(pattern(0, 10))
	assert.Zero(t, r.wire.awaited, "all taken, and the socket is full")
	r.mustSend(pattern(0, 10))
	assert.Equal(t, 1, r.wire.awaited)
	for range 10 {
		r.mustSend(pattern(0, 10))
		r.SendControl(frame.Ping, nil)
		r.Flush()
	}
	assert.Equal(t, 1, r.wire.awaited, "once")
	r.allow(5, false)
	assert.Equal(t, 2, r.wire.awaited, "asked again")
	r.allow(unlimited, false)
	assert.Equal(t, 2, r.wire.awaited, "all taken")
	assert.Zero(t, r.Pending())
	r.Resume(false)
	r.Resume(true)
	r.Flush()
	assert.Equal(t, 2, r.wire.awaited, "nothing to write")
}

// A sender does not become the writer of a busy connection: it hands over after
// its own message and one turn.
func TestHandOver(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 1 << 30, ChunkSize: 16 << 10})
	r.wire.during = func([]byte, bool) { // another sender that is as fast as the socket
		if len(r.wire.got) < 1<<20 {
			r.mustSend(pattern(0, 30<<10))
		}
	}
	r.mustSend(pattern(0, 10))
	assert.LessOrEqual(t, len(r.wire.taken()), 2*backpressure.Turn)
	awaiting, _, full := r.wire.state()
	assert.True(t, awaiting)
	assert.False(t, full, "handed over to a socket that is not full")
	r.wire.resume(&r.Queue, true)
	assert.Zero(t, r.Pending(), "with wait nothing is left")

	own := pattern(1, 10*backpressure.Turn)
	r = newRig(t, backpressure.Config{HighWater: 1 << 30, ChunkSize: 16 << 10})
	r.mustSend(own)
	assert.Zero(t, r.wire.awaited, "a sender writes all of its own message")
	r.transcript().want(t, own)
}

// SendWait waits for the low-water mark, for ctx, or for the end.
func TestSendWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{HighWater: 1000, LowWater: 100})
		r.wire.setRoom(0)
		require.NoError(t, sendWait(&r.Queue, t.Context(), data(frame.Binary, pattern(1, 2000))))
		results := make(chan error, 2)
		go func() { results <- sendWait(&r.Queue, t.Context(), data(frame.Binary, []byte("waited"))) }()
		synctest.Wait()
		r.allow(2004-101, false)
		synctest.Wait()
		require.Empty(t, results, "above the low-water mark")
		r.allow(1, false)
		synctest.Wait()
		require.NoError(t, <-results)
		r.allowAll()
		r.transcript().want(t, pattern(1, 2000), []byte("waited"))

		r.wire.setRoom(0)
		r.mustSend(pattern(1, 2000))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { results <- sendWait(&r.Queue, ctx, data(frame.Binary, nil)) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-results, context.Canceled)
		go func() { results <- sendWait(&r.Queue, t.Context(), data(frame.Binary, nil)) }()
		synctest.Wait()
		r.Close(frame.CloseNormal, "", true)
		require.ErrorIs(t, <-results, net.ErrClosed)
		r.allowAll()
		r.wantFinished(nil)
		require.ErrorIs(t, sendWait(&r.Queue, t.Context(), data(frame.Binary, nil)), backpressure.ErrClosed)
	})
}

// Drain tells what was written from what was lost.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		require.NoError(t, r.Drain(t.Context(), 0))
		r.wire.setRoom(0)
		r.mustSend(pattern(0, 98))
		require.NoError(t, r.Drain(t.Context(), 100))
		levels := []int{99, 50, 49, 0}
		results := make([]chan error, len(levels))
		for i, n := range levels {
			results[i] = make(chan error, 1)
			go func() { results[i] <- r.Drain(t.Context(), n) }()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { results[0] <- r.Drain(ctx, 1) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-results[0], context.Canceled)
		r.allow(50, false)
		synctest.Wait()
		require.NoError(t, <-results[0])
		require.NoError(t, <-results[1])
		require.Empty(t, results[2])
		r.allow(unlimited, false)
		require.NoError(t, <-results[2])
		require.NoError(t, <-results[3])
		r.Close(frame.CloseNormal, "", false)
		r.wantFinished(nil)
		require.NoError(t, r.Drain(t.Context(), 0), "everything was written")
	})
	t.Run("discarded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, backpressure.Config{})
			r.wire.setRoom(0)
			r.mustSend(pattern(0, 98))
			result := make(chan error)
			go func() { result <- r.Drain(t.Context(), 50) }()
			synctest.Wait()
			r.Close(frame.CloseNormal, "", true)
			require.ErrorIs(t, <-result, backpressure.ErrClosed)
			r.Fail(errBroken)
		})
	})
}

// Drained comes from whoever crosses the mark, a discard included, and before
// Finished.
func TestDrainedByDiscard(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 1000, LowWater: 100})
	r.wire.setRoom(0)
	r.mustSend(pattern(0, 2000))
	r.events.onDrained = func() {
		_, finished, _ := r.events.counts()
		assert.Zero(t, finished)
		assert.False(t, r.Congested())
	}
	r.Close(frame.CloseNormal, "", true)
	drained, _, _ := r.events.counts()
	assert.Equal(t, 1, drained)
	r.allowAll()
	drained, _, _ = r.events.counts()
	assert.Equal(t, 1, drained)
	r.wantFinished(nil)
}

// A stalled socket shows by the same count while blocked; an idle queue is not
// blocked.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, backpressure.Config{})
		want := func(n uint64, waits bool) {
			t.Helper()
			written, blocked := progress(&r.Queue)
			assert.Equal(t, n, written)
			assert.Equal(t, waits, blocked)
		}
		want(0, false)
		r.mustSend(pattern(0, 98))
		want(100, false)
		r.wire.setRoom(7)
		r.mustSend(pattern(0, 98))
		want(107, true)
		r.mustSend(pattern(0, 98))
		want(107, true)
		go r.wire.resume(&r.Queue, true) // and blocked inside Write
		synctest.Wait()
		r.wire.setRoom(0)
		synctest.Wait()
		written, blocked := progress(&r.Queue)
		assert.True(t, blocked)
		assert.LessOrEqual(t, written, uint64(114))
		r.wire.setRoom(unlimited)
		synctest.Wait()
		want(300, false)
		r.wire.setRoom(0)
		r.mustSend(nil)
		want(300, true)
		r.Fail(errBroken)
		want(300, false)
	})
}

// The callbacks are made without the queue's lock, so that they may ask it.
func TestEventsMayAsk(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 100})
	r.events.onDrained = func() {
		assert.False(t, r.Congested())
		r.Pending()
		progress(&r.Queue)
		r.Totals()
	}
	r.mustSend(pattern(0, 500))
	drained, _, _ := r.events.counts()
	assert.Equal(t, 1, drained)
}

func TestVerdictString(t *testing.T) {
	assert.Equal(t, "queued", backpressure.Queued.String())
	assert.Equal(t, "congested", backpressure.Congested.String())
	assert.Equal(t, "overflowed", backpressure.Overflowed.String())
	assert.Equal(t, "closed", backpressure.Closed.String())
	assert.NotEmpty(t, backpressure.Verdict(9).String())
}

func TestErrClosed(t *testing.T) {
	assert.ErrorIs(t, backpressure.ErrClosed, net.ErrClosed)
}
