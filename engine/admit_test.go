package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// admitFunc is an interceptor of handshakes.
type admitFunc struct {
	interceptors.Passthrough
	admit func(r *http.Request) error
}

func (a admitFunc) Admit(r *http.Request) error { return a.admit(r) }

func admit(f func(r *http.Request) error) interceptors.Interceptor { return admitFunc{admit: f} }

// Config's interceptors are asked first, then the endpoint's, then its handler; whoever
// refuses is the last.
func TestAdmitOrder(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	ask := func(name string) func(*http.Request) error {
		return func(r *http.Request) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, name)
			if r.URL.RawQuery == name {
				return interceptors.Refuse(403, "by "+name)
			}
			return nil
		}
	}
	s := enginetest.Start(t, engine.Config{Interceptors: []interceptors.Interceptor{admit(ask("1")), admit(ask("2"))}}, engine.Endpoint{
		Handler:      engine.Handler{OnMessage: echo, Admit: ask("5")},
		Interceptors: []interceptors.Interceptor{admit(ask("3")), interceptors.Only(0, admit(ask("4")))},
	})
	s.DialWith(enginetest.Handshake{Target: "/?none"}).Hangup()
	take := func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { asked = nil }()
		return asked
	}
	require.Equal(t, []string{"1", "2", "3", "4", "5"}, take())
	for i, name := range []string{"1", "2", "3", "4", "5"} {
		res := s.Request(enginetest.Handshake{Target: "/?" + name})
		require.Equal(t, 403, res.StatusCode)
		require.Equal(t, "by "+name+"\n", bodyOf(t, res))
		require.Len(t, take(), i+1)
	}
	require.Equal(t, map[engine.Refusal]uint64{engine.RefusedHandler: 5}, nonZero(s.Engine.Stats().RefusedBy))
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

func nonZero(counts map[engine.Refusal]uint64) map[engine.Refusal]uint64 {
	for why, n := range counts {
		if n == 0 {
			delete(counts, why)
		}
	}
	return counts
}

// A refusal is an HTTP response; what is none says nothing.
func TestAdmitRefusal(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		body   string
		header http.Header // of which the response must have all, and none where it is nil
	}{
		"by value":           {interceptors.Refuse(400, "not so"), 400, "not so\n", http.Header{"Www-Authenticate": nil, "Retry-After": nil}},
		"by pointer":         {&interceptors.Refusal{Status: 404, Message: "no such room"}, 404, "no such room\n", nil},
		"wrapped":            {fmt.Errorf("limit: %w", interceptors.Refuse(503, "full")), 503, "full\n", nil},
		"retry":              {interceptors.Refusal{Status: 429, Message: "later", RetryAfter: 1100 * time.Millisecond}, 429, "later\n", http.Header{"Retry-After": {"2"}}},
		"retry soon":         {interceptors.Refusal{Status: 429, RetryAfter: 1}, 429, "\n", http.Header{"Retry-After": {"1"}}},
		"401":                {interceptors.Refuse(401, "who?"), 401, "who?\n", http.Header{"Www-Authenticate": {"Bearer"}}},
		"401 by challenge":   {interceptors.Refusal{Status: 401, Challenge: `Basic realm="x"`}, 401, "\n", http.Header{"Www-Authenticate": {`Basic realm="x"`}}},
		"no HTTP status":     {interceptors.Refuse(0, "secret"), 403, "not admitted\n", nil},
		"a success":          {interceptors.Refuse(200, "secret"), 403, "not admitted\n", nil},
		"beyond HTTP":        {interceptors.Refuse(600, "secret"), 403, "not admitted\n", nil},
		"any other error":    {errors.New("secret"), 403, "not admitted\n", nil},
		"an HTTP error":      {&engine.HandshakeError{Status: 418, Reason: "teapot", Header: http.Header{"X-Tea": {"green"}}}, 418, "teapot\n", http.Header{"X-Tea": {"green"}}},
		"with Close":         {interceptors.Refusal{Status: 410, Message: "gone", Close: true}, 410, "gone\n", nil},
		"line breaks in it":  {interceptors.Refusal{Status: 401, Challenge: "a\r\nX-Evil: 1"}, 401, "\n", http.Header{"X-Evil": nil}},
		"before a HTTP body": {interceptors.Refuse(599, "<b>"), 599, "<b>\n", http.Header{"Content-Type": {"text/plain; charset=utf-8"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo}, admit(func(*http.Request) error { return c.err })))
			res := s.Request(enginetest.Handshake{})
			assert.Equal(t, c.status, res.StatusCode)
			assert.Equal(t, c.body, bodyOf(t, res))
			for name, want := range c.header {
				assert.Equal(t, want, res.Header[name], name)
			}
			assert.Equal(t, map[engine.Refusal]uint64{engine.RefusedHandler: 1}, nonZero(s.Engine.Stats().RefusedBy))
		})
	}
}

// What Admit stores the connection begins with, and so does its user.
func TestAdmitStoresForTheConnection(t *testing.T) {
	type key struct{}
	var kept context.Context
	auth := admit(func(r *http.Request) error {
		kept = r.Context()
		store := interceptors.ConnStore(r.Context())
		store.Set(key{}, "wrong")
		store.Set(key{}, "from Admit")
		store.Set("gone", 1)
		store.Set("gone", nil)
		assert.Equal(t, "from Admit", store.Get(key{}))
		assert.Nil(t, store.Get("gone"))
		interceptors.SetUser(r.Context(), "ann")
		return nil
	})
	opened := make(conns, 1)
	s := enginetest.Start(t, engine.Config{Interceptors: []interceptors.Interceptor{auth}}, with(engine.Handler{
		Admit: func(r *http.Request) error {
			if interceptors.User(r.Context()) != "ann" {
				return errors.New("the handler's Admit does not know the user")
			}
			return nil
		},
		OnOpen: func(ctx context.Context, c *engine.Conn) error {
			assert.Equal(t, "from Admit", c.Get(key{}))
			assert.Nil(t, c.Get("gone"))
			return opened.OnOpen(ctx, c)
		},
		OnMessage: func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return c.SendText(fmt.Sprint(interceptors.User(ctx), ", ", interceptors.ConnStore(ctx).Get(key{})))
		},
	}, outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		assert.Contains(t, string(out.Data), interceptors.User(ctx), "in an outbound run")
		assert.NotEmpty(t, interceptors.User(ctx))
		return next.Run(ctx, out)
	})))
	c := s.Dial()
	conn := <-opened
	c.SendText("who am I?")
	require.Equal(t, "ann, from Admit", c.ReadText())
	require.Equal(t, "ann", interceptors.User(conn.Context()))
	elsewhere, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
	defer cancel()
	require.NoError(t, conn.SendWait(elsewhere, frame.Text, []byte("ann gets mail")), "a context that is not the connection's")
	require.Equal(t, "ann gets mail", c.ReadText())
	interceptors.ConnStore(kept).Set(key{}, "late")
	require.Equal(t, "from Admit", conn.Get(key{}), "the request is over")
	interceptors.SetUser(conn.Context(), "ben")
	c.SendText("and now?")
	require.Equal(t, "ben, from Admit", c.ReadText())
	c.Hangup()
}

// The store of a request whose context is kept is not the connection's: both may be used
// at the same time.
func TestAdmitStoreIsItsOwn(t *testing.T) {
	var kept context.Context
	opened := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		Admit: func(r *http.Request) error {
			kept = r.Context()
			interceptors.SetUser(kept, "ann")
			return nil
		},
		OnOpen:    opened.OnOpen,
		OnMessage: echo,
	}})
	c := s.Dial()
	conn := <-opened
	var later sync.WaitGroup
	later.Go(func() {
		for range 1000 {
			interceptors.SetUser(conn.Context(), "ben")
		}
	})
	for range 1000 {
		require.Equal(t, "ann", interceptors.User(kept))
	}
	later.Wait()
	require.Equal(t, "ann", interceptors.User(kept))
	require.Equal(t, "ben", interceptors.User(conn.Context()))
	c.Hangup()
}

// Without interceptors, a handler's Admit has a store as well.
func TestAdmitOfAHandlerStores(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		Admit: func(r *http.Request) error { interceptors.SetUser(r.Context(), r.URL.RawQuery); return nil },
		OnMessage: func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			return c.SendText(interceptors.User(ctx))
		},
	}})
	for _, user := range []string{"ann", "ben"} {
		c := s.DialWith(enginetest.Handshake{Target: "/?" + user})
		c.SendText("")
		require.Equal(t, user, c.ReadText())
		c.Hangup()
	}
}

// A panic in Admit costs one request.
func TestAdmitPanic(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, with(engine.Handler{OnMessage: echo}, admit(func(r *http.Request) error {
		if r.URL.Path == "/panic" {
			panic("as the test wants it")
		}
		return nil
	})))
	res := s.Request(enginetest.Handshake{Target: "/panic"})
	require.Equal(t, 500, res.StatusCode)
	require.Equal(t, "internal error\n", bodyOf(t, res))
	require.EqualValues(t, 1, s.Engine.Stats().Panics)
	require.Equal(t, map[engine.Refusal]uint64{engine.RefusedServer: 1}, nonZero(s.Engine.Stats().RefusedBy))
	s.Dial().Hangup()
}

// A status that cannot answer a request is a mistake, and answered like any other error:
// with 403, where net/http would panic, or leave the peer waiting for a final response.
func TestAdmitWithoutAStatus(t *testing.T) {
	for _, status := range []int{0, 99, 101, 600, 1000} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			refuse := func(*http.Request) error { return &engine.HandshakeError{Status: status, Reason: "not today"} }
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, Admit: refuse}})
			res := s.Request(enginetest.Handshake{})
			require.Equal(t, http.StatusForbidden, res.StatusCode)
			require.Equal(t, "not today\n", bodyOf(t, res))
			require.Equal(t, map[engine.Refusal]uint64{engine.RefusedHandler: 1}, nonZero(s.Engine.Stats().RefusedBy))
		})
	}
}
