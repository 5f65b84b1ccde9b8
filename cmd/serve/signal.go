package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// SignalError tells that a second signal came before the shutdown that the first
// one began had ended.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e *SignalError) Error() string {
	return fmt.Sprintf("ended at once by a second signal (%v); connections were cut off", e.Signal)
}

// ExitCode is 128 and the signal's number, as a shell has it.
func (e *SignalError) ExitCode() int {
	if n, ok := e.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return 1
}

// untilSignal calls serve with a context that ends with ctx or on SIGINT or
// SIGTERM, and returns its error. A second signal does not wait for it: it goes on
// alone until the process ends, or until its own timeouts.
func untilSignal(ctx context.Context, logger *slog.Logger, serve func(context.Context) error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }() // ends soon after ctx
	select {
	case err := <-served:
		return err
	case sig := <-signals:
		logger.Info("shutting down; a second signal ends at once", "signal", sig.String())
		cancel()
	}
	select {
	case err := <-served:
		return err
	case sig := <-signals:
		return &SignalError{sig}
	}
}
