package engine_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A run is when a message was read, and when its chain began and ended.
type run struct{ received, began, ended time.Time }

// runs is an interceptor that keeps those of data.
type runs struct {
	interceptors.InboundOnly
	interceptors.Timed
	mu   sync.Mutex
	list []run
}

func (r *runs) only() interceptors.Interceptor { return interceptors.Only(interceptors.InboundData, r) }

func (r *runs) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	at := run{received: engine.ReceivedAt(ctx), began: time.Now()}
	err := next.Run(context.WithValue(ctx, t0{}, at.received), in)
	at.ended = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, at)
	return err
}

type t0 struct{}

// take waits for n runs, which must make sense by themselves.
func (r *runs) take(t *testing.T, n int) []run {
	t.Helper()
	var list []run
	enginetest.Await(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		list = slices.Clone(r.list)
		return len(list) == n
	}, "there should be %d runs", n)
	for i, at := range list {
		require.False(t, at.received.IsZero(), "run %d", i)
		require.False(t, at.received.After(at.began), "run %d was read after its chain began: %v", i, at)
	}
	return list
}

// within: a coarse clock would be late by tens of milliseconds.
func within(t *testing.T, before, at, after time.Time) {
	t.Helper()
	require.False(t, at.Before(before), "%v too early", before.Sub(at))
	require.False(t, at.After(after), "%v too late", at.Sub(after))
}

// What waits for a worker has been received when it was read, not when its turn came.
func TestReceivedAtOnWorkers(t *testing.T) {
	seen := new(runs)
	entered, release := make(chan struct{}, 3), make(chan struct{})
	s := enginetest.Start(t, engine.Config{Workers: 1}, with(engine.Handler{OnMessage: func(ctx context.Context, _ *engine.Conn, _ engine.Message) error {
		require.Equal(t, ctx.Value(t0{}), engine.ReceivedAt(ctx), "the handler can ask, too, through any wrapping")
		entered <- struct{}{}
		<-release
		return nil
	}}, seen.only()))
	c, other := s.Dial(), s.Dial()
	started := time.Now()
	c.SendText("holds the worker")
	<-entered
	other.SendText("waits for it")
	other.Send(frame.Ping, nil)
	other.ReadFrame()
	read := time.Now()
	other.SendText("waits behind it")
	other.Send(frame.Ping, nil)
	other.ReadFrame()
	readNext := time.Now()
	close(release)
	list := seen.take(t, 3)
	within(t, started, list[0].received, list[0].began)
	within(t, started, list[1].received, read)
	require.GreaterOrEqual(t, list[1].began.Sub(list[1].received), list[1].began.Sub(read))
	within(t, read, list[2].received, readNext)
}

// One read, many messages: all have the same time, so that those behind have waited for
// those before. A message that comes in parts has been received with its last.
func TestReceivedAtOfOneRead(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		seen := new(runs)
		ep := with(engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil }}, seen.only())
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		c := s.Dial()
		started := time.Now()
		var all []byte
		for range 100 { // more than a batch, and than a worker's turn
			all = append(all, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("x"))...)
		}
		c.Write(all)
		list := seen.take(t, 100)
		for i, at := range list[1:] {
			require.Equal(t, list[0].received, at.received, "message %d", i+1)
		}
		within(t, started, list[0].received, list[0].began)

		c.WriteFrame(frame.Header{Opcode: frame.Binary}, pattern(10_000))
		c.Send(frame.Ping, nil)
		c.ReadFrame()
		parts := time.Now()
		c.WriteFrame(frame.Header{Fin: true, Opcode: frame.Continuation}, pattern(100_000))
		last := seen.take(t, 101)[100]
		within(t, parts, last.received, last.began)
	})
}

// What came with the handshake was read then.
func TestReceivedAtOfEarlyMessage(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		seen := new(runs)
		ep := with(engine.Handler{OnMessage: echo}, seen.only())
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		started := time.Now()
		h := enginetest.Handshake{Early: []byte{0x81, 0x80, 0, 0, 0, 0}}
		c := s.DialWith(h)
		require.Empty(t, c.ReadText())
		at := seen.take(t, 1)[0]
		within(t, started, at.received, at.began)
	})
}

// Without OnMessage a message waits for Receive.
func TestReceivedAtOfReceive(t *testing.T) {
	seen := new(runs)
	_, c, conn := pull(t, engine.Config{CloseTimeout: 200 * time.Millisecond}, seen.only())
	c.SendText("one")
	c.SendText("two")
	c.Send(frame.Ping, nil)
	c.ReadFrame()
	read := time.Now()
	for range 2 {
		_, err := conn.Receive(t.Context())
		require.NoError(t, err)
	}
	for _, at := range seen.take(t, 2) {
		require.False(t, at.received.After(read))
		require.False(t, at.began.Before(read))
	}
}

// curious is an interceptor that asks without being Timed.
type curious struct {
	interceptors.InboundOnly
	times chan time.Time
}

func (a curious) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	a.times <- engine.ReceivedAt(ctx)
	return next.Run(ctx, in)
}

// Where nobody that sees messages is Timed no clock is read.
func TestReceivedAtOfNothing(t *testing.T) {
	times := make(chan time.Time, 4)
	ask, timed := curious{times: times}, struct {
		curious
		interceptors.Timed
	}{curious: curious{times: times}}
	events := interceptors.Only(interceptors.InboundPing|interceptors.InboundClose, timed)
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		times <- engine.ReceivedAt(ctx)
		return nil
	}}, events, interceptors.Only(interceptors.InboundData, ask)))
	c := s.Dial()
	c.SendText("")
	c.Send(frame.Ping, nil)
	c.ReadFrame()
	c.Hangup()
	for range 4 {
		require.Zero(t, <-times)
	}
	require.Zero(t, engine.ReceivedAt(t.Context()))
}

// Ends are counted by cause and code together, and what is congested, or waits for a
// worker, as long as it is.
func TestStatsOfTheMoment(t *testing.T) {
	entered, release := make(chan struct{}, 3), make(chan struct{})
	open := make(conns, 1)
	s := enginetest.Start(t, shallow, onMessage(echo))
	require.Zero(t, s.Engine.Stats().Congested)
	s.Handle("/slow", engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen}})
	slow := s.DialWith(enginetest.Handshake{Target: "/slow", ReceiveBuffer: 4 << 10})
	conn := <-open
	awaitOpened(t, conn)
	enginetest.Await(t, func() bool {
		return conn.SendBytes(pattern(10_000)) == engine.ErrCongested && s.Engine.Stats().Congested == 1
	}, "it should be congested")
	slow.Reset()
	enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "it should have ended")
	st := s.Engine.Stats()
	require.Zero(t, st.Congested)
	enginetest.Await(t, func() bool { return s.Engine.Stats().Workers == 0 }, "the worker should end")
	require.Equal(t, map[engine.Cause]map[frame.CloseCode]uint64{engine.CauseLost: {frame.CloseAbnormal: 1}}, st.EndedBy)

	one := enginetest.Start(t, engine.Config{Workers: 1}, onMessage(func(context.Context, *engine.Conn, engine.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	}))
	for range 3 {
		one.Dial().SendText("")
	}
	<-entered
	enginetest.Await(t, func() bool { return one.Engine.Stats().Runnable == 2 }, "two should wait for the worker")
	st = one.Engine.Stats()
	require.Equal(t, [2]int{1, 1}, [2]int{st.Workers, st.WorkersMost})
	close(release)
	enginetest.Await(t, func() bool { st := one.Engine.Stats(); return st.Workers == 0 && st.Runnable == 0 }, "the worker should end")
}
