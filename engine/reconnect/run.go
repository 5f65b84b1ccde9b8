package reconnect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// errGreeting is why a connection on which the server has not greeted was closed.
var errGreeting = errors.New("reconnect: the server has not said what it has received")

// run connects until there is a connection, or the client ends.
func (c *Client) run() {
	for c.ctx.Err() == nil {
		c.tell(Connecting, nil)
		s, err := c.attempt()
		if err == nil {
			c.tell(Connected, nil)
			if c.rest(s) {
				return
			}
			err = s.err
		}
		if !c.stayAway(err, s) {
			return
		}
	}
	c.end(nil)
}

// resume goes on when a connection has ended.
func (c *Client) resume(s *session) {
	if c.stayAway(s.err, s) {
		c.run()
	}
}

// rest lets the goroutine end, for OnClose will start another; or returns false if
// that has come already.
func (c *Client) rest(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-s.ended:
		return false
	default:
	}
	c.running = false
	return true
}

// stayAway waits until the next attempt may be made. It returns false if there is to be
// none, and the client has ended.
func (c *Client) stayAway(err error, s *session) bool {
	if c.ctx.Err() != nil {
		c.end(nil)
		return false
	}
	if c.cfg.GiveUp(err) {
		c.end(err)
		return false
	}
	lasted := time.Duration(-1)
	if s != nil {
		lasted = s.lasted
	}
	c.backoff.fail(lasted)
	c.tell(Away, err)
	timer := time.NewTimer(c.backoff.wait(err))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		c.end(nil)
		return false
	}
}

// attempt makes a connection, up to where messages flow.
func (c *Client) attempt() (*session, error) {
	c.awaitQuiet()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	if c.cfg.AttemptTimeout > 0 {
		timed, stop := context.WithTimeout(ctx, c.cfg.AttemptTimeout)
		defer stop()
		ctx = timed
	}
	s := &session{c: c, cancel: cancel, lasted: -1, ended: make(chan struct{}), greets: make(chan struct{})}
	if err := c.dial(ctx, s); err != nil {
		return nil, err
	}
	err := c.introduce(ctx, s)
	if err == nil && c.join(s) {
		return s, nil
	}
	reason := "not ready"
	if c.ctx.Err() != nil {
		reason = ""
	}
	_ = s.conn.Close(frame.CloseNormal, reason) // it may have ended
	<-s.ended
	if s.fault != nil || err == nil || errors.Is(err, context.Canceled) { // what has caused it says more
		return nil, s.err
	}
	return nil, err
}

func (c *Client) dial(ctx context.Context, s *session) error {
	a := Attempt{Number: c.backoff.failures + 1, Target: c.cfg.Target, Header: c.cfg.Dial.Header.Clone()}
	if a.Header == nil {
		a.Header = make(http.Header)
	}
	if c.cfg.Before != nil {
		if err := c.cfg.Before(ctx, &a); err != nil {
			return err
		}
	}
	cfg := c.cfg.Dial
	cfg.Engine, cfg.Header, cfg.Endpoint = c.engine, a.Header, s.wrap(cfg.Endpoint)
	conn, err := engine.Dial(ctx, a.Target, cfg)
	s.conn = conn
	return err
}

// introduce does what comes before the outbox.
func (c *Client) introduce(ctx context.Context, s *session) error {
	if c.cfg.OnConnect != nil {
		if err := c.cfg.OnConnect(ctx, s.conn); err != nil {
			return err
		}
	}
	if c.cfg.Delivery != ExactlyOnce {
		return ctx.Err()
	}
	select {
	case <-s.greets:
		return ctx.Err()
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return errGreeting
		}
		return ctx.Err()
	}
}

// join lets messages flow on s, unless it has ended, or is to end.
func (c *Client) join(s *session) bool {
	c.mu.Lock()
	select {
	case <-s.ended:
		c.mu.Unlock()
		return false
	default:
	}
	if c.ctx.Err() != nil || s.fault != nil {
		c.mu.Unlock()
		return false
	}
	c.box.rewind()
	s.since = time.Now()
	c.flow = s
	c.connections++
	c.pumpLocked()
	return true
}

// tell changes the state.
func (c *Client) tell(state State, err error) {
	c.mu.Lock()
	c.state = state
	c.changedLocked()
	c.mu.Unlock()
	if c.cfg.OnState != nil {
		c.cfg.OnState(state, err)
	}
}

// end is the client's end: because it has been closed, or by a cause.
func (c *Client) end(cause error) {
	c.cancel()
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.awaitQuiet()
	err := ErrClosed
	if cause != nil {
		err = fmt.Errorf("%w: it has given up: %w", ErrClosed, cause)
	}
	c.mu.Lock()
	c.err = err
	left := c.box.empty()
	c.changedLocked()
	c.mu.Unlock()
	for _, m := range left {
		c.lose(m, err)
	}
	if c.own {
		_ = c.engine.Shutdown(context.Background()) // ErrShutdown: Close is doing it
	}
	c.tell(Closed, err)
	close(c.done)
}
