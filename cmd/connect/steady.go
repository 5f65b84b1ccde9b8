package connect

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/reconnect"
	"github.com/penstock-ws/penstock/frame"
)

// A steady is a link that connects again. What is to be sent waits meanwhile, bounded by the
// client's outbox; what a connection had taken when it ended may be lost.
type steady struct {
	// immutable
	s      *session
	client *reconnect.Client
	first  chan struct{} // closed when there has been a connection

	// atomic
	quits atomic.Bool // it is to end
	lost  atomic.Bool // perhaps: something that it had accepted

	// callbacks, which come one after the other
	tried *bool
	last  *engine.CloseError // of the connection that has just ended
	cause error              // why it has given up
	told  string             // what the user knows of the present trouble
}

// keepDialling makes s a session that connects until it is told to end, or the server says
// that it is of no use.
func (c *client) keepDialling(_ context.Context, s *session, cfg engine.DialConfig) error {
	l := &steady{s: s, first: make(chan struct{}), tried: c.route.use(&cfg)}
	cfg.Endpoint.Handler.OnClose = func(_ *engine.Conn, end *engine.CloseError) { l.last = end }
	client, err := reconnect.New(reconnect.Config{
		Target: c.target,
		Dial:   cfg,

		AttemptTimeout: -1, // --timeout is the engine's
		OnConnect:      l.connected,
		OnState:        l.state,
		OnLost:         func(frame.Opcode, []byte, error) { l.lost.Store(true) },
		GiveUp:         l.givesUp,
	})
	var wrong *engine.ConfigError
	if errors.As(err, &wrong) {
		return usagef("the URL: allowed is %s", wrong.Allowed) // nothing else can be wrong; it may hold a secret
	}
	if err != nil {
		return err
	}
	l.client, s.link = client, l
	client.Start()
	return nil
}

func (l *steady) connected(_ context.Context, conn *engine.Conn) error {
	l.told = ""
	l.s.opened(conn)
	select {
	case <-l.first:
	default:
		close(l.first)
	}
	return nil
}

// givesUp reports whether another attempt would meet with the same end.
func (l *steady) givesUp(err error) bool {
	var closed *engine.CloseError
	tooBig := errors.As(err, &closed) && closed.Code == frame.CloseMessageTooBig
	switch {
	case l.quits.Load():
		return true
	case !*l.tried, tooBig, reconnect.Hopeless(err):
		l.cause = err
		return true
	}
	return false
}

// state follows the client's.
func (l *steady) state(state reconnect.State, err error) {
	switch state {
	case reconnect.Away:
		l.away(err)
	case reconnect.Closed:
		end := ending{close: l.last, lost: l.lost.Load()}
		if l.cause != nil && l.last == nil {
			end.err = noConnection(l.cause, *l.tried)
		}
		l.s.over <- end
	}
}

// away tells the user of trouble, once as long as it is the same.
func (l *steady) away(err error) {
	text := (&ConnectError{err}).Error()
	if l.last != nil {
		text = closing(l.last)
		if l.s.c.json {
			l.s.noMore(outputError(l.s.c.print.closed(l.last)))
		}
		l.last = nil
	}
	if text != l.told || l.s.c.verbose {
		l.told = text
		l.s.c.print.tell(text + "; connecting again")
	}
}

func (l *steady) put(ctx context.Context, op frame.Opcode, data []byte) error {
	if conn := l.client.Conn(); conn != nil {
		_ = conn.Drain(ctx, mostQueued) // its end is not the link's
	}
	return l.client.SendWait(ctx, op, data)
}

// drain waits for a connection even if there is nothing to send.
func (l *steady) drain(ctx context.Context) error {
	select {
	case <-l.first:
	case <-l.client.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		err := l.client.Drain(ctx)
		var cut *engine.CloseError
		if !errors.As(err, &cut) || l.client.Err() != nil {
			return err
		}
		l.lost.Store(true) // perhaps; there may be more for the next connection
	}
}

func (l *steady) close(code frame.CloseCode, reason string) {
	l.quits.Store(true)
	if conn := l.client.Conn(); conn != nil {
		_ = conn.Close(code, reason) // if it is not ending already
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	go func() { _ = l.client.Close(now) }() // ends with the client, whose end says how it was
}
