package engine

import (
	"context"
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Prepared is a message encoded once for many connections; any number of them may
// send it at the same time, and it never changes.
type Prepared struct {
	p        *backpressure.Prepared
	variants *variants // nil: it is never compressed
	options  SendOptions
}

// Prepare encodes a message of type op, frame.Text or frame.Binary, copying
// payload. It returns ErrMessageTooBig, closing nobody, or ErrInvalidUTF8.
func (e *Engine) Prepare(op frame.Opcode, payload []byte) (Prepared, error) {
	switch {
	case len(payload) > e.cfg.MaxMessageBytes:
		return Prepared{}, ErrMessageTooBig
	case op == frame.Text && !utf8.Valid(payload):
		return Prepared{}, ErrInvalidUTF8
	case op != frame.Text && op != frame.Binary:
		return Prepared{}, fmt.Errorf("engine: cannot prepare a %v message; text and binary are possible", op)
	}
	p := Prepared{p: backpressure.Prepare(op, 0, payload, e.cfg.Budget)}
	if e.cfg.Compress && len(payload) >= e.cfg.CompressMinBytes {
		p.variants = new(variants)
	}
	return p, nil
}

// With returns the same message to be sent with options.
func (p Prepared) With(o SendOptions) Prepared {
	p.options = o
	return p
}

// Len returns the payload's size in bytes.
func (p Prepared) Len() int { return p.p.Len() }

// SendPrepared sends p, as Send does. Where no interceptor sees outbound messages of
// its type the encoded message is shared; elsewhere it passes the chain and is
// encoded for this connection alone, and compressed, if it is.
func (c *Conn) SendPrepared(p Prepared) error {
	return c.sendHeld(p, nil)
}

func (p Prepared) message(c *Conn, hold bool) backpressure.Message {
	return backpressure.Message{Prepared: p.forPeer(c.e, int(c.deflateBits)), Class: p.options.Class, Key: p.options.Key, Hold: hold}
}

// Tally says what became of a broadcast: how many connections got each Verdict.
type Tally struct {
	Queued, Congested, Dropped, Closed, Refused int
}

// Broadcast sends p to every connection of conns. It waits for none of them, and the
// panic of an interceptor of one ends that one with 1011. If
// ctx is that of a callback that handles one of several waiting messages, the
// writes are held back until the last of them has been handled, so that each
// connection is written to once.
func Broadcast(ctx context.Context, conns iter.Seq[*Conn], p Prepared) Tally {
	return BroadcastFunc(ctx, conns, p, nil)
}

// BroadcastFunc is Broadcast that calls missed, unless it is nil, for each connection
// whose send was in vain, with the error.
func BroadcastFunc(ctx context.Context, conns iter.Seq[*Conn], p Prepared, missed func(*Conn, error)) Tally {
	var b *burst
	if c := FromContext(ctx); c != nil {
		b = c.burst.Load()
	}
	var t Tally
	for c := range conns {
		err := c.sendGuarded(p, b)
		t.count(VerdictOf(err))
		if err != nil && missed != nil {
			missed(c, err)
		}
	}
	return t
}

func (t *Tally) count(v Verdict) {
	switch v {
	case Queued:
		t.Queued++
	case Congested:
		t.Congested++
	case Dropped:
		t.Dropped++
	case Closed:
		t.Closed++
	case Refused:
		t.Refused++
	}
}

// sendGuarded is sendHeld for one of many: if an interceptor panics, that connection
// ends, and neither the others' message nor who sends it.
func (c *Conn) sendGuarded(p Prepared, b *burst) (err error) {
	if !c.ep.sees.SeesOutbound(p.p.Opcode()) {
		return c.sendHeld(p, b)
	}
	crashed := true
	c.guard(func() error {
		err, crashed = c.sendHeld(p, b), false
		return nil
	})
	if crashed {
		return c.closedError()
	}
	return err
}

// sendHeld queues p and leaves the writing to the end of b, unless that is nil.
func (c *Conn) sendHeld(p Prepared, b *burst) error {
	if c.ep.sees.SeesOutbound(p.p.Opcode()) {
		return c.intercept(&interceptors.Outbound{Type: p.p.Opcode(), Data: p.p.Payload()}, &route{options: p.options, burst: b})
	}
	return c.leave(b, c.verdict(c.queue.Send(p.message(c, b != nil))))
}

// leave has b, unless that is nil, write what has just been queued, and returns the
// verdict on it.
func (c *Conn) leave(b *burst, err error) error {
	if b == nil || err != nil && err != ErrDropped {
		return err
	}
	if !b.touch(c) { // also after a drop, which may have left a gap to be written
		c.queue.Flush()
	}
	return err
}
