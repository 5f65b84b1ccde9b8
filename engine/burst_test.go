package engine_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// What a batch holds back, for its own connection and for those it broadcasts to,
// leaves while its handler still runs: the handler here waits until the peers have
// it. Nothing but the tick can do that.
func TestBurstTick(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		open := make(conns, 2)
		arrived := make(chan struct{})
		others := make(chan []*engine.Conn, 1)
		ep := engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnOpen: open.OnOpen,
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if string(m.Data) == "last" {
					return c.SendText("end")
				}
				p, err := c.Engine().Prepare(frame.Text, m.Data)
				if err != nil {
					return err
				}
				assert.Equal(t, engine.Tally{Queued: 2}, engine.Broadcast(ctx, slices.Values(<-others), p))
				select {
				case <-arrived:
				case <-time.After(enginetest.Patience):
					t.Error("what the handler sent did not leave while it ran")
				}
				return nil
			},
		}}
		s := enginetest.Start(t, engine.Config{}, ep)
		sender, other := s.Dial(), s.Dial()
		others <- []*engine.Conn{<-open, <-open}
		b := sender.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("first"))
		sender.Write(append(b, sender.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("last"))...))
		require.Equal(t, "first", other.ReadText())
		require.Equal(t, "first", sender.ReadText())
		close(arrived)
		require.Equal(t, "end", sender.ReadText())
		sender.Hangup()
		other.Hangup()
	})
}

// The replies to a batch leave in one write, those to other connections too: the
// peers read them all at once.
func TestBurstLeavesTogether(t *testing.T) {
	const messages = 20
	open := make(conns, 2)
	others := make(chan []*engine.Conn, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: true, Handler: engine.Handler{
		OnOpen: open.OnOpen,
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			p, err := c.Engine().Prepare(m.Type, m.Data)
			if err != nil {
				return err
			}
			list := <-others
			others <- list
			engine.Broadcast(ctx, slices.Values(list), p)
			return nil
		},
	}})
	sender, other := s.Dial(), s.Dial()
	others <- []*engine.Conn{<-open, <-open}
	together := 0
	const rounds = 20 // a tick may come in between: not every time
	for range rounds {
		var b []byte
		for range messages {
			b = append(b, sender.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(10))...)
		}
		sender.Write(b)
		got := make([]byte, messages*12)
		for _, c := range []*enginetest.Client{sender, other} {
			n, err := c.Conn.Read(got)
			require.NoError(t, err)
			if n == len(got) {
				together++
			}
			for n < len(got) {
				more, err := c.Conn.Read(got[n:])
				require.NoError(t, err)
				n += more
			}
		}
	}
	require.Greater(t, together, rounds, "of %d", 2*rounds)
	sender.Hangup()
	other.Hangup()
}
