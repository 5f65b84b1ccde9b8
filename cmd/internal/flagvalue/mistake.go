package flagvalue

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ErrNotAllowed is all that a value's Set says: Mistake puts the flag and what it allows around
// it.
var ErrNotAllowed = errors.New("not allowed")

// Mistake makes one line of what cobra says about a flag: which one, its value unless that may
// be a secret, and what is allowed.
func Mistake(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		f := invalid.GetFlag()
		if _, ok := f.Value.(interface{ Secret() }); ok {
			return fmt.Errorf("--%s: allowed is %s", f.Name, Allowed(f))
		}
		return fmt.Errorf("--%s=%q: allowed is %s", f.Name, invalid.GetValue(), Allowed(f))
	}
	var missing *pflag.ValueRequiredError
	if errors.As(err, &missing) {
		f := missing.GetFlag()
		return fmt.Errorf("--%s has no value: allowed is %s", f.Name, Allowed(f))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return fmt.Errorf("unknown flag %q: allowed are those that %q lists", unknown.GetSpecifiedName(), cmd.CommandPath()+" --help")
	}
	return err
}

// Allowed says which values a flag takes: what its value says, if that has a method Allowed.
func Allowed(f *pflag.Flag) string {
	if v, ok := f.Value.(interface{ Allowed() string }); ok {
		return v.Allowed()
	}
	if f.Value.Type() == "bool" {
		return "true or false"
	}
	return "a " + f.Value.Type()
}
