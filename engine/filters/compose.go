package filters

import (
	"context"
	"net/http"
	"slices"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/interceptors"
)

// compose makes one endpoint of a row of filters and the hub of its connections.
func compose(row []Filter, h *hub.Hub) engine.Endpoint {
	p := pipeline(row)
	handler := engine.Handler{Admit: p.admit, OnOpen: p.open, OnMessage: p.message, OnClose: p.close}
	var chain []interceptors.Interceptor
	for _, f := range row {
		chain = append(chain, f.Interceptors...)
		if f.Handler.OnDrain != nil {
			handler.OnDrain = p.drain
		}
		if f.Handler.OnData != nil {
			handler.OnData = p.data
		}
		if f.Handler.OnDrop != nil {
			handler.OnDrop = p.drop
		}
	}
	return engine.Endpoint{Handler: h.Handler(handler), Interceptors: chain}
}

// A pipeline is a row of filters as the hooks of one handler.
type pipeline []Filter

func (p pipeline) admit(r *http.Request) error {
	for i := range p {
		if hook := p[i].Handler.Admit; hook != nil {
			if err := hook(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// openedKey is where a connection keeps how many filters were opened, if not all.
type openedKey struct{}

func (p pipeline) open(ctx context.Context, c *engine.Conn) error {
	opened := 0
	defer func() { // also if a hook panics
		if opened < len(p) {
			c.Set(openedKey{}, opened)
		}
	}()
	for i := range p {
		opened++
		if hook := p[i].Handler.OnOpen; hook != nil {
			if err := hook(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// message also serves a row without any OnMessage: what nobody handles is dropped,
// where an engine without the hook would keep it for Conn.Receive.
func (p pipeline) message(ctx context.Context, c *engine.Conn, m engine.Message) error {
	for i := range p {
		if hook := p[i].Handler.OnMessage; hook != nil {
			if err := hook(ctx, c, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p pipeline) data(c *engine.Conn, b []byte) {
	for i := range p {
		if hook := p[i].Handler.OnData; hook != nil {
			hook(c, b)
		}
	}
}

func (p pipeline) drop(c *engine.Conn, lost backpressure.Lost) {
	for i := range p {
		if hook := p[i].Handler.OnDrop; hook != nil {
			hook(c, lost)
		}
	}
}

func (p pipeline) drain(c *engine.Conn) {
	for i := range p {
		if hook := p[i].Handler.OnDrain; hook != nil {
			hook(c)
		}
	}
}

// close defers the hooks, the first one last, so that they run in order and each
// runs even if one before it panics.
func (p pipeline) close(c *engine.Conn, err *engine.CloseError) {
	opened, partly := c.Get(openedKey{}).(int)
	if !partly {
		opened = len(p)
	}
	for _, f := range slices.Backward(p[:opened]) {
		if hook := f.Handler.OnClose; hook != nil {
			defer hook(c, err)
		}
	}
}
