package interceptors

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// TimeoutConfig configures [Timeout]. Its zero value gives each message 10 seconds.
type TimeoutConfig struct {
	// Limit is how long the rest of the chain and the handler may take for a message.
	// Default 10 s. To switch off, leave the interceptor out.
	Limit time.Duration

	// Message is sent to the peer when it took longer. Default "took too long".
	Message string

	// Close ends the connection then, with 1008. Default: it goes on.
	Close bool
}

// Timeout returns an interceptor that gives what handles a text or binary message a
// context with a deadline, and refuses the message with 503, as http.TimeoutHandler does,
// if what comes back after the deadline is context.DeadlineExceeded.
//
// It cannot interrupt a handler, for nothing in Go can: one that does not look at its
// context takes as long as it takes, and the worker that it runs on with it. Nor does it
// follow messages to those who call Receive. It costs a message one allocation, of the
// context; a timer and what else the context needs are only made if somebody asks for
// its Done channel.
func Timeout(config TimeoutConfig) Interceptor {
	config.Limit = positive("TimeoutConfig.Limit", config.Limit, 10*time.Second)
	if config.Message == "" {
		config.Message = "took too long"
	}
	return &timeout{limit: config.Limit, refused: Refusal{Status: http.StatusServiceUnavailable, Message: config.Message, Close: config.Close}}
}

type timeout struct {
	Passthrough
	limit   time.Duration
	refused error
}

func (*timeout) kinds() Kinds { return InboundData }

func (t *timeout) InterceptInbound(ctx context.Context, in Inbound, next *InboundNext) error {
	limited := &deadline{Context: ctx, at: time.Now().Add(t.limit)}
	defer limited.end()
	err := next.Run(limited, in)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && limited.Err() == context.DeadlineExceeded {
		return t.refused
	}
	return err
}

// A deadline is what context.WithDeadline returns, but that it only becomes so when it is
// asked for Done: that needs a timer, a channel and, under a parent which is not one of
// the standard library's, a goroutine, and most handlers do not ask.
type deadline struct {
	context.Context
	at time.Time

	mu     sync.Mutex
	real   context.Context // nil: nobody has asked for Done
	cancel context.CancelFunc
	err    error // not nil: it has ended, and why
}

// Deadline is the parent's, if that is earlier.
func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.Context.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.real != nil {
		return d.real.Done()
	}
	if d.errLocked() != nil {
		return closed
	}
	d.real, d.cancel = context.WithDeadline(d.Context, d.at)
	return d.real.Done()
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errLocked()
}

// errLocked keeps what it has once returned: a context's error does not change.
func (d *deadline) errLocked() error {
	switch {
	case d.err != nil:
	case d.real != nil:
		d.err = d.real.Err()
	case d.Context.Err() != nil:
		d.err = d.Context.Err()
	case !time.Now().Before(d.at):
		d.err = context.DeadlineExceeded
	}
	return d.err
}

// Value finds the standard library's context in real, if there is one, so that contexts
// derived from d need no goroutine to follow it.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	real := d.real
	d.mu.Unlock()
	if real != nil {
		return real.Value(key)
	}
	return d.Context.Value(key)
}

// end cancels, for those who have kept the context or derived one.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.errLocked() == nil {
		d.err = context.Canceled
	}
	if d.cancel != nil {
		d.cancel()
	}
}
