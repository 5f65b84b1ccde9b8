package engine

import (
	"context"
	"iter"

	"github.com/penstock-ws/penstock/frame"
)

// Receive returns the next message of a connection whose endpoint has no
// OnMessage, after the interceptors have passed it. Its Data is valid until the
// next Receive. When all that came has been received it returns the connection's
// *CloseError. One goroutine at a time may receive, best one given to Go: the
// peer's close is answered when that has come back for more, or has returned.
// Nothing is received before OnOpen has returned.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	if !c.ep.pull {
		return Message{}, ErrNotPull
	}
	c.mu.Lock()
	if c.receiving {
		c.mu.Unlock()
		return Message{}, ErrReceiving
	}
	c.receiving = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.receiving = false
		c.mu.Unlock()
	}()
	return c.receiveNext(ctx)
}

// Messages yields what Receive returns until it fails; the last pair has the
// error, unless the peer closed with 1000 or 1001, or ctx has ended.
func (c *Conn) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Receive(ctx)
			if err == nil {
				if !yield(m, nil) {
					return
				}
				continue
			}
			if !c.endsQuietly(ctx, err) {
				yield(Message{}, err)
			}
			return
		}
	}
}

func (c *Conn) endsQuietly(ctx context.Context, err error) bool {
	closed, ok := err.(*CloseError)
	return ctx.Err() != nil || ok && (closed.Code == frame.CloseNormal || closed.Code == frame.CloseGoingAway)
}

func (c *Conn) receiveNext(ctx context.Context) (Message, error) {
	c.releaseLast()
	for {
		m, err := c.awaitMessage(ctx)
		if err != nil {
			return Message{}, err
		}
		p := c.pulled
		p.got = false
		c.deliver(m)
		if p.got {
			in := p.passed
			p.passed = Message{}
			return in, nil
		}
		c.releaseLast() // an interceptor kept it, or it was a control event
	}
}

// releaseLast gives back the memory and the room of the message before.
func (c *Conn) releaseLast() {
	c.mu.Lock()
	m := c.pulled.last
	if m.data == nil {
		c.mu.Unlock()
		return
	}
	c.pulled.last = arrival{}
	c.messages--
	c.bytes -= m.data.Len()
	c.settleInboundLocked()
	c.wakeReaderLocked()
	c.mu.Unlock()
	c.release(m)
}

func (c *Conn) awaitMessage(ctx context.Context) (arrival, error) {
	for {
		c.mu.Lock()
		c.work.append(&c.inbox)
		if !c.work.empty() {
			m, read := c.work.pop()
			c.pulled.last, c.call.read = m, read
			c.mu.Unlock()
			return m, nil
		}
		if c.noMore {
			cause := c.cause
			c.pulled.end = true
			c.kickLocked()
			return arrival{}, cause
		}
		s := c.needSeldomLocked()
		if s.arrival == nil {
			s.arrival = make(chan struct{})
		}
		arrived := s.arrival
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return arrival{}, ctx.Err()
		}
	}
}

func (c *Conn) wakeReceiverLocked() {
	if s := c.seldom; s != nil && s.arrival != nil {
		close(s.arrival)
		s.arrival = nil
	}
}
