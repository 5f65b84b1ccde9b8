package penstockotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/interceptors"
)

// spanKey is where a connection's store has the span of the message being handled.
type spanKey struct{}

// expectWrites has what is sent on the connection told to span, until the function that
// it returns is called.
func (t tracer) expectWrites(ctx context.Context, span trace.Span) (enough func()) {
	s := interceptors.ConnStore(ctx)
	if !t.writes || s == nil {
		return func() {}
	}
	s.Set(spanKey{}, span)
	t.handling.Add(1)
	return func() {
		t.handling.Add(-1)
		s.Set(spanKey{}, nil)
	}
}

// InterceptOutbound adds an event to the span of the message that the connection is
// handling, if it has one. Whose the message is cannot be told: of another goroutine's,
// or a broadcast's, that leaves meanwhile it is told, too, and what the handler leaves to
// others to send later is not.
func (t tracer) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if t.handling.Load() == 0 {
		return next.Run(ctx, out)
	}
	s := interceptors.ConnStore(ctx)
	if s == nil {
		return next.Run(ctx, out)
	}
	span, ok := s.Get(spanKey{}).(trace.Span)
	if !ok {
		return next.Run(ctx, out)
	}
	err := next.Run(ctx, out)
	span.AddEvent("write", trace.WithTimestamp(time.Now()), trace.WithAttributes(
		typeKey.String(out.Type.String()), sizeKey.Int(len(out.Data)), verdictKey.String(engine.VerdictOf(err).String())))
	return err
}
