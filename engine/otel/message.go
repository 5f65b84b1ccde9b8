package penstockotel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// The names of attributes.
const (
	typeKey    = attribute.Key("penstock.message.type")
	sizeKey    = attribute.Key("penstock.message.size")     // bytes of payload
	connKey    = attribute.Key("penstock.connection.id")    // Conn.ID
	waitKey    = attribute.Key("penstock.queue_wait")       // seconds
	handlerKey = attribute.Key("penstock.handler.duration") // seconds
	closeKey   = attribute.Key("penstock.close.code")
	causeKey   = attribute.Key("penstock.close.cause")
	statusKey  = attribute.Key("penstock.refusal.status")
	verdictKey = attribute.Key("penstock.write.verdict") // engine.Verdict: queued is on its way, or written
	errorKey   = attribute.Key("error.type")
)

// InterceptInbound makes the span of a message that is sampled.
func (t tracer) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	if in.Type == frame.Close {
		t.closed(ctx, in)
		return next.Run(ctx, in)
	}
	parent, ok := t.sample(ctx, in)
	if !ok {
		return next.Run(ctx, in)
	}
	return t.trace(ctx, parent, in, next)
}

// sample decides, before anything is allocated. The context returned, unless nil, has
// the sender's span.
func (t tracer) sample(ctx context.Context, in interceptors.Inbound) (context.Context, bool) {
	if t.carrier != nil {
		if carrier := t.carrier(in); carrier != nil {
			parent := t.propagator.Extract(ctx, carrier)
			if sender := trace.SpanContextFromContext(parent); sender.IsRemote() {
				return parent, sender.IsSampled()
			}
		}
	}
	ratio := t.own
	if t.peers != ratio {
		if h := handshakeOf(ctx); h != nil && h.peer {
			ratio = t.peers
		}
	}
	return nil, ratio.picks()
}

// trace runs the rest of the chain in a span.
func (t tracer) trace(ctx, parent context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	started, received := time.Now(), engine.ReceivedAt(ctx)
	begun := received
	if received.IsZero() {
		begun = started
	}
	options := append(make([]trace.SpanStartOption, 0, 5), trace.WithSpanKind(trace.SpanKindConsumer), protocol, trace.WithTimestamp(begun),
		trace.WithAttributes(typeKey.String(in.Type.String()), sizeKey.Int(len(in.Data))))
	if h := handshakeOf(ctx); h != nil {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: h.span}))
	}
	if parent == nil {
		parent = ctx
		options = append(options, trace.WithNewRoot())
	}
	inner, span := t.tracer.Start(parent, "websocket message", options...)
	if !span.IsRecording() {
		return next.Run(inner, in)
	}
	if !received.IsZero() {
		span.AddEvent("queue wait", trace.WithTimestamp(started), trace.WithAttributes(waitKey.Float64(started.Sub(received).Seconds())))
	}
	setConn(ctx, span)
	defer t.expectWrites(ctx, span)()
	ended := false
	defer func() {
		now := time.Now()
		if !ended {
			span.SetAttributes(errorKey.String("panic"))
			span.SetStatus(codes.Error, "")
		}
		span.AddEvent("handler", trace.WithTimestamp(now), trace.WithAttributes(handlerKey.Float64(now.Sub(started).Seconds())))
		span.End(trace.WithTimestamp(now))
	}()
	err := next.Run(inner, in)
	ended = true
	setOutcome(span, err)
	return err
}

// closed makes the span of the connection's end, if the handshake had one that is
// sampled.
func (t tracer) closed(ctx context.Context, in interceptors.Inbound) {
	h := handshakeOf(ctx)
	if h == nil || !h.span.IsSampled() {
		return
	}
	_, span := t.tracer.Start(ctx, "websocket close", trace.WithSpanKind(trace.SpanKindConsumer), protocol, trace.WithNewRoot(),
		trace.WithLinks(trace.Link{SpanContext: h.span}), trace.WithAttributes(closeKey.Int(int(in.CloseCode))))
	setConn(ctx, span)
	span.End()
}

func setConn(ctx context.Context, span trace.Span) {
	if c := engine.FromContext(ctx); c != nil {
		span.SetAttributes(connKey.Int64(int64(c.ID())))
	}
}

// setOutcome tells the kind of an error, never its text: it may quote the message.
func setOutcome(span trace.Span, err error) {
	if err == nil {
		return
	}
	if refusal, ok := errors.AsType[interceptors.Refusal](err); ok {
		span.SetAttributes(statusKey.Int(refusal.Status))
		return
	}
	if closed, ok := errors.AsType[*engine.CloseError](err); ok {
		span.SetAttributes(closeKey.Int(int(closed.Code)), causeKey.String(closed.Cause.String()))
		return
	}
	span.SetAttributes(errorKey.String(fmt.Sprintf("%T", err)))
	span.SetStatus(codes.Error, "")
}
