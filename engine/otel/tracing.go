package penstockotel

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/penstock-ws/penstock/interceptors"
)

// Config configures [New]. Its zero value traces one message in a hundred with what
// package otel has been set to.
type Config struct {
	// TracerProvider makes the spans. Its sampler is asked about each that is begun
	// here, after Ratio: a ratio there multiplies. Default: otel.GetTracerProvider at the
	// time of the call of New.
	TracerProvider trace.TracerProvider

	// Propagator reads the context of the caller's span from the header of a handshake, and
	// on a client writes it there. Default: otel.GetTextMapPropagator at the time of
	// the call of New, which does nothing until a program sets another.
	Propagator propagation.TextMapPropagator

	// Ratio is the share of messages that get a span, from 0 to 1. Default: 0.01. Any
	// negative value switches them off, but for what PeerRatio and Carrier bring.
	Ratio float64

	// PeerRatio is the share on connections whose handshake came with the context of a
	// sampled span: where callers are trusted, 1 continues what they trace. Anybody
	// can send that header, so the default is Ratio: then peers decide nothing. A
	// negative value means none. Unless it is Ratio, each message costs a look at the
	// connection's store.
	PeerRatio float64

	// Carrier, unless nil, finds what a message carries of its sender's span; nil if it
	// carries nothing. It is called for each message, before sampling, and must
	// not write to it, nor keep it. The message's span becomes a child of the sender's
	// and is made if, and only if, the sender's is sampled: senders decide, so
	// set it where they are trusted. Default: nil, and messages are not looked into.
	Carrier func(interceptors.Inbound) propagation.TextMapCarrier

	// Writes adds an event for each message that is sent on the connection while a
	// handler's span lasts. It makes an outbound interceptor of the value: every
	// message sent runs through a chain, and a broadcast is encoded for each connection.
	// Default: off.
	Writes bool
}

// The name of the tracer.
const scope = "github.com/penstock-ws/penstock/engine/otel"

// Tracing makes spans: see [Tracing.Interceptor].
type Tracing struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	carrier    func(interceptors.Inbound) propagation.TextMapCarrier
	own, peers threshold
	writes     bool
	handling   atomic.Int64 // messages now whose span is recorded
}

// New returns a Tracing, or every mistake in cfg.
func New(cfg Config) (*Tracing, error) {
	own, err := newThreshold("Ratio", cfg.Ratio, defaultRatio)
	peers, err2 := newThreshold("PeerRatio", cfg.PeerRatio, own)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = otel.GetTextMapPropagator()
	}
	return &Tracing{
		tracer: cfg.TracerProvider.Tracer(scope), propagator: cfg.Propagator, carrier: cfg.Carrier,
		own: own, peers: peers, writes: cfg.Writes,
	}, nil
}

// Interceptor returns what is to be registered with the engine, best as the first. It
// sees inbound data and the end of connections; with Writes, outbound data, too.
func (t *Tracing) Interceptor() interceptors.Interceptor {
	kinds := interceptors.InboundData | interceptors.InboundClose
	if t.writes {
		kinds |= interceptors.OutboundData
	}
	return interceptors.Only(kinds, tracer{Tracing: t})
}

type tracer struct {
	interceptors.Timed
	*Tracing
}

// A threshold is a ratio made ready: the share of random numbers below it.
type threshold uint64

// always is every random number but one.
const always threshold = math.MaxUint64

// defaultRatio is one in a hundred.
const defaultRatio = always / 100

func newThreshold(name string, ratio float64, otherwise threshold) (threshold, error) {
	switch {
	case math.IsNaN(ratio) || ratio > 1:
		return 0, fmt.Errorf("penstockotel: %s is %v; allowed is a share of at most 1, or a negative number for none", name, ratio)
	case ratio == 0:
		return otherwise, nil
	case ratio < 0:
		return 0, nil
	case ratio == 1:
		return always, nil
	}
	return threshold(ratio * (1 << 64)), nil
}

// picks throws the dice.
func (t threshold) picks() bool { return t == always || rand.Uint64() < uint64(t) }
