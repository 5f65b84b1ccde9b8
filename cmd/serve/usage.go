package serve

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		if cause := invalid.Unwrap(); !errors.Is(cause, errNotAllowed) && f.Name == "config" {
			return usage(cause)
		}
		return usagef("--%s=%q: allowed is %s", f.Name, shown(f, invalid.GetValue()), allowed(f))
	}
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		f := missing.GetFlag()
		return usagef("--%s has no value: allowed is %s", f.Name, allowed(f))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		if strings.HasPrefix(unknown.GetSpecifiedShortnames(), "key") {
			return usagef("-key is written --key")
		}
		return usagef("unknown flag %q: allowed are those that %q lists", unknown.GetSpecifiedName(), cmd.CommandPath()+" --help")
	}
	return usage(err)
}

// shown is what may be shown of a flag's value.
func shown(f *pflag.Flag, value string) string {
	if v, ok := f.Value.(interface{ shown(value string) string }); ok {
		return v.shown(value)
	}
	return value
}

// allowed says which values a flag takes.
func allowed(f *pflag.Flag) string {
	if v, ok := f.Value.(interface{ allowed() string }); ok {
		return v.allowed()
	}
	return "true or false" // the only flags that are not of this package's types
}
