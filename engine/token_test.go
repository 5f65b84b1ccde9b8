package engine_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// The replies of a handler that takes its time leave when they are sent, not when
// it returns, also while the next messages of the connection wait.
func TestTokenStream(t *testing.T) {
	const tokens, pause, soon = 5, 100 * time.Millisecond, 60 * time.Millisecond
	for name, waiting := range map[string]int{"alone": 0, "with messages waiting": 5} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, inline bool) {
				ep := onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
					if string(m.Data) != "stream" {
						return c.SendText("0")
					}
					for range tokens {
						if err := c.SendText(strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
							return err
						}
						time.Sleep(pause)
					}
					return nil
				})
				ep.Inline = inline
				c := enginetest.Start(t, engine.Config{}, ep).Dial()
				var worst time.Duration
				for range 10 { // a machine that does something else may delay one
					b := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("stream"))
					for range waiting {
						b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, nil)...)
					}
					c.Write(b)
					worst = 0
					for range tokens {
						sent, err := strconv.ParseInt(c.ReadText(), 10, 64)
						require.NoError(t, err)
						worst = max(worst, time.Since(time.Unix(0, sent)))
					}
					for range waiting {
						require.Equal(t, "0", c.ReadText())
					}
					if worst < soon {
						break
					}
				}
				require.Less(t, worst, soon)
				c.Hangup()
			})
		})
	}
}

// Flush does not wait for the tick.
func TestTokenFlush(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		got := make(chan struct{}, 1)
		ep := onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) != "first" {
				return nil
			}
			if err := c.SendText("reply"); err != nil {
				return err
			}
			held := c.PendingBytes() > 0
			c.Flush()
			flushed := c.PendingBytes() == 0
			<-got
			return c.SendText(fmt.Sprintf("held %t, flushed %t", held, flushed))
		})
		ep.Inline = inline
		c := enginetest.Start(t, engine.Config{}, ep).Dial()
		both := append(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("first")), c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("second"))...)
		enginetest.Await(t, func() bool { // the tick may come in between, but not always
			c.Write(both)
			require.Equal(t, "reply", c.ReadText())
			got <- struct{}{}
			return c.ReadText() == "held true, flushed true"
		}, "what Flush is for")
		c.Hangup()
	})
}

// The replies to messages that came together leave together.
func TestTokenCork(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		const together = 20
		held := make(chan int, together)
		ep := onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
			err := c.Send(m.Type, m.Data)
			held <- c.PendingBytes()
			return err
		})
		ep.Inline = inline
		c := enginetest.Start(t, engine.Config{}, ep).Dial()
		var b []byte
		for range together {
			b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("12345678"))...)
		}
		best := 0
		for range 10 { // a tick may come between
			c.Write(b)
			most := 0
			for range together {
				c.ReadText()
				most = max(most, <-held)
			}
			best = max(best, most)
			if best == (together-1)*10 {
				break
			}
		}
		require.GreaterOrEqual(t, best, (together-1)*10, "bytes held back at once")
		c.Hangup()
	})
}
