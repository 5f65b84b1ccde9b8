package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// rate is a flag that takes messages per second.
type rate struct{ p *float64 }

func (v rate) Type() string    { return "rate" }
func (v rate) allowed() string { return fmt.Sprintf("a number over 0, up to %d", bench.MaxRate) }

func (v rate) String() string {
	if v.p == nil || *v.p == 0 {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'g', -1, 64)
}

func (v rate) Set(s string) error {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x > 0 && x <= bench.MaxRate) {
		return errNotAllowed
	}
	*v.p = x
	return nil
}

// hostiles is a flag that adds a kind of hostile peers, with or without their number.
type hostiles struct{ p *[]bench.Hostile }

func (v hostiles) Type() string { return "kind=count" }

func (v hostiles) allowed() string {
	var kinds []string
	for k := bench.HostileKind(0); ; k++ {
		if text, _ := k.MarshalText(); k.UnmarshalText(text) != nil {
			break
		}
		kinds = append(kinds, k.String())
	}
	return fmt.Sprintf("KIND or KIND=COUNT, the kind one of %s, the count from 1 to %d", strings.Join(kinds, ", "), bench.MaxConnections)
}

func (v hostiles) String() string {
	if v.p == nil || len(*v.p) == 0 {
		return ""
	}
	var list []string
	for _, h := range *v.p {
		list = append(list, fmt.Sprintf("%v=%d", h.Kind, h.Count))
	}
	return strings.Join(list, " ")
}

func (v hostiles) Set(s string) error {
	name, count, given := strings.Cut(s, "=")
	var h bench.Hostile
	if h.Kind.UnmarshalText([]byte(name)) != nil {
		return errNotAllowed
	}
	if given {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > bench.MaxConnections {
			return errNotAllowed
		}
		h.Count = n
	}
	*v.p = append(*v.p, h)
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
