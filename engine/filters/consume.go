package filters

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// PutFunc puts a message of type op, frame.Text or frame.Binary, from outside the
// connections, a broker or a timer say, into the queues of those in to; without any,
// into those of all of the endpoint. For each connection the OnConsume hooks are run on
// the caller's goroutine, in the order of the filters, and what they leave is sent. It
// waits for no peer: the Tally says what became of it, messages that a hook has kept
// counted as refused. The caller keeps data. The error is that of engine.Prepare; then
// nobody got anything. Any goroutine may call it.
type PutFunc func(ctx context.Context, op frame.Opcode, data []byte, to ...*engine.Conn) (engine.Tally, error)

// A consumer is what is put from outside on its way to an endpoint's connections.
type consumer struct {
	// immutable
	engine *engine.Engine
	hub    *hub.Hub
	logger *slog.Logger

	// atomic
	row atomic.Pointer[pipeline] // nil: the endpoint is not there yet
}

// put is a PutFunc.
func (s *consumer) put(ctx context.Context, op frame.Opcode, data []byte, to ...*engine.Conn) (engine.Tally, error) {
	p, err := s.engine.Prepare(op, data)
	row := s.row.Load()
	if err != nil || row == nil { // nobody can have connected
		return engine.Tally{}, err
	}
	switch {
	case row.consumes():
		conns := s.hub.All().Conns()
		if len(to) > 0 {
			conns = slices.Values(to)
		}
		return s.each(ctx, conns, p, engine.Message{Type: op, Data: slices.Clip(data), Final: true}), nil
	case len(to) > 0:
		return engine.Broadcast(ctx, slices.Values(to), p), nil
	}
	return s.hub.All().BroadcastPrepared(ctx, p), nil
}

// each shares p among those whose hooks have left m as it is.
func (s *consumer) each(ctx context.Context, conns iter.Seq[*engine.Conn], p engine.Prepared, m engine.Message) (t engine.Tally) {
	for c := range conns {
		own, prepared := m, p
		err := s.consume(ctx, c, &own)
		if err == nil && (own.Type != m.Type || !same(own.Data, m.Data)) {
			prepared, err = s.engine.Prepare(own.Type, own.Data)
		}
		if err != nil {
			t.Refused++
			continue
		}
		add(&t, engine.Broadcast(ctx, slices.Values([]*engine.Conn{c}), prepared)) // which bears an interceptor's panic
	}
	return t
}

// same reports whether a and b are the same bytes in the same place.
func same(a, b []byte) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// consume runs the hooks for one connection. The source's goroutine is nobody's who
// could answer for a panic: the connection ends by it, as by that of a handler.
func (s *consumer) consume(ctx context.Context, c *engine.Conn, m *engine.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.logger.Error("penstock: a filter panicked on a message from outside", "conn", c.ID(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("filters: panic: %v", p)
			s.end(c)
		}
	}()
	return s.row.Load().consume(ctx, c, m)
}

// end closes a connection. Interceptors see that, and may panic as well.
func (s *consumer) end(c *engine.Conn) {
	defer func() {
		if p := recover(); p != nil {
			s.logger.Error("penstock: closing a connection panicked", "conn", c.ID(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	_ = c.Close(frame.CloseInternalError, "internal error") // fails if it has ended
}

// add adds what became of some sends.
func add(t *engine.Tally, more engine.Tally) {
	t.Queued += more.Queued
	t.Congested += more.Congested
	t.Dropped += more.Dropped
	t.Closed += more.Closed
	t.Refused += more.Refused
}

// consumes reports whether any filter looks at what comes from outside.
func (p pipeline) consumes() bool {
	return slices.ContainsFunc(p, func(f Filter) bool { return f.OnConsume != nil })
}

func (p pipeline) consume(ctx context.Context, c *engine.Conn, m *engine.Message) error {
	for i := range p {
		if hook := p[i].OnConsume; hook != nil {
			if err := hook(ctx, c, m); err != nil {
				return err
			}
		}
	}
	return nil
}
