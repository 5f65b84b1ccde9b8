package enginetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// How a program's own handlers are tested: a chat, an interceptor, slow consumers, a
// client that comes back. docs/testing.md leads through them.

// A chat, as a program may have it: everybody gets what anybody says, and who says
// nothing for a minute is thanked and sent away.
func chat(e *engine.Engine) engine.Endpoint {
	room := hub.New(e, hub.Config{})
	say := func(ctx context.Context, format string, args ...any) error {
		_, err := room.All().Broadcast(ctx, frame.Text, fmt.Appendf(nil, format, args...))
		return err
	}
	type quiet struct{}
	return engine.Endpoint{Handler: room.Handler(engine.Handler{
		Admit: func(r *http.Request) error {
			if r.URL.Query().Get("name") == "" {
				return &engine.HandshakeError{Status: http.StatusBadRequest, Reason: "who are you?"}
			}
			return nil
		},
		OnOpen: func(ctx context.Context, c *engine.Conn) error {
			c.Set(quiet{}, time.AfterFunc(time.Minute, func() { _ = c.Close(4000, "thank you for listening") }))
			return say(ctx, "%s is here", c.Scope().Query().Get("name"))
		},
		OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if m.Type != frame.Text {
				return &engine.CloseError{Code: frame.CloseUnsupportedData, Reason: "text, please"}
			}
			c.Get(quiet{}).(*time.Timer).Reset(time.Minute)
			return say(ctx, "%s: %s", c.Scope().Query().Get("name"), m.Data)
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			c.Get(quiet{}).(*time.Timer).Stop()
			_ = say(context.Background(), "%s has left", c.Scope().Query().Get("name"))
		},
	})}
}

// A handler in memory and virtual time: nothing is slept through, and when Start's
// clean-up runs at the end, connections, callbacks, buffers and goroutines must add up.
func TestUsageChat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{})
		s.Handle("/chat", chat(s.Engine))
		require.Equal(t, http.StatusBadRequest, s.Request(enginetest.Handshake{Target: "/chat"}).StatusCode)

		ann := s.DialWith(enginetest.Handshake{Target: "/chat?name=ann"})
		require.Equal(t, "ann is here", ann.ReadText())
		ben := s.DialWith(enginetest.Handshake{Target: "/chat?name=ben"})
		require.Equal(t, "ben is here", ben.ReadText())
		require.Equal(t, "ben is here", ann.ReadText())

		time.Sleep(45 * time.Second) // of the bubble's time
		ann.SendText("hello, ben")
		require.Equal(t, "ann: hello, ben", ann.ReadText())
		require.Equal(t, "ann: hello, ben", ben.ReadText())

		time.Sleep(30 * time.Second)
		code, reason := ben.ReadClose()
		require.EqualValues(t, 4000, code)
		require.Equal(t, "thank you for listening", reason)
		ben.SendClose(4000, "")
		ben.ExpectEOF()
		require.Equal(t, "ben has left", ann.ReadText())

		ann.Send(frame.Binary, []byte{1})
		ann.ExpectClose(frame.CloseUnsupportedData)
		s.AwaitOpen(0)
	})
}

// A peer that is gone without a word, in the middle of a message, has left the room, too.
func TestUsageChatPeerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{})
		s.Handle("/chat", chat(s.Engine))
		ann := s.DialWith(enginetest.Handshake{Target: "/chat?name=ann"})
		ben := s.DialWith(enginetest.Handshake{Target: "/chat?name=ben"})
		ben.Link().Out.CutAfter(7) // of 2 bytes of header, 4 of mask and 5 of payload
		require.ErrorIs(t, ben.TryWrite(ben.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("hello"))), syscall.ECONNRESET)
		for _, want := range []string{"ann is here", "ben is here", "ben has left"} {
			require.Equal(t, want, ann.ReadText())
		}
		ann.Hangup()
	})
}

// An interceptor on a connection. Without one: Example_interceptorAlone.
func TestUsageInterceptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{
			Interceptors: []interceptors.Interceptor{members{}},
			Handler: engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				return c.SendText("posted")
			}},
		})
		c := s.Dial()
		c.SendText("hello")
		var answer struct {
			Type   string
			Status int
		}
		require.NoError(t, json.Unmarshal([]byte(c.ReadText()), &answer))
		require.Equal(t, "error", answer.Type)
		require.Equal(t, 401, answer.Status)
		c.Hangup()
	})
}

// feed starts a server with one client, whose end of the connection takes no more than
// 1000 bytes that it does not read, and returns both ends. What is on its way to the
// client and not in the buffer is in the queue, which becomes congested above 4000.
func feed(t *testing.T, h engine.Handler) (*engine.Conn, *enginetest.Client) {
	t.Helper()
	opened := make(chan *engine.Conn, 1)
	h.OnOpen = func(_ context.Context, c *engine.Conn) error { opened <- c; return nil }
	s := enginetest.StartMemory(t, engine.Config{HighWaterBytes: 4000, LowWaterBytes: 1000}, engine.Endpoint{Handler: h})
	client := s.DialWith(enginetest.Handshake{ReceiveBuffer: 1000})
	return <-opened, client
}

// A sender that stops at ErrCongested and goes on with OnDrain loses nothing.
func TestUsageSlowConsumerCongested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var next, congested, drained int
		send := func(c *engine.Conn) {
			for ; next < 300; next++ {
				if err := c.SendText(strconv.Itoa(next) + strings.Repeat(".", 100)); err != nil {
					require.ErrorIs(t, err, engine.ErrCongested)
					congested++
					return
				}
			}
		}
		c, client := feed(t, engine.Handler{OnDrain: func(c *engine.Conn) { drained++; send(c) }})
		send(c)
		synctest.Wait()
		require.Equal(t, 1, congested)
		require.Equal(t, 0, drained, "the client has read nothing")
		require.Equal(t, 1000, client.Link().In.Buffered())
		require.Greater(t, c.PendingBytes(), 1000)
		for i := range 300 {
			text := client.ReadText()
			require.Equal(t, strconv.Itoa(i), strings.TrimRight(text, "."))
		}
		synctest.Wait()
		require.GreaterOrEqual(t, drained, congested, "the last to be taken may have crossed the mark, too")
		client.Hangup()
	})
}

// A client of engine.Dial that stalls, and then reads on: it gets the oldest that were on
// their way, a gap, and the latest.
func TestUsageSlowConsumerDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quotes := &backpressure.Class{Overflow: backpressure.DropOldest, Gap: func(l backpressure.Lost) (frame.Opcode, []byte) {
			return frame.Text, fmt.Appendf(nil, "%d lost", l.Messages())
		}}
		opened := make(chan *engine.Conn, 1)
		var dropped atomic.Int64
		s := enginetest.StartMemory(t, engine.Config{HighWaterBytes: 4000}, engine.Endpoint{SendClass: quotes, Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error { opened <- c; return nil },
			OnDrop: func(_ *engine.Conn, l backpressure.Lost) { dropped.Add(int64(l.Messages())) },
		}})
		link := s.Link()
		link.In.SetBuffer(1000)
		client, err := engine.Dial(t.Context(), s.URL(), engine.DialConfig{
			NetDial: func(context.Context, string, string) (net.Conn, error) { return link, nil },
		})
		require.NoError(t, err)
		c := <-opened

		link.In.Stall()
		for i := range 1000 {
			require.NoError(t, c.SendText(strconv.Itoa(i)+strings.Repeat(".", 100)))
			synctest.Wait() // until as much as there is room for is on its way
		}
		lost := int(dropped.Load())
		require.Greater(t, lost, 900)
		link.In.Resume()
		next := 0
		for next < 1000 {
			m, err := client.Receive(t.Context())
			require.NoError(t, err)
			if string(m.Data) == strconv.Itoa(lost)+" lost" {
				next += lost
				continue
			}
			require.Equal(t, strconv.Itoa(next), strings.TrimRight(string(m.Data), "."))
			next++
		}
		require.NoError(t, client.Close(frame.CloseNormal, ""))
		s.AwaitOpen(0)
	})
}

// A class that disconnects: the client is told why, when it reads on.
func TestUsageSlowConsumerDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan *engine.CloseError, 1)
		c, client := feed(t, engine.Handler{OnClose: func(_ *engine.Conn, err *engine.CloseError) { ended <- err }})
		c.SetSendClass(&backpressure.Class{Overflow: backpressure.Disconnect, Code: frame.ClosePolicyViolation})
		var err error
		for err == nil {
			err = c.SendText(strings.Repeat(".", 100))
		}
		require.ErrorIs(t, err, net.ErrClosed)
		synctest.Wait()
		client.ExpectClose(frame.ClosePolicyViolation)
		require.Equal(t, engine.CauseOverflow, (<-ended).Cause)
	})
}

// numbers is a server that sends 1, 2, 3 …, one a second, from where its client wants it.
func numbers() engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
		n, err := strconv.Atoi(c.Scope().Query().Get("after"))
		if err != nil {
			return &engine.CloseError{Code: frame.ClosePolicyViolation, Reason: "after what?"}
		}
		return c.Go(func(ctx context.Context) {
			for n++; c.SendWait(ctx, frame.Text, strconv.AppendInt(nil, int64(n), 10)) == nil; n++ {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		})
	}}}
}

// follow is a client, as a program may have it: it comes back, at first after a second and
// then after twice as long as before, and goes on where it was.
func follow(ctx context.Context, target string, cfg engine.DialConfig, got func(n int)) {
	last, pause := 0, time.Second
	for ctx.Err() == nil {
		c, err := engine.Dial(ctx, fmt.Sprintf("%s?after=%d", target, last), cfg)
		if err == nil {
			for m, err := range c.Messages(ctx) {
				if err != nil {
					break
				}
				last, _ = strconv.Atoi(string(m.Data))
				got(last)
				pause = time.Second
			}
			_ = c.Close(frame.CloseNormal, "")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause *= 2
	}
}

// A client that comes back, over a network that is cut in the middle of a frame, dies
// without a word, and is away for a while: it loses nothing, and gets nothing twice.
func TestUsageReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, numbers())
		var links []*enginetest.Link
		var times []int // in seconds
		start := time.Now()
		away := 0
		cfg := engine.DialConfig{NetDial: func(context.Context, string, string) (net.Conn, error) {
			times = append(times, int(time.Since(start).Seconds()))
			if away > 0 {
				away--
				return nil, syscall.ECONNREFUSED
			}
			links = append(links, s.Link())
			return links[len(links)-1], nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		next := 1
		follow(ctx, s.URL(), cfg, func(n int) {
			require.Equal(t, next, n)
			switch next++; n {
			case 3: // the next frame is cut behind its header
				links[0].In.CutAfter(2)
			case 6:
				away = 3
				links[1].Reset()
			case 10: // the client notices by its own IdleTimeout
				links[2].In.Stall()
				links[2].Out.Stall()
			case 12:
				cancel()
			}
		})
		require.Equal(t, 13, next)
		require.Len(t, links, 4)
		require.Equal(t, []int{0, 4, 7, 9, 13, 21}, times[:6], "at once; a second after the cut and the reset; in vain three times")
	})
}

// What a client of engine.Dial makes of a server that refuses it.
func TestUsageRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := enginetest.StartMemory(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
			Admit: func(*http.Request) error {
				return &engine.HandshakeError{Status: http.StatusTooManyRequests, Reason: "later"}
			},
		}})
		_, err := engine.Dial(t.Context(), s.URL(), engine.DialConfig{NetDial: s.NetDial})
		var refused *engine.HandshakeError
		require.True(t, errors.As(err, &refused))
		require.Equal(t, http.StatusTooManyRequests, refused.Status)
	})
}
