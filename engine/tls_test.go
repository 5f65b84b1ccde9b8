package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestTLSEcho(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		open := make(conns, 1)
		s := enginetest.StartTLS(t, engine.Config{}, engine.Endpoint{Inline: inline, Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
		c := s.Dial()
		scope := (<-open).Scope()
		require.True(t, scope.Secure())
		require.Equal(t, "wss://"+s.Addr()+"/", scope.URL())
		for _, n := range echoSizes {
			c.Send(frame.Binary, pattern(n))
			m := c.ReadMessage()
			requireSame(t, pattern(n), m.Data)
			require.LessOrEqual(t, m.Largest, chunk)
		}
		c.Send(frame.Ping, []byte("p"))
		c.SendText("x")
		require.Equal(t, "x", c.ReadText())
		require.Equal(t, [][]byte{[]byte("p")}, c.Ponged)
		c.Hangup()
	})
}

// Same origin means https behind TLS.
func TestTLSOrigin(t *testing.T) {
	s := enginetest.StartTLS(t, engine.Config{}, onMessage(echo))
	for origin, status := range map[string]int{"https://example.org": 101, "https://example.org:443": 101, "http://example.org": 403, "http://example.org:443": 403} {
		h := map[string][]string{"Host": {"example.org"}, "Origin": {origin}}
		require.Equal(t, status, s.Request(enginetest.Handshake{Header: h}).StatusCode, origin)
	}
}

// A large send is one message here, too, and lets pongs pass.
func TestTLSLargeSend(t *testing.T) {
	cfg := roomy
	cfg.HighWaterBytes = 16 << 20
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			pings := sightings{seen: make(chan engine.Message, 1)}
			open := make(conns, 1)
			s := enginetest.StartTLS(t, cfg, engine.Endpoint{
				Handler:      engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
				Interceptors: []interceptors.Interceptor{pings},
			})
			c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 32 << 10})
			conn := <-open
			require.NoError(t, conn.Go(func(context.Context) { _ = send(s.Engine, conn, frame.Binary, pattern(large)) }))
			h, got := c.ReadFrame()
			require.Equal(t, frame.Binary, h.Opcode)
			c.Send(frame.Ping, []byte("still there?"))
			require.Equal(t, frame.Ping, (<-pings.seen).Type)
			before, ponged := 0, false
			for !h.Fin {
				var payload []byte
				h, payload = c.ReadFrame()
				if h.Opcode == frame.Pong {
					require.Equal(t, "still there?", string(payload))
					require.LessOrEqual(t, before, 16, "of %d fragments", large/chunk)
					ponged, h.Fin = true, false
					continue
				}
				require.Equal(t, frame.Continuation, h.Opcode)
				require.LessOrEqual(t, len(payload), chunk)
				got = append(got, payload...)
				before++
			}
			require.True(t, ponged)
			requireSame(t, pattern(large), got)
			require.NoError(t, conn.Close(4001, ""))
			c.ExpectClose(4001)
		})
	}
}

func TestTLSLimit(t *testing.T) {
	s := enginetest.StartTLS(t, limited, onMessage(echo))
	c := s.Dial()
	c.Write(c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(8<<20)))
	c.ExpectClose(frame.CloseMessageTooBig)
	s.AwaitOpen(0)
}

func TestTLSViolation(t *testing.T) {
	s := enginetest.StartTLS(t, engine.Config{}, onMessage(echo))
	other := s.Dial()
	c := s.Dial()
	c.Write([]byte{0x82, masked(127), 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	c.ExpectClose(frame.CloseProtocolError)
	other.SendText("undisturbed")
	require.Equal(t, "undisturbed", other.ReadText())
	other.Hangup()
}

func TestTLSStalledPeer(t *testing.T) {
	cfg := engine.Config{WriteStallTimeout: 300 * time.Millisecond}
	var end ending
	open := make(conns, 1)
	s := enginetest.StartTLS(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
	c := s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	conn := <-open
	for {
		err := conn.SendBytes(pattern(100_000))
		require.LessOrEqual(t, conn.PendingBytes(), 1<<20+100_100+kernelHolds)
		if err != nil && err != engine.ErrCongested {
			break
		}
	}
	require.Equal(t, frame.CloseAbnormal, end.await(t).Code)
	require.EqualValues(t, 1, s.Engine.Stats().Stalled)
	c.ReadToEnd()
}

// What a blocked TLS writer holds does not keep the close timeout or Shutdown
// from ending the connection.
func TestTLSCloseTimeout(t *testing.T) {
	for name, end := range map[string]func(s *enginetest.Server, c *engine.Conn){
		"close":    func(_ *enginetest.Server, c *engine.Conn) { _ = c.Close(frame.CloseGoingAway, "") },
		"shutdown": func(s *enginetest.Server, _ *engine.Conn) { go func() { _ = s.Shutdown(enginetest.Patience) }() },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := engine.Config{WriteStallTimeout: -1, CloseTimeout: 200 * time.Millisecond}
			var ended ending
			open := make(conns, 1)
			s := enginetest.StartTLS(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: ended.OnClose}})
			s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
			conn := <-open
			enginetest.Await(t, func() bool { return conn.SendBytes(pattern(100_000)) == engine.ErrCongested }, "the connection should be congested")
			end(s, conn)
			require.Equal(t, frame.CloseGoingAway, ended.await(t).Code)
		})
	}
}

func TestTLSShutdown(t *testing.T) {
	s := enginetest.StartTLS(t, engine.Config{}, onMessage(echo))
	a, b := s.Dial(), s.Dial()
	a.SendText("x")
	require.Equal(t, "x", a.ReadText())
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(enginetest.Patience) }()
	a.ExpectClose(frame.CloseGoingAway)
	b.ExpectClose(frame.CloseGoingAway)
	require.NoError(t, <-down)
}

func TestTLSAbruptEnds(t *testing.T) {
	for name, end := range map[string]func(c *enginetest.Client){
		"reset":     (*enginetest.Client).Reset,
		"EOF":       (*enginetest.Client).CloseWrite,
		"TLS close": (*enginetest.Client).Close,
	} {
		t.Run(name, func(t *testing.T) {
			var ended ending
			s := enginetest.StartTLS(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: ended.OnClose}})
			end(s.Dial())
			err := ended.await(t)
			require.Equal(t, frame.CloseAbnormal, err.Code)
			require.True(t, err.Remote)
		})
	}
}
