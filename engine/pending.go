package engine

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// SetSendClass changes what becomes of messages that name no class, on this
// connection; nil: to what it began with, the class of the endpoint or of Config.
func (c *Conn) SetSendClass(class *backpressure.Class) {
	if class == nil {
		class = c.ep.class
	}
	c.queue.SetClass(class)
}

// Cork runs f and holds back what is sent on the connection meanwhile, up to
// CorkBytes, so that it leaves in one write when f returns. The replies to a batch
// of messages are corked without it.
func (c *Conn) Cork(f func()) {
	c.queue.Cork()
	defer c.uncork()
	f()
}

func (c *Conn) uncork() {
	c.queue.Uncork()
	c.queue.Flush()
}

// Flush writes what a batch of messages, or Cork, has held back for this
// connection.
func (c *Conn) Flush() { c.queue.Flush() }

// PendingBytes returns what has been sent and not left this machine: what is
// queued, frame headers included, and on Linux what the kernel has taken and not
// put on the network yet. It costs system calls.
func (c *Conn) PendingBytes() int {
	unsent, _ := c.sock.unsent()
	return c.queue.Pending() + unsent
}

// Nothing tells when the kernel has sent what it holds, so Drain asks, first
// after firstPoll, then half as often each time, down to lastPoll.
const (
	firstPoll = time.Millisecond
	lastPoll  = 50 * time.Millisecond
)

// Drain waits until PendingBytes is at most n. It returns ctx's error, or the
// connection's *CloseError if what was pending has been lost, or may have been. What has
// been held back is written. On an event loop it returns ErrOnLoop.
func (c *Conn) Drain(ctx context.Context, n int) error {
	if err := mayWait(ctx); err != nil {
		return err
	}
	most := n // what may be queued
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		if err := c.queue.Drain(ctx, most); err != nil {
			return c.sendError(err)
		}
		unsent, lost := c.sock.unsent()
		switch {
		case c.hasLost(lost):
			return c.closedError()
		case c.queue.Pending()+unsent <= n:
			return nil
		}
		most = max(0, n-unsent)
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hasLost reports whether messages may have been lost, of so many bytes that the socket has
// thrown away or, when it has been closed, without a closing handshake or before everything
// had been sent.
func (c *Conn) hasLost(bytes int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.sockState {
	case sockOpen:
		return bytes > c.farewellLocked()
	case sockClosed:
		return c.cause.Code == frame.CloseAbnormal
	}
	return true
}

// Notice implements backpressure.Events.
func (c *Conn) Notice(n backpressure.Notice) {
	c.mu.Lock()
	if n&backpressure.NoticeDrained != 0 {
		c.drainOwed = c.drainOwed || c.ep.handler.OnDrain != nil
		c.wakeReaderLocked()
	}
	if n&backpressure.NoticeDropped != 0 {
		c.dropOwed = c.dropOwed || c.ep.handler.OnDrop != nil
	}
	c.kickLocked()
}

// Gap implements backpressure.Events.
func (c *Conn) Gap(lost backpressure.Lost) (op frame.Opcode, payload []byte) {
	c.guard(func() error {
		op, payload = lost.Class.Gap(lost)
		return nil
	})
	if len(payload) > c.e.cfg.MaxMessageBytes || op == frame.Text && !utf8.Valid(payload) {
		c.e.cfg.Logger.Error("penstock: a Gap is over MaxMessageBytes or not UTF-8; it is left out", "conn", c.id, "class", lost.Class.Name)
		return 0, nil
	}
	return op, payload
}
