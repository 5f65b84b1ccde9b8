package penstockotel

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-ws/penstock/interceptors"
)

// A handshake is what a connection's store keeps of it.
type handshake struct {
	span trace.SpanContext
	peer bool // the caller's span is sampled
}

type handshakeKey struct{}

// Admit makes the handshake's span, a child of the caller's. If the request has a span
// already, as behind otelhttp, that is the handshake's. On a client the span's
// context is added to the request.
func (t tracer) Admit(r *http.Request) error {
	if r.RequestURI == "" { // net/http's mark of a request that is to be sent
		t.inject(r)
		return nil
	}
	ctx := t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	caller := trace.SpanContextFromContext(ctx)
	h := handshake{peer: caller.IsRemote() && caller.IsSampled()}
	if around := trace.SpanContextFromContext(r.Context()); around.IsValid() {
		h.span = around
	} else {
		_, span := t.tracer.Start(ctx, "websocket handshake", trace.WithSpanKind(trace.SpanKindServer), protocol)
		h.span = span.SpanContext()
		span.End() // what follows is the connection, which may last for days
	}
	if s := interceptors.ConnStore(r.Context()); s != nil && h.span.IsValid() {
		s.Set(handshakeKey{}, &h)
	}
	return nil
}

func (t tracer) inject(r *http.Request) {
	ctx, span := t.tracer.Start(r.Context(), "websocket handshake", trace.WithSpanKind(trace.SpanKindClient), protocol)
	t.propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
	span.End()
	if s := interceptors.ConnStore(r.Context()); s != nil && span.SpanContext().IsValid() {
		s.Set(handshakeKey{}, &handshake{span: span.SpanContext()})
	}
}

var protocol = trace.WithAttributes(attribute.String("network.protocol.name", "websocket"))

// handshakeOf returns that of ctx's connection; nil if it had no span.
func handshakeOf(ctx context.Context) *handshake {
	s := interceptors.ConnStore(ctx)
	if s == nil {
		return nil
	}
	h, _ := s.Get(handshakeKey{}).(*handshake)
	return h
}
