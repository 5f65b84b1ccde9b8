package connect

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/penstock-ws/penstock/cmd/internal/flagvalue"
	"github.com/penstock-ws/penstock/engine"
)

// texts is a repeatable flag that takes what Dial is to judge.
type texts struct{ p *[]string }

func (v texts) Type() string    { return "name" }
func (v texts) Allowed() string { return "the name of a subprotocol" }

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
func (v word) Allowed() string { return v.means }
func (v word) Secret()         {} // --auth may be given a password by mistake

func (v word) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v word) Set(s string) error {
	if s == "" || strings.ContainsAny(s, v.bars) || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return flagvalue.ErrNotAllowed
	}
	*v.p = s
	return nil
}

// headers is a repeatable flag that takes header lines, or files of them.
type headers struct{ p *http.Header }

func (v headers) Type() string { return "line" }
func (v headers) Secret()      {}

func (v headers) Allowed() string {
	return `a line like "Name: value", or @ and the name of a file of such lines`
}

func (v headers) String() string { return "" } // may be a secret

func (v headers) Set(s string) error {
	file, ok := strings.CutPrefix(s, "@")
	if !ok {
		return v.add(s)
	}
	content, err := readSmall(file)
	if err != nil {
		return flagvalue.ErrNotAllowed
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

// mostHeaders bounds a file of header lines.
const mostHeaders = 1 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, mostHeaders+1))
	if len(text) > mostHeaders {
		err = flagvalue.ErrNotAllowed
	}
	return text, err
}

func (v headers) add(line string) error {
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(value, "\r\n\x00") {
		return flagvalue.ErrNotAllowed
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
func (v routes) Allowed() string { return "a URL like http://proxy.example.com:3128, or none" }
func (v routes) Secret()         {}
func (v routes) String() string  { return "" }

func (v routes) Set(s string) error {
	if s == "none" {
		*v.p = route{direct: true}
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return flagvalue.ErrNotAllowed
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
