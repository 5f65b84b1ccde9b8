package bench

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

// UsageError is a mistake on the command line.
type UsageError struct {
	What    string // the flag, with its dashes, or the command
	Value   string // what was given
	Allowed string // what would have been right
}

// Error names the flag, its value and what is allowed.
func (e *UsageError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: allowed: %s", e.What, e.Allowed)
	}
	return fmt.Sprintf("%s %s: allowed: %s", e.What, e.Value, e.Allowed)
}

// ExitCode is 2, as is customary for wrong usage.
func (e *UsageError) ExitCode() int { return 2 }

// InterruptedError tells that the run was cancelled; what had been measured
// until then has been printed and written.
type InterruptedError struct {
	Measured bool // false: nothing had been measured yet
}

// Error says what became of the result.
func (e *InterruptedError) Error() string {
	if e.Measured {
		return "interrupted: the result is partial"
	}
	return "interrupted before anything was measured"
}

// ExitCode is 130, as if the interrupt signal had ended the process.
func (e *InterruptedError) ExitCode() int { return 130 }

// flagError makes a UsageError of what cobra says about a flag.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		return &UsageError{"--" + f.Name, fmt.Sprintf("%q", invalid.GetValue()), flagvalue.Allowed(f)}
	}
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		f := missing.GetFlag()
		return &UsageError{"--" + f.Name, "without a value", flagvalue.Allowed(f)}
	}
	help := fmt.Sprintf("the flags that %q lists", cmd.CommandPath()+" --help")
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return &UsageError{"unknown flag", fmt.Sprintf("%q", unknown.GetSpecifiedName()), help}
	}
	return &UsageError{err.Error(), "", help}
}

// configError makes a UsageError of what the library refuses beyond the single
// flags' ranges. Other errors pass.
func configError(err error) error {
	var bad *bench.ConfigError
	if !errors.As(err, &bad) {
		return err
	}
	flag := bad.Field
	switch bad.Field {
	case "URL":
		flag = "--url"
	case "Pace.Rate":
		return &UsageError{"--rate", "", "a number over 0, wherever --rate-to or --poisson is given"}
	case bench.FieldMemory:
		flag = "--connections × --pipeline × --payload"
	case bench.FieldSenderMemory:
		flag = "--pipeline × --payload"
	}
	return &UsageError{flag, fmt.Sprint(bad.Value), bad.Allowed}
}
