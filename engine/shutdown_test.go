package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// Everyone is told 1001, after everything that has been received is handled.
func TestShutdownGraceful(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		const clients, messages = 20, 10
		inside := make(chan struct{}, clients)
		var end ending
		s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				if string(m.Data) == "0" {
					inside <- struct{}{}
				}
				time.Sleep(5 * time.Millisecond)
				return echo(ctx, c, m)
			},
			OnClose: end.OnClose,
		}})
		var all sync.WaitGroup
		for range clients {
			c := s.Dial()
			var b []byte
			for i := range messages {
				b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, []byte(fmt.Sprint(i)))...)
			}
			c.Write(b)
			<-inside // so the rest has been received, too
			all.Go(func() {
				for i := range messages {
					assert.Equal(t, fmt.Sprint(i), c.ReadText())
				}
				c.ExpectClose(frame.CloseGoingAway)
			})
		}
		quiet := s.Dial()
		s.AwaitOpen(clients + 1)
		all.Go(func() { quiet.ExpectClose(frame.CloseGoingAway) })
		require.NoError(t, s.Shutdown(enginetest.Patience))
		all.Wait()
		require.Len(t, end.all(), clients+1)
		for _, err := range end.all() {
			require.Equal(t, frame.CloseGoingAway, err.Code)
			require.False(t, err.Remote)
		}
	})
}

func TestShutdownWithoutConnections(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	require.NoError(t, s.Shutdown(enginetest.Patience))
	require.ErrorIs(t, s.Shutdown(enginetest.Patience), engine.ErrShutdown)
}

// While handlers still run, upgrades are refused and a second Shutdown is, too.
func TestShutdownRefusesUpgrades(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	s := enginetest.Start(t, engine.Config{}, onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		close(inside)
		<-leave
		return echo(ctx, c, m)
	}))
	c := s.Dial()
	c.SendText("working")
	<-inside
	first := make(chan error, 1)
	go func() { first <- s.Shutdown(enginetest.Patience) }()
	var res *http.Response
	enginetest.Await(t, func() bool {
		res = s.Request(enginetest.Handshake{})
		return res.StatusCode != http.StatusSwitchingProtocols
	}, "upgrades should be refused")
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	require.NotEmpty(t, res.Header.Get("Retry-After"))
	require.ErrorIs(t, s.Shutdown(enginetest.Patience), engine.ErrShutdown)
	close(leave)
	require.Equal(t, "working", c.ReadText())
	c.ExpectClose(frame.CloseGoingAway)
	require.NoError(t, <-first)
}

// At the deadline the rest is cut off: handlers are told by their context, peers
// that do not answer by the end of the connection.
func TestShutdownForce(t *testing.T) {
	for name, connect := range map[string]func(s *enginetest.Server){
		"peer that does not answer": func(s *enginetest.Server) { s.Dial() },
		"peer that does not read": func(s *enginetest.Server) {
			s.DialWith(enginetest.Handshake{Target: "/flood", ReceiveBuffer: 4 << 10})
		},
		"handler that waits for its context": func(s *enginetest.Server) {
			c := s.Dial()
			c.SendText("")
		},
		"background function that waits for its context": func(s *enginetest.Server) {
			s.DialWith(enginetest.Handshake{Target: "/background"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var end ending
			busy := make(chan struct{}, 1)
			s := enginetest.Start(t, engine.Config{WriteStallTimeout: -1}, engine.Endpoint{Handler: engine.Handler{
				OnOpen: func(_ context.Context, c *engine.Conn) error {
					defer func() { busy <- struct{}{} }()
					switch c.Scope().Path() {
					case "/flood":
						return c.SendBytes(pattern(1 << 20))
					case "/background":
						return c.Go(func(ctx context.Context) { <-ctx.Done() })
					}
					return nil
				},
				OnMessage: func(ctx context.Context, _ *engine.Conn, _ engine.Message) error {
					busy <- struct{}{}
					<-ctx.Done()
					return ctx.Err()
				},
				OnClose: end.OnClose,
			}})
			connect(s)
			<-busy
			if name == "handler that waits for its context" {
				<-busy
			}
			const within = 200 * time.Millisecond
			start := time.Now()
			err := s.Shutdown(within)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.GreaterOrEqual(t, time.Since(start), within)
			require.Equal(t, frame.CloseGoingAway, end.await(t).Code)
		})
	}
}

// The closes are spread, and a spread that is too long for the deadline is cut short.
func TestShutdownSpread(t *testing.T) {
	const clients, spread = 10, 2 * time.Second
	s := enginetest.Start(t, engine.Config{ShutdownSpread: spread}, onMessage(echo))
	var mu sync.Mutex
	var first, last time.Time
	var all sync.WaitGroup
	for range clients {
		c := s.Dial()
		all.Go(func() {
			c.ExpectClose(frame.CloseGoingAway)
			mu.Lock()
			defer mu.Unlock()
			last = time.Now()
			if first.IsZero() {
				first = last
			}
		})
	}
	s.AwaitOpen(clients)
	require.NoError(t, s.Shutdown(enginetest.Patience))
	all.Wait()
	require.Greater(t, last.Sub(first), spread/2)
}

func TestShutdownSpreadCutShort(t *testing.T) {
	s := enginetest.Start(t, engine.Config{ShutdownSpread: time.Hour}, onMessage(echo))
	var all sync.WaitGroup
	for range 3 {
		c := s.Dial()
		all.Go(func() { c.ReadToEnd() })
	}
	s.AwaitOpen(3)
	start := time.Now()
	_ = s.Shutdown(200 * time.Millisecond)
	require.Less(t, time.Since(start), enginetest.Patience)
	all.Wait()
}

// Serve ends with its context, and leaves nothing of connections that were never
// upgraded; nor does it when its listener fails.
func TestShutdownServe(t *testing.T) {
	for name, end := range map[string]func(ln net.Listener, cancel func()){
		"context":  func(_ net.Listener, cancel func()) { cancel() },
		"listener": func(ln net.Listener, _ func()) { _ = ln.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.Start(t, engine.Config{}, onMessage(echo)) // for what it asserts in the end
			e, err := engine.New(engine.Config{}, onMessage(echo))
			require.NoError(t, err)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan error, 1)
			go func() { served <- e.Serve(ctx, ln) }()
			silent, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer func() { _ = silent.Close() }()
			_, err = silent.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			require.NoError(t, err)
			_, err = silent.Read(make([]byte, 4<<10)) // refused, and kept for the next request
			require.NoError(t, err)
			end(ln, cancel)
			err = <-served
			if name == "context" {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, net.ErrClosed)
			}
			require.NoError(t, silent.SetReadDeadline(time.Now().Add(time.Second)))
			_, err = silent.Read(make([]byte, 1))
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection is still open")
		})
	}
}

// A request that is checked when Shutdown begins is refused like later ones.
func TestShutdownDuringAdmit(t *testing.T) {
	var s *enginetest.Server
	s = enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: echo,
		Admit:     func(*http.Request) error { return s.Shutdown(enginetest.Patience) },
	}})
	require.Equal(t, http.StatusServiceUnavailable, s.Request(enginetest.Handshake{}).StatusCode)
}

// A hijackHook does something before a connection is taken over.
type hijackHook struct {
	http.ResponseWriter
	before func()
}

func (h hijackHook) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.before()
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// One that has been let in when Shutdown begins is served, and told like the others. If it
// cannot be taken over nobody waits for it.
func TestShutdownDuringHijack(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		for _, broken := range []bool{false, true} {
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{OnMessage: echo}})
			down := make(chan error, 1)
			s.HandleHTTP("/late", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { _ = recover() }()
				s.Engine.ServeHTTP(hijackHook{w, func() {
					go func() { down <- s.Shutdown(enginetest.Patience) }()
					enginetest.Await(t, func() bool { return s.Request(enginetest.Handshake{}).StatusCode == http.StatusServiceUnavailable }, "upgrades should be refused")
					if broken {
						panic("no connection")
					}
				}}, r)
			}))
			if late := (enginetest.Handshake{Target: "/late"}); broken {
				require.NotEqual(t, http.StatusSwitchingProtocols, s.Request(late).StatusCode)
			} else {
				s.DialWith(late).ExpectClose(frame.CloseGoingAway)
			}
			require.NoError(t, <-down)
		}
	})
}
