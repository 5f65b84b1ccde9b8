package enginetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
)

// A ledger watches the callbacks of every connection: that they come in order and
// do not overlap, and that openings and closings balance.
type ledger struct {
	lives sync.Map // *engine.Conn -> *life
	opens atomic.Int64
	ends  atomic.Int64

	mu       sync.Mutex
	disorder []string
}

// A life is what the ledger knows of one connection.
type life struct {
	opened, closed atomic.Int32
	busy           atomic.Int32 // callbacks that run, OnDrain of inline endpoints apart
}

func (l *ledger) count() (opens, closes int) {
	return int(l.opens.Load()), int(l.ends.Load())
}

// watch puts the ledger in front of an endpoint's callbacks. OnMessage stays nil
// if it is, for that says that messages are received.
func (l *ledger) watch(ep engine.Endpoint) engine.Endpoint {
	h := ep.Handler
	ep.Handler.OnOpen = func(ctx context.Context, c *engine.Conn) error {
		v := l.open(c)
		defer v.busy.Add(-1)
		if h.OnOpen == nil {
			return nil
		}
		return h.OnOpen(ctx, c)
	}
	if h.OnMessage != nil {
		ep.Handler.OnMessage = func(ctx context.Context, c *engine.Conn, m engine.Message) error {
			v := l.enter(c, "OnMessage")
			defer v.busy.Add(-1)
			return h.OnMessage(ctx, c, m)
		}
	}
	if h.OnDrain != nil && !ep.Inline {
		ep.Handler.OnDrain = func(c *engine.Conn) {
			v := l.enter(c, "OnDrain")
			defer v.busy.Add(-1)
			h.OnDrain(c)
		}
	}
	ep.Handler.OnClose = func(c *engine.Conn, err *engine.CloseError) {
		v := l.close(c, err)
		defer v.busy.Add(-1)
		defer l.ends.Add(1) // at the end, so that who awaits it finds what OnClose has noted
		if h.OnClose != nil {
			h.OnClose(c, err)
		}
	}
	return ep
}

func (l *ledger) open(c *engine.Conn) *life {
	l.opens.Add(1)
	v := new(life)
	v.opened.Store(1)
	v.busy.Store(1)
	if _, twice := l.lives.LoadOrStore(c, v); twice {
		l.wrong(c, "OnOpen came twice")
	}
	return v
}

func (l *ledger) enter(c *engine.Conn, callback string) *life {
	found, ok := l.lives.Load(c)
	if !ok {
		l.wrong(c, callback+" came before OnOpen")
		return new(life)
	}
	v := found.(*life)
	if v.busy.Add(1) != 1 {
		l.wrong(c, callback+" overlaps with another callback")
	}
	if v.closed.Load() != 0 {
		l.wrong(c, callback+" came after OnClose")
	}
	return v
}

func (l *ledger) close(c *engine.Conn, err *engine.CloseError) *life {
	v := l.enter(c, "OnClose")
	v.closed.Add(1)
	if err == nil {
		l.wrong(c, "OnClose got no error")
	}
	return v
}

func (l *ledger) wrong(c *engine.Conn, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disorder = append(l.disorder, fmt.Sprintf("connection %d: %s", c.ID(), what))
}

func (l *ledger) findings() (list []finding) {
	if opens, closes := l.count(); opens != closes {
		list = append(list, finding{unclosed, fmt.Sprintf("%d opened, %d closed", opens, closes)})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range l.disorder {
		list = append(list, finding{disorder, what})
	}
	return list
}
