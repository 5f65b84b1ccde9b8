package serve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

// errNotAllowed is all that a value's Set says: flagError puts the flag and what
// it allows around it.
var errNotAllowed = errors.New("not allowed")

// number is a flag that takes a whole number.
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

// way is a flag that takes a way to wait for sockets.
type way struct{ p *engine.IO }

func (v way) Type() string    { return "way" }
func (v way) allowed() string { return fmt.Sprintf("%v or %v", engine.IOGoroutines, engine.IOLoops) }

func (v way) String() string {
	if v.p == nil || *v.p == 0 {
		return ""
	}
	return v.p.String()
}

func (v way) Set(s string) error {
	for _, io := range []engine.IO{engine.IOGoroutines, engine.IOLoops} {
		if s == io.String() {
			*v.p = io
			return nil
		}
	}
	return errNotAllowed
}

// host is a flag that takes a host name or an IP address. An empty one, which
// would mean all interfaces, is more likely an unset variable in a script.
const hostAllowed = "a host name or an IP address; 0.0.0.0 or :: for all"

type host struct{ p *string }

func (v host) Type() string    { return "host" }
func (v host) allowed() string { return hostAllowed }

func (v host) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v host) Set(s string) error {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	if s == "" || strings.ContainsAny(s, "[]/ ") {
		return errNotAllowed
	}
	*v.p = s
	return nil
}

// hostPort is a flag that takes an address to listen on. An empty host, which would
// show metrics to everybody, is more likely a slip.
const hostPortAllowed = "a host and a port, like 127.0.0.1:9100 or [::1]:9100"

type hostPort struct{ p *string }

func (v hostPort) Type() string    { return "host:port" }
func (v hostPort) allowed() string { return hostPortAllowed }

func (v hostPort) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v hostPort) Set(s string) error {
	name, port, err := net.SplitHostPort(s)
	if err != nil || (host{new(string)}).Set(name) != nil {
		return errNotAllowed
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return errNotAllowed
	}
	*v.p = s
	return nil
}

// names gathers filters from a repeatable flag and from the arguments between its
// uses, in the order of the command line.
type names struct {
	list  []string
	flags *pflag.FlagSet
	args  int // arguments in list
}

func (v *names) Type() string    { return "name" }
func (v *names) String() string  { return strings.Join(v.list, " ") }
func (v *names) allowed() string { return "the name of a filter" }

// Set is called while the flag set parses, and so knows what came before.
func (v *names) Set(s string) error {
	v.rest(v.flags.Args())
	v.list = append(v.list, s)
	return nil
}

// rest takes the arguments that are not in the list yet.
func (v *names) rest(args []string) {
	v.list = append(v.list, args[v.args:]...)
	v.args = len(args)
}

// orDefault returns the filters to run.
func (v *names) orDefault() []string {
	if len(v.list) == 0 {
		return []string{filters.Default}
	}
	return v.list
}

// origins is a repeatable flag that takes origin patterns.
type origins struct{ p *[]string }

func (v origins) Type() string { return "pattern" }

func (v origins) allowed() string {
	return `an origin pattern like "https://*.example.com", "example.com:8443" or "*"`
}

func (v origins) String() string {
	if v.p == nil {
		return ""
	}
	return strings.Join(*v.p, " ")
}

func (v origins) Set(s string) error {
	if (engine.Config{AllowedOrigins: []string{s}}).Validate() != nil {
		return errNotAllowed
	}
	*v.p = append(*v.p, s)
	return nil
}

// prefixes is a repeatable flag that takes networks, or single addresses.
type prefixes struct{ p *[]netip.Prefix }

func (v prefixes) Type() string    { return "cidr" }
func (v prefixes) allowed() string { return "a network like 10.0.0.0/8 or fd00::/8, or an IP address" }

func (v prefixes) String() string {
	if v.p == nil || len(*v.p) == 0 {
		return ""
	}
	return fmt.Sprint(*v.p)
}

func (v prefixes) Set(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return errNotAllowed
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	*v.p = append(*v.p, p)
	return nil
}
