package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
)

// rate is a flag that takes messages per second.
type rate struct{ p *float64 }

func (v rate) Type() string    { return "rate" }
func (v rate) Allowed() string { return fmt.Sprintf("a number over 0, up to %d", bench.MaxRate) }

func (v rate) String() string {
	if v.p == nil || *v.p == 0 {
		return ""
	}
	return strconv.FormatFloat(*v.p, 'g', -1, 64)
}

func (v rate) Set(s string) error {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x > 0 && x <= bench.MaxRate) {
		return flagvalue.ErrNotAllowed
	}
	*v.p = x
	return nil
}

// hostiles is a flag that adds a kind of hostile peers, with or without their number.
type hostiles struct{ p *[]bench.Hostile }

func (v hostiles) Type() string { return "kind=count" }

func (v hostiles) Allowed() string {
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
		return flagvalue.ErrNotAllowed
	}
	if given {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > bench.MaxConnections {
			return flagvalue.ErrNotAllowed
		}
		h.Count = n
	}
	*v.p = append(*v.p, h)
	return nil
}

// cpu is a flag that takes the number of a CPU; nil until it is given.
type cpu struct{ p **int }

func (v cpu) Type() string { return "cpu" }

func (v cpu) Allowed() string {
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
		return flagvalue.ErrNotAllowed
	}
	*v.p = &n
	return nil
}
