package backpressure_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A pipeWire is a socket with a small buffer that a peer goroutine empties.
type pipeWire struct {
	tb      testing.TB
	rnd     *rand.Rand // guarded by mu
	inside  atomic.Bool
	resumes sync.WaitGroup

	mu   sync.Mutex
	cond sync.Cond
	buf  []byte
	size int
	got  []byte // read by the peer
	err  error
	end  bool // the peer stops when buf is empty
}

func newPipeWire(tb testing.TB, seed uint64) *pipeWire {
	w := &pipeWire{tb: tb, rnd: rand.New(rand.NewPCG(seed, 2))}
	w.cond.L = &w.mu
	w.size = 1 + w.rnd.IntN(20000)
	return w
}

func (w *pipeWire) Write(bufs [][]byte, wait bool) (n int, err error) {
	if !w.inside.CompareAndSwap(false, true) {
		w.tb.Error("two goroutines inside Write")
	}
	defer w.inside.Store(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	for wait && len(w.buf) == w.size && w.err == nil {
		w.cond.Wait()
	}
	if w.err != nil {
		return 0, w.err
	}
	room := w.size - len(w.buf)
	if room > 1 && w.rnd.IntN(4) == 0 {
		room = 1 + w.rnd.IntN(room)
	}
	for _, b := range bufs {
		k := min(room, len(b))
		w.buf = append(w.buf, b[:k]...)
		n += k
		room -= k
		if w.rnd.IntN(4) == 0 {
			w.mu.Unlock()
			runtime.Gosched()
			w.mu.Lock()
		}
	}
	clear(bufs)
	w.cond.Broadcast()
	return n, nil
}

// Await waits in one of the two ways: blocked in Write, or for room.
func (w *pipeWire) Await(q *backpressure.Queue) {
	w.mu.Lock()
	block := w.rnd.IntN(2) == 0
	w.mu.Unlock()
	w.resumes.Go(func() {
		if !block {
			w.mu.Lock()
			for len(w.buf) == w.size && w.err == nil {
				w.cond.Wait()
			}
			w.mu.Unlock()
		}
		q.Resume(block)
	})
}

// read is the peer; it returns once it has been told to and nothing is left.
func (w *pipeWire) read() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.buf) == 0 && !w.end {
			w.cond.Wait()
		}
		if len(w.buf) == 0 {
			return
		}
		n := 1 + w.rnd.IntN(len(w.buf))
		w.got = append(w.got, w.buf[:n]...)
		w.buf = w.buf[:copy(w.buf, w.buf[n:])]
		w.cond.Broadcast()
		if w.rnd.IntN(2) == 0 {
			w.mu.Unlock()
			runtime.Gosched()
			w.mu.Lock()
		}
	}
}

func (w *pipeWire) change(do func()) {
	w.mu.Lock()
	do()
	w.cond.Broadcast()
	w.mu.Unlock()
}

// Many goroutines do everything at once over a wire that is served by others.
// Each sender's messages arrive once, whole and in its order; however it ends,
// it ends once, for everybody, and all memory comes back.
func TestConcurrent(t *testing.T) {
	seed := rand.Uint64()
	for _, end := range []string{"close", "discard", "fail", "error"} {
		for i := range 6 {
			seed := seed + uint64(i)
			t.Run(fmt.Sprintf("%s/seed=%d", end, seed), func(t *testing.T) { runConcurrent(t, end, seed) })
		}
	}
}

const (
	senders     = 8
	perSender   = 60
	headerBytes = 6 // sender and number, in each payload
)

type crowd struct {
	*rig
	pipe   *pipeWire
	order  sync.WaitGroup
	queued [senders]atomic.Int64 // messages taken from each
}

func runConcurrent(t *testing.T, end string, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	watchdog := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("%s: somebody waits for ever, seed %d", end, seed)) })
	defer watchdog.Stop()
	c := &crowd{rig: newRig(t, backpressure.Config{
		HighWater: 1000 + rnd.IntN(30000),
		ChunkSize: 200 + rnd.IntN(4000),
		CorkSize:  200 + rnd.IntN(4000),
		Mask:      seed%2 == 0,
	}), pipe: newPipeWire(t, seed)}
	c.Init(&c.cfg, c.pipe, c.events)
	var peer sync.WaitGroup
	peer.Go(c.pipe.read)
	for id := range senders {
		c.order.Go(func() { c.sender(id, rand.New(rand.NewPCG(seed, uint64(10+id)))) })
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { c.corker(stop) })
	others.Go(func() { c.pinger(stop) })
	early := end != "close"
	if early {
		c.pipe.change(func() {
			for len(c.pipe.got) < 20000 {
				c.pipe.cond.Wait()
			}
		})
	} else {
		c.order.Wait()
	}
	switch end {
	case "fail":
		c.Fail(errBroken)
		c.pipe.change(func() { c.pipe.err = errBroken }) // as the engine closes the socket
	case "error":
		c.pipe.change(func() { c.pipe.err = errBroken })
		c.SendControl(frame.Ping, nil)
	default:
		c.Close(frame.CloseNormal, "", end == "discard")
	}
	<-c.events.done
	c.order.Wait()
	close(stop)
	others.Wait()
	c.pipe.resumes.Wait()
	c.pipe.change(func() { c.pipe.end = true })
	peer.Wait()
	c.wantAll(end)
}

// sender sends its messages in one way after the other.
func (c *crowd) sender(id int, rnd *rand.Rand) {
	for i := range perSender {
		size := rnd.IntN(200)
		switch rnd.IntN(10) {
		case 0:
			size = rnd.IntN(4 * c.cfg.ChunkSize)
		case 1, 2:
			size = rnd.IntN(3000)
		}
		p := numbered(id, i, size)
		if err := c.sendSomehow(p, rnd); err != nil {
			assert.ErrorIs(c.tb, err, backpressure.ErrClosed)
			return
		}
		poison(p)
		c.queued[id].Add(1)
	}
}

func (c *crowd) sendSomehow(p []byte, rnd *rand.Rand) error {
	ctx := context.Background()
	switch rnd.IntN(12) {
	case 0:
		s, v := c.OpenStream(frame.Binary, 0)
		if v != backpressure.Queued {
			return c.again(v, p, rnd)
		}
		for {
			n := min(len(p), 1+rnd.IntN(c.cfg.ChunkSize))
			if err := s.Write(ctx, p[:n], n == len(p)); err != nil || n == len(p) {
				return err
			}
			p = p[n:]
		}
	case 1, 2:
		v := c.Send(prep(prepare(frame.Binary, p), false))
		return c.again(v, p, rnd)
	case 3, 4:
		v := c.Send(prep(prepare(frame.Binary, p), true))
		runtime.Gosched()
		c.Flush()
		return c.again(v, p, rnd)
	case 5, 6, 7:
		return c.again(c.Send(data(frame.Binary, p)), p, rnd)
	}
	return sendWait(&c.Queue, ctx, data(frame.Binary, p))
}

// again waits if v says that the message was not taken, and tries once more.
func (c *crowd) again(v backpressure.Verdict, p []byte, rnd *rand.Rand) error {
	switch v {
	case backpressure.Queued:
		return nil
	case backpressure.Congested:
		if err := c.Drain(context.Background(), rnd.IntN(c.cfg.HighWater)); err != nil {
			return err
		}
		return sendWait(&c.Queue, context.Background(), data(frame.Binary, p))
	}
	return backpressure.ErrClosed
}

func (c *crowd) corker(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			c.Cork()
			runtime.Gosched()
			c.Uncork()
			c.Flush()
		}
	}
}

func (c *crowd) pinger(stop chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
			c.SendControl(frame.Ping, binary.BigEndian.AppendUint32(nil, uint32(i)))
			progress(&c.Queue)
			c.Totals()
			runtime.Gosched()
		}
	}
}

// numbered returns the i-th payload of a sender: who, which, and size bytes that
// follow from these.
func numbered(id, i, size int) []byte {
	p := binary.BigEndian.AppendUint16(make([]byte, 0, headerBytes+size), uint16(id))
	p = binary.BigEndian.AppendUint32(p, uint32(i))
	return append(p, pattern(id*1000+i, size)...)
}

func (c *crowd) wantAll(end string) {
	t := c.tb
	var err error
	if end == "fail" || end == "error" {
		err = errBroken
	}
	c.wantFinished(err)
	tr := read(t, c.pipe.got, &c.cfg)
	var next [senders]int
	for _, m := range tr.messages {
		id, i := int(binary.BigEndian.Uint16(m.payload)), int(binary.BigEndian.Uint32(m.payload[2:]))
		require.True(t, bytes.Equal(numbered(id, i, len(m.payload)-headerBytes), m.payload), "sender %d, message %d", id, i)
		require.Equal(t, next[id], i, "sender %d: out of order, lost or doubled", id)
		next[id]++
	}
	for i := 1; i < len(tr.controls); i++ {
		require.Less(t, tr.controls[i-1].payload, tr.controls[i].payload, "pings out of order or doubled")
	}
	assert.Equal(t, err == nil, tr.closed)
	if err == nil {
		assert.False(t, tr.partial)
	}
	for id := range senders {
		taken := int(c.queued[id].Load())
		if end == "close" {
			assert.Equal(t, perSender, taken)
			assert.Equal(t, perSender, next[id], "sender %d", id)
			continue
		}
		assert.LessOrEqual(t, next[id], taken+1)
	}
	if end == "close" {
		assert.Nil(t, tr.open)
		assert.Equal(t, uint64(senders*perSender), c.Totals().Messages)
	}
	assert.Equal(t, uint64(len(c.pipe.got)), c.Totals().Written)
	if err != nil && !errors.Is(c.Drain(context.Background(), 0), backpressure.ErrClosed) {
		t.Error("Drain after a failure")
	}
}
