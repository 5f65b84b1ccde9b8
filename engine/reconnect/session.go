package reconnect

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A session is one connection of a client.
type session struct {
	// immutable
	c      *Client
	cancel context.CancelFunc // ends the attempt
	ended  chan struct{}      // closed by OnClose
	greets chan struct{}      // closed by the first acknowledgement

	// the run goroutine until it is the client's flow, then immutable
	conn *engine.Conn

	// guarded by the client's mu
	since   time.Time     // it has been the flow
	lasted  time.Duration // -1: it has never been
	drains  uint64        // calls of OnDrain
	blocked bool          // congested; OnDrain will come
	dead    bool          // it takes nothing any more; OnClose will come
	handed  bool          // it has taken a message
	told    bool          // Drain has said how it ended
	greeted bool
	fault   error // what this client finds wrong with it
	err     error // how it ended; set before ended is closed
}

// takes reports whether messages may be handed over.
func (s *session) takes() bool { return s != nil && !s.blocked && !s.dead }

// wrap puts the session into an endpoint's callbacks.
func (s *session) wrap(ep engine.Endpoint) engine.Endpoint {
	h := ep.Handler
	ep.Handler.OnDrain = func(conn *engine.Conn) {
		defer s.c.drained(s) // also after a panic
		if h.OnDrain != nil {
			h.OnDrain(conn)
		}
	}
	ep.Handler.OnClose = func(conn *engine.Conn, err *engine.CloseError) {
		defer s.over(conn, err) // likewise
		if h.OnClose != nil {
			h.OnClose(conn, err)
		}
	}
	if ack := s.c.cfg.Ack; ack != nil {
		ep.Handler.OnMessage = func(ctx context.Context, conn *engine.Conn, m engine.Message) error {
			if n, ok := ack(m); ok {
				return s.acked(n)
			}
			return h.OnMessage(ctx, conn, m)
		}
	}
	return ep
}

// acked: the server has n messages.
func (s *session) acked(n uint64) error {
	c := s.c
	c.mu.Lock()
	b := &c.box
	greeting := !s.greeted
	s.greeted = true
	forgot := greeting && c.cfg.Delivery == ExactlyOnce && n < b.base
	if n > b.ever || forgot {
		s.fault = fmt.Errorf("%w: it has %d of %d to %d messages", ErrAck, n, b.base, b.ever)
		c.mu.Unlock()
		return &engine.CloseError{Code: frame.ClosePolicyViolation, Reason: "acknowledgement does not fit"}
	}
	b.drop(n)
	if greeting {
		close(s.greets)
	}
	c.changedLocked()
	c.mu.Unlock()
	return nil
}

// over is the end of a session. If nobody waits for it, a goroutine goes on.
func (s *session) over(conn *engine.Conn, err *engine.CloseError) {
	lost := conn.Drain(context.Background(), 0) != nil // which does not wait: it has ended
	c := s.c
	c.mu.Lock()
	s.err = err
	if s.fault != nil {
		s.err = s.fault
	}
	if !s.since.IsZero() {
		s.lasted = time.Since(s.since)
	}
	if c.flow == s {
		c.flow = nil
	}
	if lost && s.handed && !s.told {
		c.unwritten = err
	}
	close(s.ended)
	s.cancel()
	c.changedLocked()
	goOn := !c.running
	c.running = true
	c.mu.Unlock()
	if goOn {
		go c.resume(s) // ends when there is a connection, and with the client
	}
}
