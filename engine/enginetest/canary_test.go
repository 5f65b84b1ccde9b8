package enginetest

import (
	"context"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A canary is a test that is expected to fail: it keeps what would have failed
// it, and runs its clean-up when told.
type canary struct {
	testing.TB
	mu      sync.Mutex
	found   []finding
	failed  bool // by something else
	cleanup []func()
}

func (c *canary) Helper()          {}
func (c *canary) Cleanup(f func()) { c.cleanup = append(c.cleanup, f) }
func (c *canary) Errorf(_ string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range args {
		if f, ok := a.(finding); ok {
			c.found = append(c.found, f)
			return
		}
	}
	c.failed = true
}
func (c *canary) FailNow()                     { c.Errorf(""); runtime.Goexit() }
func (c *canary) Fatalf(f string, args ...any) { c.Errorf(f, args...); runtime.Goexit() }

// fails reports whether an assertion of the kit fails its test.
func fails(t *testing.T, assertion func(tb testing.TB)) bool {
	t.Helper()
	c := &canary{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		assertion(c)
	}()
	<-done
	require.Empty(t, c.end())
	return c.failed
}

// end runs the clean-up and returns the kinds of what was found.
func (c *canary) end() map[kind]bool {
	for len(c.cleanup) > 0 {
		last := len(c.cleanup) - 1
		f := c.cleanup[last]
		c.cleanup = c.cleanup[:last]
		f()
	}
	kinds := make(map[kind]bool)
	for _, f := range c.found {
		kinds[f.kind] = true
	}
	return kinds
}

func kinds(list ...kind) map[kind]bool {
	m := make(map[kind]bool)
	for _, k := range list {
		m[k] = true
	}
	return m
}

func TestCanaryHealthy(t *testing.T) {
	c := &canary{TB: t}
	s := Start(c, engine.Config{}, echo())
	p := s.Dial()
	p.SendText("hello")
	require.Equal(t, "hello", p.ReadText())
	assert.Empty(t, c.end())
}

func TestCanaryHealthyTLS(t *testing.T) {
	c := &canary{TB: t}
	s := StartTLS(c, engine.Config{}, echo())
	p := s.Dial()
	p.SendText("hello")
	require.Equal(t, "hello", p.ReadText())
	p.Hangup()
	assert.Empty(t, c.end())
}

// A handler that never returns keeps its connection from closing, Shutdown from
// succeeding, and goroutines from ending.
func TestCanaryStuckHandler(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	c := &canary{TB: t}
	s := Start(c, engine.Config{ShutdownTimeout: 1}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { close(inside); <-release; return nil },
	}})
	s.Dial().SendText("")
	<-inside
	assert.Equal(t, kinds(unfinished, unclosed, goroutines), c.end())
	close(release)
	require.ErrorIs(t, s.Shutdown(Patience), engine.ErrShutdown)
	s.AwaitOpen(0)
}

func TestCanaryUnclosed(t *testing.T) {
	c := &canary{TB: t}
	s := Start(c, engine.Config{}, echo())
	s.ledger.opens.Add(1)
	assert.Equal(t, kinds(unclosed), c.end())
}

func TestCanaryDisorder(t *testing.T) {
	for name, misbehave := range map[string]func(h engine.Handler, c *engine.Conn){
		"closed twice":        func(h engine.Handler, c *engine.Conn) { h.OnClose(c, &engine.CloseError{}) },
		"message after close": func(h engine.Handler, c *engine.Conn) { _ = h.OnMessage(t.Context(), c, engine.Message{}) },
		"drain after close":   func(h engine.Handler, c *engine.Conn) { h.OnDrain(c) },
		"opened twice":        func(h engine.Handler, c *engine.Conn) { _ = h.OnOpen(t.Context(), c) },
		"message without open": func(h engine.Handler, _ *engine.Conn) {
			_ = h.OnMessage(t.Context(), new(engine.Conn), engine.Message{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tb := &canary{TB: t}
			conns := make(chan *engine.Conn, 1)
			ep := echo()
			ep.Handler.OnClose = func(c *engine.Conn, _ *engine.CloseError) { conns <- c }
			s := Start(tb, engine.Config{}, ep)
			p := s.Dial()
			p.Hangup()
			misbehave(s.ledger.watch(idle()).Handler, <-conns)
			assert.True(t, tb.end()[disorder])
		})
	}
}

func TestCanaryOverlap(t *testing.T) {
	tb := &canary{TB: t}
	inside, leave := make(chan *engine.Conn), make(chan struct{})
	ep := echo()
	ep.Handler.OnMessage = func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		inside <- c
		<-leave
		return nil
	}
	s := Start(tb, engine.Config{}, ep)
	p := s.Dial()
	p.SendText("")
	s.ledger.watch(idle()).Handler.OnDrain(<-inside)
	close(leave)
	assert.Equal(t, kinds(disorder), tb.end())
}

func TestCanaryFigures(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*engine.Stats)
		want  kind
	}{
		"queued":      {func(st *engine.Stats) { st.Pending++ }, queued},
		"buffers":     {func(st *engine.Stats) { st.Buffers++ }, buffers},
		"connections": {func(st *engine.Stats) { st.Connections++ }, unclosed},
		"closed":      {func(st *engine.Stats) { st.Closed[frame.CloseNormal]++ }, unclosed},
	} {
		t.Run(name, func(t *testing.T) {
			c := &canary{TB: t}
			s := Start(c, engine.Config{}, echo())
			s.stats = func() engine.Stats {
				st := s.Engine.Stats()
				row.spoil(&st)
				return st
			}
			assert.Equal(t, kinds(row.want), c.end())
		})
	}
}

func TestCanaryGoroutine(t *testing.T) {
	c := &canary{TB: t}
	Start(c, engine.Config{}, echo())
	stop := make(chan struct{})
	go func() { <-stop }()
	assert.Equal(t, kinds(goroutines), c.end())
	close(stop)
}

// Of two servers the one that stops last tells, whichever that is.
func TestCanaryOfTwo(t *testing.T) {
	for _, first := range []int{0, 1} {
		both := []*canary{{TB: t}, {TB: t}}
		for _, c := range both {
			Start(c, engine.Config{}, echo())
		}
		stop := make(chan struct{})
		go func() { <-stop }()
		assert.Empty(t, both[first].end())
		assert.Equal(t, kinds(goroutines), both[1-first].end())
		close(stop)
	}
}

func TestCanaryDescriptor(t *testing.T) {
	c := &canary{TB: t}
	s := Start(c, engine.Config{}, echo())
	if len(s.before.files) == 0 {
		t.Skip("this system has no /proc/self/fd")
	}
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	assert.Equal(t, kinds(descriptors), c.end())
	require.NoError(t, f.Close())
}

func echo() engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}}
}

// idle has callbacks that do nothing, to be called out of turn.
func idle() engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil },
		OnDrain:   func(*engine.Conn) {},
	}}
}
