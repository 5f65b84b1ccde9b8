// Package penstockotel makes OpenTelemetry spans: one for each handshake, and one for
// each of a sample of the messages, linked to its handshake's.
//
// [Tracing] is an interceptor. It decides whether a message gets a span before
// anything is allocated for it, and no span, attribute or event ever has a payload, an
// error's text, a target or a header in it. It exports nothing and sets nothing
// global: that is the matter of the program's own tracer provider.
//
// The folder is called otel. The package is not, because whoever uses it imports
// go.opentelemetry.io/otel beside it.
package penstockotel
