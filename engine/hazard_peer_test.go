package engine_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// A peer that makes us answer and does not read is ended, although it never stops
// sending: no answer to it is waited for, in what it costs or in time. The others
// notice nothing.
func TestPeerThatDoesNotReadItsAnswers(t *testing.T) {
	const timeout = 200 * time.Millisecond
	stall := engine.Config{WriteStallTimeout: 10 * timeout, ControlFramesPerSecond: -1} // the kernel waits three times as long, but from when the peer's window is full
	type repeat func(c *enginetest.Client) []byte
	control := func(op frame.Opcode) repeat {
		return func(c *enginetest.Client) []byte { return c.Frame(frame.Header{Fin: true, Opcode: op}, letters(125)) }
	}
	messages := func(c *enginetest.Client) []byte {
		return c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(10_000))
	}
	for kind, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{"TCP": enginetest.Start, "TLS": enginetest.StartTLS} {
		for name, row := range map[string]struct {
			cfg  engine.Config
			send repeat
			code frame.CloseCode
			why  engine.Cause
		}{
			"pings":                   {stall, control(frame.Ping), frame.CloseAbnormal, engine.CauseWriteStall},
			"messages":                {stall, messages, frame.CloseAbnormal, engine.CauseWriteStall},
			"pings, no stall timeout": {engine.Config{WriteStallTimeout: -1, CloseTimeout: timeout}, control(frame.Ping), frame.ClosePolicyViolation, engine.CauseLimit},
			"pongs beyond the rate":   {engine.Config{CloseTimeout: timeout}, control(frame.Pong), frame.ClosePolicyViolation, engine.CauseLimit},
		} {
			if kind == "TLS" && row.why == engine.CauseLimit {
				continue // found before any socket matters
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				var end ending
				row.cfg.Workers = 1
				ep := engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}
				s := start(t, row.cfg, ep)
				other := s.Dial()
				c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				piece := bytes.Repeat(row.send(c), 50)
				var sending sync.WaitGroup
				sending.Go(func() {
					for c.TryWrite(piece) == nil { // until the connection has ended
					}
				})
				ended := func() bool { return len(end.all()) > 0 }
				begun := time.Now()
				for !ended() {
					other.SendText("undisturbed")
					require.Equal(t, "undisturbed", other.ReadText())
					require.Less(t, time.Since(begun), 3*enginetest.Patience, "it should have ended") // megabytes of pongs, under the race detector
				}
				require.Equal(t, row.code, end.await(t).Code)
				why := func() []engine.Cause { return slices.Collect(maps.Keys(s.Engine.Stats().Ended)) }
				enginetest.Await(t, func() bool { return len(why()) > 0 }, "it should be counted")
				require.Equal(t, []engine.Cause{row.why}, why())
				sending.Wait()
				other.Hangup()
			})
		}
	}
}

// While every worker is taken by a handler that does not return, pings are answered,
// on the connection whose messages wait and on others, and a peer that breaks a rule
// is told.
func TestPingsWhileHandlersBlock(t *testing.T) {
	const workers, waiting = 2, 20
	inside, leave := make(chan struct{}, workers), make(chan struct{})
	s := enginetest.Start(t, engine.Config{Workers: workers}, onMessage(func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		inside <- struct{}{}
		<-leave
		return echo(ctx, c, m)
	}))
	pong := func(c *enginetest.Client) {
		t.Helper()
		c.Send(frame.Ping, []byte("there?"))
		h, payload := c.ReadFrame()
		require.Equal(t, frame.Pong, h.Opcode)
		require.Equal(t, "there?", string(payload))
	}
	var busy []*enginetest.Client
	for range workers {
		c := s.Dial()
		for i := range waiting {
			c.SendText(fmt.Sprint(i))
		}
		<-inside
		busy = append(busy, c)
	}
	other, wrong := s.Dial(), s.Dial()
	other.SendText("waits")
	for range 3 {
		for _, c := range append(busy, other) {
			pong(c)
		}
	}
	wrong.SendText("waits, too")
	wrong.Write([]byte{0xF2, masked(0), 0, 0, 0, 0})
	code, _ := wrong.ReadClose()
	require.Equal(t, frame.CloseProtocolError, code)
	go func() {
		for range inside { // ends with the test
		}
	}()
	close(leave)
	for _, c := range busy {
		for i := range waiting {
			require.Equal(t, fmt.Sprint(i), c.ReadText(), "in order, whatever came between")
		}
		c.Hangup()
	}
	require.Equal(t, "waits", other.ReadText())
	other.Hangup()
	wrong.CloseWrite()
	wrong.ExpectEOF()
	s.AwaitOpen(0)
	close(inside)
}

// The deadlines of a program's own http.Server end with the upgrade, for reading and
// for writing; from there on ours hold (TestTimeoutIdle and others).
func TestServerDeadlinesEndAtTheUpgrade(t *testing.T) {
	const deadline = time.Second
	var both sync.WaitGroup
	for name, start := range map[string]func(*httptest.Server){"TCP": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS} {
		e, err := engine.New(engine.Config{}, onMessage(func(ctx context.Context, c *engine.Conn, _ engine.Message) error {
			return c.Go(func(ctx context.Context) {
				_ = c.SendWait(ctx, frame.Binary, pattern(900_000)) // more than the kernel takes
				_ = c.SendWait(ctx, frame.Binary, pattern(900_000))
			})
		}))
		require.NoError(t, err)
		s := httptest.NewUnstartedServer(e)
		s.Config.ReadTimeout, s.Config.WriteTimeout = deadline, deadline
		start(s)
		t.Cleanup(func() {
			assert.NoError(t, e.Shutdown(context.Background()))
			s.Close()
		})
		c := dialGorilla(t, s)
		pace := time.After(deadline + deadline/5)
		both.Go(func() {
			defer func() { _ = c.Close() }()
			<-pace
			assert.NoError(t, c.WriteMessage(gorilla.BinaryMessage, nil), name)
			for range 2 {
				_, got, err := c.ReadMessage()
				assert.NoError(t, err, name)
				assert.True(t, bytes.Equal(pattern(900_000), got), name)
			}
		})
	}
	both.Wait()
}

// What one connection is sent is not seen by another, although messages are shared
// and the memory they were made of is used again at once, and members end at any
// moment, ourselves or the peer, in the middle of it.
func TestNobodyReadsAnothersBytes(t *testing.T) {
	const rooms, members, broadcasts, size = 3, 6, 150, 5000
	var mu sync.Mutex
	room := make(map[string][]*engine.Conn)
	s := enginetest.Start(t, engine.Config{HighWaterBytes: 8 << 20}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			mu.Lock()
			defer mu.Unlock()
			room[c.Scope().Path()] = append(room[c.Scope().Path()], c)
			return nil
		},
		OnMessage: echo,
	}})
	var readers, senders sync.WaitGroup
	sent := make(chan struct{})
	for r := range rooms {
		name, own := fmt.Sprintf("/%d", r), bytes.Repeat([]byte{byte('a' + r)}, size)
		for m := range members {
			c := s.DialWith(enginetest.Handshake{Target: name, ReceiveBuffer: 4 << 10})
			stays := m < members/2
			readers.Go(func() {
				if m%2 == 0 {
					<-sent // so that what it is sent waits, and is shared
				}
				n := 0
				for ; ; n++ {
					got, err := c.TryReadMessage()
					if err != nil {
						break
					}
					if !assert.True(t, bytes.Equal(own, got.Data), "%d bytes for room %s: %.20q", len(got.Data), name, got.Data) {
						break
					}
					if !stays && n == 5*m {
						c.Reset()
						return
					}
				}
				if stays {
					assert.Equal(t, broadcasts, n)
				}
				c.Close()
			})
		}
		senders.Go(func() {
			b := make([]byte, size)
			for i := range broadcasts {
				copy(b, own)
				p, err := s.Engine.Prepare(frame.Binary, b)
				clear(b)
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				all := slices.Clone(room[name])
				mu.Unlock()
				engine.Broadcast(context.Background(), slices.Values(all), p)
				if i == broadcasts/2 {
					_ = all[len(all)-1].Close(frame.CloseNormal, "")
				}
			}
			mu.Lock()
			all := slices.Clone(room[name])
			mu.Unlock()
			for _, c := range all {
				_ = c.Close(frame.CloseNormal, "")
			}
		})
	}
	senders.Wait()
	require.Greater(t, s.Engine.Stats().Pending, 1<<20, "little has waited")
	close(sent)
	readers.Wait()
}

// Sends that run while the connection ends, in whatever way, return what they say and
// give back what they hold, once (the kit counts; the race detector looks on).
func TestSendsBesideTheEnd(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, compressing, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	for i, end := range []func(*enginetest.Client, *engine.Conn){
		func(c *enginetest.Client, _ *engine.Conn) { c.Reset() },
		func(_ *enginetest.Client, conn *engine.Conn) { _ = conn.Close(frame.CloseNormal, "") },
		func(c *enginetest.Client, _ *engine.Conn) { c.SendClose(frame.CloseNormal, "") },
		func(c *enginetest.Client, _ *engine.Conn) { _ = c.TryWrite([]byte{0xFF, 0xFF}) },
	} {
		for range 5 {
			c := dialPacker(t, s, plainOffer)
			conn := <-open
			first := make(chan struct{}, 4)
			var senders sync.WaitGroup
			for range cap(first) {
				senders.Go(func() {
					for n := 0; ; n++ {
						err := conn.SendWait(context.Background(), frame.Binary, letters(5000))
						if err != nil {
							assert.ErrorIs(t, err, net.ErrClosed, "end %d", i)
							return
						}
						if n == 2 {
							first <- struct{}{}
						}
					}
				})
			}
			var reader sync.WaitGroup
			reader.Go(func() {
				for {
					if _, _, err := c.readFrame(); err != nil {
						return
					}
				}
			})
			for range cap(first) {
				<-first
			}
			end(c.Client, conn)
			senders.Wait()
			c.Close()
			reader.Wait()
		}
	}
	requireNothingHeld(t, s)
}

// The client's offer of subprotocols may stand in several lines; one that offers none,
// or none of ours, is served without. Nothing is answered that was not offered.
func TestSubprotocolLines(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo}, Subprotocols: []string{"v2", "v1"}})
	for _, row := range []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"v3"}, nil},
		{[]string{"v3", "v4,v5"}, nil},
		{[]string{"v3", "v1"}, []string{"v1"}},
		{[]string{"v1", "v3, v2"}, []string{"v2"}},
		{[]string{"v1v2"}, nil},
	} {
		c := s.DialWith(enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Protocol": row.lines}})
		require.Equal(t, row.want, c.Response.Header["Sec-Websocket-Protocol"], "%q", row.lines)
		c.SendText("x")
		require.Equal(t, "x", c.ReadText())
		c.Hangup()
	}
}

// dialGorilla connects a foreign client to a server of the test's own.
func dialGorilla(t *testing.T, s *httptest.Server) *gorilla.Conn {
	t.Helper()
	d := gorilla.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a test's certificate
	c, res, err := d.DialContext(t.Context(), strings.Replace(s.URL, "http", "ws", 1), nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(enginetest.Patience)))
	return c
}
