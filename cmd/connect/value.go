package connect

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// errNotAllowed is all that a value's Set says: flagError puts the flag and what
// it allows around it.
var errNotAllowed = errors.New("not allowed")

// number is a flag that takes a whole number; zero has not been given.
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

// span is a flag that takes a duration, or a word for one that has none.
type span struct {
	p         *time.Duration
	low, high time.Duration
	word      string // stands for -1; empty: there is none
}

func (v span) Type() string { return "duration" }

func (v span) allowed() string {
	text := fmt.Sprintf("a duration like 500ms or 10s, from %v to %v", v.low, v.high)
	if v.word != "" {
		text += ", or " + v.word
	}
	return text
}

func (v span) String() string {
	switch {
	case v.p == nil || *v.p == 0:
		return ""
	case *v.p < 0:
		return v.word
	}
	return v.p.String()
}

func (v span) Set(s string) error {
	if v.word != "" && s == v.word {
		*v.p = -1
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < v.low || d > v.high {
		return errNotAllowed
	}
	*v.p = d
	return nil
}

// texts is a repeatable flag that takes what Dial is to judge.
type texts struct{ p *[]string }

func (v texts) Type() string    { return "name" }
func (v texts) allowed() string { return "the name of a subprotocol" }

func (v texts) String() string {
	if v.p == nil {
		return ""
	}
	return strings.Join(*v.p, " ")
}

func (v texts) Set(s string) error {
	*v.p = append(*v.p, s)
	return nil
}

// word is a flag that takes one text without spaces and control characters.
type word struct {
	p     *string
	kind  string
	means string
	bars  string // characters that it must not have
}

func (v word) Type() string    { return v.kind }
func (v word) allowed() string { return v.means }
func (v word) secret()         {} // --auth may be given a password by mistake

func (v word) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v word) Set(s string) error {
	if s == "" || strings.ContainsAny(s, v.bars) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errNotAllowed
	}
	*v.p = s
	return nil
}

// headers is a repeatable flag that takes header lines, or files of them.
type headers struct{ p *http.Header }

func (v headers) Type() string { return "line" }
func (v headers) secret()      {}

func (v headers) allowed() string {
	return `a line like "Name: value", or @ and the name of a file of such lines`
}

func (v headers) String() string { return "" } // may be a secret

func (v headers) Set(s string) error {
	file, ok := strings.CutPrefix(s, "@")
	if !ok {
		return v.add(s)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return errNotAllowed
	}
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		if err := v.add(line); err != nil {
			return err
		}
	}
	return nil
}

func (v headers) add(line string) error {
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(value, "\r\n\x00") {
		return errNotAllowed
	}
	if *v.p == nil {
		*v.p = http.Header{}
	}
	v.p.Add(name, value)
	return nil
}

// A route is how to get to the server: the zero one by the environment's proxy.
type route struct {
	direct bool
	proxy  *url.URL
}

// routes is a flag that takes a proxy's URL, whose password no message shows.
type routes struct{ p *route }

func (v routes) Type() string    { return "url" }
func (v routes) allowed() string { return "a URL like http://proxy.example.com:3128, or none" }
func (v routes) secret()         {}
func (v routes) String() string  { return "" }

func (v routes) Set(s string) error {
	if s == "none" {
		*v.p = route{direct: true}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errNotAllowed
	}
	*v.p = route{proxy: u}
	return nil
}

// use makes cfg go this way. tried turns to true when a proxy has been asked for, which is
// the first thing that is done once cfg has been found to be right.
func (r route) use(cfg *engine.DialConfig) (tried *bool) {
	tried = new(bool)
	through := r.through()
	cfg.Proxy = func(req *http.Request) (*url.URL, error) {
		*tried = true
		return through(req)
	}
	return tried
}

// through is DialConfig.Proxy; nil leaves it to the environment.
func (r route) through() func(*http.Request) (*url.URL, error) {
	if !r.direct && r.proxy == nil {
		return http.ProxyFromEnvironment
	}
	return func(*http.Request) (*url.URL, error) { return r.proxy, nil }
}
