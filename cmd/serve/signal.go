package serve

import (
	"context"
	"fmt"
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

// untilSignal calls serve with a context that ends when ctx has, or on SIGINT or
// SIGTERM, after s.stopping, and returns its error. A second signal does not wait for
// it: it goes on alone until the process ends, or until its own timeouts. SIGHUP reads
// the certificate again; without one it is a signal as the others.
func (s *server) untilSignal(ctx context.Context, serve func(context.Context) error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if s.certificate != nil || !signal.Ignored(syscall.SIGHUP) { // nohup is left alone
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- serve(serving) }() // ends soon after serving
	for over := ctx.Done(); ; {
		select {
		case err := <-served:
			return err
		case <-over:
			over = nil
			s.stopping()
			cancel()
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && s.certificate != nil:
				s.certificate.reload()
			case serving.Err() != nil:
				return &SignalError{sig}
			default:
				s.logger.Info("shutting down; a second signal ends at once", "signal", sig.String())
				s.stopping()
				cancel()
			}
		}
	}
}
