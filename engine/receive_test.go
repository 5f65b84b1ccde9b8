package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// pull starts an endpoint without OnMessage and connects to it.
func pull(t *testing.T, cfg engine.Config, list ...interceptors.Interceptor) (*enginetest.Server, *enginetest.Client, *engine.Conn) {
	t.Helper()
	open := make(conns, 1)
	s := enginetest.Start(t, cfg, with(engine.Handler{OnOpen: open.OnOpen}, list...))
	c := s.Dial()
	return s, c, <-open
}

// Inline says how OnMessage is run, and changes nothing where there is none.
func TestReceiveInline(t *testing.T) {
	open := make(conns, 1)
	ep := with(engine.Handler{OnOpen: open.OnOpen})
	ep.Inline = true
	s := enginetest.Start(t, engine.Config{}, ep)
	c := s.Dial()
	conn := <-open
	for i := range 20 {
		c.Write(wire(fText("alone")))
		if i%2 == 1 {
			c.Write(wire(fText("together 1"), fText("together 2")))
		}
		want := []string{"alone", "together 1", "together 2"}[:1+2*(i%2)]
		for _, text := range want {
			m, err := conn.Receive(t.Context())
			require.NoError(t, err)
			require.Equal(t, text, string(m.Data))
		}
	}
	c.Hangup()
}

// D3: messages come one by one, then the end. A close is answered when they have
// been received or, if nobody does that, after CloseTimeout.
func TestD3Receive(t *testing.T) {
	s, c, conn := pull(t, engine.Config{CloseTimeout: 200 * time.Millisecond})
	for i := range 100 {
		c.SendText(fmt.Sprint(i))
	}
	c.Send(frame.Binary, pattern(100_000))
	for i := range 100 {
		m, err := conn.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, frame.Text, m.Type)
		require.True(t, m.Final)
		require.Equal(t, fmt.Sprint(i), string(m.Data))
	}
	m, err := conn.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, frame.Binary, m.Type)
	requireSame(t, pattern(100_000), m.Data)
	require.NoError(t, conn.SendText("reply"))
	require.Equal(t, "reply", c.ReadText())

	c.SendText("last")
	c.SendClose(4001, "bye")
	code, _ := c.ReadClose()
	require.EqualValues(t, 4001, code)
	c.ExpectEOF()
	c.Close()
	s.AwaitOpen(0) // what had arrived can still be received
	m, err = conn.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "last", string(m.Data))
	for range 2 {
		_, err = conn.Receive(t.Context())
		var closed *engine.CloseError
		require.ErrorAs(t, err, &closed)
		require.Equal(t, &engine.CloseError{Code: 4001, Reason: "bye", Remote: true, Cause: engine.CausePeer}, closed)
		require.ErrorIs(t, err, net.ErrClosed)
	}
}

// D3: iteration ends quietly after a normal close, with the error after another.
func TestD3Messages(t *testing.T) {
	for code, quiet := range map[frame.CloseCode]bool{frame.CloseNormal: true, frame.CloseGoingAway: true, 4001: false} {
		_, c, conn := pull(t, engine.Config{})
		c.SendText("one")
		c.SendText("two")
		c.SendClose(code, "")
		var got []string
		var last error
		for m, err := range conn.Messages(t.Context()) {
			if err != nil {
				last = err
				continue
			}
			got = append(got, string(m.Data))
		}
		require.Equal(t, []string{"one", "two"}, got)
		if quiet {
			require.NoError(t, last)
		} else {
			var closed *engine.CloseError
			require.ErrorAs(t, last, &closed)
			require.Equal(t, code, closed.Code)
		}
		c.Close()
	}
}

func TestD3MessagesBreak(t *testing.T) {
	_, c, conn := pull(t, engine.Config{CloseTimeout: 200 * time.Millisecond})
	c.SendText("one")
	c.SendText("two")
	for m, err := range conn.Messages(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, "one", string(m.Data))
		break
	}
	m, err := conn.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "two", string(m.Data))
	c.Hangup()
}

// Receive waits for a message, for its context, and for the end.
func TestD3ReceiveWaits(t *testing.T) {
	_, c, conn := pull(t, engine.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := conn.Receive(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for m, err := range conn.Messages(ctx) {
		require.Fail(t, "nothing has come", "%v %v", m, err)
	}

	type result struct {
		text string
		err  error
	}
	results := make(chan result)
	receive := func() {
		for {
			m, err := conn.Receive(context.Background())
			if !errors.Is(err, engine.ErrReceiving) { // the one that asks below
				results <- result{string(m.Data), err}
				return
			}
		}
	}
	go receive()
	enginetest.Await(t, func() bool {
		_, err := conn.Receive(ctx)
		return errors.Is(err, engine.ErrReceiving)
	}, "a second receiver should be refused")
	c.SendText("here")
	require.Equal(t, result{text: "here"}, <-results)
	go receive()
	c.Reset()
	require.ErrorIs(t, (<-results).err, net.ErrClosed)
}

func TestD3ReceiveNotPull(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	s.Dial()
	_, err := (<-open).Receive(t.Context())
	require.ErrorIs(t, err, engine.ErrNotPull)
}

// A local close ends a Receive that waits.
func TestD3ReceiveLocalClose(t *testing.T) {
	_, c, conn := pull(t, engine.Config{})
	done := make(chan error, 1)
	go func() {
		_, err := conn.Receive(context.Background())
		done <- err
	}()
	require.NoError(t, conn.Close(4001, ""))
	require.ErrorIs(t, <-done, net.ErrClosed)
	c.ExpectClose(4001)
}

// Interceptors run in Receive: what they keep is not received, their refusals are
// answered, and a panic of theirs ends the connection.
func TestD3ReceiveInterceptors(t *testing.T) {
	_, c, conn := pull(t, engine.Config{Logger: quiet}, inFunc(func(ctx context.Context, in engine.Message, next *interceptors.InboundNext) error {
		switch string(in.Data) {
		case "refuse":
			return interceptors.Refuse(403, "no")
		case "keep":
			return nil
		case "crash":
			panic("as the test wants it")
		}
		in.Data = append(in.Data, '!')
		return next.Run(ctx, in)
	}))
	for _, text := range []string{"refuse", "keep", "pass", "crash", "after"} {
		c.SendText(text)
	}
	m, err := conn.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, "pass!", string(m.Data))
	require.JSONEq(t, `{"type":"error","status":403,"message":"no"}`, c.ReadText())
	for err == nil { // what comes after the crash may or may not have arrived before it
		_, err = conn.Receive(t.Context())
	}
	require.ErrorIs(t, err, net.ErrClosed)
	c.ExpectClose(frame.CloseInternalError)
}

// While nobody receives the socket is not read: the peer cannot go on writing,
// and what has been received is bounded. It goes on when somebody does.
func TestD3ReceivePausesTheSocket(t *testing.T) {
	for name, cfg := range map[string]engine.Config{
		"by messages": {InboxMessages: 4, PingInterval: -1, IdleTimeout: -1},
		"by bytes":    {InboxBytes: 64 << 10, PingInterval: -1, IdleTimeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			const size = 32 << 10
			s, c, conn := pull(t, cfg)
			message := c.Frame(frame.Header{Fin: true, Opcode: frame.Binary}, pattern(size))
			written := 0
			for { // until the kernels of both sides are full
				require.NoError(t, c.Conn.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
				n, err := c.Conn.Write(message[written%len(message):])
				written += n
				if err != nil {
					var timeout net.Error
					require.ErrorAs(t, err, &timeout)
					require.True(t, timeout.Timeout())
					break
				}
				require.Less(t, written, 64<<20, "the peer can write without end")
			}
			got := s.Engine.Stats().MessagesIn
			require.LessOrEqual(t, got, uint64(40), "messages received")
			whole := written / len(message)
			require.Greater(t, uint64(whole), got)
			for range whole {
				m, err := conn.Receive(t.Context())
				require.NoError(t, err)
				requireSame(t, pattern(size), m.Data)
			}
			c.Write(message[written%len(message):])
			_, err := conn.Receive(t.Context())
			require.NoError(t, err)
			c.SendClose(4001, "")
			_, err = conn.Receive(t.Context()) // lets go of the message before
			require.ErrorIs(t, err, net.ErrClosed)
			c.Close()
		})
	}
}
