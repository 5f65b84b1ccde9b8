package engine_test

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// others hold all of a budget but n bytes, on behalf of the rest of the process.
func others(b *backpressure.Budget, n int) (leave func()) {
	a := backpressure.NewAccount(b)
	a.Add(b.Limit() - b.Used() - n)
	return func() { a.Add(-a.Held()) }
}

// announcement is the beginning of a message of n zeros, of which no more comes.
func announcement(n int) []byte {
	h := frame.Header{Fin: true, Opcode: frame.Binary, Masked: true, Length: int64(n)}
	return append(frame.AppendHeader(nil, h), make([]byte, announced)...)
}

// announced is how much of its payload comes with an announcement: what has not come
// costs next to nothing once there is much of it.
const announced = 900_000

// Peers that announce large messages and stop are refused, or ended, with 1013
// before the budget is used up, and learn it although they are in the middle of a
// message. Who sends small messages is served all the time. The memory is free as
// soon as they are ended, not when they have gone.
func TestBudgetInbound(t *testing.T) {
	const limit, peers, size = 64 << 20, 200, 1 << 20
	budget := backpressure.NewBudget(limit)
	s := enginetest.Start(t, engine.Config{Budget: budget, CloseTimeout: time.Minute, WriteStallTimeout: -1}, onMessage(echo))
	healthy := s.Dial()
	list := make([]*enginetest.Client, peers)
	for i := range list {
		list[i] = s.Dial()
	}
	var most int
	for _, c := range list {
		c.Write(announcement(size))
		healthy.Send(frame.Binary, pattern(2000))
		requireSame(t, pattern(2000), healthy.ReadMessage().Data)
		most = max(most, budget.Used())
	}
	require.Greater(t, most, limit/2, "too little to show anything")
	enginetest.Await(t, func() bool { return budget.Used() <= limit/8*6 }, "those who hold the most should be ended")
	ended := 0
	enginetest.Await(t, func() bool {
		st := s.Engine.Stats()
		ended = int(st.Shed)
		return budget.Used() <= limit/8*6 && ended+limit/8*7/size > peers
	}, "the others should be refused")
	require.LessOrEqual(t, most, limit/8*7+2<<20)
	require.Greater(t, ended, peers-limit/size)
	require.Equal(t, peers+1, s.Open(), "all linger")

	told, served := 0, 0
	rest := make([]byte, size-announced)
	for _, c := range list {
		c.Write(rest)
		h, payload := c.ReadFrame()
		if h.Opcode != frame.Close {
			served++
			c.Reset()
			continue
		}
		code, reason, err := frame.ParseClose(payload)
		require.NoError(t, err)
		require.Equal(t, frame.CloseTryAgainLater, code)
		require.Equal(t, "memory budget", reason)
		c.SendClose(code, "")
		c.ExpectEOF()
		c.Close()
		told++
	}
	require.Positive(t, served)
	require.Equal(t, peers, told+served)
	healthy.SendText("after")
	require.Equal(t, "after", healthy.ReadText())
	healthy.Hangup()
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
	shed := int(s.Engine.Stats().Shed)
	require.GreaterOrEqual(t, shed, told)
	require.LessOrEqual(t, shed, peers, "of those who were served some may hold the most before they are gone")
}

// The memory for a message in fragments is taken as they come.
func TestBudgetInboundFragments(t *testing.T) {
	budget := backpressure.NewBudget(64 << 20)
	s := enginetest.Start(t, engine.Config{Budget: budget, MaxMessageBytes: 16 << 20}, onMessage(echo))
	c := s.Dial()
	c.WriteFrame(frame.Header{Opcode: frame.Binary}, pattern(1<<20))
	for n := 2; n <= 4; n++ {
		c.WriteFrame(frame.Header{Opcode: frame.Continuation}, pattern(1<<20))
		enginetest.Await(t, func() bool { return budget.Used() > n<<20 }, "%d MiB should be counted", n)
		require.Less(t, budget.Used(), 4*n<<20)
	}
	leave := others(budget, 16<<20)
	c.WriteFrame(frame.Header{Opcode: frame.Continuation}, pattern(1<<20)) // doubles
	code, _ := c.ReadClose()
	require.Equal(t, frame.CloseTryAgainLater, code)
	leave()
	c.Reset()
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
}

// While the budget is tight upgrades are answered with 503 and Retry-After, and
// afterwards again with 101; connections that there are go on.
func TestBudgetUpgrade(t *testing.T) {
	budget := backpressure.NewBudget(8 << 20)
	s := enginetest.Start(t, engine.Config{Budget: budget}, onMessage(echo))
	before := s.Dial()
	leave := others(budget, 1<<20)
	for range 3 {
		r := s.Request(enginetest.Handshake{})
		require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
		require.Equal(t, "1", r.Header.Get("Retry-After"))
		before.SendText("still here")
		require.Equal(t, "still here", before.ReadText())
	}
	used := budget.Used()
	leave()
	require.Less(t, budget.Used(), used-6<<20)
	after := s.Dial()
	after.SendText("welcome")
	require.Equal(t, "welcome", after.ReadText())
	require.EqualValues(t, 3, s.Engine.Stats().Refused)
	require.Equal(t, 8<<20, s.Engine.Stats().BudgetLimit)
	require.Equal(t, budget.Used(), s.Engine.Stats().BudgetUsed)
	require.Equal(t, 2*backpressure.Footprint, budget.Used(), "two connections at rest")
	before.Hangup()
	after.Hangup()
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
}

// Engines that share a budget bear its limit together, and whichever holds the
// memory gives it back, whoever was asked to.
func TestBudgetShared(t *testing.T) {
	const limit = 32 << 20
	budget := backpressure.NewBudget(limit)
	for range 8 {
		idle, err := engine.New(engine.Config{Budget: budget}, onMessage(echo))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, idle.Shutdown(context.Background())) })
	}
	one := enginetest.Start(t, engine.Config{Budget: budget}, onMessage(echo))
	one.Dial().Hangup() // it serves; the other one must not count that as its own
	two := enginetest.Start(t, engine.Config{Budget: budget, CloseTimeout: time.Minute, IdleTimeout: -1, PingInterval: 200 * time.Millisecond}, onMessage(echo))
	for range 5 {
		var list []*enginetest.Client
		began := two.Engine.Stats().Shed
		for range 30 {
			list = append(list, two.Dial())
		}
		for i := 0; !budget.Tight() && i < len(list); i++ {
			before, shed := budget.Used(), two.Engine.Stats().Shed
			list[i].Write(announcement(1 << 20))
			counted := func() bool { return budget.Used() != before || two.Engine.Stats().Shed > shed }
			if shed == began {
				enginetest.Await(t, counted, "what has been announced should be counted")
			}
			for patience := time.Second; patience > 0 && !counted(); patience -= time.Millisecond {
				time.Sleep(time.Millisecond) // or as much is given back, in the same moment, of what was shed before
			}
		}
		calm := 0 // what the last ones have sent may still be coming in
		enginetest.Await(t, func() bool {
			if calm++; budget.Tight() {
				calm = 0
			}
			return calm > 200
		}, "the engine whose peers hold the memory should free it")
		c := one.Dial()
		c.SendText("room")
		require.Equal(t, "room", c.ReadText())
		c.Hangup()
		for _, c := range list {
			c.Reset()
		}
		two.AwaitOpen(0)
		enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
	}
	require.Zero(t, one.Engine.Stats().Shed)
	require.GreaterOrEqual(t, two.Engine.Stats().Shed, uint64(5))
	require.NoError(t, one.Shutdown(enginetest.Patience)) // a worker of its would pass for a leak of the other's
}

// Whoever was told Congested for the budget's sake is told when it has room: by
// OnDrain, by SendWait, and its messages are handled again.
func TestBudgetStarved(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		budget := backpressure.NewBudget(8 << 20)
		drained := make(chan struct{}, 10)
		open := make(conns, 1)
		s := enginetest.Start(t, engine.Config{Budget: budget, MaxMessageBytes: 1 << 20, WriteStallTimeout: 5 * time.Second, PingInterval: 500 * time.Millisecond}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: open.OnOpen, OnMessage: echo, OnDrain: func(*engine.Conn) { drained <- struct{}{} },
		}})
		c := s.Dial()
		conn := <-open
		for range 3 {
			enginetest.Await(t, func() bool { return budget.Used() == backpressure.Footprint }, "what has been written should be given back")
			leave := others(budget, 100_000)
			require.Equal(t, engine.ErrCongested, conn.SendBytes(pattern(200_000)))
			require.Equal(t, engine.ErrCongested, conn.SendText("small ones, too: the order counts"))
			sent := make(chan error, 2)
			go func() { sent <- conn.SendWait(context.Background(), frame.Binary, pattern(200_000)) }()
			go func() {
				sent <- conn.SendStream(context.Background(), frame.Binary, bytes.NewReader(pattern(200_000)))
			}()
			c.Send(frame.Text, []byte("waits"))
			select {
			case err := <-sent:
				t.Fatalf("sent without room: %v", err)
			case <-drained:
				t.Fatal("OnDrain without room")
			case <-time.After(200 * time.Millisecond): // several visits of the sweeper
			}
			require.NoError(t, conn.Ping(nil), "control frames are exempt")
			leave()
			<-drained
			texts := 0
			for range 3 {
				if m := c.ReadMessage(); m.Op == frame.Text {
					texts++
					require.Equal(t, "waits", string(m.Data))
				} else {
					requireSame(t, pattern(200_000), m.Data)
				}
			}
			require.Equal(t, 1, texts)
			require.NoError(t, <-sent)
			require.NoError(t, <-sent)
			require.Empty(t, drained, "once for each time")
		}
		c.Hangup()
	})
}

// What waits and may be dropped is dropped before anybody is ended.
func TestBudgetShedsDroppable(t *testing.T) {
	budget := backpressure.NewBudget(32 << 20)
	cfg := engine.Config{Budget: budget, HighWaterBytes: 4 << 20, WriteStallTimeout: -1}
	r := newPolicyRig(t, cfg, engine.Endpoint{})
	class := &backpressure.Class{Name: "ticks", Overflow: backpressure.DropOldest}
	for n := range 500 {
		require.NoError(t, r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, numbered(n, 10_000)))
	}
	require.Greater(t, budget.Used(), 2<<20)
	leave := others(budget, 7<<20) // tight, and the excess is what is droppable
	enginetest.Await(t, func() bool { return r.s.Engine.Stats().Pending < 200_000 }, "what may be dropped should be")
	leave()
	require.Zero(t, r.s.Engine.Stats().Shed)
	enginetest.Await(t, func() bool { return r.s.Engine.Stats().DroppedOverflow > 100 }, "it should be counted")
	require.NoError(t, r.conn.SendText("still open"))
	r.c.Reset()
}

// A goroutine that goes on receiving after the end takes nothing from the budget.
func TestBudgetReceiveAfterTheEnd(t *testing.T) {
	budget := backpressure.NewBudget(64 << 20)
	var end ending
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{Budget: budget, MaxMessageBytes: 1 << 20, InboxBytes: 4 << 20}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnClose: end.OnClose}})
	c := s.Dial()
	conn := <-open
	for range 3 {
		c.Send(frame.Binary, pattern(500_000))
	}
	_, err := conn.Receive(t.Context())
	require.NoError(t, err)
	enginetest.Await(t, func() bool { return budget.Used() > 1_500_000 }, "what waits should be counted")
	c.Reset()
	_ = s.Shutdown(10 * time.Millisecond) // cuts it off
	end.await(t)
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
	_, _ = conn.Receive(t.Context())
	require.Zero(t, budget.Used())
}

// Whatever traffic there was, nothing is counted afterwards.
func TestBudgetBalance(t *testing.T) {
	const peers, steps = 24, 60
	budget := backpressure.NewBudget(16 << 20)
	classes := []*backpressure.Class{nil, {Name: "oldest", Overflow: backpressure.DropOldest, Gap: gapText}, {Name: "newest", Overflow: backpressure.DropNewest, TTL: time.Millisecond}}
	open := make(conns, peers)
	s := enginetest.Start(t, engine.Config{Budget: budget, MaxMessageBytes: 1 << 20, HighWaterBytes: 300_000, WriteStallTimeout: 200 * time.Millisecond, CloseTimeout: 200 * time.Millisecond, Logger: quiet},
		engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			for i := range 1 + len(m.Data)%3 {
				_ = c.SendWith(engine.SendOptions{Class: classes[i], Key: []string{"", "k"}[len(m.Data)%2]}, m.Type, m.Data)
			}
			return nil
		}}})
	s.Handle("/pull", engine.Endpoint{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
		open <- c
		return c.Go(func(ctx context.Context) {
			for m, err := range c.Messages(ctx) {
				if err == nil {
					_ = c.SendStream(ctx, m.Type, bytes.NewReader(m.Data))
				}
			}
		})
	}}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	large, err := s.Engine.Prepare(frame.Binary, pattern(200_000))
	require.NoError(t, err)
	var wait sync.WaitGroup
	for i := range peers {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		h := enginetest.Handshake{ReceiveBuffer: 8 << 10}
		if i%4 == 0 {
			h.Target = "/pull"
		}
		c := s.DialWith(h)
		conn := <-open
		wait.Go(func() {
			defer c.Reset()
			for range steps {
				switch k := rnd.IntN(20); {
				case k < 12:
					b := c.Frame(frame.Header{Fin: k%2 == 0, Opcode: frame.Binary}, pattern(rnd.IntN(1<<rnd.IntN(18))))
					if k%2 == 1 {
						b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Continuation}, pattern(rnd.IntN(50_000)))...)
					}
					if c.TryWrite(b) != nil {
						return
					}
				case k < 18:
					if _, _, err := c.TryReadFrame(); err != nil {
						return
					}
				default:
					_ = conn.SendPrepared(large)
				}
			}
			if rnd.IntN(2) == 0 {
				_ = c.TryWrite(announcement(500_000))
			}
		})
		if i%4 != 0 { // the peer may wait for something to read
			wait.Go(func() {
				for conn.Send(frame.Text, []byte("tick")) != nil || true {
					select {
					case <-conn.Context().Done():
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
		} else {
			wait.Go(func() {
				for conn.Context().Err() == nil {
					_ = conn.Ping(nil)
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	wait.Wait()
	s.AwaitOpen(0)
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
	extra := others(budget, 0) // and nobody is counted as a member any more
	require.Equal(t, budget.Limit()/8, budget.Share())
	extra()
}

// The default is what GOMEMLIMIT allows, of which three eighths may be in use.
func TestBudgetDefault(t *testing.T) {
	before := debug.SetMemoryLimit(200 << 20)
	defer debug.SetMemoryLimit(before)
	require.Equal(t, 200<<20, engine.DefaultMemoryBudget())
	e, err := engine.New(engine.Config{}, onMessage(echo))
	require.NoError(t, err)
	require.Equal(t, 75<<20, e.Stats().BudgetLimit)
	require.NoError(t, e.Shutdown(t.Context()))

	debug.SetMemoryLimit(math.MaxInt64)
	whole := engine.DefaultMemoryBudget()
	require.Greater(t, whole, 100<<20, "the machine has more")

	debug.SetMemoryLimit(1 << 20)
	e, err = engine.New(engine.Config{MaxMessageBytes: 8 << 20}, onMessage(echo))
	require.NoError(t, err)
	require.Equal(t, 36<<20, e.Stats().BudgetLimit, "never less than one connection needs")
	require.NoError(t, e.Shutdown(t.Context()))
}
