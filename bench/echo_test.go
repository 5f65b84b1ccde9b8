package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

func testContext() context.Context { return context.Background() }

var shapes = []Echo{
	{Connections: 1},
	{Connections: 1, InFlight: 7},
	{Connections: 20, PayloadBytes: 1},
	{Connections: 20, InFlight: 32, PayloadBytes: 128},
	{Connections: 5, InFlight: 3, PayloadBytes: 125, Text: true},
	{Connections: 5, InFlight: 3, PayloadBytes: 126},
	{Connections: 2, InFlight: 100, PayloadBytes: 7, Text: true},
	{Connections: 2, InFlight: 3, PayloadBytes: 70_000},
	{Connections: 2, InFlight: 64, PayloadBytes: 100_000, Duration: 300 * time.Millisecond}, // more than sockets hold
}

// Every reply of a good server is taken for one, on both drivers, and the
// server saw as many messages as were answered.
func TestEchoAgainstGorilla(t *testing.T) {
	for _, tls := range transports() {
		for _, e := range shapes {
			name := fmt.Sprintf("tls=%v/%dx%dx%d", tls, e.Connections, e.InFlight, e.PayloadBytes)
			t.Run(name, func(t *testing.T) {
				var served atomic.Int64
				target := serve(t, tls, func(conn *websocket.Conn) {
					echoWith(conn, func(_, kind int, message []byte) error {
						served.Add(1)
						return conn.WriteMessage(kind, message)
					})
				})
				e := short(e)
				e.Settle = 5 * time.Second
				var last Progress
				watch := func(p Progress) { last = p }
				r, err := lively(func(window time.Duration) (*Result, error) {
					e.Duration = max(e.Duration, window)
					return e.Run(t.Context(), target, watch)
				})
				require.NoError(t, err)
				require.Empty(t, r.Failures)
				require.False(t, r.Partial)
				require.Equal(t, tls || runtime.GOOS != "linux", r.CPU.Driver == "goroutines", r.CPU.Driver)
				checkCounts(t, e, r)
				require.GreaterOrEqual(t, served.Load(), r.Messages)
				require.LessOrEqual(t, last.Messages, uint64(served.Load()))
				require.Equal(t, e.Duration, last.Total)
			})
		}
	}
}

// checkCounts checks what must agree within a result.
func checkCounts(t *testing.T, e Echo, r *Result) {
	t.Helper()
	require.Positive(t, r.Messages)
	require.GreaterOrEqual(t, r.WindowNS, int64(e.Duration))
	require.InEpsilon(t, float64(r.Messages)/time.Duration(r.WindowNS).Seconds(), r.MessagesPerSecond, 1e-9)
	require.NotNil(t, r.ClientCPU)
	require.Positive(t, *r.ClientCPU)
	require.Nil(t, r.ServerCPU) // no PID was given
	l := r.Latency
	require.Positive(t, l.P50)
	require.IsNonDecreasing(t, []int64{l.P50, l.P90, l.P99, l.P999, l.Max})
	h, err := hdrhistogram.Decode([]byte(r.Histogram))
	require.NoError(t, err)
	require.Equal(t, r.Messages, h.TotalCount())
	require.Equal(t, l.P90, min(h.ValueAtPercentile(90), l.Max)) // of few messages the 90th may be the longest
}

// A server may cut its replies into frames and ping in between.
func TestEchoAcceptsFragmentsAndPings(t *testing.T) {
	for _, tls := range transports() {
		var pongs atomic.Int64
		target := serve(t, tls, func(conn *websocket.Conn) {
			conn.SetPongHandler(func(text string) error {
				require.Equal(t, "are you there", text)
				pongs.Add(1)
				return nil
			})
			echoWith(conn, func(n, kind int, message []byte) error {
				w, err := conn.NextWriter(kind)
				if err != nil {
					return err
				}
				for chunk := range chunks(message, 5000) {
					// Above gorilla's buffer, so that each becomes a frame.
					if _, err := w.Write(chunk); err != nil {
						return err
					}
					if n%10 == 0 {
						_ = conn.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second))
					}
				}
				return w.Close()
			})
		})
		e := short(Echo{Connections: 3, InFlight: 3, PayloadBytes: 20_000})
		r, err := lively(func(window time.Duration) (*Result, error) {
			e.Duration = max(e.Duration, window)
			return e.Run(t.Context(), target, nil)
		})
		require.NoError(t, err)
		require.Empty(t, r.Failures)
		require.Positive(t, r.Messages)
		require.Positive(t, pongs.Load())
	}
}

func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 && yield(b[:min(n, len(b))]) {
			b = b[min(n, len(b)):]
		}
	}
}

// badServer misbehaves once, at the fifth message of each connection.
type badServer struct {
	name     string
	inFlight int
	want     []FailureKind // any of them
	answer   func(c *websocket.Conn, kind int, message []byte) error
}

var badServers = []badServer{
	{"drops", 4, []FailureKind{FailureSequence}, func(*websocket.Conn, int, []byte) error { return nil }},
	{"drops the only one", 1, []FailureKind{FailureUnanswered}, func(*websocket.Conn, int, []byte) error { return nil }},
	// When all others have been answered, the second is one too many; else out of order.
	{"doubles", 4, []FailureKind{FailureUnasked, FailureSequence}, func(c *websocket.Conn, kind int, m []byte) error {
		return errors.Join(c.WriteMessage(kind, m), c.WriteMessage(kind, m))
	}},
	{"doubles the only one", 1, []FailureKind{FailureUnasked, FailureSequence}, func(c *websocket.Conn, kind int, m []byte) error {
		return errors.Join(c.WriteMessage(kind, m), c.WriteMessage(kind, m))
	}},
	{"reorders", 4, []FailureKind{FailureSequence}, func(c *websocket.Conn, kind int, m []byte) error {
		_, next, err := c.ReadMessage()
		return errors.Join(err, c.WriteMessage(kind, next), c.WriteMessage(kind, m))
	}},
	{"corrupts the end", 4, []FailureKind{FailureContent}, func(c *websocket.Conn, kind int, m []byte) error {
		m[len(m)-1] ^= 1
		return c.WriteMessage(kind, m)
	}},
	{"corrupts the middle", 4, []FailureKind{FailureContent}, func(c *websocket.Conn, kind int, m []byte) error {
		m[numberBytes] ^= 0x80
		return c.WriteMessage(kind, m)
	}},
	{"corrupts the number", 4, []FailureKind{FailureContent}, func(c *websocket.Conn, kind int, m []byte) error {
		m[3] ^= 0x80
		return c.WriteMessage(kind, m)
	}},
	{"cuts", 4, []FailureKind{FailureSize}, func(c *websocket.Conn, kind int, m []byte) error {
		return c.WriteMessage(kind, m[:len(m)-1])
	}},
	{"empties", 4, []FailureKind{FailureSize}, func(c *websocket.Conn, kind int, _ []byte) error {
		return c.WriteMessage(kind, nil)
	}},
	{"appends", 4, []FailureKind{FailureSize}, func(c *websocket.Conn, kind int, m []byte) error {
		return c.WriteMessage(kind, append(m, 'x'))
	}},
	{"changes the type", 4, []FailureKind{FailureOpcode}, func(c *websocket.Conn, _ int, m []byte) error {
		return c.WriteMessage(websocket.TextMessage, m)
	}},
	{"masks", 4, []FailureKind{FailureProtocol}, func(c *websocket.Conn, _ int, _ []byte) error {
		_, err := c.NetConn().Write([]byte{0x82, 0x80, 0, 0, 0, 0})
		return err
	}},
	{"sends a bad close", 4, []FailureKind{FailureProtocol}, func(c *websocket.Conn, _ int, _ []byte) error {
		_, err := c.NetConn().Write([]byte{0x88, 2, 0, 1})
		return err
	}},
	{"closes", 4, []FailureKind{FailureClosed}, func(c *websocket.Conn, _ int, _ []byte) error {
		return errors.Join(c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1011, "sorry")), errOver)
	}},
	// With messages unread, the kernel resets the connection.
	{"hangs up", 4, []FailureKind{FailureClosed, FailureNetwork}, func(*websocket.Conn, int, []byte) error { return errOver }},
}

var errOver = errors.New("over")

// A server that loses, doubles, reorders or alters a reply fails its
// connections, and each failure says what it was.
func TestEchoCatchesBadServers(t *testing.T) {
	for _, bad := range badServers {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			for _, tls := range transports() {
				target := serve(t, tls, func(conn *websocket.Conn) {
					echoWith(conn, func(n, kind int, message []byte) error {
						if n == 4 {
							return bad.answer(conn, kind, message)
						}
						return conn.WriteMessage(kind, message)
					})
					if bad.want[0] != FailureClosed {
						_, _, _ = conn.ReadMessage() // leave it to the client to close
					}
				})
				e := Echo{Connections: 3, InFlight: bad.inFlight, Duration: 20 * time.Second, Settle: 5 * time.Second} // it ends when all have failed
				if bad.want[0] == FailureUnanswered {
					e.Duration, e.Settle = time.Second, 300*time.Millisecond
				}
				r, err := e.Run(t.Context(), target, nil)
				require.NoError(t, err)
				require.Equal(t, 3, r.Errors)
				for _, f := range r.Failures {
					require.Contains(t, bad.want, f.Kind, f.First)
					require.Contains(t, f.First, "connection ")
				}
			}
		})
	}
}

// Messages that answer none are a failure: before the first message, and after
// the last reply.
func TestEchoCatchesUnaskedMessages(t *testing.T) {
	greeting := func(conn *websocket.Conn) {
		_ = conn.WriteMessage(websocket.BinaryMessage, make([]byte, 128))
		echoAll(conn)
	}
	parting := func(conn *websocket.Conn) {
		conn.SetCloseHandler(func(int, string) error {
			return conn.WriteMessage(websocket.BinaryMessage, make([]byte, 128))
		})
		echoAll(conn)
	}
	for name, handle := range map[string]func(*websocket.Conn){"greeting": greeting, "parting": parting} {
		for _, tls := range transports() {
			r, err := short(Echo{Connections: 2}).Run(t.Context(), serve(t, tls, handle), nil)
			require.NoError(t, err)
			require.Equal(t, 2, r.Errors)
			for _, f := range r.Failures {
				// A greeting that comes behind the first message is taken for its reply.
				require.Contains(t, []FailureKind{FailureUnasked, FailureContent}, f.Kind, name)
			}
		}
	}
}

// One connection's failure leaves the others running.
func TestEchoGoesOnWithoutFailedConnections(t *testing.T) {
	var n atomic.Int64
	target := serve(t, false, func(conn *websocket.Conn) {
		if n.Add(1) == 1 {
			return
		}
		echoAll(conn)
	})
	r, err := short(Echo{Connections: 4, Duration: time.Second}).Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Equal(t, 1, r.Errors)
	require.False(t, r.Partial)
	require.Positive(t, r.Messages)
}

// With no connection left the run ends, long before its time.
func TestEchoEndsWhenAllHaveFailed(t *testing.T) {
	target := serve(t, false, func(conn *websocket.Conn) {})
	begin := time.Now()
	r, err := Echo{Connections: 4, Duration: time.Hour}.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Equal(t, 4, r.Errors)
	require.True(t, r.Partial)
	require.Less(t, time.Since(begin), time.Minute)
}

// Cancelling a run, in its window or before, leaves what was measured.
func TestEchoCancelled(t *testing.T) {
	for _, tls := range transports() {
		target := serve(t, tls, echoAll)
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Echo{Connections: 4, Duration: time.Hour}.Run(ctx, target, func(p Progress) {
			if p.Messages > 0 {
				cancel()
			}
		})
		require.NoError(t, err)
		require.True(t, r.Partial)
		require.Positive(t, r.Messages)
		require.Empty(t, r.Failures)
		require.Less(t, r.WindowNS, int64(time.Minute))

		r, err = Echo{Connections: 4}.Run(ctx, target, nil)
		require.NoError(t, err)
		require.True(t, r.Partial)
		require.Zero(t, r.Messages)

		ctx, cancel = context.WithCancel(t.Context())
		r, err = Echo{Connections: 4, Warmup: time.Hour}.Run(ctx, target, func(Progress) { cancel() })
		require.NoError(t, err)
		require.True(t, r.Partial)
		require.Zero(t, r.Messages)
		require.Zero(t, r.WindowNS)
	}
}

// The replies of the warm-up flow, but do not count.
func TestEchoWarmup(t *testing.T) {
	var served atomic.Int64
	target := serve(t, false, func(conn *websocket.Conn) {
		echoWith(conn, func(_, kind int, message []byte) error {
			served.Add(1)
			return conn.WriteMessage(kind, message)
		})
	})
	e := short(Echo{Connections: 2, Warmup: 500 * time.Millisecond})
	var seen uint64
	r, err := e.Run(t.Context(), target, func(p Progress) {
		if p.Elapsed < e.Warmup {
			seen = p.Messages
		}
	})
	require.NoError(t, err)
	require.Positive(t, seen)
	require.Less(t, r.Messages, served.Load()-int64(seen)+1)
}

// Closed-loop latency is that of the server: one that takes its time shows it.
func TestEchoLatency(t *testing.T) {
	const delay = 20 * time.Millisecond
	target := serve(t, false, func(conn *websocket.Conn) {
		echoWith(conn, func(_, kind int, message []byte) error {
			time.Sleep(delay)
			return conn.WriteMessage(kind, message)
		})
	})
	e := short(Echo{Connections: 2, InFlight: 2})
	e.Duration = 200 * time.Millisecond
	r, err := e.Run(t.Context(), target, nil)
	require.NoError(t, err)
	// Two in flight: each waits for the other one, the first two excepted.
	require.GreaterOrEqual(t, r.Latency.P50, int64(delay))
	require.GreaterOrEqual(t, r.Latency.P90, int64(2*delay)*99/100)
	require.LessOrEqual(t, r.MessagesPerSecond, 2*float64(time.Second/delay)*1.2)
}

func TestEchoConfig(t *testing.T) {
	require.NoError(t, Echo{}.Validate())
	err := Echo{Connections: -1, InFlight: MaxInFlight + 1, PayloadBytes: -5, Warmup: -1, Duration: 1, Settle: -1}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 6)
	for _, e := range joined.Unwrap() {
		require.ErrorAs(t, e, new(*ConfigError))
	}
	var config *ConfigError
	require.ErrorAs(t, Echo{Connections: 1000, InFlight: 1000, PayloadBytes: 1 << 20}.Validate(), &config)
	require.Equal(t, FieldMemory, config.Field)
	require.ErrorAs(t, Echo{Connections: 2000, InFlight: MaxInFlight, PayloadBytes: 1}.Validate(), &config, "the slots of small messages take more than those")

	for _, url := range []string{"", "127.0.0.1:9000", "http://127.0.0.1/", "ws://", "ws://a b/", "ws://user@host/"} {
		_, err := Echo{}.Run(t.Context(), Target{URL: url}, nil)
		require.ErrorAs(t, err, &config, url)
		require.Equal(t, "URL", config.Field)
	}
}

// A server that does not shake hands as RFC 6455 §4.1 demands is refused.
func TestHandshakeRefused(t *testing.T) {
	good := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n"
	answers := map[string]string{
		"status":      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"upgrade":     strings.Replace(good, "Upgrade: websocket\r\n", "", 1),
		"connection":  strings.Replace(good, "keep-alive, Upgrade", "keep-alive", 1),
		"accept":      strings.Replace(good, "KEY", "bm90IHRoZSBrZXk=", 1),
		"extension":   strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1),
		"subprotocol": strings.Replace(good, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", 1),
		"not HTTP":    "SSH-2.0-OpenSSH_9.6\r\n\r\n",
		"nothing":     "",
	}
	for name, answer := range answers {
		err := runAgainst(t, answer)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, context.Canceled, name)
	}
	require.NoError(t, runAgainst(t, good))
}

// runAgainst runs a short echo against a server that answers handshakes with
// answer and hangs up.
func runAgainst(t *testing.T, answer string) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(strings.Replace(answer, "KEY", acceptKey(r.Header.Get("Sec-WebSocket-Key")), 1)))
	}))
	defer server.Close()
	_, err := short(Echo{Connections: 3}).Run(t.Context(), Target{URL: "ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	return err
}

// A server that accepts and never answers cannot hold the run beyond its ctx.
func TestHandshakeCancelled(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, err := Echo{}.Run(ctx, Target{URL: "ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	require.NoError(t, err)
	require.True(t, r.Partial)
}

func TestAcceptKey(t *testing.T) {
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", acceptKey("dGhlIHNhbXBsZSBub25jZQ==")) // RFC 6455 §1.3
}
