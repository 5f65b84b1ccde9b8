package engine

import (
	"context"

	"github.com/penstock-ws/penstock/interceptors"
)

// A route says where a message goes at the end of the outbound chain.
type route struct {
	options SendOptions
	wait    context.Context // not nil: it may wait
	control bool            // it is a ping or pong
	close   bool            // it is a close
}

// An outRun is one run of a connection's outbound chain: the context that it gets,
// and what is at its end.
type outRun struct {
	interceptors.Context
	conn         *Conn
	target       string
	subprotocols []string
	route        route
	next         *outRun // of those that rest
}

type outRunKey struct{}

// Value knows the run and its connection.
func (r *outRun) Value(key any) any {
	switch key.(type) {
	case outRunKey:
		return r
	case connKey, interceptors.StoreKey:
		return r.conn
	}
	return r.Context.Value(key)
}

// sendOut is the end of every outbound chain.
func sendOut(ctx context.Context, out interceptors.Outbound) error {
	r := ctx.Value(outRunKey{}).(*outRun)
	c := r.conn
	switch {
	case r.route.close:
		return c.closeNow(out.CloseCode, out.CloseReason)
	case r.route.control:
		return c.sendControl(out.Type, out.Data)
	case r.route.wait != nil:
		return c.sendWaiting(r.route.wait, out.Type, out.Data)
	}
	return c.sendNow(out.Type, out.Data, r.route.options)
}

// intercept runs the chain. A caller's context, if any, is the parent; else the
// connection is.
func (c *Conn) intercept(ctx context.Context, out interceptors.Outbound, to route) error {
	own := ctx == context.Background()
	if own {
		ctx = c.Context()
	}
	r, seq := c.takeRun(own)
	r.route = to
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
	s := c.needSeldomLocked()
	s.outRuns++
	seq := 2*s.outRuns - 1
	r := s.restingRun
	if r == nil || !own {
		return c.newRun(), seq
	}
	s.restingRun, r.next = r.next, nil
	return r, seq
}

func (c *Conn) newRun() *outRun {
	r := &outRun{conn: c, target: c.scope.URL()}
	switch chosen := c.scope.Subprotocol(); {
	case c.scope.dialled:
		r.subprotocols = elements(c.scope.header["Sec-Websocket-Protocol"])
	case chosen != "":
		r.subprotocols = []string{chosen}
	}
	return r
}

func (c *Conn) restRun(r *outRun) {
	r.route = route{}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.needSeldomLocked()
	s.restingRun, r.next = r, s.restingRun
}
