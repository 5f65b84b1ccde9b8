package engine_test

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// What is announced and does not come costs next to nothing: a thousand peers
// announce a megabyte each, of which a few bytes come. One that means it is served
// beside them, in pieces of its message.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	const peers, size = 1000, 1 << 20
	budget := backpressure.NewBudget(128 << 20)
	s := enginetest.Start(t, engine.Config{Budget: budget, IdleTimeout: -1, PingInterval: -1, MinReceiveRate: -1}, onMessage(echo))
	h := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Masked: true, Length: size})
	var list []*enginetest.Client
	for i := range peers {
		c := s.Dial()
		c.Write(append(bytes.Clone(h), make([]byte, i%40)...))
		list = append(list, c)
	}
	enginetest.Await(t, func() bool { return budget.Used() > peers*backpressure.Footprint }, "some have been granted what they announce")
	require.Less(t, budget.Used(), peers*backpressure.Footprint+budget.Limit()/8+1<<20)
	c := s.Dial()
	for _, size := range []int{5000, 70_001, size} {
		c.Send(frame.Binary, pattern(size))
		requireSame(t, pattern(size), c.ReadMessage().Data)
		c.SendFragments(frame.Binary, pattern(size), 40_000)
		requireSame(t, pattern(size), c.ReadMessage().Data)
	}
	c.Hangup()
	for _, c := range list {
		c.Reset()
	}
	s.AwaitOpen(0)
	require.Zero(t, s.Engine.Stats().Shed)
	enginetest.Await(t, func() bool { return budget.Used() == 0 }, "everything should be given back")
}

// Text that is not UTF-8 is refused when it comes, not when the message has come:
// whole or in fragments, split in the middle of a rune, with a ping in between.
func TestTextFailsFast(t *testing.T) {
	const size = 1 << 20
	long := []byte(strings.Repeat("grün ", 2000))
	for name, part := range map[string][]byte{
		"at once":           []byte("\xff"),
		"behind good text":  append(bytes.Clone(long), 0xff),
		"half a rune":       append(bytes.Clone(long), 0xc3, 'x'),
		"a surrogate":       append(bytes.Clone(long), 0xed, 0xa0, 0x80),
		"overlong":          append(bytes.Clone(long), 0xc0, 0xaf),
		"above the largest": append(bytes.Clone(long), 0xf4, 0x90, 0x80, 0x80),
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{}, onMessage(echo))
			for _, fragmented := range []bool{false, true} {
				c := s.Dial()
				whole := append(bytes.Clone(part), bytes.Repeat([]byte("x"), size-len(part))...)
				if fragmented {
					c.WriteFrame(frame.Header{Opcode: frame.Text}, part[:len(part)-1])
					c.WriteFrame(frame.Header{Fin: true, Opcode: frame.Pong}, []byte("between"))
					c.WriteFrame(frame.Header{}, append(part[len(part)-1:], long...))
				} else {
					b := c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, whole)
					c.Write(b[:14+len(part)+100])
				}
				c.ExpectClose(frame.CloseInvalidPayload)
				c.Close()
			}
			s.AwaitOpen(0)
			enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "behind OnClose they should be let go of")
			require.EqualValues(t, 2, s.Engine.Stats().Ended[engine.CauseViolation])
		})
	}
}

// Text that comes in pieces cut anywhere is what was sent.
func TestTextInPieces(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	c := s.Dial()
	text := []byte(strings.Repeat("añ水𝄞", 3000))
	for n := 1; n < 12; n++ {
		c.SendFragments(frame.Text, text[:n*13*10], n)
		requireSame(t, text[:n*13*10], c.ReadMessage().Data)
		c.WriteSplit(c.Frame(frame.Header{Fin: true, Opcode: frame.Text}, text), 1000*n+1)
		requireSame(t, text, c.ReadMessage().Data)
	}
	c.WriteFrame(frame.Header{Opcode: frame.Text}, []byte("\xe6\xb0"))
	c.WriteFrame(frame.Header{Fin: true}, nil) // ends inside a rune
	c.ExpectClose(frame.CloseInvalidPayload)
}

// Each rate ends the connection of the peer that exceeds it with 1008, counted as a
// limit, and of nobody else; what came before is answered.
func TestRates(t *testing.T) {
	for name, row := range map[string]struct {
		cfg     engine.Config
		op      frame.Opcode
		payload []byte
	}{
		"control frames": {engine.Config{ControlFramesPerSecond: 20}, frame.Ping, nil},
		"messages":       {engine.Config{MessagesPerSecond: 20}, frame.Text, []byte("x")},
		"bytes":          {engine.Config{BytesPerSecond: 20_000, MaxMessageBytes: 1000}, frame.Binary, pattern(1000)},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, row.cfg, onMessage(echo))
			polite, rude := s.Dial(), s.Dial()
			send := func(c *enginetest.Client, n int) {
				var b []byte
				for range n {
					b = append(b, c.Frame(frame.Header{Fin: true, Opcode: row.op}, row.payload)...)
				}
				c.Write(b)
			}
			send(polite, 20)
			send(rude, 100) // the clock may move meanwhile
			for {
				h, _ := rude.ReadFrame()
				if h.Opcode == frame.Close {
					break
				}
			}
			rude.Close()
			enginetest.Await(t, func() bool { return s.Engine.Stats().Ended[engine.CauseLimit] == 1 }, "it should be counted")
			enginetest.Await(t, func() bool { return s.Engine.Stats().Closed[frame.ClosePolicyViolation] == 1 }, "and its code")
			time.Sleep(1100 * time.Millisecond) // the bucket fills again
			send(polite, 15)
			polite.SendClose(frame.CloseNormal, "")
			polite.ReadToEnd()
			polite.Close()
			s.AwaitOpen(0)
			enginetest.Await(t, func() bool { return s.Engine.Stats().Connections == 0 }, "behind OnClose they should be let go of")
			require.EqualValues(t, 1, s.Engine.Stats().Ended[engine.CausePeer])
		})
	}
}

// The limits on connections answer with their own status, and let others in when
// some have gone.
func TestConnectionLimits(t *testing.T) {
	from := func(addr string) enginetest.Handshake {
		return enginetest.Handshake{Header: map[string][]string{"X-Forwarded-For": {addr}}}
	}
	for name, row := range map[string]struct {
		cfg    engine.Config
		shakes []enginetest.Handshake // the last is refused
		status int
		why    engine.Refusal
	}{
		"connections": {engine.Config{MaxConnections: 2}, make([]enginetest.Handshake, 3), http.StatusServiceUnavailable, engine.RefusedConnections},
		"address":     {engine.Config{MaxConnectionsPerAddress: 2}, []enginetest.Handshake{from("192.0.2.1"), from("192.0.2.2"), from("192.0.2.1"), from("192.0.2.1")}, http.StatusTooManyRequests, engine.RefusedAddress},
		"IPv6 /64":    {engine.Config{MaxConnectionsPerAddress: 1}, []enginetest.Handshake{from("2001:db8:0:1::1"), from("2001:db8:0:2::1"), from("2001:db8:0:1:ffff::2")}, http.StatusTooManyRequests, engine.RefusedAddress},
		"upgrades":    {engine.Config{UpgradesPerSecond: 1}, make([]enginetest.Handshake, 2), http.StatusServiceUnavailable, engine.RefusedRate},
	} {
		t.Run(name, func(t *testing.T) {
			row.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			s := enginetest.Start(t, row.cfg, onMessage(echo))
			var list []*enginetest.Client
			last := len(row.shakes) - 1
			for _, h := range row.shakes[:last] {
				list = append(list, s.DialWith(h))
			}
			r := s.Request(row.shakes[last])
			require.Equal(t, row.status, r.StatusCode)
			require.NotEmpty(t, r.Header.Get("Retry-After"))
			require.Equal(t, map[engine.Refusal]uint64{row.why: 1}, s.Engine.Stats().RefusedBy)
			require.EqualValues(t, 1, s.Engine.Stats().Refused)
			for _, c := range list {
				c.Hangup()
			}
			s.AwaitOpen(0)
			enginetest.Await(t, func() bool { return s.Request(row.shakes[last]).StatusCode == http.StatusSwitchingProtocols }, "there should be room again")
			s.AwaitOpen(0)
		})
	}
}

// A refusal by Admit gives the place back.
func TestConnectionLimitsAfterRefusal(t *testing.T) {
	ep := onMessage(echo)
	ep.Handler.Admit = func(r *http.Request) error {
		if r.URL.Path == "/no" {
			return &engine.HandshakeError{Status: http.StatusTeapot, Reason: "no"}
		}
		return nil
	}
	s := enginetest.Start(t, engine.Config{MaxConnections: 1}, ep)
	for range 3 {
		require.Equal(t, http.StatusTeapot, s.Request(enginetest.Handshake{Target: "/no"}).StatusCode)
	}
	s.Dial().Hangup()
	require.Equal(t, map[engine.Refusal]uint64{engine.RefusedHandler: 3}, s.Engine.Stats().RefusedBy)
	require.Equal(t, http.StatusForbidden, s.Request(enginetest.Handshake{Header: map[string][]string{"Origin": {"https://elsewhere.example"}}}).StatusCode)
	require.EqualValues(t, 1, s.Engine.Stats().RefusedBy[engine.RefusedOrigin])
}
