package engine_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

func corkRig(t *testing.T, cfg engine.Config) (*enginetest.Server, *enginetest.Client, *engine.Conn) {
	t.Helper()
	open := make(conns, 1)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	c := s.Dial()
	conn := <-open
	c.SendText("open") // the response to the handshake has left
	require.Equal(t, "open", c.ReadText())
	require.NoError(t, conn.Drain(t.Context(), 0)) // who has written it has counted it
	return s, c, conn
}

// Inside Cork nothing is written, but for what is more than CorkBytes; after it
// everything, in order, whichever way the function ends, and corks nest.
func TestCork(t *testing.T) {
	s, c, conn := corkRig(t, engine.Config{CorkBytes: 1000})
	written := func() uint64 { return s.Engine.Stats().BytesOut }
	more := func(before uint64, why string) { // whoever wrote the response may be the one who writes
		t.Helper()
		enginetest.Await(t, func() bool { return written() > before }, "%s", why)
	}
	before := written()
	conn.Cork(func() {
		for range 5 {
			require.NoError(t, conn.SendText("held back"))
		}
		require.NoError(t, conn.Ping([]byte("too")))
		prepared, err := s.Engine.Prepare(frame.Text, []byte("prepared"))
		require.NoError(t, err)
		require.NoError(t, conn.SendPrepared(prepared))
		require.Equal(t, before, written())
		conn.Cork(func() { require.NoError(t, conn.SendText("nested")) })
		more(before, "Cork flushes when it ends")
		before = written()
		require.NoError(t, conn.SendText("held back"))
		require.Equal(t, before, written(), "the outer one still holds")
		conn.Flush()
		more(before, "Flush writes")
		before = written()
		require.NoError(t, conn.SendBytes(pattern(600)))
		require.Equal(t, before, written())
		require.NoError(t, conn.SendBytes(pattern(600)))
		more(before, "it is full")
		require.NoError(t, conn.SendText("last"))
	})
	for range 5 {
		require.Equal(t, "held back", c.ReadText())
	}
	require.Equal(t, "prepared", c.ReadText())
	require.Equal(t, "nested", c.ReadText())
	require.Equal(t, "held back", c.ReadText())
	for range 2 {
		requireSame(t, pattern(600), c.ReadMessage().Data)
	}
	require.Equal(t, "last", c.ReadText())
	require.Len(t, c.Pinged, 1)

	require.Panics(t, func() { conn.Cork(func() { _ = conn.SendText("panics"); panic("as asked") }) })
	require.Equal(t, "panics", c.ReadText())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		conn.Cork(func() { _ = conn.SendText("exits"); crashes["Goexit"]() })
	}()
	require.Equal(t, "exits", c.ReadText())
	<-exited
	require.NoError(t, conn.SendText("at once"))
	require.Equal(t, "at once", c.ReadText())
	c.Hangup()
}

// Whoever waits inside Cork does not wait for its end.
func TestCorkWaits(t *testing.T) {
	_, c, conn := corkRig(t, engine.Config{HighWaterBytes: 50_000})
	read := make(chan int)
	go func() {
		total := 0
		for {
			m, err := c.TryReadMessage()
			if err != nil || string(m.Data) == "stop" {
				read <- total
				return
			}
			total += len(m.Data)
		}
	}()
	sum := 0
	conn.Cork(func() {
		require.NoError(t, conn.SendText("drained"))
		require.NoError(t, conn.Drain(t.Context(), 0))
		sum += 7
		for n := range 100 {
			require.NoError(t, conn.SendWait(context.Background(), frame.Binary, pattern(10*n*n)))
			sum += 10 * n * n
		}
		require.NoError(t, conn.SendStream(t.Context(), frame.Binary, bytes.NewReader(pattern(300_000))))
		sum += 300_000
	})
	require.NoError(t, conn.SendText("stop"))
	require.Equal(t, sum, <-read)
	c.Hangup()
}

// A close inside Cork comes after what was held back.
func TestCorkClose(t *testing.T) {
	_, c, conn := corkRig(t, engine.Config{})
	conn.Cork(func() {
		require.NoError(t, conn.SendText("before"))
		require.NoError(t, conn.Close(frame.CloseNormal, "done"))
		require.Error(t, conn.SendText("after"))
	})
	require.Equal(t, "before", c.ReadText())
	c.ExpectClose(frame.CloseNormal)
}
