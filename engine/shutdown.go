package engine

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/penstock-ws/penstock/frame"
)

// Shutdown ends the engine. New upgrades are answered with 503. Every connection
// stops reading, handles what it has received, and is closed with 1001, spread
// over Config.ShutdownSpread. When ctx is done before all have ended, the rest is
// cut off. Shutdown returns when everything that the engine started has ended;
// ctx's error says that force was needed, or that a handler still runs.
// A second call returns ErrShutdown.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	if e.draining.Swap(true) {
		e.mu.Unlock()
		return ErrShutdown
	}
	e.signalEmptyLocked()
	e.mu.Unlock()
	e.closeAll(ctx)
	err := e.awaitEmpty(ctx)
	if err != nil {
		e.abortAll()
		if !e.awaitHandlers() {
			go e.finish() // when the last handler has returned
			return err
		}
	}
	return errors.Join(err, e.finish())
}

// finish ends what serves connections, once there are none.
func (e *Engine) finish() error {
	<-e.empty
	close(e.ticker.stop)
	close(e.sweeper.stop)
	if e.loops != nil {
		e.loops.stop()
	}
	e.lot.stop()
	e.lanes.stop()
	e.goroutines.wait()
	return e.executor.stop(context.Background())
}

// closeAll begins the end of every connection, evenly over the spread.
func (e *Engine) closeAll(ctx context.Context) {
	conns := e.registry.all()
	start := time.Now()
	for i, c := range conns {
		if wait := moment(i, len(conns), e.cfg.ShutdownSpread) - time.Since(start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		c.goAway()
	}
}

// goAway begins the end of a connection of an engine that shuts down.
func (c *Conn) goAway() {
	c.finish(&CloseError{Code: frame.CloseGoingAway, Reason: "server is shutting down", Cause: CauseShutdown})
}

// moment is when connection i of n is closed: at random within its share of the spread, so
// that several servers that end together do not keep step.
func moment(i, n int, spread time.Duration) time.Duration {
	return time.Duration((float64(i) + rand.Float64()) / float64(n) * float64(spread))
}

func (e *Engine) awaitEmpty(ctx context.Context) error {
	select {
	case <-e.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) abortAll() {
	for _, c := range e.registry.all() {
		c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "shutdown deadline", Cause: CauseShutdown})
	}
}

// handlerGrace is how long Shutdown waits for handlers whose connection it has
// cut off. One that does not return cannot be ended, and must not keep the
// program from ending.
const handlerGrace = time.Second

func (e *Engine) awaitHandlers() bool {
	select {
	case <-e.empty:
		return true
	case <-time.After(handlerGrace):
		return false
	}
}

// serverLog passes on what net/http says: failing accepts, panics of a program's
// own routes.
func serverLog(l *slog.Logger) *log.Logger {
	return slog.NewLogLogger(l.Handler(), slog.LevelWarn)
}
