package connect

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

// UsageError is a mistake on the command line or in the environment. Nothing has
// been connected to.
type UsageError struct {
	// Err says on one line what is wrong and what is allowed, and the value unless that
	// may be a secret.
	Err error
}

// Error is the cause's text, on one line.
func (e *UsageError) Error() string { return oneLine(e.Err.Error()) }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// ExitCode is 2, as is customary for wrong usage.
func (e *UsageError) ExitCode() int { return 2 }

func usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// flagError makes a UsageError of what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	return &UsageError{flagvalue.Mistake(cmd, err)}
}
