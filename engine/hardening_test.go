package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// serve runs an engine under Serve, on net/http as users have it.
func serve(t *testing.T, cfg engine.Config, ep engine.Endpoint, h func(*engine.Engine) http.Handler) (addr string, stop func() error) {
	t.Helper()
	e, err := engine.New(cfg, ep)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		if h == nil {
			done <- e.Serve(ctx, ln)
		} else {
			done <- e.ServeWith(ctx, ln, h(e))
		}
	}()
	stop = func() error { cancel(); return <-done }
	return ln.Addr().String(), stop
}

// A refused request whose body never comes, or whose answer is not read, does not
// hold its connection for longer than HandshakeTimeout.
func TestRefusedRequestEnds(t *testing.T) {
	cfg := engine.Config{HandshakeTimeout: 300 * time.Millisecond, Logger: quiet}
	addr, stop := serve(t, cfg, onMessage(echo), nil)
	for name, request := range map[string]string{
		"post":            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"upgrade, a body": "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\n",
		"pipelined":       strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer func() { _ = c.Close() }()
			_, err = io.WriteString(c, request)
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(enginetest.Patience)))
			_, err = io.Copy(io.Discard, c)
			var timeout net.Error
			require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection is still open")
		})
	}
	require.NoError(t, stop())
}

// Serve lets the program's own requests end.
func TestServeWithFinishesRequests(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	addr, stop := serve(t, engine.Config{}, onMessage(echo), func(e *engine.Engine) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/ws", e)
		mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
			close(inside)
			<-leave
			_, _ = io.WriteString(w, "whole")
		})
		return mux
	})
	got := make(chan string, 1)
	go func() {
		r, err := http.Get("http://" + addr + "/slow")
		if err != nil {
			got <- err.Error()
			return
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}, enginetest.Patience, time.Millisecond, "Serve should stop accepting")
	close(leave)
	require.Equal(t, "whole", <-got)
	require.NoError(t, <-stopped)
}

// Serve does not wait for connections that have never sent a request, as browsers open
// some in advance: net/http would, for five seconds.
func TestServeEndsNewcomers(t *testing.T) {
	addr, stop := serve(t, engine.Config{}, onMessage(echo), nil)
	silent, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	r, err := http.Get("http://" + addr) // accepted behind it
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	began := time.Now()
	require.NoError(t, stop())
	require.Less(t, time.Since(began), 4*time.Second)
	_, err = silent.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// The inbox is full at its bound, not at the end of what one read has brought: at
func TestInboxBoundWithinOneRead(t *testing.T) {
	const bound, batch, sent = 4, 32, 5000
	leave := make(chan struct{})
	s := enginetest.Start(t, engine.Config{InboxMessages: bound}, onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		<-leave
		return echo(ctx, c, m)
	}))
	c := s.Dial()
	var b []byte
	for range sent {
		b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, nil)...)
	}
	c.Write(b)
	enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn >= bound }, "messages should arrive")
	time.Sleep(50 * time.Millisecond) // more would come within this time; fewer than the bound never do
	require.LessOrEqual(t, s.Engine.Stats().MessagesIn, uint64(bound+batch))
	close(leave)
	for range sent {
		h, _ := c.ReadFrame()
		require.Equal(t, frame.Binary, h.Opcode)
	}
	c.Hangup()
}

// While OnOpen runs nothing leaves, whoever sends: the client learns that it is
// connected when OnOpen has returned.
func TestOpenHoldsBroadcasts(t *testing.T) {
	inside, leave := make(chan *engine.Conn, 1), make(chan struct{})
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen:    func(_ context.Context, c *engine.Conn) error { inside <- c; <-leave; return nil },
		OnMessage: echo,
	}})
	c := s.Ask(enginetest.Handshake{})
	conn := <-inside
	for range 3 {
		require.NoError(t, conn.SendText("broadcast"))
		conn.Flush()
	}
	require.NoError(t, conn.Ping(nil))
	require.NoError(t, c.Conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := c.Conn.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout, "nothing should have been sent")
	require.NoError(t, c.Conn.SetReadDeadline(time.Time{}))
	close(leave)
	c.ReadResponse()
	h, _ := c.ReadFrame()
	require.Equal(t, frame.Ping, h.Opcode)
	for range 3 {
		require.Equal(t, "broadcast", c.ReadText())
	}
	c.Hangup()
}

// A stream of several fragments in OnOpen goes out behind the response.
func TestOpenStreams(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(ctx context.Context, c *engine.Conn) error {
			return c.SendStream(ctx, frame.Binary, bytes.NewReader(pattern(300_000)))
		},
		OnMessage: echo,
	}})
	c := s.Dial()
	requireSame(t, pattern(300_000), c.ReadMessage().Data)
	c.Hangup()
}

// OnOpen is bounded, too: then the connection ends although it has not returned.
func TestOpenTimeout(t *testing.T) {
	var end ending
	s := enginetest.Start(t, engine.Config{HandshakeTimeout: time.Second, CloseTimeout: time.Second}, engine.Endpoint{Handler: engine.Handler{
		OnOpen:  func(ctx context.Context, c *engine.Conn) error { _, err := c.Receive(ctx); return err },
		OnClose: end.OnClose,
	}})
	c := s.Ask(enginetest.Handshake{})
	require.Equal(t, frame.CloseAbnormal, end.await(t).Code)
	b, err := io.ReadAll(c.Conn)
	require.NoError(t, err)
	require.Empty(t, b)
	c.Close()
}

// A panic in Admit costs that request, and is counted.
func TestAdmitPanics(t *testing.T) {
	s := enginetest.Start(t, engine.Config{Logger: quiet}, engine.Endpoint{Handler: engine.Handler{
		Admit:     func(*http.Request) error { panic("no") },
		OnMessage: echo,
	}})
	require.Equal(t, http.StatusInternalServerError, s.Request(enginetest.Handshake{}).StatusCode)
	require.EqualValues(t, 1, s.Engine.Stats().Panics)
}

// Headers are kept for the connection's life, and so bounded, whoever serves.
func TestHeadersBounded(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	h := enginetest.Handshake{Header: map[string][]string{"X-Large": {strings.Repeat("a", 17<<10)}}}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, s.Request(h).StatusCode)
}

// So are the other parts of a request that are kept: net/http alone lets a megabyte pass,
// which the memory budget would know nothing of.
func TestRequestLineAndHostBounded(t *testing.T) {
	const long = 17 << 10
	for name, h := range map[string]enginetest.Handshake{
		"path":     {Target: "/" + strings.Repeat("a", long)},
		"query":    {Target: "/?" + strings.Repeat("a", long)},
		"host":     {Header: map[string][]string{"Host": {strings.Repeat("a", long)}}},
		"together": {Target: "/?" + strings.Repeat("a", long/2), Header: map[string][]string{"X-Large": {strings.Repeat("a", long/2)}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{}, onMessage(echo))
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, s.Request(h).StatusCode)
		})
	}
}

// What is more than one origin, or more than an origin, is none.
func TestOriginIsAnOrigin(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	for _, origins := range [][]string{
		{"http://example.org", "http://evil.example"},
		{"", "http://evil.example"},
		{"http://evil@example.org"},
		{"http://example.org/path"},
		{"http://example.org?query"},
	} {
		h := enginetest.Handshake{Header: map[string][]string{"Host": {"example.org"}, "Origin": origins}}
		require.Equal(t, http.StatusForbidden, s.Request(h).StatusCode, "%q", origins)
	}
}

// A message in more fragments than anybody needs is refused with 1008.
func TestFragmentsBounded(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	c := s.Dial()
	b := c.Frame(frame.Header{Opcode: frame.Text}, nil)
	for range 1 << 16 {
		b = append(b, c.Frame(frame.Header{Opcode: frame.Continuation}, nil)...)
	}
	c.Write(b)
	c.ExpectClose(frame.ClosePolicyViolation)
}

// With Receive, too, what came before the peer's close is answered before it is.
func TestReceiveRepliesBeforeClose(t *testing.T) {
	const n = 10
	closing := make(chan struct{})
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			return c.Go(func(ctx context.Context) {
				<-closing
				for m := range c.Messages(ctx) {
					_ = c.Send(m.Type, m.Data)
				}
			})
		},
	}})
	c := s.Dial()
	for i := range n {
		c.SendText(fmt.Sprint(i))
	}
	c.SendClose(frame.CloseNormal, "")
	enginetest.Await(t, func() bool { return s.Engine.Stats().MessagesIn == n }, "all should arrive")
	close(closing)
	for i := range n {
		require.Equal(t, fmt.Sprint(i), c.ReadText())
	}
	c.ExpectCloseReply(frame.CloseNormal)
}
