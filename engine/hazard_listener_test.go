package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// upgradeRequest is a correct handshake.
const upgradeRequest = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// serveOn runs an engine under Serve on a listener of the test's own. served has what
// Serve returns.
func serveOn(t *testing.T, ctx context.Context, ln net.Listener, cfg engine.Config, ep engine.Endpoint) (e *engine.Engine, served chan error) {
	t.Helper()
	e, err := engine.New(cfg, ep)
	require.NoError(t, err)
	served = make(chan error, 1)
	go func() { served <- e.Serve(ctx, ln) }() // ends with ctx or ln
	return e, served
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

// requireEndOf reads a connection to its end, which must come within so long, and
// returns what came before it.
func requireEndOf(t *testing.T, c net.Conn, within time.Duration) []byte {
	t.Helper()
	assert.NoError(t, c.SetReadDeadline(time.Now().Add(within)))
	b, err := io.ReadAll(c)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open; before that came %q", b)
	return b
}

// A dawdler connects and takes its time.
type dawdler struct {
	tls   bool   // it does the TLS handshake first
	first string // what it says
	drips bool   // then it goes on, byte by byte
}

// dawdle returns the connection that answers come on.
func (d dawdler) dawdle(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	if d.tls {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's certificate
		require.NoError(t, c.(*tls.Conn).Handshake())
	}
	_, err = io.WriteString(c, d.first)
	require.NoError(t, err)
	if d.drips {
		go func() { // ends with the connection
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for range pace.C {
				if _, err := c.Write([]byte("a")); err != nil {
					return
				}
			}
		}()
	}
	return c
}

// A connection that asks for nothing, or takes its time to ask, ends within
// HandshakeTimeout: whether nothing comes or one byte after the other, before TLS
// is up or behind it, and also when an answer has been given before.
func TestSilentConnectionsEnd(t *testing.T) {
	const page = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
	hello := string([]byte{0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3}) // of 16 KiB
	cfg := engine.Config{HandshakeTimeout: 2 * time.Second}
	for kind, row := range map[string]struct {
		start func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server
		peers map[string]dawdler
	}{
		"TCP": {enginetest.Start, map[string]dawdler{
			"nothing":                    {},
			"a byte":                     {first: "G"},
			"half a request":             {first: "GET / HTTP/1.1\r\nHost: x\r\n"},
			"byte by byte":               {first: "GET /", drips: true},
			"nothing after an answer":    {first: page},
			"a byte after an answer":     {first: page + "G"},
			"byte by byte after answers": {first: page + page + "GET /", drips: true},
		}},
		"TLS": {enginetest.StartTLS, map[string]dawdler{
			"nothing":                      {},
			"half a hello":                 {first: hello},
			"a hello byte by byte":         {first: hello, drips: true},
			"nothing behind TLS":           {tls: true},
			"byte by byte behind TLS":      {tls: true, first: "GET /", drips: true},
			"nothing after an answer":      {tls: true, first: page},
			"byte by byte after an answer": {tls: true, first: page + "GET /", drips: true},
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			s := row.start(t, cfg, onMessage(echo))
			s.HandleHTTP("/page", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") }))
			healthy := s.Dial()
			var all sync.WaitGroup
			for name, d := range row.peers {
				c := d.dawdle(t, s.Addr())
				all.Go(func() {
					answers := requireEndOf(t, c, 10*time.Second)
					assert.Equal(t, strings.Count(d.first, page), strings.Count(string(answers), "a page"), name)
				})
			}
			all.Wait()
			healthy.SendText("upgraded") // longer ago than HandshakeTimeout
			require.Equal(t, "upgraded", healthy.ReadText())
			healthy.Hangup()
		})
	}
}

// A countingListener counts what is read from its connections.
type countingListener struct {
	net.Listener
	read *atomic.Int64
}

type countingConn struct {
	*net.TCPConn
	read *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c.(*net.TCPConn), l.read}, nil
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// A request of 36 MB is refused with 431 when 20 KiB of it have been read, in however
// many lines it comes.
func TestHugeHeaderIsNotRead(t *testing.T) {
	const size = 36 << 20
	read := new(atomic.Int64)
	ln := countingListener{listen(t), read}
	ctx, cancel := context.WithCancel(t.Context())
	_, served := serveOn(t, ctx, ln, engine.Config{}, onMessage(echo))
	var all sync.WaitGroup
	peers := map[string]string{
		"one line":   "X: " + strings.Repeat("a", size),
		"many lines": strings.Repeat("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", size/64),
		"no values":  strings.Repeat("X:\r\n", size/4),
	}
	for name, header := range peers {
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		all.Go(func() { _, _ = io.WriteString(c, strings.TrimSuffix(upgradeRequest, "\r\n")+header) }) // fails when the server has gone
		all.Go(func() {
			defer func() { _ = c.Close() }()
			assert.Contains(t, string(requireEndOf(t, c, 5*time.Second)), "HTTP/1.1 431 ", name)
		})
	}
	all.Wait()
	require.Less(t, read.Load(), int64(len(peers)*32<<10))
	cancel()
	require.NoError(t, <-served)
}

// What is no HTTP request, or one that can be read in two ways, is answered with 400
// or the like, and its connection closed: nothing behind it is taken for a request or
// for frames.
func TestMalformedRequestsEnd(t *testing.T) {
	early := "\x81\x85\x00\x00\x00\x00hello"
	const chunk = "\r\nb\r\n\x81\x85\x00\x00\x00\x00hello\r\n0\r\n" // with what follows, a body in one chunk
	with := func(lines string) string { return strings.TrimSuffix(upgradeRequest, "\r\n") + lines + "\r\n" + early }
	for kind, row := range map[string]struct {
		start    func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server
		requests map[string]string
	}{
		"TCP": {enginetest.Start, map[string]string{
			"no HTTP":                  "what is this?\r\n\r\n" + upgradeRequest,
			"only line ends":           strings.Repeat("\r\n", 100),
			"TLS":                      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
			"frames":                   early + "\r\n\r\n",
			"HTTP/2":                   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"HTTP/1.0":                 strings.Replace(upgradeRequest, "/1.1", "/1.0", 1) + early,
			"HTTP/7.7":                 strings.Replace(upgradeRequest, "/1.1", "/7.7", 1) + early,
			"two hosts":                with("Host: y\r\n"),
			"a space before the colon": with("X : y\r\n"),
			"a folded line first":      "GET / HTTP/1.1\r\n Host: x\r\n\r\n" + early,
			"a control character":      with("X: \x00\r\n"),
			"a body":                   with("Content-Length: 11\r\n"),
			"two lengths":              with("Content-Length: 0\r\nContent-Length: 11\r\n"),
			"a negative length":        with("Content-Length: -1\r\n"),
			"chunks":                   with("Transfer-Encoding: chunked\r\n" + chunk),
			"chunks and a length":      with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" + chunk),
			"chunks, spelt otherwise":  with("Transfer-Encoding: xchunked\r\n"),
		}},
		"TLS": {enginetest.StartTLS, map[string]string{
			"no TLS":                     upgradeRequest,
			"no TLS, no HTTP":            "what is this?\r\n\r\n",
			"a TLS record of wrong size": "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70_000),
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			s := row.start(t, engine.Config{Logger: quiet}, onMessage(echo))
			for name, request := range row.requests {
				t.Run(name, func(t *testing.T) { requireRefusal(t, s, request, kind == "TLS") })
			}
			require.Zero(t, s.Engine.Stats().Opened)
		})
	}
}

// requireRefusal wants one answer to a request, if any, and the end.
func requireRefusal(t *testing.T, s *enginetest.Server, request string, secure bool) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	answer := requireEndOf(t, c, 5*time.Second) // HandshakeTimeout is 10 s
	if secure && (len(answer) == 0 || answer[0] == 0x15) {
		return // nothing, or a TLS alert
	}
	rest := bufio.NewReader(bytes.NewReader(answer))
	r, err := http.ReadResponse(rest, nil)
	require.NoError(t, err, "%q", answer)
	require.GreaterOrEqual(t, r.StatusCode, 400)
	_, err = io.Copy(io.Discard, r.Body)
	require.NoError(t, err)
	_, err = rest.ReadByte()
	require.ErrorIs(t, err, io.EOF, "one answer: %q", answer)
}

// A failingListener fails some times before it accepts.
type failingListener struct {
	net.Listener
	err  error
	mu   sync.Mutex
	left int         // failures to come
	asks []time.Time // when Accept was called
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	l.asks = append(l.asks, time.Now())
	fail := l.left > 0
	l.left--
	l.mu.Unlock()
	if fail {
		return nil, l.err
	}
	return l.Listener.Accept()
}

func (l *failingListener) calls() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Time(nil), l.asks...)
}

func acceptError(errno error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

// A process that is out of descriptors goes on serving those whom it has, asks again
// ever more slowly, and accepts when it can.
func TestAcceptErrorsPass(t *testing.T) {
	for name, errno := range map[string]error{"out of descriptors": syscall.EMFILE, "the system is": syscall.ENFILE} {
		t.Run(name, func(t *testing.T) {
			const failures = 5
			ln := &failingListener{Listener: listen(t), err: acceptError(errno), left: failures}
			ctx, cancel := context.WithCancel(t.Context())
			_, served := serveOn(t, ctx, ln, engine.Config{Logger: quiet}, onMessage(echo))
			c, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			_, err = io.WriteString(c, upgradeRequest)
			require.NoError(t, err)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(enginetest.Patience)))
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
			calls := ln.calls()
			require.GreaterOrEqual(t, len(calls), failures+1)
			require.Greater(t, calls[failures].Sub(calls[0]), 150*time.Millisecond, "5, 10, 20, 40, 80 ms between them")
			require.NoError(t, c.Close())
			cancel()
			require.NoError(t, <-served)
		})
	}
}

// A listener that fails for good ends Serve with its error, and the connections with
// 1001; while one fails for the moment Serve can be stopped.
func TestAcceptErrorsEnd(t *testing.T) {
	t.Run("for good", func(t *testing.T) {
		broken := errors.New("the listener is broken")
		gate := make(chan struct{})
		ln := &gatedListener{Listener: listen(t), gate: gate, err: broken}
		var end ending
		open := make(conns, 1)
		_, served := serveOn(t, t.Context(), ln, engine.Config{CloseTimeout: 200 * time.Millisecond}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, upgradeRequest)
		require.NoError(t, err)
		<-open
		close(gate)
		require.ErrorIs(t, <-served, broken)
		require.EqualValues(t, 1001, end.await(t).Code)
		require.EqualValues(t, 2, ln.calls.Load(), "it is not asked again")
	})
	t.Run("for the moment", func(t *testing.T) {
		ln := &failingListener{Listener: listen(t), err: acceptError(syscall.EMFILE), left: 1 << 30}
		ctx, cancel := context.WithCancel(t.Context())
		_, served := serveOn(t, ctx, ln, engine.Config{Logger: quiet}, onMessage(echo))
		enginetest.Await(t, func() bool { return len(ln.calls()) > 3 }, "it should be asked again")
		cancel()
		begun := time.Now()
		require.NoError(t, <-served)
		require.Less(t, time.Since(begun), 5*time.Second)
	})
}

// A gatedListener accepts one connection and fails with err once the gate is open.
type gatedListener struct {
	net.Listener
	gate  chan struct{}
	err   error
	calls atomic.Int32
}

func (l *gatedListener) Accept() (net.Conn, error) {
	if l.calls.Add(1) == 1 {
		return l.Listener.Accept()
	}
	<-l.gate
	return nil, l.err
}
