package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/penstock-ws/penstock/bench"
)

// errNotAllowed is all that a value's Set says: the flag that it belongs to and
// what it allows are put around it by flagError.
var errNotAllowed = errors.New("not allowed")

// number is a flag that takes a whole number. Its zero is "not given", which
// low keeps from being given.
type number struct {
	p         *int
	low, high int
}

func (v number) Type() string    { return "int" }
func (v number) allowed() string { return fmt.Sprintf("a whole number from %d to %d", v.low, v.high) }

func (v number) String() string {
	if v.p == nil || *v.p == 0 {
		return ""
	}
	return strconv.Itoa(*v.p)
}

func (v number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.low || n > v.high {
		return errNotAllowed
	}
	*v.p = n
	return nil
}

// span is a flag that takes a duration.
type span struct {
	p         *time.Duration
	low, high time.Duration
}

func (v span) Type() string { return "duration" }

func (v span) allowed() string {
	return fmt.Sprintf("a duration such as 500ms or 10s, from %v to %v", v.low, v.high)
}

func (v span) String() string {
	if v.p == nil {
		return ""
	}
	return v.p.String()
}

func (v span) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < v.low || d > v.high {
		return errNotAllowed
	}
	*v.p = d
	return nil
}

// cpu is a flag that takes the number of a CPU; nil until it is given.
type cpu struct{ p **int }

func (v cpu) Type() string { return "cpu" }

func (v cpu) allowed() string {
	cpus := bench.CPUs()
	if cpus == nil {
		return "nothing on this system, which cannot pin processes"
	}
	return fmt.Sprintf("one of the CPUs %v", cpus)
}

func (v cpu) String() string {
	if v.p == nil || *v.p == nil {
		return ""
	}
	return strconv.Itoa(**v.p)
}

func (v cpu) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || !slices.Contains(bench.CPUs(), n) {
		return errNotAllowed
	}
	*v.p = &n
	return nil
}
