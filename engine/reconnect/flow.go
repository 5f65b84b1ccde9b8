package reconnect

import (
	"context"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// turn is how many messages a sender, or a worker, hands over for others.
const turn = 64

// refusing is the class of all that a client sends: what a connection has no room for
// stays here, whatever the endpoint's class would do with it.
var refusing = &backpressure.Class{Name: "reconnect"}

// sendLocked accepts or refuses a message and unlocks.
func (c *Client) sendLocked(op frame.Opcode, p []byte) error {
	if c.closing {
		defer c.mu.Unlock()
		if c.err != nil {
			return c.err
		}
		return ErrClosed
	}
	if c.clearLocked() {
		v, err := c.passLocked(op, p)
		if v != engine.Congested && v != engine.Closed {
			c.pumpOnLocked(turn)
			return err
		}
		c.pumping = false
		c.changedLocked()
	}
	dropped, ok := c.makeRoomLocked(len(p))
	if !ok {
		c.mu.Unlock()
		return engine.ErrCongested
	}
	c.box.push(op, p)
	c.pumpLocked()
	for _, m := range dropped {
		c.lose(m, engine.ErrDropped)
	}
	return nil
}

// clearLocked reports whether a message need not be kept: a connection may take it
// at once, and that is all that was promised.
func (c *Client) clearLocked() bool {
	return c.cfg.Delivery == AtMostOnce && !c.pumping && c.box.len() == 0 && c.flow.takes()
}

// passLocked hands a message to the connection. Then pumping is true, and the caller
// goes on with what others may have put into the outbox meanwhile.
func (c *Client) passLocked(op frame.Opcode, p []byte) (engine.Verdict, error) {
	c.pumping = true
	c.box.pass() // now, for Drain: what others put into the outbox meanwhile keeps its number
	v, err := c.handOverLocked(c.flow, op, p, c.box.passBack)
	if v != engine.Queued {
		c.box.passBack()
	}
	return v, err
}

// makeRoomLocked returns false if there is no room for so many bytes, and what had to
// be dropped for them.
func (c *Client) makeRoomLocked(size int) (dropped []waiting, ok bool) {
	b := &c.box
	messages, bytes := b.len()+1-c.cfg.OutboxMessages, b.bytes+size-c.cfg.OutboxBytes // too many
	switch {
	case messages <= 0 && bytes <= 0:
		return nil, true
	case c.cfg.Overflow != DropOldest || c.cfg.OutboxMessages < 0:
		return nil, false
	}
	if n, held := b.removable(); n < messages || held < bytes {
		return nil, false
	}
	for messages > 0 || bytes > 0 {
		m := b.remove()
		messages, bytes = messages-1, bytes-len(m.data)
		dropped = append(dropped, m)
	}
	return dropped, true
}

// pumpLocked hands over what waits, unless somebody does. It unlocks.
func (c *Client) pumpLocked() {
	if c.pumping {
		c.mu.Unlock()
		return
	}
	c.pumping = true
	c.pumpOnLocked(turn)
}

// pumpOnLocked is for the one who has set pumping. After so many messages a goroutine
// goes on. It unlocks.
func (c *Client) pumpOnLocked(most int) {
	for n := 0; c.flow.takes() && c.box.next < c.box.end(); n++ {
		if n == most {
			c.mu.Unlock()
			go c.pumpAll() // ends when the outbox is empty, the connection congested or gone
			return
		}
		c.handNextLocked()
	}
	c.pumping = false
	c.changedLocked()
	c.mu.Unlock()
}

func (c *Client) pumpAll() {
	c.mu.Lock()
	c.pumpOnLocked(-1)
}

// handNextLocked hands over the next message of the outbox, and decides what becomes of
// it. It unlocks meanwhile.
func (c *Client) handNextLocked() {
	m, number, first := c.box.hand()
	refused := func() {
		c.box.takeBack(number, first)
		if number == c.box.next+1 {
			c.box.ever = c.box.next
			c.box.remove()
		}
	}
	v, err := c.handOverLocked(c.flow, m.op, m.data, refused)
	switch v {
	case engine.Queued:
		if c.cfg.Delivery == AtMostOnce {
			c.box.drop(number)
		}
		c.changedLocked()
	case engine.Congested, engine.Closed:
		c.box.takeBack(number, first)
	default:
		refused()
		c.changedLocked()
		c.mu.Unlock()
		c.lose(m, err)
		c.mu.Lock()
	}
}

// handOverLocked sends on a session's connection, and notes if that takes no more. It
// unlocks meanwhile. crashed is called, under the lock, if an interceptor panics.
func (c *Client) handOverLocked(s *session, op frame.Opcode, p []byte, crashed func()) (v engine.Verdict, err error) {
	returned := false
	defer func() {
		if !returned {
			crashed()
			c.pumping = false
			c.changedLocked()
			c.mu.Unlock()
		}
	}()
	for {
		drains := s.drains
		err = c.sendOn(s.conn, op, p)
		v = engine.VerdictOf(err)
		if v != engine.Congested || s.drains == drains {
			break
		}
	}
	returned = true
	switch v {
	case engine.Queued:
		s.handed, s.told = true, false
	case engine.Congested:
		s.blocked = true
	case engine.Closed:
		s.dead = true
	}
	return v, err
}

// sendOn sends without the lock.
func (c *Client) sendOn(conn *engine.Conn, op frame.Opcode, p []byte) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	return conn.SendWith(engine.SendOptions{Class: refusing}, op, p)
}

// drained: the session's connection takes messages again.
func (c *Client) drained(s *session) {
	c.mu.Lock()
	s.drains++
	s.blocked = false
	c.changedLocked()
	c.pumpLocked()
}

func (c *Client) lose(m waiting, err error) {
	if c.cfg.OnLost != nil {
		c.cfg.OnLost(m.op, m.data, err)
	}
}

// awaitQuiet waits until nobody hands over messages. Nobody begins to while there is no
// flow, and on a connection that has ended nobody goes on for long.
func (c *Client) awaitQuiet() {
	c.mu.Lock()
	for c.pumping {
		_ = c.awaitChangeLocked(context.Background())
	}
	c.mu.Unlock()
}
