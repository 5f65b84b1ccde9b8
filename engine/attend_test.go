package engine_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// diary notes what happens to connections.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// attending calls Attend, and its opened does what it is told to.
type attending struct {
	interceptors.Passthrough
	d      *diary
	name   string
	opened func() error
	closed func()
}

func (a attending) Admit(r *http.Request) error {
	ok := engine.Attend(r.Context(), func(*engine.Conn) error {
		a.d.note("open " + a.name)
		return a.opened()
	}, func(*engine.Conn) {
		a.d.note("close " + a.name)
		a.closed()
	})
	if !ok {
		return errors.New("not attended")
	}
	return nil
}

func TestAttend(t *testing.T) {
	fine := func() error { return nil }
	nothing := func() {}
	for _, c := range []struct {
		name   string
		opened func() error // of the second of three
		closed func()       // likewise
		code   frame.CloseCode
		want   []string
	}{
		{"all agree", fine, nothing, 0, []string{"open a", "open b", "open c", "open handler", "close handler", "close c", "close b", "close a"}},
		{"one turns away", func() error { return &engine.CloseError{Code: 4401, Reason: "who are you?"} }, nothing, 4401, []string{"open a", "open b", "close b", "close a"}},
		{"one panics", func() error { panic("at the door") }, nothing, 1011, []string{"open a", "open b", "close b", "close a"}},
		{"one panics at the end", fine, func() { panic("at the end") }, 0, []string{"open a", "open b", "open c", "open handler", "close handler", "close c", "close b", "close a"}},
		{"one ends its goroutine at the end", fine, runtime.Goexit, 0, []string{"open a", "open b", "open c", "open handler", "close handler", "close c", "close b", "close a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := new(diary)
			ep := engine.Endpoint{
				Interceptors: []interceptors.Interceptor{attending{d: d, name: "a", opened: fine, closed: nothing},
					attending{d: d, name: "b", opened: c.opened, closed: c.closed}, attending{d: d, name: "c", opened: fine, closed: nothing}},
				Handler: engine.Handler{
					OnOpen:    func(context.Context, *engine.Conn) error { d.note("open handler"); return nil },
					OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
					OnClose:   func(*engine.Conn, *engine.CloseError) { d.note("close handler") },
				},
			}
			s := enginetest.Start(t, engine.Config{}, ep)
			ws := s.Dial()
			if c.code != 0 {
				ws.ExpectClose(c.code)
			} else {
				ws.SendText("x")
				require.Equal(t, "x", ws.ReadText())
				ws.Hangup()
			}
			enginetest.Await(t, func() bool { return len(d.all()) == len(c.want) }, "%v", c.want)
			assert.Equal(t, c.want, d.all())
		})
	}
	assert.False(t, engine.Attend(t.Context(), func(*engine.Conn) error { return nil }, func(*engine.Conn) {}))
}

// discreet takes the query and a header line out of what is kept.
type discreet struct{ interceptors.Passthrough }

func (discreet) Admit(r *http.Request) error {
	u := *r.URL
	u.RawQuery = ""
	r.URL, r.Header = &u, r.Header.Clone()
	r.Header.Del("X-Secret")
	return nil
}

func (discreet) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	out.Data = append(out.Data, out.Peer.Target+out.Peer.Header.Get("X-Secret")...)
	return next.Run(ctx, out)
}

// What Admit has taken out of its request the connection does not keep, and the
// request of a handler around the engine's stays as it was.
func TestAdmitTakesOutOfTheScope(t *testing.T) {
	scopes := make(chan *engine.Scope, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
		Interceptors: []interceptors.Interceptor{discreet{}},
		Handler: engine.Handler{
			OnOpen: func(_ context.Context, c *engine.Conn) error { scopes <- c.Scope(); return c.SendText("") },
		},
	})
	around := make(chan *http.Request, 1)
	s.HandleHTTP("/around", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Engine.ServeHTTP(w, r)
		around <- r
	}))
	ws := s.DialWith(enginetest.Handshake{Target: "/around?token=canary", Header: map[string][]string{"X-Secret": {"canary"}, "X-Other": {"kept"}}})
	scope, r := <-scopes, <-around
	assert.Equal(t, "ws://"+s.Addr()+"/around", ws.ReadText())
	assert.Equal(t, "/around", scope.Path())
	assert.Equal(t, url.Values{}, scope.Query())
	assert.Empty(t, scope.Header("X-Secret"))
	assert.Equal(t, "kept", scope.Header("X-Other"))
	assert.NotEmpty(t, scope.RemoteAddr())
	assert.Equal(t, "canary", r.Header.Get("X-Secret"))
	assert.Equal(t, "token=canary", r.URL.RawQuery)
	ws.Hangup()
}
