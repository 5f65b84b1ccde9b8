package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// The tally says what became of the message at every connection.
func TestBroadcastTally(t *testing.T) {
	open := make(conns, 4)
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 1000, WriteStallTimeout: -1}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	healthy := s.Dial()
	a := <-open
	s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
	congested := <-open
	enginetest.Await(t, func() bool { return congested.SendBytes(pattern(100_000)) == engine.ErrCongested }, "the second should be congested")
	s.Dial()
	closed := <-open
	require.NoError(t, closed.Close(frame.CloseNormal, ""))
	p, err := s.Engine.Prepare(frame.Text, []byte("to all"))
	require.NoError(t, err)
	all := []*engine.Conn{a, congested, closed}
	require.Equal(t, engine.Tally{Queued: 1, Congested: 1, Closed: 1}, engine.Broadcast(t.Context(), slices.Values(all), p))
	require.Equal(t, "to all", healthy.ReadText())
	require.Equal(t, engine.Tally{}, engine.Broadcast(t.Context(), slices.Values([]*engine.Conn(nil)), p))
	healthy.Hangup()
}

// Every member gets every message of every sender, each sender's in order, of
// every size; also while members come and go.
func TestBroadcastOrder(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		messages := 100
		if raceEnabled {
			messages = 30
		}
		const members, sender = 20, 4
		sizes := []int{8, 500, 2048, 2049, 5000, 70_000}
		var mu sync.Mutex
		var room []*engine.Conn
		var s *enginetest.Server
		ep := engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error {
				mu.Lock()
				defer mu.Unlock()
				room = append(room, c)
				return nil
			},
			OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
				p, err := s.Engine.Prepare(m.Type, m.Data)
				if err != nil {
					return err
				}
				mu.Lock()
				all := slices.Clone(room)
				mu.Unlock()
				t := engine.Broadcast(ctx, slices.Values(all), p)
				if t.Congested+t.Refused > 0 {
					return fmt.Errorf("not all of it was taken: %+v", t)
				}
				return nil
			},
		}}
		s = enginetest.Start(t, engine.Config{HighWaterBytes: 1 << 29}, ep)
		clients := make([]*enginetest.Client, members)
		for i := range clients {
			clients[i] = s.Dial()
		}
		var wait sync.WaitGroup
		for i, c := range clients {
			if i < sender {
				wait.Go(func() {
					for n := range messages {
						p := make([]byte, sizes[n%len(sizes)])
						binary.BigEndian.PutUint32(p, uint32(i))
						binary.BigEndian.PutUint32(p[4:], uint32(n))
						c.Send(frame.Binary, p)
					}
				})
			}
			wait.Go(func() {
				var next [sender]int
				for range sender * messages {
					m := c.ReadMessage()
					from := binary.BigEndian.Uint32(m.Data)
					n := int(binary.BigEndian.Uint32(m.Data[4:]))
					if !assert.Equal(t, next[from], n, "from %d", from) || !assert.Len(t, m.Data, sizes[n%len(sizes)]) {
						return
					}
					next[from]++
				}
			})
		}
		for range 10 { // who leaves without a word costs nobody anything
			s.Dial().Reset()
		}
		wait.Wait()
	})
}

// A prepared message does not change with the bytes it was made of.
func TestBroadcastPreparedCopies(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	b := []byte("before")
	p, err := s.Engine.Prepare(frame.Text, b)
	require.NoError(t, err)
	copy(b, "after.")
	require.Equal(t, 6, p.Len())
	require.NoError(t, (<-open).SendPrepared(p))
	require.Equal(t, "before", c.ReadText())
	c.Hangup()
}

// What a handler broadcasts while more messages wait is held back for all
// members, but for no longer than a tick or two.
func TestBroadcastCork(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		leave := make(chan struct{})
		var member *engine.Conn
		open := make(conns, 2)
		var s *enginetest.Server
		s = enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: open.OnOpen,
			OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
				p, err := s.Engine.Prepare(m.Type, m.Data)
				if err != nil {
					return err
				}
				engine.Broadcast(ctx, func(yield func(*engine.Conn) bool) { yield(member) }, p)
				if string(m.Data) == "wait" {
					<-leave
				}
				return nil
			},
		}})
		listener := s.Dial()
		member = <-open
		c := s.Dial()
		<-open
		one := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("wait"))
		two := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("next"))
		c.Write(append(one, two...))
		require.Equal(t, "wait", listener.ReadText(), "it must leave although the handler waits")
		close(leave)
		require.Equal(t, "next", listener.ReadText())
		c.Hangup()
	})
}

// Through an outbound chain a burst's broadcasts are held back as well, and leave.
func TestBroadcastCorkThroughAChain(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		var member *engine.Conn
		var held atomic.Bool
		open := make(conns, 2)
		ep := with(engine.Handler{
			OnOpen: open.OnOpen,
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				p, err := c.Engine().Prepare(m.Type, m.Data)
				if err != nil {
					return err
				}
				engine.Broadcast(ctx, slices.Values([]*engine.Conn{member}), p)
				if c.Engine().Stats().Pending > 0 {
					held.Store(true)
				}
				return nil
			},
		}, stamp("out"))
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{}, ep)
		listener := s.Dial()
		member = <-open
		c := s.Dial()
		<-open
		one := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("one"))
		two := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("two"))
		enginetest.Await(t, func() bool { // a tick may come in between, but not always
			c.Write(append(slices.Clone(one), two...))
			require.Equal(t, "one<out>out", listener.ReadText())
			require.Equal(t, "two<out>out", listener.ReadText())
			return held.Load()
		}, "nothing was held back")
		c.Hangup()
	})
}

// The panic of one member's interceptor ends that member; the others get the message,
// and who broadcasts goes on.
func TestBroadcastPanic(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		open := make(conns, 3)
		var victim atomic.Uint64
		bad := outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			if engine.FromContext(ctx).ID() == victim.Load() && out.Type == frame.Text {
				panic("the program's")
			}
			return next.Run(ctx, out)
		})
		s := enginetest.Start(t, engine.Config{Logger: slog.New(slog.DiscardHandler)}, engine.Endpoint{
			Inline: inline, Interceptors: []interceptors.Interceptor{bad}, Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
		clients := [3]*enginetest.Client{}
		all := make([]*engine.Conn, 3)
		for i := range all {
			clients[i], all[i] = s.Dial(), <-open
		}
		victim.Store(all[1].ID())
		p, err := s.Engine.Prepare(frame.Text, []byte("to all"))
		require.NoError(t, err)
		require.Equal(t, engine.Tally{Queued: 2, Closed: 1}, engine.Broadcast(t.Context(), slices.Values(all), p))
		require.Equal(t, "to all", clients[0].ReadText())
		require.Equal(t, "to all", clients[2].ReadText())
		code, _ := clients[1].ReadClose()
		require.Equal(t, frame.CloseInternalError, code)
		clients[0].Hangup()
		clients[1].Close()
		clients[2].Hangup()
	})
}
