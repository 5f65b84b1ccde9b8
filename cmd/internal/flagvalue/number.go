package flagvalue

import (
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
)

// Number is a flag that takes a whole number from low to high. Zero has not been given,
// unless low allows it.
func Number(p *int, low, high int) pflag.Value { return number{p, low, high} }

type number struct {
	p         *int
	low, high int
}

// Type is what the help calls the flag's value.
func (v number) Type() string { return "int" }

// Allowed says which values it takes.
func (v number) Allowed() string { return fmt.Sprintf("a whole number from %d to %d", v.low, v.high) }

// String is the number, or nothing for zero.
func (v number) String() string {
	if v.p == nil || *v.p == 0 {
		return ""
	}
	return strconv.Itoa(*v.p)
}

// Set takes a number.
func (v number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.low || n > v.high {
		return ErrNotAllowed
	}
	*v.p = n
	return nil
}
