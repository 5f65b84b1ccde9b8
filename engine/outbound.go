package engine

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/penstock-ws/penstock/interceptors"
)

// A route says where a message goes at the end of the outbound chain.
type route struct {
	options SendOptions
	burst   *burst          // not nil: it leaves the writing to that
	wait    context.Context // not nil: it may wait
	control bool            // it is a ping or pong
	close   bool            // it is a close
}

// An outRun is one run of a connection's outbound chain: the context that it gets,
// and what is at its end.
type outRun struct {
	interceptors.Context
	conn  *Conn
	route route
}

type outRunKey struct{}

// Value knows the run and its connection.
func (r *outRun) Value(key any) any {
	switch key.(type) {
	case outRunKey:
		return r
	case connKey, interceptors.StoreKey, interceptors.SenderKey:
		return r.conn
	}
	return r.Context.Value(key)
}

// errForeignContext: there is no telling which connection a message belongs to.
var errForeignContext = errors.New("engine: an interceptor has called next.Run with a context that is not derived from its own")

// InterceptOutbound sends a message, as its run says.
func (*chainEnd) InterceptOutbound(ctx context.Context, out interceptors.Outbound, _ *interceptors.OutboundNext) error {
	r, ok := ctx.(*outRun)
	if !ok { // an interceptor has derived another from it
		if r, ok = ctx.Value(outRunKey{}).(*outRun); !ok {
			return errForeignContext
		}
	}
	c := r.conn
	switch {
	case r.route.close:
		return c.closeNow(out.CloseCode, out.CloseReason)
	case r.route.control:
		return c.sendControl(out.Type, out.Data)
	case r.route.wait != nil:
		return c.sendWaiting(r.route.wait, out.Type, out.Data)
	}
	return c.sendNow(out.Type, out.Data, r.route.options, r.route.burst)
}

// intercept runs the chain. The context of who waits is the parent; else the connection is.
func (c *Conn) intercept(out *interceptors.Outbound, to *route) error {
	runs := c.needOutRuns()
	r := runs.begin(c, to.wait)
	r.route = *to
	out.Peer = &runs.peer
	out.Data = slices.Clip(out.Data) // an append must not write behind it
	err := c.ep.outbound[out.Type%opcodes].Run(r, *out)
	if r == &runs.run {
		r.route = route{}
		runs.end()
	}
	return err
}

// outRuns are the runs of a connection's outbound chain: any goroutine may send, also
// from inside a run.
type outRuns struct {
	state atomic.Uint64 // bit 0: run is under way; the rest: how many have begun
	run   outRun        // most need one at a time
	peer  interceptors.Peer
}

func (c *Conn) needOutRuns() *outRuns {
	if runs := c.outRuns.Load(); runs != nil {
		return runs
	}
	runs := &outRuns{peer: c.peer()}
	runs.run.conn = c
	runs.run.Reset(c.Context(), c.id, 1)
	if !c.outRuns.CompareAndSwap(nil, runs) {
		runs = c.outRuns.Load()
	}
	return runs
}

// begin returns a run. Its number is odd where those of inbound runs are even. The one
// that is used again has the connection as its parent, always: contexts that an
// interceptor has derived may look at the parent for a moment longer than the run.
func (o *outRuns) begin(c *Conn, parent context.Context) *outRun {
	own := parent == nil || parent == context.Background()
	for {
		before := o.state.Load()
		seq := before&^1 + 1
		if own && before&1 == 0 {
			if o.state.CompareAndSwap(before, before+3) {
				o.run.Again(seq)
				return &o.run
			}
		} else if o.state.CompareAndSwap(before, before+2) {
			if own {
				parent = c.Context()
			}
			r := &outRun{conn: c}
			r.Reset(parent, c.id, seq)
			return r
		}
	}
}

// end has run be used again.
func (o *outRuns) end() { o.state.Add(^uint64(0)) }

// peer returns what the interceptors see of the other end.
func (c *Conn) peer() interceptors.Peer {
	p := interceptors.Peer{Target: c.scope.URL(), Header: c.scope.header}
	switch chosen := c.scope.Subprotocol(); {
	case c.scope.dialled:
		p.Subprotocols = elements(c.scope.header["Sec-Websocket-Protocol"])
	case chosen != "":
		p.Subprotocols = []string{chosen}
	}
	return p
}
