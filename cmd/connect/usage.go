package connect

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		if _, ok := f.Value.(interface{ secret() }); ok {
			return usagef("--%s: allowed is %s", f.Name, allowed(f))
		}
		return usagef("--%s=%q: allowed is %s", f.Name, invalid.GetValue(), allowed(f))
	}
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		f := missing.GetFlag()
		return usagef("--%s has no value: allowed is %s", f.Name, allowed(f))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return usagef("unknown flag %q: allowed are those that %q lists", unknown.GetSpecifiedName(), cmd.CommandPath()+" --help")
	}
	return &UsageError{err}
}

// allowed says which values a flag takes.
func allowed(f *pflag.Flag) string {
	if v, ok := f.Value.(interface{ allowed() string }); ok {
		return v.allowed()
	}
	return "true or false" // the only flags that are not of this package's types
}
