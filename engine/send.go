package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// SendOptions say how a message is sent. The zero value is how Send does it.
type SendOptions struct {
	// Class says what becomes of the message if the peer is too slow for it. nil:
	// the connection's class (see Conn.SetSendClass).
	Class *backpressure.Class

	// Key, unless empty, lets only the latest message of its class with this key
	// wait: it takes the place of the one before. A peer that keeps up gets all.
	Key string
}

// SendText sends a text message, through the outbound interceptors. It never
// waits: nil says that the message is queued, in order, or written. Otherwise it
// returns ErrCongested, ErrDropped, ErrMessageTooBig (which closes the connection
// with 1009), ErrInvalidUTF8, the connection's *CloseError, or an interceptor's
// error; VerdictOf tells them apart.
func (c *Conn) SendText(s string) error {
	return c.Send(frame.Text, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// SendBytes sends a binary message, as SendText does. The caller keeps p.
func (c *Conn) SendBytes(p []byte) error { return c.Send(frame.Binary, p) }

// Send sends a message of type op, frame.Text or frame.Binary, as SendText does.
// The caller keeps p and may reuse it.
func (c *Conn) Send(op frame.Opcode, p []byte) error {
	return c.SendWith(SendOptions{}, op, p)
}

// SendWith is Send with a class or a key of the message's own.
func (c *Conn) SendWith(o SendOptions, op frame.Opcode, p []byte) error {
	if c.ep.sees.SeesOutbound(op) {
		return c.intercept(&interceptors.Outbound{Type: op, Data: p}, &route{options: o})
	}
	return c.sendNow(op, p, o, nil)
}

// SendWait is Send for goroutines that may wait, such as those of Go: where Send
// would return ErrCongested it waits until it would not. On a worker it would keep
// the worker from others, and on an event loop it returns ErrOnLoop.
func (c *Conn) SendWait(ctx context.Context, op frame.Opcode, p []byte) error {
	if err := mayWait(ctx); err != nil {
		return err
	}
	if c.ep.sees.SeesOutbound(op) {
		return c.intercept(&interceptors.Outbound{Type: op, Data: p}, &route{wait: ctx})
	}
	return c.sendWaiting(ctx, op, p)
}

func (c *Conn) sendWaiting(ctx context.Context, op frame.Opcode, p []byte) error {
	for {
		err := c.sendNow(op, p, SendOptions{}, nil)
		if err != ErrCongested {
			return err
		}
		if err := c.queue.Room(ctx); err != nil {
			return c.sendError(err)
		}
	}
}

// sendNow is the end of the outbound chain for data. It leaves the writing to the end of
// b, unless that is nil.
func (c *Conn) sendNow(op frame.Opcode, p []byte, o SendOptions, b *burst) error {
	if err := c.checkOutbound(op, p); err != nil {
		return err
	}
	m := backpressure.Message{Opcode: op, Payload: p, Class: o.Class, Key: o.Key, Hold: b != nil}
	packed := c.compress(&m)
	v := c.queue.Send(m)
	c.e.pool.Put(packed)
	return c.leave(b, c.verdict(v))
}

func (c *Conn) checkOutbound(op frame.Opcode, p []byte) error {
	switch {
	case len(p) > c.e.cfg.MaxMessageBytes:
		c.tooBig()
		return ErrMessageTooBig
	case op == frame.Binary:
		return nil
	case op != frame.Text:
		return fmt.Errorf("engine: cannot send a %v message; text and binary are possible", op)
	case !utf8.Valid(p):
		return ErrInvalidUTF8
	}
	return nil
}

func (c *Conn) tooBig() {
	c.shut(&CloseError{Code: frame.CloseMessageTooBig, Reason: "outbound message too big", Cause: CauseError}, false)
}

func (c *Conn) verdict(v backpressure.Verdict) error {
	switch v {
	case backpressure.Queued:
		return nil
	case backpressure.Congested:
		return ErrCongested
	case backpressure.Dropped:
		return ErrDropped
	case backpressure.Overflowed:
		c.shut(c.overflowError(), true)
	}
	return c.closedError()
}

func (c *Conn) overflowError() *CloseError {
	return &CloseError{Code: c.queue.Overflow(), Reason: "outbound queue overflow", Cause: CauseOverflow}
}

// closedError is why nothing can be sent: the cause of the end.
func (c *Conn) closedError() error {
	if err := c.closeError(); err != nil {
		return err
	}
	return &CloseError{Code: frame.CloseAbnormal, Reason: "write failed", Cause: CauseLost} // Finished is about to say so
}

// sendError prefers the cause of the end to the queue's bare statement of it.
func (c *Conn) sendError(err error) error {
	if err == backpressure.ErrClosed {
		return c.closedError()
	}
	return err
}

// Ping sends a ping with at most 125 bytes of payload. The peer's pong is seen by
// interceptors. The engine pings quiet peers by itself.
func (c *Conn) Ping(payload []byte) error {
	if c.ep.sees.SeesOutbound(frame.Ping) {
		return c.intercept(&interceptors.Outbound{Type: frame.Ping, Data: payload}, &route{control: true})
	}
	return c.sendControl(frame.Ping, payload)
}

// sendControl is the end of the outbound chain for pings.
func (c *Conn) sendControl(op frame.Opcode, p []byte) error {
	switch {
	case op != frame.Ping && op != frame.Pong:
		return fmt.Errorf("engine: cannot send a %v message in place of a ping", op)
	case len(p) > frame.MaxControlPayload:
		return fmt.Errorf("engine: %v payload is %d bytes; at most %d are allowed", op, len(p), frame.MaxControlPayload)
	case c.queue.SendControl(op, p) == backpressure.Closed:
		return c.closedError()
	}
	return nil
}

// Close begins the closing handshake: what has been sent before still goes out,
// then a close frame with code and reason; nothing that the peer sends from here
// on reaches a handler. It does not wait; OnClose says when it is over. The
// code must be one that may stand in a close frame (1000–1003, 1007–1014,
// 3000–4999) and the reason UTF-8 of at most 123 bytes. Closing again returns the
// *CloseError of the first time.
func (c *Conn) Close(code frame.CloseCode, reason string) error {
	if !c.ep.sees.SeesOutbound(frame.Close) {
		return c.closeNow(code, reason)
	}
	if err := frame.ValidateClose(code, reason); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	out := interceptors.Outbound{Type: frame.Close, CloseCode: code, CloseReason: reason}
	return c.intercept(&out, &route{close: true})
}

// closeNow is the end of the outbound chain for closes.
func (c *Conn) closeNow(code frame.CloseCode, reason string) error {
	if err := frame.ValidateClose(code, reason); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	if !c.shut(&CloseError{Code: code, Reason: reason}, false) {
		return c.closedError()
	}
	return nil
}

// refusalMessage is how a refusal looks on the wire.
type refusalMessage struct {
	Type       string `json:"type"` // always "error"
	Status     int    `json:"status"`
	Message    string `json:"message"`
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds
}

// answerRefusal tells the peer that its message was refused. A congested peer is
// not told.
func (c *Conn) answerRefusal(r interceptors.Refusal) {
	b, err := json.Marshal(refusalMessage{"error", r.Status, r.Message, wholeSeconds(r.RetryAfter)})
	if err == nil {
		_ = c.Send(frame.Text, b)
	}
	if r.Close {
		c.shut(&CloseError{Code: frame.ClosePolicyViolation, Reason: closeReason(r.Message), Cause: CauseRefused}, false)
	}
}

// wholeSeconds rounds up: a peer that comes back sooner is refused again.
func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// closeReason returns as much of a text as a close frame has room for.
func closeReason(text string) string {
	return frame.TruncateReason(strings.ToValidUTF8(text, "\uFFFD"))
}
