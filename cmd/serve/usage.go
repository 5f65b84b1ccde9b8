package serve

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

// UsageError is a mistake on the command line or in the environment. Nothing has
// been started.
type UsageError struct {
	// Err says on one line what is wrong, its value, and what is allowed. What it
	// wraps is the cause, such as *engine.EnvError or *filters.UnknownError.
	Err error
}

// Error is the cause's text, on one line.
func (e *UsageError) Error() string { return strings.ReplaceAll(e.Err.Error(), "\n", "; ") }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// ExitCode is 2, as is customary for wrong usage.
func (e *UsageError) ExitCode() int { return 2 }

func usage(err error) error { return &UsageError{err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// flagError makes a UsageError of what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && invalid.GetFlag().Name == "config" && !errors.Is(invalid.Unwrap(), flagvalue.ErrNotAllowed) {
		return usage(invalid.Unwrap())
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && strings.HasPrefix(unknown.GetSpecifiedShortnames(), "key") {
		return usagef("-key is written --key")
	}
	return usage(flagvalue.Mistake(cmd, err))
}
