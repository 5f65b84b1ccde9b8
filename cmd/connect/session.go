package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A session is a link and what is done with it.
type session struct {
	// immutable
	c        *client
	link     link
	over     chan ending   // gets the end, when all that came has been printed
	received chan error    // gets why no more is received
	sent     chan error    // gets why no more is sent
	activity chan struct{} // has a value when something has come

	// atomic
	conn atomic.Pointer[engine.Conn] // the present one, or the last; nil: there was none

	// the goroutine that receives
	got int

	mu    sync.Mutex
	pings map[string]time.Time // by /ping, by payload
}

func newSession(c *client) *session {
	return &session{
		c:        c,
		over:     make(chan ending, 1),
		received: make(chan error, 1),
		sent:     make(chan error, 1),
		activity: make(chan struct{}, 1),
		pings:    map[string]time.Time{},
	}
}

// An ending is how a link has ended.
type ending struct {
	close *engine.CloseError // of its last connection; nil: there was none at the end
	err   error              // why there is no connection; nil: there was one, or it was ended
	lost  bool               // it had accepted what may not have been sent
}

// fill makes ep report to s. Without OnMessage, messages wait for Receive.
func (s *session) fill(ep *engine.Endpoint) {
	ep.Handler.OnClose = func(_ *engine.Conn, end *engine.CloseError) { s.over <- ending{close: end} }
	ep.Interceptors = []interceptors.Interceptor{&controls{s: s}}
}

// errEnough: as many messages have come as were wanted, or nobody reads the output.
var errEnough = errors.New("enough")

// errLost: a connection, not the last one, had taken input and ended without a closing
// handshake, or there was none for the rest. Whether a server has it nobody knows.
var errLost = errors.New("input may have been lost with a connection, or was left unsent")

// errQuit: the user has closed.
var errQuit = errors.New("quit")

// An outcome is what the exit status is made of.
type outcome struct {
	end    *engine.CloseError // nil: there was no connection at the end
	failed error              // the first thing that went wrong on this side
	enough bool               // errEnough; how the connection ends does not matter any more
	unsent bool               // there was input that the connection has not taken
	lost   bool               // see ending
}

// run stays until the connection has ended. Input that came is not lost silently: an
// end before all of it was sent is an error.
func (s *session) run(ctx context.Context, in input) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() { s.sent <- s.send(sending, in) }() // ends with the input, the connection, or stop
	o := s.await(ctx, stop, in.typed)
	err := o.error()
	if o.end == nil && o.failed == nil && !o.enough && ctx.Err() != nil {
		err = stopped(ctx)
	}
	if o.end != nil && (s.c.json || err == nil) { // who runs the command shows errors
		if broken := outputError(s.c.print.closed(o.end)); broken != errEnough && err == nil {
			err = broken
		}
	}
	return err
}

func (o *outcome) error() error {
	switch {
	case o.failed != nil:
		return o.failed
	case o.enough:
		return nil
	case o.lost:
		return errLost
	case o.end == nil, !o.end.Remote && o.end.Cause == engine.CauseHandler: // as this side was told to
		return nil
	case o.unsent || codeStatus(o.end.Code) != 0:
		return &EndError{Close: o.end, Unsent: o.unsent}
	}
	return nil
}

// opened shows that a connection is open, and begins to receive.
func (s *session) opened(conn *engine.Conn) {
	s.conn.Store(conn)
	if err := s.c.print.opened(conn.Scope()); err != nil {
		s.noMore(outputError(err))
		return
	}
	_ = conn.Go(func(context.Context) { s.noMore(s.receive(conn)) }) // ends with the connection; it has if there is an error
}

// noMore tells why nothing more is received, if that is for another reason than the
// connection's end. The first one counts.
func (s *session) noMore(err error) {
	if err == nil {
		return
	}
	select {
	case s.received <- err:
	default:
	}
}

// await closes when it is time to, and returns when the connection has ended.
func (s *session) await(ctx context.Context, stop func(), typed bool) (o outcome) {
	var sent <-chan error = s.sent
	var quiet <-chan time.Time
	told := ctx.Done()
	for {
		select {
		case end := <-s.over:
			o.end, o.lost = end.close, end.lost
			if end.err != nil && o.failed == nil {
				o.failed = end.err
			}
			if o.end != nil && o.end.Remote && !o.enough && sent != nil && !typed {
				sent = s.lookAgain(&o, sent)
			}
			stop()
			s.last(&o, sent)
			return o
		case err := <-s.received:
			s.noReceive(&o, err)
		case err := <-sent:
			sent = nil
			if s.noSend(&o, err) {
				quiet = s.afterInput()
			}
		case <-s.activity:
			if quiet != nil {
				quiet = s.afterInput()
			}
		case <-quiet:
			s.close()
		case <-told:
			told = nil
			s.close()
		}
	}
}

// noReceive takes why nothing more is received.
func (s *session) noReceive(o *outcome, err error) {
	switch {
	case errors.Is(err, errEnough):
		o.enough = true
	case o.failed == nil:
		o.failed = err
	}
	s.close()
}

// noSend takes what send has returned, and reports whether the input has ended.
func (s *session) noSend(o *outcome, err error) (ended bool) {
	switch {
	case err == nil:
		return true
	case errors.Is(err, errQuit):
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		o.unsent = true
	default:
		if o.failed == nil {
			o.failed = err
		}
		s.close()
	}
	return false
}

// lastLook is how long input may take to come that is about to: its reader works in a
// goroutine of its own.
const lastLook = 100 * time.Millisecond

// lookAgain finds out whether there is more input than the server has taken.
func (s *session) lookAgain(o *outcome, sent <-chan error) <-chan error {
	select {
	case err := <-sent:
		s.noSend(o, err)
		return nil
	case <-time.After(lastLook):
		return sent
	}
}

// last takes what receive and send have returned with the connection's end: receive is
// over by then, and send ends with its context. sent is nil if it has been asked.
func (s *session) last(o *outcome, sent <-chan error) {
	if sent != nil {
		s.noSend(o, <-sent)
	}
	select {
	case err := <-s.received:
		s.noReceive(o, err)
	default:
	}
}

func (s *session) close() { s.link.close(frame.CloseNormal, "") }

// afterInput returns what closes the connection if nothing comes until then.
func (s *session) afterInput() <-chan time.Time {
	d := s.c.patience()
	if d < 0 {
		return nil
	}
	return time.After(d)
}

// receive prints what comes until the connection ends.
func (s *session) receive(conn *engine.Conn) error {
	for {
		m, err := conn.Receive(context.Background())
		if err != nil {
			return nil // over has it
		}
		if err := s.c.print.message(m); err != nil {
			return outputError(err)
		}
		select {
		case s.activity <- struct{}{}:
		default:
		}
		if s.got++; s.got == s.c.count {
			return errEnough
		}
	}
}

// outputError is errEnough where nobody reads the output any more.
func outputError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return errEnough
	}
	return fmt.Errorf("writing the output: %w", err)
}

// send sends the input until it ends, or ctx does. Its errors are the input's, errQuit,
// and those of ctx and the connection if a message could not be sent.
func (s *session) send(ctx context.Context, in input) error {
	for n := 1; ; n++ {
		var l line
		var more bool
		select {
		case l, more = <-in.lines:
		case <-ctx.Done():
			return nil
		}
		switch {
		case !more:
			return s.link.drain(ctx)
		case l.err != nil:
			return l.err
		case in.typed:
			if err := s.obey(ctx, l.data); err != nil {
				return err
			}
			continue
		}
		if s.c.opcode() == frame.Text && !utf8.Valid(l.data) {
			return fmt.Errorf("message %d of the input is not UTF-8; --binary sends any bytes", n)
		}
		if err := s.link.put(ctx, s.c.opcode(), l.data); err != nil {
			return err
		}
	}
}

// obey does what a person has typed. Mistakes are told.
func (s *session) obey(ctx context.Context, text []byte) error {
	t, err := parseTyped(text)
	switch {
	case err != nil:
		s.c.print.tell(err.Error())
		return nil
	case t.ping:
		if s.ping(t.payload) != nil && s.c.reconnect { // else the connection's end shows by itself
			s.c.print.tell("not sent: there is no connection")
		}
		return nil
	case t.close:
		s.link.close(t.code, t.reason)
		return errQuit
	case len(t.message) > s.c.maxMessageBytes:
		s.c.print.tell(fmt.Sprintf("not sent: %d bytes are more than --max-message-bytes, which is %d", len(t.message), s.c.maxMessageBytes))
		return nil
	case s.c.opcode() == frame.Text && !utf8.Valid(t.message):
		s.c.print.tell("not sent: it is not UTF-8; --binary sends any bytes")
		return nil
	}
	return s.link.put(ctx, s.c.opcode(), t.message)
}

func (s *session) ping(payload []byte) error {
	conn := s.conn.Load()
	if conn == nil {
		return net.ErrClosed
	}
	s.mu.Lock()
	s.pings[string(payload)] = time.Now()
	s.mu.Unlock()
	return conn.Ping(payload)
}

// pinged returns how long ago the user sent such a ping; zero: never.
func (s *session) pinged(payload []byte) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.pings[string(payload)]
	if !ok {
		return 0
	}
	delete(s.pings, string(payload))
	return max(1, time.Since(at))
}

// controls shows pings and pongs.
type controls struct {
	interceptors.InboundOnly
	s *session
}

// InterceptInbound shows the answers to /ping always, and the rest with --verbose.
// Errors of the output show with the next message.
func (c *controls) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	took := time.Duration(0)
	if in.Type == frame.Pong {
		took = c.s.pinged(in.Data)
	}
	if in.Type == frame.Ping || in.Type == frame.Pong {
		if took > 0 || c.s.c.verbose {
			_ = c.s.c.print.control(in.Type, in.Data, took)
		}
	}
	return next.Run(ctx, in)
}
