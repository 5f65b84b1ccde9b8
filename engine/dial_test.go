package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// An echoServer is what Dial is tried against.
type echoServer struct {
	url string
	tls *tls.Config
}

const byeCommand = "bye" // has an echo server close with 4001 "enough"

// echoServers are ours, in each way to run it, and two others.
func echoServers(t *testing.T, compress bool) map[string]echoServer {
	all := map[string]echoServer{}
	var servers []*enginetest.Server
	handler := func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		if string(m.Data) == byeCommand {
			return c.Close(4001, "enough")
		}
		return echo(ctx, c, m)
	}
	for _, io := range []engine.IO{engine.IOGoroutines, engine.IOLoops} {
		s := enginetest.Start(t, engine.Config{IO: io, Compress: compress, MaxInflateRatio: -1, CloseTimeout: time.Hour}, onMessage(handler))
		s.Dial().Hangup()
		servers = append(servers, s)
		all["engine "+io.String()] = echoServer{url: s.URL()}
	}
	s := enginetest.StartTLS(t, engine.Config{Compress: compress, MaxInflateRatio: -1, CloseTimeout: time.Hour}, onMessage(handler))
	s.Dial().Hangup()
	endTogether(t, append(servers, s)...)
	all["engine TLS"] = echoServer{s.URL(), s.ClientTLS()}
	for name, h := range map[string]http.HandlerFunc{
		"gorilla": func(w http.ResponseWriter, r *http.Request) {
			up := gorilla.Upgrader{EnableCompression: compress, WriteBufferSize: 4096, Subprotocols: []string{"chat"}}
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			for {
				kind, data, err := c.ReadMessage()
				if err != nil {
					return
				}
				if string(data) == byeCommand {
					_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4001, "enough"), time.Now().Add(time.Second))
					continue
				}
				if err = c.WriteMessage(kind, data); err != nil {
					return
				}
			}
		},
		"coder": func(w http.ResponseWriter, r *http.Request) {
			mode := coder.CompressionDisabled
			if compress {
				mode = coder.CompressionNoContextTakeover
			}
			c, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1, Subprotocols: []string{"chat"}})
			if err != nil {
				return
			}
			defer c.CloseNow()
			c.SetReadLimit(2 << 20)
			for {
				kind, data, err := c.Read(r.Context())
				if err != nil {
					return
				}
				if string(data) == byeCommand {
					_ = c.Close(4001, "enough")
					return
				}
				if c.Write(r.Context(), kind, data) != nil {
					return
				}
			}
		},
	} {
		plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
		t.Cleanup(plain.Close)
		t.Cleanup(secure.Close)
		all[name] = echoServer{url: "ws" + plain.URL[len("http"):]}
		all[name+" TLS"] = echoServer{"wss" + secure.URL[len("https"):], secure.Client().Transport.(*http.Transport).TLSClientConfig}
	}
	return all
}

// endTogether ends servers before any of them looks at what is left, which may be
// another's. Before the next is started each must have served somebody.
func endTogether(t *testing.T, servers ...*enginetest.Server) {
	t.Helper()
	t.Cleanup(func() {
		for _, s := range servers {
			assert.NoError(t, s.Shutdown(enginetest.Patience))
		}
	})
}

// Everything echoes, by every server, and both closes are quick: CloseTimeout is an
// hour.
func TestDialEcho(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress %v", compress), func(t *testing.T) { dialEcho(t, compress) })
	}
}

func dialEcho(t *testing.T, compress bool) {
	servers := echoServers(t, compress)
	e := newEngine(t, engine.Config{Compress: compress, MaxInflateRatio: -1, CloseTimeout: time.Hour, SendChunkBytes: 50_000, HighWaterBytes: 8 << 20})
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			sizes := map[string][]int{"ours": {0, 1, 125, 126, 65535, 65536, 1 << 20}, "theirs": {10}}
			for _, ending := range []string{"ours", "theirs"} {
				c, err := engine.Dial(dialContext(t), s.url, engine.DialConfig{Engine: e, TLS: s.tls, Proxy: direct})
				require.NoError(t, err)
				require.Equal(t, compress, strings.Contains(c.Scope().Header("Sec-WebSocket-Extensions"), "permessage-deflate"))
				for _, n := range sizes[ending] {
					for op, payload := range map[frame.Opcode][]byte{frame.Text: letters(n), frame.Binary: pattern(n)} {
						require.NoError(t, c.Send(op, payload))
						m, err := c.Receive(dialContext(t))
						require.NoError(t, err)
						require.Equal(t, op, m.Type)
						requireSame(t, payload, m.Data)
					}
				}
				require.NoError(t, c.Ping([]byte("p")))
				require.NoError(t, c.SendStream(dialContext(t), frame.Binary, bytes.NewReader(pattern(200_000))))
				m, err := c.Receive(dialContext(t))
				require.NoError(t, err)
				requireSame(t, pattern(200_000), m.Data)
				require.NoError(t, c.SendWait(dialContext(t), frame.Text, []byte("waited")))
				require.NoError(t, c.Drain(dialContext(t), 0))
				m, err = c.Receive(dialContext(t))
				require.NoError(t, err)
				require.Equal(t, "waited", string(m.Data))
				want := engine.CloseError{Code: 4002, Reason: "over"}
				if ending == "ours" {
					require.NoError(t, c.Close(4002, "over"))
				} else {
					want = engine.CloseError{Code: 4001, Reason: "enough", Remote: true}
					require.NoError(t, c.SendText(byeCommand))
				}
				_, err = c.Receive(dialContext(t))
				var closed *engine.CloseError
				require.ErrorAs(t, err, &closed)
				want.Cause = closed.Cause
				require.Equal(t, want, *closed)
			}
			enginetest.Await(t, func() bool { return e.Stats().Connections == 0 }, "%s: the close should not take CloseTimeout", name)
		})
	}
}

// Servers that close in odd ways, over TLS as well: it ends without CloseTimeout.
func TestDialCloses(t *testing.T) {
	e := newEngine(t, engine.Config{CloseTimeout: time.Hour})
	closeFrame, _ := turn(fClose(4000, ""))
	id := httptest.NewTLSServer(nil)
	id.Close()
	trust := id.Client().Transport.(*http.Transport).TLSClientConfig
	type peer struct {
		io.ReadWriter
		r *bufio.Reader
	}
	for name, server := range map[string]func(p peer){
		"answers, and waits for our end": func(p peer) { untilClose(p.r); _, _ = p.Write(closeFrame); waitEnd(p.r) },
		"closes, and waits for our end":  func(p peer) { _, _ = p.Write(closeFrame); waitEnd(p.r) },
		"answers, and goes on sending":   func(p peer) { untilClose(p.r); _, _ = p.Write(bytes.Repeat(closeFrame, 1000)); waitEnd(p.r) },
		"sends a megabyte first, then answers": func(p peer) {
			untilClose(p.r)
			for range 16 {
				_, _ = p.Write(serverFrame(frame.Binary, pattern(65_000)))
			}
			_, _ = p.Write(closeFrame)
			waitEnd(p.r)
		},
		"ends without an answer": func(p peer) { untilClose(p.r) },
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				s := serveRaw(t, func(conn *net.TCPConn) {
					var rw net.Conn = conn
					if secure {
						rw = tls.Server(conn, id.TLS)
					}
					br := bufio.NewReader(rw)
					if r, err := http.ReadRequest(br); err == nil {
						_, _ = rw.Write(acceptance(r, nil))
						server(peer{rw, br})
					}
				})
				target := "ws://" + s.addr
				if secure {
					target = "wss://" + s.addr
				}
				var end ending
				c, err := engine.Dial(dialContext(t), target, engine.DialConfig{Engine: e, TLS: trust, Proxy: direct,
					Endpoint: engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}})
				require.NoError(t, err)
				if !strings.HasPrefix(name, "closes") {
					require.NoError(t, c.Close(4000, ""))
				}
				require.EqualValues(t, 4000, end.await(t).Code)
			})
		}
	}
}

func serverFrame(op frame.Opcode, payload []byte) []byte {
	return append(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))}), payload...)
}

// untilClose reads to the end of the client's close frame, the only one it sends.
func untilClose(r *bufio.Reader) { _, _ = r.Discard(2 + 4 + 2) }

// Pings are answered, fragments joined, and every frame has a key of its own.
func TestDialMasks(t *testing.T) {
	e := newEngine(t, engine.Config{})
	keys := make(chan map[[4]byte]int, 1)
	s := serveFrames(t, nil, func(conn *net.TCPConn, r *bufio.Reader) {
		p := newSession(conn, enginetest.Patience)
		p.r, p.turned = r, true
		for range 500 {
			b0, _, err := p.readFrame()
			if err != nil || p.wrong != "" || b0 != confFin|confText {
				break
			}
		}
		keys <- p.keys
		waitEnd(r)
	})
	c, err := engine.Dial(dialContext(t), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct})
	require.NoError(t, err)
	for range 500 {
		require.NoError(t, c.SendText("the same"))
	}
	got := <-keys
	require.Greater(t, len(got), 490, "keys of 500 frames")
}

// What the server is told, and what is known of it.
func TestDialRequest(t *testing.T) {
	e := newEngine(t, engine.Config{})
	requests := make(chan *http.Request, 1)
	s := serveRaw(t, func(conn *net.TCPConn) {
		br := bufio.NewReader(conn)
		if r, err := http.ReadRequest(br); err == nil {
			requests <- r
			_, _ = conn.Write(acceptance(r, http.Header{"Sec-Websocket-Protocol": {"old"}, "Set-Cookie": {"a=1", "b=2"}, "X-Server": {"yes"}}))
			waitEnd(br)
		}
	})
	cfg := chatConfig(e)
	cfg.Header = http.Header{"host": {"example.org:81"}, "origin": {"https://example.org"}, "Cookie": {"c=3"}, "X-Two": {"1", "2"}}
	cfg.Endpoint.Handler.Admit = func(r *http.Request) error {
		r.Header.Set("X-Admit", "added")
		r.Header.Set("Sec-WebSocket-Key", "mine")
		r.Header["sec-websocket-protocol"] = []string{"evil"}
		r.Header["hOST"] = []string{"evil"}
		r.Header.Set("Connection", "close")
		r.Header.Set("Content-Length", "5")
		r.URL.Host, r.URL.Path = "evil", "/evil"
		return nil
	}
	c, err := engine.Dial(dialContext(t), "ws://user:pass@"+s.addr+"/a%2Fb/c?q=1%202&x", cfg)
	require.NoError(t, err)
	r := <-requests
	require.Equal(t, "/a%2Fb/c?q=1%202&x", r.RequestURI)
	require.Equal(t, "GET HTTP/1.1 example.org:81", r.Method+" "+r.Proto+" "+r.Host)
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	require.NoError(t, err)
	require.Len(t, key, 16)
	r.Header.Del("Sec-WebSocket-Key")
	require.Equal(t, http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"chat, old"}, "User-Agent": {"penstock"},
		"Origin": {"https://example.org"}, "Cookie": {"c=3"}, "X-Two": {"1", "2"}, "X-Admit": {"added"}, "Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass"))},
	}, r.Header)
	scope := c.Scope()
	require.Equal(t, s.addr, scope.RemoteAddr())
	require.Equal(t, "old", scope.Subprotocol())
	require.Equal(t, "yes", scope.Header("x-server"))
	require.Equal(t, "1 2", scope.Query().Get("q"))
	require.False(t, scope.Secure())
	var cookies []string
	for name, value := range scope.Headers() {
		if name == "Set-Cookie" {
			cookies = append(cookies, value)
		}
	}
	require.Equal(t, []string{"a=1", "b=2"}, cookies)
	require.Equal(t, http.Header{"host": {"example.org:81"}, "origin": {"https://example.org"}, "Cookie": {"c=3"}, "X-Two": {"1", "2"}}, cfg.Header, "the caller's")
	cfg.Header = http.Header{"authorization": {"mine"}, "User-Agent": {"me"}}
	_, err = engine.Dial(dialContext(t), "ws://user:pass@"+s.addr, cfg)
	require.NoError(t, err)
	r = <-requests
	require.Equal(t, []string{"mine"}, r.Header["Authorization"])
	require.Equal(t, []string{"me"}, r.Header["User-Agent"])
	require.Equal(t, "/", r.RequestURI)
	require.Equal(t, s.addr, r.Host)
}

// outSeen keeps what the outbound side of a chain is shown.
type outSeen struct {
	interceptors.Passthrough
	seen chan interceptors.Outbound
}

func (i outSeen) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if out.Type == frame.Text {
		i.seen <- out
	}
	return next.Run(ctx, out)
}

func (i outSeen) Admit(r *http.Request) error {
	r.Header.Set("X-Token", "t")
	return nil
}

// Interceptors of a dialled connection see what it was dialled with.
func TestDialInterceptors(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Subprotocols: []string{"old"}, Handler: engine.Handler{
		OnMessage: echo,
		Admit: func(r *http.Request) error {
			if r.Header.Get("X-Token") != "t" {
				return &engine.HandshakeError{Status: 401, Reason: "who?"}
			}
			return nil
		},
	}})
	e := newEngine(t, engine.Config{})
	i := outSeen{seen: make(chan interceptors.Outbound, 1)}
	cfg := chatConfig(e)
	_, err := engine.Dial(dialContext(t), s.URL(), cfg)
	require.Equal(t, 401, refusedBy(t, err).Status)
	require.Equal(t, "who?", refusedBy(t, err).Reason)
	cfg.Endpoint.Interceptors = []interceptors.Interceptor{i}
	c, err := engine.Dial(dialContext(t), s.URL()+"path?q=1", cfg)
	require.NoError(t, err)
	require.NoError(t, c.SendText("x"))
	out := <-i.seen
	require.Equal(t, s.URL()+"path?q=1", out.Peer.Target)
	require.Equal(t, "t", out.Peer.Header.Get("X-Token"))
	require.Equal(t, []string{"chat", "old"}, out.Peer.Subprotocols)
	m, err := c.Receive(dialContext(t))
	require.NoError(t, err)
	require.Equal(t, "x", string(m.Data))
	require.NoError(t, c.Close(1000, ""))

	refuse := errNoDial
	cfg.Endpoint.Handler.Admit = func(*http.Request) error { return refuse }
	_, err = engine.Dial(dialContext(t), s.URL(), cfg)
	require.ErrorIs(t, err, refuse)
}

// One prepared message for accepted and dialled connections: each has it as its role
// wants, again and again.
func TestDialBroadcast(t *testing.T) {
	for _, compress := range []bool{false, true} {
		open := make(conns, 1)
		var end ending
		s := enginetest.Start(t, engine.Config{Compress: compress, CompressMinBytes: 1}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
		got := make(chan []byte, 10)
		c, err := engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Engine: s.Engine, Proxy: direct, Endpoint: onMessage(func(_ context.Context, _ *engine.Conn, m engine.Message) error {
			got <- bytes.Clone(m.Data)
			return nil
		})})
		require.NoError(t, err)
		all := []*engine.Conn{<-open, c}
		p, err := s.Engine.Prepare(frame.Binary, pattern(100_000))
		require.NoError(t, err)
		for range 3 {
			require.Equal(t, engine.Tally{Queued: 2}, engine.Broadcast(t.Context(), slices.Values(all), p))
			requireSame(t, pattern(100_000), <-got) // from the accepted one
			requireSame(t, pattern(100_000), <-got) // the echo of the dialled one's
		}
		require.EqualValues(t, 2, s.Engine.Stats().Opened)
		require.Equal(t, 2, s.Engine.Stats().Connections)
		require.NoError(t, c.Close(1000, ""))
		end.await(t)
	}
}

// With IOLoops, too, a dialled connection works; from a handler on a loop Dial refuses.
func TestDialLoops(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		refusal := make(chan error, 1)
		var s *enginetest.Server
		s = enginetest.Start(t, engine.Config{IO: engine.IOLoops}, engine.Endpoint{Inline: true, Handler: engine.Handler{OnMessage: func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "dial" {
				_, err := engine.Dial(ctx, s.URL(), engine.DialConfig{Engine: s.Engine, Proxy: direct})
				refusal <- err
			}
			return echo(ctx, c, m)
		}}})
		got := make(chan string, 1)
		c, err := engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Engine: s.Engine, Proxy: direct, Endpoint: engine.Endpoint{Inline: inline, Handler: engine.Handler{
			OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error { got <- string(m.Data); return nil },
		}}})
		require.NoError(t, err)
		require.NoError(t, c.SendText("dial"))
		require.Equal(t, "dial", <-got)
		if err := <-refusal; runtime.GOOS == "linux" {
			require.ErrorIs(t, err, engine.ErrOnLoop)
		}
		require.NoError(t, c.Close(1000, ""))
	})
}

// An engine of its own ends with its connection, or when there is none.
func TestDialAlone(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	s.Dial().Hangup()
	before := goleak.IgnoreCurrent()
	c, err := engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Proxy: direct})
	require.NoError(t, err)
	require.NoError(t, c.SendText("x"))
	_, err = c.Receive(dialContext(t))
	require.NoError(t, err)
	require.NoError(t, c.Close(1000, ""))
	s.AwaitOpen(0)
	_, err = engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Proxy: direct, NetDial: func(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }})
	require.ErrorIs(t, err, errNoDial)
	enginetest.Await(t, func() bool { return c.Engine().Stats().Connections == 0 }, "it should have ended")
	require.NoError(t, s.Shutdown(enginetest.Patience))
	enginetest.Await(t, func() bool { return goleak.Find(before) == nil }, "its goroutines should end")
}

func TestDialShutdown(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	var end ending
	e := newEngine(t, engine.Config{})
	cfg := engine.DialConfig{Engine: e, Proxy: direct, Endpoint: engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}}
	_, err := engine.Dial(dialContext(t), s.URL(), cfg)
	require.NoError(t, err)
	// One that is under way when Shutdown begins comes too late.
	inside, leave := make(chan struct{}), make(chan struct{})
	late := cfg
	var tally dialTally
	late.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		close(inside)
		<-leave
		return tally.dial(ctx, network, address)
	}
	failed := make(chan error, 1)
	go func() { _, err := engine.Dial(dialContext(t), s.URL(), late); failed <- err }()
	<-inside
	require.NoError(t, e.Shutdown(dialContext(t)))
	require.EqualValues(t, 1001, end.await(t).Code)
	close(leave)
	require.ErrorIs(t, <-failed, engine.ErrShutdown)
	require.Zero(t, tally.open.Load())
	cfg.NetDial = func(context.Context, string, string) (net.Conn, error) { panic("must not connect") }
	_, err = engine.Dial(dialContext(t), s.URL(), cfg)
	require.ErrorIs(t, err, engine.ErrShutdown)
}

// One that comes too late gives back what the message that came with the response has taken.
func TestDialShutdownGivesBack(t *testing.T) {
	raw := serveResponse(t, accepted+"\r\n"+string(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Length: 1 << 20})))
	budget := backpressure.NewBudget(64 << 20)
	e := newEngine(t, engine.Config{Budget: budget})
	_, err := engine.Dial(dialContext(t), "ws://"+raw.addr, engine.DialConfig{Engine: e, Proxy: direct,
		NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if err := e.Shutdown(ctx); err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}})
	require.ErrorIs(t, err, engine.ErrShutdown)
	require.Zero(t, budget.Used())
}

func TestDialBudget(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	e := newEngine(t, engine.Config{MaxMessageBytes: 1 << 16, MemoryBudgetBytes: 4 << 20})
	cfg := engine.DialConfig{Engine: e, Proxy: direct}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = engine.Dial(dialContext(t), s.URL(), cfg)
	}
	require.ErrorIs(t, err, engine.ErrNoBudget)
	require.Greater(t, n, 2)
	require.Equal(t, n-1, e.Stats().Connections)
	require.EqualValues(t, n-1, e.Stats().Opened)
	used := e.Stats().BudgetUsed
	_, err = engine.Dial(dialContext(t), s.URL(), cfg)
	require.ErrorIs(t, err, engine.ErrNoBudget)
	require.Equal(t, used, e.Stats().BudgetUsed)
}

// A connectProxy is an HTTP proxy for CONNECT.
func connectProxy(t *testing.T, authorization string, asked *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != authorization || r.Header.Get("Authorization") != "" {
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		target, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte("HTTP/1.0 200 Connection established\r\nContent-Length: 0\r\n\r\n"))
		var both sync.WaitGroup
		pass := func(to, from net.Conn) { // not by splice(2), whose pipes Go keeps for a while
			_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
			_ = to.Close()
		}
		both.Go(func() { pass(target, conn) })
		both.Go(func() { pass(conn, target) })
		both.Wait()
	}
}

func TestDialProxy(t *testing.T) {
	plain := enginetest.Start(t, engine.Config{CloseTimeout: time.Hour}, onMessage(echo))
	plain.Dial().Hangup()
	secure := enginetest.StartTLS(t, engine.Config{CloseTimeout: time.Hour}, onMessage(echo))
	secure.Dial().Hangup()
	endTogether(t, plain, secure)
	e := newEngine(t, engine.Config{CloseTimeout: time.Hour}) // ends before them: a worker of its would pass for a leak
	var asked atomic.Int64
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("u:p"))
	byHTTP, byTLS := httptest.NewServer(connectProxy(t, auth, &asked)), httptest.NewTLSServer(connectProxy(t, auth, &asked))
	t.Cleanup(byHTTP.Close)
	t.Cleanup(byTLS.Close)
	trust := secure.ClientTLS().Clone()
	trust.RootCAs = trust.RootCAs.Clone()
	trust.RootCAs.AddCert(byTLS.Certificate())
	for _, proxy := range []string{byHTTP.URL, byTLS.URL} {
		for _, s := range []*enginetest.Server{plain, secure} {
			t.Run(proxy[:5]+" "+s.URL()[:3], func(t *testing.T) {
				u, err := url.Parse(proxy)
				require.NoError(t, err)
				u.User = url.UserPassword("u", "p")
				asked.Store(0)
				var scheme string
				cfg := engine.DialConfig{Engine: e, TLS: trust, Header: http.Header{"Authorization": {"mine"}}, Proxy: func(r *http.Request) (*url.URL, error) { scheme = r.URL.Scheme; return u, nil }}
				c, err := engine.Dial(dialContext(t), s.URL(), cfg)
				require.NoError(t, err)
				require.EqualValues(t, 1, asked.Load())
				require.Equal(t, map[string]string{"ws:": "http", "wss": "https"}[s.URL()[:3]], scheme)
				require.NoError(t, c.Send(frame.Binary, pattern(300_000)))
				m, err := c.Receive(dialContext(t))
				require.NoError(t, err)
				requireSame(t, pattern(300_000), m.Data)
				require.NoError(t, c.Close(1000, ""))
				enginetest.Await(t, func() bool { return e.Stats().Connections == 0 }, "closed")

				u.User = nil
				var tally dialTally
				cfg.NetDial = tally.dial
				_, err = engine.Dial(dialContext(t), s.URL(), cfg)
				require.ErrorContains(t, err, "407")
				require.Zero(t, tally.open.Load())
			})
		}
	}
}

// Proxies that are none, or that put something into the tunnel.
func TestDialBadProxy(t *testing.T) {
	e := newEngine(t, engine.Config{})
	for name, answer := range map[string]string{
		"garbage": "\x05\x00\x00\x01", "early": "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n", "101": accepted + "\r\n", "302": "HTTP/1.1 302 Found\r\nLocation: http://h\r\n\r\n",
		"502": "HTTP/1.1 502 Bad\r\n\r\n", "end": "", "long": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70_000), "interim": strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20),
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan *http.Request, 1)
			s := serveRaw(t, func(conn *net.TCPConn) {
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					requests <- r
					_, _ = conn.Write([]byte(answer))
					_ = conn.CloseWrite()
					_, _ = io.Copy(io.Discard, conn)
				}
			})
			var tally dialTally
			_, err := engine.Dial(dialContext(t), "ws://target.invalid/secret?q", engine.DialConfig{Engine: e, NetDial: tally.dial, Proxy: func(*http.Request) (*url.URL, error) {
				return &url.URL{Scheme: "http", Host: s.addr}, nil
			}})
			require.Error(t, err)
			require.Zero(t, tally.open.Load())
			require.EqualValues(t, 1, tally.made.Load())
			r := <-requests
			dump, _ := httputil.DumpRequest(r, false)
			require.Equal(t, "CONNECT target.invalid:80", r.Method+" "+r.RequestURI)
			require.NotContains(t, string(dump), "secret")
		})
	}
	for _, u := range []*url.URL{{Scheme: "socks5", Host: "h"}, {Scheme: "http"}, {Host: "h"}, {Scheme: "http", Host: ":80"}} {
		_, err := engine.Dial(t.Context(), "ws://h", engine.DialConfig{Engine: e, NetDial: func(context.Context, string, string) (net.Conn, error) { panic("must not connect") },
			Proxy: func(*http.Request) (*url.URL, error) { return u, nil }})
		require.Error(t, err)
	}
}

// The environment's proxy is the default. net/http reads it once in a process, so this
// test is one of its own.
func TestDialProxyFromEnvironment(t *testing.T) {
	const child = "PENSTOCK_TEST_PROXY_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDialProxyFromEnvironment$")
		cmd.Env = append(os.Environ(), child+"=1", "HTTP_PROXY=http://u:p@proxy.invalid:3128", "HTTPS_PROXY=http://secure.invalid:3129", "NO_PROXY=direct.invalid", "http_proxy=", "https_proxy=", "no_proxy=", "REQUEST_METHOD=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	e := newEngine(t, engine.Config{})
	for target, want := range map[string]string{"ws://h.invalid": "proxy.invalid:3128", "wss://h.invalid": "secure.invalid:3129", "ws://direct.invalid": "direct.invalid:80"} {
		var got string
		_, err := engine.Dial(t.Context(), target, engine.DialConfig{Engine: e, NetDial: func(_ context.Context, _, address string) (net.Conn, error) { got = address; return nil, errNoDial }})
		require.ErrorIs(t, err, errNoDial)
		assert.Equal(t, want, got)
	}
}

// The names of certificates hold, with and without a configuration of the caller's,
// which stays as it is.
func TestDialTLSNames(t *testing.T) {
	s := enginetest.StartTLS(t, engine.Config{Logger: quiet}, onMessage(echo))
	e := newEngine(t, engine.Config{})
	trust := s.ClientTLS().Clone()
	trust.ServerName = ""
	c, err := engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Engine: e, TLS: trust, Proxy: direct})
	require.NoError(t, err)
	require.True(t, c.Scope().Secure())
	require.Equal(t, s.URL(), c.Scope().URL())
	require.Empty(t, trust.ServerName)
	require.Empty(t, trust.NextProtos)
	require.NoError(t, c.Close(1000, ""))
	for name, cfg := range map[string]*tls.Config{"system's roots": nil, "another name": {RootCAs: trust.RootCAs, ServerName: "other.example"}} {
		var tally dialTally
		_, err := engine.Dial(dialContext(t), s.URL(), engine.DialConfig{Engine: e, TLS: cfg, Proxy: direct, NetDial: tally.dial})
		require.Error(t, err, name)
		require.Zero(t, tally.open.Load())
	}
}
