package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A dripSocket yields one byte each time it has waited.
type dripSocket struct {
	*cutSocket
	every time.Duration
}

func (s dripSocket) read(m memory) (int, error) {
	time.Sleep(s.every)
	return s.cutSocket.read(m)
}

// A message that comes below MinReceiveRate ends its connection after the grace with
// 1008; one that comes just above it is received; silence between messages does not
// count, and neither does the time in which a handler keeps the reader from reading.
func TestSlowMessages(t *testing.T) {
	whole := wire{}.frame(true, 0, frame.Text, make([]byte, 900)).close()
	for name, row := range map[string]struct {
		stream []byte
		every  time.Duration // a byte
		rate   int
		blocks time.Duration // the handler
		code   frame.CloseCode
		within time.Duration
	}{
		"below the rate":     {whole, time.Second, 2, 0, frame.ClosePolicyViolation, 40 * time.Second},
		"a header only":      {whole[:1], time.Hour, 1, 0, frame.ClosePolicyViolation, 2*time.Hour + time.Minute},
		"above the rate":     {whole, 100 * time.Millisecond, 8, 0, 4000, time.Hour},
		"any rate":           {whole, time.Second, -1, 0, 4000, time.Hour},
		"between messages":   {wire{}.frame(true, 0, frame.Text, nil).frame(true, 0, frame.Text, nil).close(), time.Minute, 1, 0, 4000, time.Hour},
		"the handler blocks": {wire{}.frame(true, 0, frame.Text, nil).frame(true, 0, frame.Text, make([]byte, 60)).close(), 100 * time.Millisecond, 5, time.Minute, 4000, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, err := New(Config{IO: IOGoroutines, MinReceiveRate: row.rate, IdleTimeout: -1, PingInterval: -1, Logger: slog.New(slog.DiscardHandler)}, Endpoint{})
				require.NoError(t, err)
				end := make(chan *CloseError, 1)
				ep := e.newEndpoint(Endpoint{Inline: true, Handler: Handler{
					OnMessage: func(context.Context, *Conn, Message) error { time.Sleep(row.blocks); return nil },
					OnClose:   func(_ *Conn, err *CloseError) { end <- err },
				}})
				cuts := make([]int, len(row.stream))
				for i := range cuts {
					cuts[i] = 1
				}
				if name == "between messages" {
					cuts = []int{6, 6} // and the close frame
				}
				scope := scopeOf("Slow\n\n")
				require.NoError(t, e.admission.enter(scope))
				start := time.Now()
				e.start(ep, beginning{sock: dripSocket{&cutSocket{in: row.stream, cuts: cuts}, row.every}, response: []byte(preface), scope: scope})
				got := <-end
				require.Equal(t, row.code, got.Code, got)
				require.Less(t, time.Since(start), row.within)
				if row.code == frame.ClosePolicyViolation {
					require.Equal(t, CauseLimit, got.Cause)
				}
				require.NoError(t, e.Shutdown(context.Background()))
			})
		})
	}
}
