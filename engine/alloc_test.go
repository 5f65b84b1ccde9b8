//go:build !race

package engine_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// An echo allocates nothing but what gws does for a message that it hands over,
// with interceptors and without.
func TestAllocEcho(t *testing.T) {
	const together = 32
	for name, ep := range map[string]engine.Endpoint{
		"pool":         onMessage(echo),
		"inline":       {Inline: true, Handler: engine.Handler{OnMessage: echo}},
		"interceptors": with(engine.Handler{OnMessage: echo}, inFunc(passIn)),
		"five interceptors": with(engine.Handler{OnMessage: echo}, inFunc(passIn), inFunc(passIn), interceptors.Passthrough{},
			interceptors.Passthrough{}, interceptors.Passthrough{}),
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, engine.Config{PingInterval: -1, IdleTimeout: -1}, ep)
			for _, n := range []int{1, together} {
				got := allocsForEcho(s, n)
				t.Logf("%d together: %.2f allocations for each message", n, got)
				require.LessOrEqual(t, got, 1.1, "gws makes one")
			}
		})
	}
}

// allocsForEcho is what the echo of a message of 128 bytes allocates when n are sent together.
func allocsForEcho(s *enginetest.Server, n int) float64 {
	c := s.Dial()
	defer c.Hangup()
	var b []byte
	for range n {
		b = append(b, c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(128))...)
	}
	replies := make([]byte, n*(128+4))
	one := func() {
		_, _ = c.Conn.Write(b)
		_, _ = io.ReadFull(c.Conn, replies)
	}
	for range 100 {
		one()
	}
	return testing.AllocsPerRun(500, one) / float64(n)
}

func passIn(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
	return next.Run(ctx, in)
}
