package engine_test

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Every connection gets its replies in order, none lost and none twice, and no
// more handlers run at once than there are workers.
func TestOrder(t *testing.T) {
	const connections, workers = 100, 8
	messages := 10_000
	if testing.Short() || raceEnabled {
		messages = 1_000
	}
	var running, most atomic.Int32
	s := enginetest.Start(t, engine.Config{Workers: workers}, onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
		now := running.Add(1)
		defer running.Add(-1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		if binary.BigEndian.Uint32(m.Data)%100 == 7 {
			time.Sleep(100 * time.Microsecond)
		}
		return c.SendBytes(m.Data)
	}))
	var clients sync.WaitGroup
	for range connections {
		c := s.Dial()
		clients.Go(func() { sendNumbered(c, messages) })
		clients.Go(func() { expectNumbered(t, c, messages) })
	}
	clients.Wait()
	require.LessOrEqual(t, most.Load(), int32(workers))
	require.Greater(t, most.Load(), int32(1), "handlers never ran at once")
}

// sendNumbered writes many messages at a time.
func sendNumbered(c *enginetest.Client, n int) {
	const together = 50
	for first := 0; first < n; first += together {
		var b []byte
		for i := first; i < min(first+together, n); i++ {
			b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, binary.BigEndian.AppendUint32(nil, uint32(i)))...)
		}
		c.Write(b)
	}
}

func expectNumbered(t *testing.T, c *enginetest.Client, n int) {
	for want := range n {
		m := c.ReadMessage()
		if got := binary.BigEndian.Uint32(m.Data); !assert.EqualValues(t, want, got) {
			return
		}
	}
}

// Handlers that wait take workers, not connections: while there are workers left
// the others run at once, and with none left they run as soon as one returns.
func TestOrderNobodyIsForgotten(t *testing.T) {
	const workers = 4
	inside, leave := make(chan struct{}, 100), make(chan struct{})
	s := enginetest.Start(t, engine.Config{Workers: workers}, onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
		if string(m.Data) == "wait" {
			inside <- struct{}{}
			<-leave
		}
		return c.Send(m.Type, m.Data)
	}))
	var waiting []*enginetest.Client
	block := func() {
		c := s.Dial()
		c.SendText("wait")
		waiting = append(waiting, c)
	}
	for range workers - 1 {
		block()
		<-inside
	}
	c := s.Dial()
	c.SendText("quick")
	require.Equal(t, "quick", c.ReadText(), "one worker is left")
	block()
	<-inside
	c.SendText("later")
	enginetest.Await(t, func() bool { st := s.Engine.Stats(); return st.MessagesIn == workers+2 && st.Runnable == 1 }, "later does not wait for a worker")
	require.Empty(t, inside, "no fifth handler runs")
	for range workers {
		block() // they wait for a worker
	}
	leave <- struct{}{}
	require.Equal(t, "later", c.ReadText(), "first come, first served")
	close(leave)
	for _, w := range waiting {
		require.Equal(t, "wait", w.ReadText())
		w.Hangup()
	}
	c.Hangup()
}

// One busy connection does not keep the others from their turn.
func TestOrderFairness(t *testing.T) {
	const messages = 200
	begun, gate := make(chan struct{}, messages), make(chan struct{})
	var done atomic.Int32
	before := make(chan int32, 1)
	s := enginetest.Start(t, engine.Config{Workers: 1}, onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
		if string(m.Data) == "quick" {
			before <- done.Load()
			return c.Send(m.Type, m.Data)
		}
		begun <- struct{}{}
		<-gate
		time.Sleep(5 * time.Millisecond)
		done.Add(1)
		return c.Send(m.Type, m.Data)
	}))
	busy, other := s.Dial(), s.Dial()
	var b []byte
	for range messages {
		b = append(b, busy.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("slow"))...)
	}
	busy.Write(b) // a second of work
	<-begun
	other.SendText("quick")
	close(gate)
	require.Equal(t, "quick", other.ReadText())
	require.Less(t, <-before, int32(messages*3/4))
	for range messages {
		require.Equal(t, "slow", busy.ReadText())
	}
}
