package interceptors

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// LoggingConfig configures [Logging]. Its zero value logs to slog.Default at level Info.
type LoggingConfig struct {
	// Logger is where records go. Default: slog.Default at the time of the call of Logging.
	Logger *slog.Logger

	// Level is the level of every record. Default: Info. While the logger is
	// not enabled for it, a message costs one call of its handler's Enabled: no
	// clock is read and nothing is allocated. To switch off, leave the
	// interceptor out.
	Level slog.Level

	// Sample logs one in so many messages, chosen at random; those with an error, a
	// refusal among them, are always logged. Default: all. A message that is not logged
	// costs two looks at the clock, and allocates nothing.
	Sample int
}

// Logging returns an interceptor that logs one record, "websocket message", for
// each message and control event in each direction, when the rest of the chain
// has returned. Its attributes:
//
//	direction  inbound or outbound
//	type       text, binary, close, ping or pong
//	size       bytes of payload, as this interceptor saw it
//	duration   time that the rest of the chain took; outbound it ends when the message is queued, not when the peer has it
//	chain_id   id of the run (see [Context.ChainID]), left out if there is none
//	close_code of a close event
//	status     of a [Refusal]
//	error      text of the outcome, left out if it is nil
//
// It never logs payload, close reason, target, header or attributes. The text
// of an error is logged as the program made it: an error that quotes what the
// peer sent is best replaced by a later interceptor, or by the ReplaceAttr of
// the slog handler.
//
// A panic leaves no record here unless it was made an error before: inbound,
// register [Recover] after Logging.
//
// It sees both directions, so broadcasts are encoded for each connection where it is:
// Only(Inbounds, Logging(…)) leaves them shared.
func Logging(config LoggingConfig) Interceptor {
	config.Sample = positive("LoggingConfig.Sample", config.Sample, 1)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &logging{config: config}
}

type direction string

const (
	inbound  direction = "inbound"
	outbound direction = "outbound"
)

type logging struct {
	Passthrough
	config LoggingConfig
}

func (l *logging) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	if !l.config.Logger.Enabled(ctx, l.config.Level) {
		return next.Run(ctx, in)
	}
	start := time.Now()
	err := next.Run(ctx, in)
	if l.wants(err) {
		l.log(ctx, event{inbound, in.Type, in.CloseCode, len(in.Data), time.Since(start), err})
	}
	return err
}

func (l *logging) InterceptOutbound(ctx context.Context, out Outbound, next *OutboundNext) error {
	if !l.config.Logger.Enabled(ctx, l.config.Level) {
		return next.Run(ctx, out)
	}
	start := time.Now()
	err := next.Run(ctx, out)
	if l.wants(err) {
		l.log(ctx, event{outbound, out.Type, out.CloseCode, len(out.Data), time.Since(start), err})
	}
	return err
}

// wants draws lots: a counter would be shared by all connections, and in step with what
// comes in turn.
func (l *logging) wants(err error) bool {
	return err != nil || l.config.Sample == 1 || rand.IntN(l.config.Sample) == 0 //nolint:gosec // no secret
}

type event struct {
	way       direction
	opcode    frame.Opcode
	closeCode frame.CloseCode
	size      int
	duration  time.Duration
	err       error
}

func (l *logging) log(ctx context.Context, e event) {
	attrs := append(make([]slog.Attr, 0, 8), slog.String("direction", string(e.way)), slog.String("type", e.opcode.String()),
		slog.Int("size", e.size), slog.Duration("duration", e.duration))
	attrs = appendChainID(attrs, ctx)
	if e.opcode == frame.Close {
		attrs = append(attrs, slog.Int("close_code", int(e.closeCode)))
	}
	if refusal, ok := errors.AsType[Refusal](e.err); ok {
		attrs = append(attrs, slog.Int("status", refusal.Status))
	}
	if e.err != nil {
		attrs = append(attrs, slog.String("error", e.err.Error()))
	}
	l.config.Logger.LogAttrs(ctx, l.config.Level, "websocket message", attrs...)
}

func appendChainID(attrs []slog.Attr, ctx context.Context) []slog.Attr {
	if run := FromContext(ctx); run != nil {
		attrs = append(attrs, slog.String("chain_id", run.ChainID()))
	}
	return attrs
}
