package enginetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// Canaries of what a test asserts by calling the kit.

const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + testAccept + "\r\n\r\n"

// says serves "/says" as a server that says this, and then ends its direction, or holds
// it open.
func says(t *testing.T, s *Server, said string, hold bool) {
	s.HandleHTTP("/says", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		_, err = conn.Write([]byte(said))
		assert.NoError(t, err)
		if !hold {
			assert.NoError(t, conn.(*Link).CloseWrite())
		}
		_, _ = io.Copy(io.Discard, rw)
	}))
}

// Each assertion of a client passes with the one and fails with the other.
func TestCanaryClient(t *testing.T) {
	const (
		text     = "\x81\x02hi"
		ping     = "\x89\x01p"
		closing  = "\x88\x02\x03\xe8" // 1000
		away     = "\x88\x02\x03\xe9" // 1001
		closingR = "\x88\x03\x03\xe8b"
	)
	for name, row := range map[string]struct {
		asserts   func(c *Client)
		good, bad string
		keepsOpen bool // the bad one
	}{
		"ReadText of binary":             {asserts: func(c *Client) { c.ReadText() }, good: text, bad: "\x82\x02hi"},
		"ReadText at the end":            {asserts: func(c *Client) { c.ReadText() }, good: ping + text, bad: ping},
		"ReadText of silence":            {asserts: func(c *Client) { c.ReadText() }, good: text, keepsOpen: true},
		"ReadMessage at a close":         {asserts: func(c *Client) { c.ReadMessage() }, good: text, bad: closing},
		"ReadMessage of a lone fragment": {asserts: func(c *Client) { c.ReadMessage() }, good: "\x01\x01h\x80\x01i", bad: "\x80\x01i"},
		"ReadMessage of two at once":     {asserts: func(c *Client) { c.ReadMessage() }, good: "\x01\x01h" + ping + "\x80\x01i", bad: "\x01\x01h" + text},
		"ReadMessage of half":            {asserts: func(c *Client) { c.ReadMessage() }, good: text, bad: text[:3]},
		"ReadFrame of a masked":          {asserts: func(c *Client) { c.ReadFrame() }, good: ping, bad: "\x89\x80\x01\x02\x03\x04"},
		"ReadFrame with a reserved bit":  {asserts: func(c *Client) { c.ReadFrame() }, good: ping, bad: "\xc9\x00"},
		"ReadFrame at the end":           {asserts: func(c *Client) { c.ReadFrame() }, good: ping},
		"ReadClose at the end":           {asserts: func(c *Client) { c.ReadClose() }, good: text + closing, bad: text},
		"ReadClose of nonsense":          {asserts: func(c *Client) { c.ReadClose() }, good: closing, bad: "\x88\x01\x03"},
		"ExpectClose of another":         {asserts: func(c *Client) { c.ExpectClose(frame.CloseNormal) }, good: closing, bad: away},
		"ExpectClose without an end":     {asserts: func(c *Client) { c.ExpectClose(frame.CloseNormal) }, good: closing, bad: closing, keepsOpen: true},
		"ExpectClose and more":           {asserts: func(c *Client) { c.ExpectClose(frame.CloseNormal) }, good: closing, bad: closing + text},
		"ExpectCloseReply of another":    {asserts: func(c *Client) { c.ExpectCloseReply(frame.CloseNormal) }, good: closing, bad: away},
		"ExpectCloseReply with a reason": {asserts: func(c *Client) { c.ExpectCloseReply(frame.CloseNormal) }, good: closing, bad: closingR},
		"Hangup of the deaf":             {asserts: func(c *Client) { c.Hangup() }, good: closing, keepsOpen: true},
		"ExpectEOF of data":              {asserts: func(c *Client) { c.ExpectEOF() }, bad: text},
		"ExpectEOF of half":              {asserts: func(c *Client) { c.ExpectEOF() }, bad: text[:3]},
		"ExpectEOF of silence":           {asserts: func(c *Client) { c.ExpectEOF() }, keepsOpen: true},
		"ReadToEnd without one":          {asserts: func(c *Client) { c.ReadToEnd() }, good: text, bad: text, keepsOpen: true},
	} {
		t.Run(name, func(t *testing.T) {
			outcome := func(said string, hold bool) (failed bool) {
				synctest.Test(t, func(t *testing.T) {
					s := StartMemory(t, engine.Config{}, echo())
					says(t, s, accepted+said, hold)
					c := s.DialWith(Handshake{Target: "/says"})
					failed = fails(t, func(tb testing.TB) { c.t = tb; row.asserts(c) })
				})
				return failed
			}
			require.False(t, outcome(row.good, false), "the good one")
			require.True(t, outcome(row.bad, row.keepsOpen), "the bad one")
		})
	}
}

// Reset is one: what is under the client does not end in good order.
func TestClientReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := StartMemory(t, engine.Config{}, echo())
		got := make(chan error, 1)
		s.HandleHTTP("/reset", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if assert.NoError(t, err) {
				defer conn.Close()
				_, err = io.Copy(io.Discard, rw)
			}
			got <- err
		}))
		c := s.Ask(Handshake{Target: "/reset"})
		synctest.Wait()
		c.Reset()
		require.ErrorIs(t, <-got, syscall.ECONNRESET)
	})
}

// Links that the test has left open are closed before the engine is shut down: no
// connection has to be told to go away, nor waited for.
func TestMemoryClosesLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &canary{TB: t}
		s := StartMemory(c, engine.Config{}, echo())
		link := s.Link()
		_, err := engine.Dial(context.Background(), s.URL(), engine.DialConfig{
			NetDial: func(context.Context, string, string) (net.Conn, error) { return link, nil },
		})
		require.NoError(t, err)
		link.In.Stall()
		link.Out.Stall()
		start := time.Now()
		require.Empty(t, c.end())
		require.Less(t, time.Since(start), time.Second)
		readFails(t, link, net.ErrClosed)
	})
}

func TestCanaryHandshake(t *testing.T) {
	for name, said := range map[string]string{
		"refused":            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"of another request": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
		"another status":     strings.Replace(accepted, "101 Switching Protocols", "200 OK", 1),
		"no HTTP":            "hello\r\n\r\n",
		"none":               "",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := StartMemory(t, engine.Config{}, echo())
				says(t, s, said, said == "")
				require.True(t, fails(t, func(tb testing.TB) { s.as(tb).DialWith(Handshake{Target: "/says"}) }))
			})
		})
	}
}

// as returns the server for use by another test.
func (s *Server) as(tb testing.TB) *Server {
	return &Server{t: tb, Engine: s.Engine, memory: s.memory, addr: s.addr}
}

func TestCanaryServer(t *testing.T) {
	for name, assertion := range map[string]func(s *Server, c *Client){
		"AwaitOpen":               func(s *Server, _ *Client) { s.AwaitOpen(2) },
		"Await":                   func(s *Server, _ *Client) { Await(s.t, func() bool { return false }, "never so: %d", 1) },
		"Write to the closed":     func(_ *Server, c *Client) { c.Close(); c.SendText("hello") },
		"Write without room":      func(_ *Server, c *Client) { c.Link().Out.Stall(); c.Send(frame.Binary, make([]byte, 1<<20)) },
		"CloseWrite of the ended": func(_ *Server, c *Client) { c.Close(); c.CloseWrite() },
		"Link to the ended":       func(s *Server, _ *Client) { s.memory.closeLinks(); s.Link() },
		"Dial of the ended":       func(s *Server, _ *Client) { s.memory.closeLinks(); s.Dial() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := StartMemory(t, engine.Config{IdleTimeout: -1}, echo())
				c := s.Dial()
				require.True(t, fails(t, func(tb testing.TB) { c.t = tb; assertion(s.as(tb), c) }))
			})
		})
	}
}

func TestCanaryLinkOfPort(t *testing.T) {
	s := Start(t, engine.Config{}, echo())
	c := s.Dial()
	require.True(t, fails(t, func(tb testing.TB) { c.t = tb; c.Link() }))
	require.True(t, fails(t, func(tb testing.TB) { (&Server{t: tb}).Link() }))
	c.Hangup()
}

// A port in a bubble would stop its clock, and the test with it.
func TestCanaryPortInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.True(t, fails(t, func(tb testing.TB) { Start(tb, engine.Config{}, echo()) }))
	})
}

// What a test leaves behind is found in memory, and in a bubble, too.
func TestCanaryMemory(t *testing.T) {
	for name, row := range map[string]struct {
		do   func(s *Server) (undo func())
		want map[kind]bool
	}{
		"healthy":   {func(s *Server) func() { s.Dial().Hangup(); return func() {} }, kinds()},
		"connected": {func(s *Server) func() { s.Dial(); return func() {} }, kinds()},
		"dialled and left": {func(s *Server) func() {
			c, err := engine.Dial(context.Background(), s.URL()+"hello", engine.DialConfig{NetDial: s.NetDial})
			require.NoError(t, err)
			_, err = c.Receive(context.Background())
			require.NoError(t, err)
			return func() {}
		}, kinds()},
		"goroutine": {func(*Server) func() {
			stop := make(chan struct{})
			go func() { <-stop }()
			return func() { close(stop) }
		}, kinds(goroutines)},
		"ledger": {func(s *Server) func() { s.ledger.opens.Add(1); return func() {} }, kinds(unclosed)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &canary{TB: t}
				s := StartMemory(c, engine.Config{}, echo())
				s.Handle("/hello", engine.Endpoint{Handler: engine.Handler{
					OnOpen: func(_ context.Context, c *engine.Conn) error { return c.SendText("hello") },
				}})
				undo := row.do(s)
				assert.Equal(t, row.want, c.end())
				undo()
			})
		})
	}
}

// Serve that does not return within Patience is a finding, also in a bubble.
func TestCanaryMemoryStuckHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &canary{TB: t}
		release := make(chan struct{})
		s := StartMemory(c, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(context.Context, *engine.Conn, engine.Message) error { <-release; return nil },
		}})
		s.Dial().SendText("")
		synctest.Wait()
		start := time.Now()
		assert.Equal(t, kinds(unfinished, unclosed, goroutines), c.end())
		assert.Greater(t, time.Since(start), 10*time.Second, "ShutdownTimeout")
		close(release)
		s.AwaitOpen(0)
		synctest.Wait()
	})
}
