package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// inFunc and outFunc are interceptors of one direction.
type inFunc func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error

func (f inFunc) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	return f(ctx, in, next)
}

func (inFunc) Admit(*http.Request) error { return nil }

func (inFunc) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return next.Run(ctx, out)
}

type outFunc func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error

func (outFunc) Admit(*http.Request) error { return nil }

func (outFunc) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	return next.Run(ctx, in)
}

func (f outFunc) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return f(ctx, out, next)
}

func with(h engine.Handler, list ...interceptors.Interceptor) engine.Endpoint {
	return engine.Endpoint{Handler: h, Interceptors: list}
}

// A stamp marks what passes, on its way in and on its way out.
type stamp string

func (stamp) Admit(*http.Request) error { return nil }

func (s stamp) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	in.Data = append(in.Data, "<"+s...)
	return next.Run(ctx, in)
}

func (s stamp) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	out.Data = append(out.Data, ">"+s...)
	return next.Run(ctx, out)
}

// A1, A5, A6: one value sees both directions; the engine's come before the
// endpoint's on the way in, and in the reverse order on the way out.
func TestA1A5A6OrderOfBothDirections(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		ep := with(engine.Handler{OnMessage: echo}, stamp("c"), stamp("d"))
		ep.Inline = inline
		s := enginetest.Start(t, engine.Config{Interceptors: []interceptors.Interceptor{stamp("a"), stamp("b")}}, ep)
		s.Handle("/other", with(engine.Handler{OnMessage: echo}, stamp("z")))
		c := s.Dial()
		c.SendText("m")
		require.Equal(t, "m<a<b<c<d>d>c>b>a", c.ReadText())
		other := s.DialWith(enginetest.Handshake{Target: "/other"})
		other.SendText("m")
		require.Equal(t, "m<a<b<z>z>b>a", other.ReadText())
	})
}

// A1: either direction may be left out.
func TestA1Passthrough(t *testing.T) {
	type nothing struct{ interceptors.Passthrough }
	c := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo}, nothing{})).Dial()
	c.SendText("m")
	require.Equal(t, "m", c.ReadText())
	c.Hangup()
}

// A2: what comes after is in the interceptor's hands: its time and its outcome.
func TestA2OutcomeIsVisible(t *testing.T) {
	mine := errors.New("from the handler")
	took := make(chan time.Duration, 1)
	c := enginetest.Start(t, engine.Config{}, with(
		engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error {
			time.Sleep(20 * time.Millisecond)
			return mine
		}},
		inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
			if in.Type != frame.Text {
				return next.Run(ctx, in)
			}
			start := time.Now()
			err := next.Run(ctx, in)
			took <- time.Since(start)
			if !errors.Is(err, mine) {
				return err
			}
			return interceptors.Refuse(500, "replaced")
		}),
	)).Dial()
	c.SendText("m")
	require.JSONEq(t, `{"type":"error","status":500,"message":"replaced"}`, c.ReadText())
	require.GreaterOrEqual(t, <-took, 20*time.Millisecond)
	c.Hangup()
}

// A3: a refusal answers the peer, the handler never sees the message, and the
// connection goes on.
func TestA3InboundRefusal(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		outcomes := map[string]error{
			"by value":   interceptors.Refusal{Status: 401, Message: "who are you?"},
			"by pointer": &interceptors.Refusal{Status: 403, Message: "not \"you\""},
			"wrapped":    fmt.Errorf("too often: %w", interceptors.Refuse(429, "later")),
			"silent":     nil,
		}
		ep := with(
			engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if _, refused := outcomes[string(m.Data)]; refused {
					return errors.New("the handler saw a refused message")
				}
				return echo(ctx, c, m)
			}},
			inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
				if err, refused := outcomes[string(in.Data)]; refused {
					return err
				}
				return next.Run(ctx, in)
			}),
		)
		ep.Inline = inline
		c := enginetest.Start(t, engine.Config{}, ep).Dial()
		for name, want := range map[string]string{
			"by value":   `{"type":"error","status":401,"message":"who are you?"}`,
			"by pointer": `{"type":"error","status":403,"message":"not \"you\""}`,
			"wrapped":    `{"type":"error","status":429,"message":"later"}`,
		} {
			c.SendText(name)
			require.JSONEq(t, want, c.ReadText())
		}
		c.SendText("silent")
		c.SendText("passes")
		require.Equal(t, "passes", c.ReadText())
		c.Hangup()
	})
}

// A3: outbound, nothing is sent, and the sender gets what the interceptor returns.
func TestA3OutboundStops(t *testing.T) {
	no := errors.New("no")
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			switch string(out.Data) {
			case "stop":
				return no
			case "pretend":
				return nil
			}
			if out.CloseCode == 4000 {
				return no
			}
			return next.Run(ctx, out)
		}),
	))
	c := s.Dial()
	conn := <-open
	stop, err := s.Engine.Prepare(frame.Text, []byte("stop"))
	require.NoError(t, err)
	require.ErrorIs(t, conn.SendText("stop"), no)
	require.ErrorIs(t, conn.SendBytes([]byte("stop")), no)
	require.ErrorIs(t, conn.SendPrepared(stop), no)
	require.ErrorIs(t, conn.SendWait(t.Context(), frame.Text, []byte("stop")), no)
	require.ErrorIs(t, conn.Ping([]byte("stop")), no)
	require.Equal(t, engine.Tally{Refused: 1}, engine.Broadcast(t.Context(), slices.Values([]*engine.Conn{conn}), stop))
	require.NoError(t, conn.SendText("pretend"))
	require.ErrorIs(t, conn.Close(4000, ""), no)
	require.NoError(t, conn.SendText("passes"))
	require.Equal(t, "passes", c.ReadText())
	require.Empty(t, c.Pinged)
	c.Hangup()
}

// A4: type, target, data and attributes can be read on the way.
func TestA4ConditionsAndAttributes(t *testing.T) {
	type user struct{ name string }
	ep := with(
		engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			u, ok := m.Attr("user")
			if !ok {
				return c.SendText("nobody")
			}
			return c.SendText(u.(user).name)
		}},
		inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
			if in.Type == frame.Text && bytes.HasPrefix(in.Data, []byte("user:")) {
				in = in.With("user", user{string(in.Data[5:])})
			}
			return next.Run(ctx, in)
		}),
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			out.Data = append(out.Data, " "+out.Peer.Target+" "+strings.Join(out.Peer.Subprotocols, ",")+" "+out.Peer.Header.Get("X-Name")...)
			return next.Run(ctx, out)
		}),
	)
	ep.Subprotocols = []string{"v1"}
	s := enginetest.Start(t, engine.Config{}, ep)
	c := s.DialWith(enginetest.Handshake{Target: "/a/b?c=d", Header: map[string][]string{"X-Name": {"value"}, "Sec-WebSocket-Protocol": {"v1"}}})
	tail := " ws://" + s.Addr() + "/a/b?c=d v1 value"
	c.SendText("user:eve")
	require.Equal(t, "eve"+tail, c.ReadText())
	c.Send(frame.Binary, []byte("user:eve"))
	require.Equal(t, "nobody"+tail, c.ReadText())
	c.SendText("else")
	require.Equal(t, "nobody"+tail, c.ReadText())
	c.Hangup()
}

// A7: interceptors see control and close events, in their place among the data;
// handlers do not.
func TestA7ControlEvents(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	see := inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
		mu.Lock()
		seen = append(seen, fmt.Sprintf("%v %q %d %q %v", in.Type, in.Data, in.CloseCode, in.CloseReason, in.Final))
		mu.Unlock()
		return next.Run(ctx, in)
	})
	handlers := map[string]engine.Endpoint{
		"pool":   with(engine.Handler{OnMessage: echo}, see),
		"inline": {Inline: true, Handler: engine.Handler{OnMessage: echo}, Interceptors: []interceptors.Interceptor{see}},
		"pull": with(engine.Handler{OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(context.Context) {
				for m, err := range c.Messages(context.Background()) {
					if err != nil {
						return
					}
					_ = c.Send(m.Type, m.Data)
				}
			})
		}}, see),
	}
	for name, ep := range handlers {
		t.Run(name, func(t *testing.T) {
			seen = nil
			s := enginetest.Start(t, engine.Config{}, ep)
			c := s.Dial()
			c.SendText("one")
			c.Send(frame.Ping, []byte("p"))
			c.Send(frame.Pong, []byte("q"))
			c.Send(frame.Binary, []byte("two"))
			require.Equal(t, "one", c.ReadText())
			require.Equal(t, "two", string(c.ReadMessage().Data))
			require.Equal(t, [][]byte{[]byte("p")}, c.Ponged)
			c.SendClose(4007, "because")
			code, _ := c.ReadClose()
			require.EqualValues(t, 4007, code)
			c.CloseWrite()
			s.AwaitOpen(0)
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, []string{
				`text "one" 0 "" true`, `ping "p" 0 "" true`, `pong "q" 0 "" true`, `binary "two" 0 "" true`, `close "" 4007 "because" true`,
			}, seen)
		})
	}
}

// A7: an interceptor that refuses a ping does not keep the pong from being sent,
// and the refusal is told; a handler without interceptors never sees any event.
func TestA7RefusedPing(t *testing.T) {
	c := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo},
		inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
			if in.Type == frame.Ping {
				return interceptors.Refuse(429, "no pings")
			}
			return next.Run(ctx, in)
		}),
	)).Dial()
	c.Send(frame.Ping, nil)
	require.JSONEq(t, `{"type":"error","status":429,"message":"no pings"}`, c.ReadText())
	require.Len(t, c.Ponged, 1)
	c.Hangup()
}

// Outbound interceptors may change what they see, within what the protocol allows.
func TestA7OutboundControl(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			switch {
			case string(out.Data) == "too long":
				out.Data = letters(126)
			case string(out.Data) == "as text":
				out.Type = frame.Text
			case out.Type == frame.Ping:
				out.Data = append(out.Data, "!"...)
			case out.CloseCode == 4000:
				out.CloseCode = 1005
			case out.Type == frame.Close:
				out.CloseCode, out.CloseReason = out.CloseCode+1, out.CloseReason+"!"
			}
			return next.Run(ctx, out)
		}),
	))
	c := s.Dial()
	conn := <-open
	require.Error(t, conn.Ping([]byte("too long")))
	require.Error(t, conn.Ping([]byte("as text")))
	require.Error(t, conn.Ping(letters(126)))
	require.NoError(t, conn.Ping([]byte("ping")))
	require.Error(t, conn.Close(4000, ""))
	require.NoError(t, conn.Close(4001, "so"))
	code, reason := c.ReadClose()
	require.EqualValues(t, 4002, code)
	require.Equal(t, "so!", reason)
	require.Equal(t, [][]byte{[]byte("ping!")}, c.Pinged)
	c.SendClose(4002, "")
	c.ExpectEOF()
	c.Close()
}

// A9: what one chain changes, no other receiver of the same message sees.
func TestA9CopyOnWrite(t *testing.T) {
	open := make(conns, 10)
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			out.Data = append(out.Data, engine.FromContext(ctx).Scope().RawQuery()...)
			return next.Run(ctx, out)
		}),
	))
	shared := append(make([]byte, 0, 100), "for "...) // with room that an append could write into
	prepared, err := s.Engine.Prepare(frame.Text, shared)
	require.NoError(t, err)
	var clients []*enginetest.Client
	var all []*engine.Conn
	for i := range 5 {
		clients = append(clients, s.DialWith(enginetest.Handshake{Target: fmt.Sprintf("/?%d", i)}))
		all = append(all, <-open)
	}
	require.Equal(t, engine.Tally{Queued: 5}, engine.Broadcast(t.Context(), slices.Values(all), prepared))
	for i, c := range clients {
		require.Equal(t, fmt.Sprintf("for %d", i), c.ReadText())
		require.NoError(t, all[i].Send(frame.Text, shared))
		require.Equal(t, fmt.Sprintf("for %d", i), c.ReadText())
	}
	require.Equal(t, "for ", string(shared))
	require.Zero(t, shared[:100][4])
}

// A10: every run has an id of its own, and metadata that all of it can reach.
func TestA10Context(t *testing.T) {
	var mu sync.Mutex
	ids := make(map[string]int)
	note := func(ctx context.Context) {
		mu.Lock()
		defer mu.Unlock()
		ids[interceptors.FromContext(ctx).ChainID()]++
	}
	s := enginetest.Start(t, engine.Config{}, with(
		engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			run := interceptors.FromContext(ctx)
			user, _ := run.Get("user")
			run.Set("handled", true)
			return c.SendText(fmt.Sprint(user, " ", string(m.Data)))
		}},
		inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
			note(ctx)
			run := interceptors.FromContext(ctx)
			if _, stale := run.Get("handled"); stale {
				return errors.New("metadata of another run")
			}
			run.Set("user", "eve")
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			err := next.Run(ctx, in)
			if _, ok := run.Get("handled"); !ok && in.Type == frame.Text {
				return errors.New("what the handler set is not there")
			}
			return err
		}),
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			note(ctx)
			return next.Run(ctx, out)
		}),
	))
	const clients, messages = 5, 20
	var wait sync.WaitGroup
	for range clients {
		c := s.Dial()
		wait.Go(func() {
			for i := range messages {
				c.SendText(fmt.Sprint(i))
				assert.Equal(t, fmt.Sprint("eve ", i), c.ReadText())
			}
			c.Hangup()
		})
	}
	wait.Wait()
	s.AwaitOpen(0)
	mu.Lock()
	defer mu.Unlock()
	for id, n := range maps.All(ids) {
		require.Equal(t, 1, n, "runs with the id %s", id)
	}
	require.Len(t, ids, clients*(2*messages+1), "in and out for each message, and the close")
}

// A10: runs at the same time on one connection, also one inside another, share neither
// id nor metadata.
func TestA10RunsAtOnce(t *testing.T) {
	type inside struct{}
	var mu sync.Mutex
	ids := make(map[string]int)
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen},
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			run := interceptors.FromContext(ctx)
			mu.Lock()
			ids[run.ChainID()]++
			mu.Unlock()
			if was, stale := run.Get("text"); stale {
				return fmt.Errorf("metadata of %q", was)
			}
			run.Set("text", string(out.Data))
			if out.Type == frame.Text && !strings.HasPrefix(string(out.Data), "about ") {
				if err := engine.FromContext(ctx).SendText("about " + string(out.Data)); err != nil {
					return err
				}
			}
			if was, _ := run.Get("text"); was != string(out.Data) {
				return fmt.Errorf("%q has the metadata of %q", out.Data, was)
			}
			return next.Run(context.WithValue(ctx, inside{}, true), out)
		}),
	))
	c := s.Dial()
	conn := <-open
	const senders, messages = 8, 100
	var wait sync.WaitGroup
	for i := range senders {
		wait.Go(func() {
			for j := range messages {
				assert.NoError(t, conn.SendWait(t.Context(), frame.Text, []byte(fmt.Sprint(i, ".", j))))
				assert.NoError(t, conn.SendText(fmt.Sprint(i, ":", j)))
			}
		})
	}
	heard := make(map[string]bool)
	for range senders * messages * 4 {
		heard[c.ReadText()] = true
	}
	wait.Wait()
	require.Len(t, heard, senders*messages*4)
	mu.Lock()
	defer mu.Unlock()
	for id, n := range ids {
		require.Equal(t, 1, n, "runs with the id %s", id)
	}
	require.Len(t, ids, senders*messages*4)
}

// A type that does not exist is refused behind a chain as without one.
func TestA8TypeThatDoesNotExist(t *testing.T) {
	for name, list := range map[string][]interceptors.Interceptor{"without": nil, "behind a chain": {interceptors.Passthrough{}}} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen}, list...))
			c := s.Dial()
			conn := <-open
			for _, op := range []frame.Opcode{0, 3, 7, 0xb, 0xf, 0x10, 0x81, 0xff} {
				require.ErrorContains(t, conn.Send(op, nil), "text and binary are possible")
			}
			require.NoError(t, conn.SendText("x"))
			require.Equal(t, "x", c.ReadText())
		})
	}
}

// A10: whatever context a sender has, the chain finds its connection in it.
func TestA10ConnectionFromContext(t *testing.T) {
	open := make(conns, 1)
	var mu sync.Mutex
	var found []*engine.Conn
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			mu.Lock()
			found = append(found, engine.FromContext(ctx))
			mu.Unlock()
			return next.Run(ctx, out)
		}),
	))
	s.Dial()
	conn := <-open
	deadline, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, conn.SendText("x"))
	require.NoError(t, conn.SendWait(deadline, frame.Text, []byte("x")))
	require.NoError(t, conn.SendWait(context.Background(), frame.Text, []byte("x")))
	require.NoError(t, conn.Ping(nil))
	require.NoError(t, conn.Close(frame.CloseNormal, ""))
	require.Len(t, found, 5)
	for _, c := range found {
		require.True(t, c == conn)
	}
	require.Nil(t, engine.FromContext(deadline))
}

// A10: contexts that interceptors derive may be looked at by goroutines of their
// own for a moment longer than the run; the race detector watches.
func TestA10DerivedContextsOutliveTheRun(t *testing.T) {
	derive := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Minute)
	}
	ep := with(engine.Handler{OnMessage: echo},
		inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
			ctx, cancel := derive(ctx)
			defer cancel()
			return next.Run(ctx, in)
		}),
		outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
			ctx, cancel := derive(ctx)
			defer cancel()
			return next.Run(ctx, out)
		}),
	)
	s := enginetest.Start(t, engine.Config{}, ep)
	var wait sync.WaitGroup
	for range 4 {
		c := s.Dial()
		wait.Go(func() { sendNumbered(c, 200) })
		wait.Go(func() { expectNumbered(t, c, 200) })
	}
	wait.Wait()
}

// A10: a store for the connection's life.
func TestA10Store(t *testing.T) {
	type key struct{}
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			c.Set(key{}, 0)
			return nil
		},
		OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			n, _ := c.Get(key{}).(int)
			c.Set(key{}, n+1)
			return c.SendText(fmt.Sprint(n))
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			assert.Equal(t, 3, c.Get(key{}))
			c.Set(key{}, nil)
			assert.Nil(t, c.Get(key{}))
			assert.Nil(t, c.Get("else"))
		},
	}})
	for range 2 {
		c := s.Dial()
		for i := range 3 {
			c.SendText("")
			require.Equal(t, fmt.Sprint(i), c.ReadText())
		}
		c.Hangup()
	}
}

// An interceptor that goes on with a context which is not derived from its own has lost the
// connection: that is an error, of the message it happens to, and no handler meets a
// connection that is nil, nor a sender a panic.
func TestInterceptorForeignContext(t *testing.T) {
	t.Run("out", func(t *testing.T) {
		opened := make(conns, 1)
		s := enginetest.Start(t, engine.Config{Logger: quiet}, with(engine.Handler{OnOpen: opened.OnOpen, OnMessage: echo},
			outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
				if string(out.Data) == "lost" {
					ctx = context.Background()
				}
				return next.Run(ctx, out)
			})))
		c := s.Dial()
		conn := <-opened
		err := conn.SendText("lost")
		require.Equal(t, engine.Refused, engine.VerdictOf(err))
		require.NoError(t, conn.SendText("found"))
		require.Equal(t, "found", c.ReadText())
		c.Hangup()
	})
	for name, h := range map[string]engine.Handler{
		"in": {OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			assert.NotNil(t, c)
			return nil
		}},
		"in, received": {OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				_, err := c.Receive(ctx)
				assert.Error(t, err)
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{Logger: quiet}, with(h,
				inFunc(func(_ context.Context, in engine.Message, next *interceptors.InboundNext) error {
					return next.Run(context.Background(), in)
				})))
			c := s.Dial()
			c.SendText("lost")
			c.ExpectClose(frame.CloseInternalError)
			require.Zero(t, s.Engine.Stats().Panics)
		})
	}
}
