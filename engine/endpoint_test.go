package engine_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// echo sends every message back.
func echo(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) }

// onMessage is an endpoint with nothing but an OnMessage.
func onMessage(f func(context.Context, *engine.Conn, engine.Message) error) engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{OnMessage: f}}
}

// quiet is for tests that make the engine complain.
var quiet = slog.New(slog.DiscardHandler)

// modes runs a test with handlers on the workers, and inline.
func modes(t *testing.T, f func(t *testing.T, inline bool)) {
	t.Run("pool", func(t *testing.T) { f(t, false) })
	t.Run("inline", func(t *testing.T) { f(t, true) })
}

// An ending keeps how connections ended, in order.
type ending struct {
	mu   sync.Mutex
	errs []*engine.CloseError
	why  []engine.Cause // of each
}

func (e *ending) OnClose(_ *engine.Conn, err *engine.CloseError) {
	e.mu.Lock()
	defer e.mu.Unlock()
	plain := *err // most tests say how it ended, and leave the cause to those that ask
	plain.Cause = 0
	e.errs, e.why = append(e.errs, &plain), append(e.why, err.Cause)
}

func (e *ending) all() []*engine.CloseError {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*engine.CloseError(nil), e.errs...)
}

// await returns how the first connection ended.
func (e *ending) await(t *testing.T) *engine.CloseError {
	t.Helper()
	enginetest.Await(t, func() bool { return len(e.all()) > 0 }, "a connection should have ended")
	return e.all()[0]
}

// conns hands connections from OnOpen to the test.
type conns chan *engine.Conn

func (c conns) OnOpen(_ context.Context, conn *engine.Conn) error {
	c <- conn
	return nil
}

// pattern is n bytes in which every position tells where it is.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return b
}

// letters is n bytes of text.
func letters(n int) []byte {
	return bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), n/26+1)[:n]
}

// requireSame compares long payloads without printing them.
func requireSame(t *testing.T, want, got []byte) {
	t.Helper()
	require.Len(t, got, len(want))
	require.True(t, bytes.Equal(want, got), "payload differs")
}
