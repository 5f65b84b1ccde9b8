package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-ws/penstock/frame"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
)

// An executorRig is an engine whose connections have no reader: the test hands
// messages over.
type executorRig struct {
	t     *testing.T
	e     *Engine
	ep    *endpoint
	conns []*Conn
	next  []uint32 // number of the next message, by connection

	mu      sync.Mutex
	on      map[*Conn]bool
	handled map[*Conn][]uint32
	gate    chan struct{}
	blocked int
	most    int
}

// noSocket takes everything.
type noSocket struct{ neverParks }

func (noSocket) read(memory) (int, error)        { select {} }
func (noSocket) closeWrite() error               { return nil }
func (noSocket) unsent() (n, lost int)           { return 0, 0 }
func (noSocket) setReadDeadline(time.Time) error { return nil }
func (noSocket) close() error                    { return nil }
func (noSocket) Await(q *backpressure.Queue)     { panic("never full") }
func (noSocket) Write(b [][]byte, _ bool) (int, error) {
	return len(bytes.Join(b, nil)), nil
}

func newExecutorRig(t *testing.T, limit, conns int) *executorRig {
	r := &executorRig{t: t, on: map[*Conn]bool{}, handled: map[*Conn][]uint32{}, gate: make(chan struct{})}
	e, err := New(Config{IO: IOGoroutines, Workers: limit, Logger: slog.New(slog.DiscardHandler)}, Endpoint{Handler: Handler{OnMessage: r.onMessage}})
	require.NoError(t, err)
	r.e, r.ep = e, e.endpoint
	for i := range conns {
		c := &Conn{e: e, ep: r.ep, id: uint64(i), sock: noSocket{}, scope: &Scope{}, opened: true}
		c.call.conn = c
		c.queue.Init(e.server.outbound, c.sock, c)
		r.conns = append(r.conns, c)
	}
	r.next = make([]uint32, conns)
	return r
}

// handOver gives a connection n messages that ask for what.
func (r *executorRig) handOver(i, n int, what command) {
	c := r.conns[i]
	b := &batch{}
	for range n {
		payload := append(binary.BigEndian.AppendUint32(nil, r.next[i]), byte(what))
		r.next[i]++
		b.list[b.n] = arrival{opcode: frame.Binary, data: bytes.NewBuffer(payload)}
		b.n++
		b.bytes += len(payload)
	}
	c.mu.Lock()
	c.pending = b
	c.handOverLocked()
	c.kickLocked()
}

func (r *executorRig) onMessage(_ context.Context, c *Conn, m Message) error {
	r.mu.Lock()
	if r.on[c] {
		r.t.Error("a connection is on two workers")
	}
	r.on[c] = true
	r.most = max(r.most, len(r.on))
	r.handled[c] = append(r.handled[c], binary.BigEndian.Uint32(m.Data))
	gate := r.gate
	blocks := command(m.Data[4]) == doBlock && gate != nil
	if blocks {
		r.blocked++
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.on, c)
	}()
	switch what := command(m.Data[4]); {
	case blocks:
		<-gate
	case what == doPanics:
		panic("as asked")
	case what == doExits:
		runtime.Goexit()
	case what == doEcho:
		runtime.Gosched()
	}
	return nil
}

// open lets all go that wait.
func (r *executorRig) open(forever bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gate != nil {
		close(r.gate)
	}
	r.gate, r.blocked = make(chan struct{}), 0
	if forever {
		r.gate = nil
	}
}

// check: nothing moves, so nobody waits for a worker unless all of them wait in
// handlers.
func (r *executorRig) check() {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.e.executor
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.starting || x.lingering:
		r.t.Error("a worker is between two states")
	case x.running != r.blocked:
		r.t.Errorf("%d workers run, %d handlers wait", x.running, r.blocked)
	case x.head != nil && x.running < x.limit:
		r.t.Errorf("a connection waits, and only %d of %d workers run", x.running, x.limit)
	case (x.head == nil) != (x.tail == nil):
		r.t.Error("the FIFO has one end")
	}
	for i, c := range r.conns {
		for k, seq := range r.handled[c] {
			if int(seq) != k {
				r.t.Fatalf("connection %d: message %d was handled as the %dth", i, seq, k)
			}
		}
		c.mu.Lock()
		if c.run == parked && c.wantsLocked() {
			r.t.Errorf("connection %d wants a worker and has none", i)
		}
		c.mu.Unlock()
	}
	if r.most > x.limit {
		r.t.Fatalf("%d handlers ran at once, the limit is %d", r.most, x.limit)
	}
}

// end lets all be handled, and wants nothing to be left.
func (r *executorRig) end() {
	r.open(true)
	synctest.Wait()
	r.check()
	for i, c := range r.conns {
		if n := len(r.handled[c]); n != int(r.next[i]) && !c.closing.Load() {
			r.t.Errorf("connection %d: %d of %d messages handled", i, n, r.next[i])
		}
	}
	require.NoError(r.t, r.e.Shutdown(context.Background()))
	require.Zero(r.t, r.e.executor.running)
}

// The executor under random schedules of connections whose handlers return, wait,
// panic or end their goroutine.
func TestExecutorModel(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		r := newExecutorRig(t, 1+rnd.IntN(4), 1+rnd.IntN(12))
		for range *modelSteps {
			var wg sync.WaitGroup
			for _, i := range rnd.Perm(len(r.conns))[:1+rnd.IntN(len(r.conns))] {
				n := 1 + rnd.IntN(batchSize)
				what := []command{doNone, doEcho, doBlock, doPanics, doExits}[[]int{0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 4}[rnd.IntN(14)]]
				if what >= doPanics && rnd.IntN(4) > 0 {
					what = doNone
				}
				wg.Go(func() { r.handOver(i, n, what) })
			}
			if rnd.IntN(3) == 0 {
				wg.Go(func() { r.open(false) })
			}
			wg.Wait()
			synctest.Wait()
			r.check()
		}
		r.end()
	})
}

// A connection that never runs out of messages keeps another waiting for no
// longer than its turn.
func TestExecutorFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newExecutorRig(t, 1, 3)
		var order []int
		r.ep.direct = func(_ context.Context, c *Conn, _ Message) error {
			i := slices.Index(r.conns, c)
			order = append(order, i)
			if i == 0 && len(order) < 10*quantum { // endless
				r.handOver(0, batchSize, doNone)
			}
			if i == 0 && len(order) == 5*quantum {
				r.handOver(1, 1, doNone)
				r.handOver(2, 1, doNone)
			}
			return nil
		}
		r.handOver(0, 1, doNone)
		synctest.Wait()
		first, second := slices.Index(order, 1), slices.Index(order, 2)
		waited := first - 5*quantum
		require.True(t, 0 <= waited && waited <= quantum, "the first waited for %d messages", waited)
		require.Equal(t, first+1, second, "the second to wait comes next, in order")
		require.NoError(t, r.e.Shutdown(context.Background()))
	})
}

// What a batch holds back must not make the connection congested: nobody knows yet
// whether the peer is slow.
func TestCorkedIsNotCongested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newExecutorRig(t, 1, 1)
		e := r.e
		e.server.outbound = Config{HighWaterBytes: 1000}.withDefaults().outbound(&e.pool, new(backpressure.Drops))
		r.conns[0].queue.Init(e.server.outbound, noSocket{}, r.conns[0])
		refused := 0
		r.ep.direct = func(_ context.Context, c *Conn, _ Message) error {
			for range 20 {
				if c.SendBytes(make([]byte, 100)) != nil {
					refused++
				}
			}
			return nil
		}
		r.handOver(0, batchSize, doNone)
		synctest.Wait()
		require.Zero(t, refused)
		require.NoError(t, r.e.Shutdown(context.Background()))
	})
}
