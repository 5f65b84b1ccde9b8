package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// crashes are the ways in which a callback may not return.
var crashes = map[string]func(){
	"panic":     func() { panic("as the test wants it") },
	"nil panic": func() { panic(nil) }, //nolint:govet // a callback may do it
	"Goexit":    runtime.Goexit,
}

// A crasher is an interceptor that crashes at what it is told to.
type crasher struct {
	interceptors.Passthrough
	in    func(engine.Message) bool
	out   func(interceptors.Outbound) bool
	crash func()
}

func (i *crasher) InterceptInbound(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	if i.in != nil && i.in(in) {
		i.crash()
	}
	return next.Run(ctx, in)
}

func (i *crasher) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if i.out != nil && i.out(out) {
		i.crash()
	}
	return next.Run(ctx, out)
}

// crashSites are the places where user code runs. Each endpoint crashes for a
// connection whose client has sent "crash"; the others it serves.
var crashSites = map[string]struct {
	endpoint func(crash func()) engine.Endpoint
	after    bool // the connection has ended already: there is nobody to tell 1011
}{
	"OnOpen": {endpoint: func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnOpen: func(_ context.Context, c *engine.Conn) error {
			if c.Scope().Path() == "/crash" {
				crash()
			}
			return nil
		}}}
	}},
	"OnMessage": {endpoint: func(crash func()) engine.Endpoint {
		return onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				crash()
			}
			return echo(ctx, c, m)
		})
	}},
	"OnMessage with a reply held back": {endpoint: func(crash func()) engine.Endpoint {
		return onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				_ = c.SendText("last words")
				crash()
			}
			return echo(ctx, c, m)
		})
	}},
	"OnDrain": {endpoint: func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if string(m.Data) == "crash" {
					return c.SendBytes(pattern(900_000)) // crosses the high-water mark
				}
				return echo(ctx, c, m)
			},
			OnDrain: func(*engine.Conn) { crash() },
		}}
	}},
	"OnClose": {after: true, endpoint: func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if string(m.Data) == "crash" {
					return c.Close(frame.CloseInternalError, "")
				}
				return echo(ctx, c, m)
			},
			OnClose: func(_ *engine.Conn, err *engine.CloseError) {
				if err.Code == frame.CloseInternalError {
					crash()
				}
			},
		}}
	}},
	"OnMessage and then OnClose": {endpoint: func(crash func()) engine.Endpoint {
		return engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if string(m.Data) == "crash" {
					crash()
				}
				return echo(ctx, c, m)
			},
			OnClose: func(_ *engine.Conn, err *engine.CloseError) {
				if err.Code == frame.CloseInternalError {
					crash()
				}
			},
		}}
	}},
	"Go": {endpoint: func(crash func()) engine.Endpoint {
		return onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				return c.Go(func(context.Context) { crash() })
			}
			return echo(ctx, c, m)
		})
	}},
	"inbound interceptor": {endpoint: func(crash func()) engine.Endpoint {
		ep := onMessage(echo)
		ep.Interceptors = []interceptors.Interceptor{&crasher{crash: crash, in: func(in engine.Message) bool { return string(in.Data) == "crash" }}}
		return ep
	}},
	"inbound interceptor at the close": {after: true, endpoint: func(crash func()) engine.Endpoint {
		ep := onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				return c.Close(frame.CloseInternalError, "")
			}
			return echo(ctx, c, m)
		})
		ep.Interceptors = []interceptors.Interceptor{&crasher{crash: crash, in: func(in engine.Message) bool {
			return in.Type == frame.Close && in.CloseCode == frame.CloseInternalError
		}}}
		return ep
	}},
	"outbound interceptor": {endpoint: func(crash func()) engine.Endpoint {
		ep := onMessage(echo)
		ep.Interceptors = []interceptors.Interceptor{&crasher{crash: crash, out: func(out interceptors.Outbound) bool { return string(out.Data) == "crash" }}}
		return ep
	}},
	"outbound interceptor of a refusal": {endpoint: func(crash func()) engine.Endpoint {
		ep := onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "crash" {
				return interceptors.Refuse(403, "no")
			}
			return echo(ctx, c, m)
		})
		ep.Interceptors = []interceptors.Interceptor{&crasher{crash: crash, out: func(out interceptors.Outbound) bool { return bytes.Contains(out.Data, []byte("403")) }}}
		return ep
	}},
	"outbound interceptor of a refusal in OnOpen": {endpoint: func(crash func()) engine.Endpoint {
		return engine.Endpoint{
			Handler: engine.Handler{OnMessage: echo, OnOpen: func(_ context.Context, c *engine.Conn) error {
				if c.Scope().Path() == "/crash" {
					return interceptors.Refuse(403, "no")
				}
				return nil
			}},
			Interceptors: []interceptors.Interceptor{&crasher{crash: crash, out: func(out interceptors.Outbound) bool {
				return out.Type == frame.Text && bytes.Contains(out.Data, []byte("403"))
			}}},
		}
	}},
}

// A callback that panics or calls runtime.Goexit costs its own connection, with
// 1011, and nothing else; however often it happens.
func TestCrash(t *testing.T) {
	const workers = 2
	for site, row := range crashSites {
		for how, crash := range crashes {
			t.Run(site+"/"+how, func(t *testing.T) {
				modes(t, func(t *testing.T, inline bool) {
					ep := row.endpoint(crash)
					ep.Inline = inline
					cfg := engine.Config{Workers: workers, HighWaterBytes: 100_000, Logger: quiet}
					s := enginetest.Start(t, cfg, ep)
					s.Handle("/wait", waiting())
					other := s.Dial()
					other.SendText("here")
					require.Equal(t, "here", other.ReadText())
					for range 3 * workers {
						c := s.DialWith(enginetest.Handshake{Target: "/crash"})
						_ = c.TryWrite(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte("crash")))
						code, _ := c.ReadClose()
						require.Equal(t, frame.CloseInternalError, code)
						c.CloseWrite()
						c.ExpectEOF()
						c.Close()
					}
					s.AwaitOpen(1)
					enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 1 }, "the crashed connections should be gone")
					require.EqualValues(t, 3*workers, s.Engine.Stats().Closed[frame.CloseInternalError], "%v", s.Engine.Stats())
					other.SendText("still here")
					require.Equal(t, "still here", other.ReadText())
					requireStrength(t, s, workers)
					other.Hangup()
				})
			})
		}
	}
}

// waiting is an endpoint whose handlers wait for one another: as many as the
// message says.
func waiting() engine.Endpoint {
	var mu sync.Mutex
	here, all := 0, make(chan struct{})
	return onMessage(func(_ context.Context, c *engine.Conn, m engine.Message) error {
		mu.Lock()
		if here++; fmt.Sprint(here) == string(m.Data) {
			close(all)
		}
		mu.Unlock()
		<-all
		return c.SendText("together")
	})
}

// requireStrength wants n handlers to run at once.
func requireStrength(t *testing.T, s *enginetest.Server, n int) {
	t.Helper()
	clients := make([]*enginetest.Client, n)
	for i := range clients {
		clients[i] = s.DialWith(enginetest.Handshake{Target: "/wait"})
		clients[i].SendText(fmt.Sprint(n))
	}
	for _, c := range clients {
		require.Equal(t, "together", c.ReadText())
		c.Hangup()
	}
}

// A crash is counted and logged with its stack.
func TestCrashIsLogged(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	lines := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	})
	s := enginetest.Start(t, engine.Config{Logger: slog.New(slog.NewTextHandler(lines, nil))}, onMessage(func(context.Context, *engine.Conn, engine.Message) error {
		panic("the password is geheim")
	}))
	c := s.Dial()
	c.SendText("x")
	code, reason := c.ReadClose()
	require.Equal(t, frame.CloseInternalError, code)
	require.NotContains(t, reason, "geheim")
	c.CloseWrite()
	s.AwaitOpen(0)
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, log.String(), "geheim")
	require.Contains(t, log.String(), "TestCrashIsLogged", "the stack")
	require.EqualValues(t, 1, s.Engine.Stats().Panics)
}
