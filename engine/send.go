package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"unicode/utf8"
	"unsafe"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// SendText sends a text message, through the outbound interceptors. It never
// waits: nil says that the message is queued, in order, or written. Otherwise it
// returns ErrCongested, ErrMessageTooBig (which closes the connection with 1009),
// ErrInvalidUTF8, the connection's *CloseError, or an interceptor's error.
func (c *Conn) SendText(s string) error {
	return c.Send(frame.Text, unsafe.Slice(unsafe.StringData(s), len(s)))
}

// SendBytes sends a binary message, as SendText does. The caller keeps p.
func (c *Conn) SendBytes(p []byte) error { return c.Send(frame.Binary, p) }

// Send sends a message of type op, frame.Text or frame.Binary, as SendText does.
// The caller keeps p and may reuse it.
func (c *Conn) Send(op frame.Opcode, p []byte) error {
	if c.ep.outboundRun != nil {
		return c.intercept(context.Background(), interceptors.Outbound{Type: op, Data: p}, (*Conn).sendNow)
	}
	return c.sendNow(op, p)
}

// SendWait is Send for goroutines that may wait, such as those of Go: while the
// connection is congested it waits for LowWaterBytes. On a worker it would keep
// the worker from others.
func (c *Conn) SendWait(ctx context.Context, op frame.Opcode, p []byte) error {
	if c.ep.outboundRun != nil {
		return c.intercept(ctx, interceptors.Outbound{Type: op, Data: p}, func(c *Conn, op frame.Opcode, p []byte) error {
			return c.sendWaiting(ctx, op, p)
		})
	}
	return c.sendWaiting(ctx, op, p)
}

func (c *Conn) sendWaiting(ctx context.Context, op frame.Opcode, p []byte) error {
	for {
		err := c.sendNow(op, p)
		if err != ErrCongested {
			return err
		}
		if err := c.queue.Drain(ctx, c.e.cfg.LowWaterBytes); err != nil {
			return c.sendError(err)
		}
	}
}

// sendNow is the end of the outbound chain for data.
func (c *Conn) sendNow(op frame.Opcode, p []byte) error {
	if err := c.checkOutbound(op, p); err != nil {
		return err
	}
	return c.verdict(c.queue.Send(op, p))
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
	c.shut(&CloseError{Code: frame.CloseMessageTooBig, Reason: "outbound message too big"}, false)
}

func (c *Conn) verdict(v backpressure.Verdict) error {
	switch v {
	case backpressure.Queued:
		return nil
	case backpressure.Congested:
		return ErrCongested
	case backpressure.Overflowed:
		c.shut(&CloseError{Code: c.e.cfg.OverflowClose, Reason: "outbound queue overflow"}, true)
	}
	return c.closedError()
}

// closedError is why nothing can be sent: the cause of the end.
func (c *Conn) closedError() error {
	if err := c.closeError(); err != nil {
		return err
	}
	return &CloseError{Code: frame.CloseAbnormal, Reason: "write failed"} // Finished is about to say so
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
	if c.ep.outboundRun != nil {
		return c.intercept(context.Background(), interceptors.Outbound{Type: frame.Ping, Data: payload}, (*Conn).sendControl)
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
	}
	return c.verdict(c.queue.SendControl(op, p))
}

// Close begins the closing handshake: what has been sent before still goes out,
// then a close frame with code and reason; nothing that the peer sends from here
// on reaches a handler. It does not wait; OnClose says when it is over. The
// code must be one that may stand in a close frame (1000–1003, 1007–1014,
// 3000–4999) and the reason UTF-8 of at most 123 bytes. Closing again returns the
// *CloseError of the first time.
func (c *Conn) Close(code frame.CloseCode, reason string) error {
	if err := frame.ValidateClose(code, reason); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	closeNow := func(code frame.CloseCode, reason string) error {
		if !c.shut(&CloseError{Code: code, Reason: reason}, false) {
			return c.closedError()
		}
		return nil
	}
	if c.ep.outboundRun == nil {
		return closeNow(code, reason)
	}
	out := interceptors.Outbound{Type: frame.Close, CloseCode: code, CloseReason: reason}
	return c.runOut(context.Background(), out, nil, closeNow)
}

// Flush writes what a batch of messages has held back for this connection.
func (c *Conn) Flush() { c.queue.Flush() }

// PendingBytes returns what is queued for the peer, frame headers included.
func (c *Conn) PendingBytes() int { return c.queue.Pending() }

// Drain waits until at most n bytes are pending. It returns ctx's error, or the
// connection's *CloseError if what was pending has been lost.
func (c *Conn) Drain(ctx context.Context, n int) error {
	return c.sendError(c.queue.Drain(ctx, n))
}

// An outRun is one run of a connection's outbound chain: the context that it gets,
// and what is at its end.
type outRun struct {
	interceptors.Context
	conn         *Conn
	target       string
	subprotocols []string
	send         func(*Conn, frame.Opcode, []byte) error
	close        func(frame.CloseCode, string) error
	next         *outRun // of those that rest
}

type outRunKey struct{}

// Value knows the run and its connection.
func (r *outRun) Value(key any) any {
	switch key.(type) {
	case outRunKey:
		return r
	case connKey:
		return r.conn
	}
	return r.Context.Value(key)
}

// sendOut is the end of every outbound chain.
func sendOut(ctx context.Context, out interceptors.Outbound) error {
	r := ctx.Value(outRunKey{}).(*outRun)
	if r.close != nil {
		if err := frame.ValidateClose(out.CloseCode, out.CloseReason); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		return r.close(out.CloseCode, out.CloseReason)
	}
	return r.send(r.conn, out.Type, out.Data)
}

func (c *Conn) intercept(ctx context.Context, out interceptors.Outbound, send func(*Conn, frame.Opcode, []byte) error) error {
	return c.runOut(ctx, out, send, nil)
}

// runOut runs the chain. A caller's context, if any, is the parent; else the
// connection is.
func (c *Conn) runOut(ctx context.Context, out interceptors.Outbound, send func(*Conn, frame.Opcode, []byte) error, closeNow func(frame.CloseCode, string) error) error {
	own := ctx == context.Background()
	if own {
		ctx = c.Context()
	}
	r, seq := c.takeRun(own)
	r.send, r.close = send, closeNow
	r.Reset(ctx, c.id, seq)
	out.Target, out.Header, out.Subprotocols = r.target, c.scope.header, r.subprotocols
	err := c.ep.outboundRun(r, out)
	if own {
		c.restRun(r)
	}
	return err
}

// takeRun returns a run and its number, odd where those of inbound runs are even.
// Runs whose parent is the connection are used again, by this connection only:
// contexts that an interceptor has derived may look at the parent for a moment
// longer than the run, so it must not change (see interceptors.Context.Reset).
func (c *Conn) takeRun(own bool) (*outRun, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outRuns++
	seq := 2*c.outRuns - 1
	r := c.restingRun
	if r == nil || !own {
		return c.newRun(), seq
	}
	c.restingRun, r.next = r.next, nil
	return r, seq
}

func (c *Conn) newRun() *outRun {
	r := &outRun{conn: c, target: c.scope.URL()}
	if c.scope.subprotocol != "" {
		r.subprotocols = []string{c.scope.subprotocol}
	}
	return r
}

func (c *Conn) restRun(r *outRun) {
	r.send, r.close = nil, nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restingRun, r.next = r, c.restingRun
}

// refusalMessage is how a refusal looks on the wire.
type refusalMessage struct {
	Type    string `json:"type"` // always "error"
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// answerRefusal tells the peer that its message was refused. A congested peer is
// not told.
func (c *Conn) answerRefusal(r interceptors.Refusal) {
	b, err := json.Marshal(refusalMessage{"error", r.Status, r.Message})
	if err == nil {
		_ = c.Send(frame.Text, b)
	}
}
