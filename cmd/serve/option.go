package serve

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
	"github.com/penstock-ws/penstock/engine/page"
)

// An option is one setting: what it is called on the command line, in the environment
// and in a file, and which values it takes.
type option struct {
	field       string // in a file
	flag, short string // "": none
	env         string
	list        bool // it takes several values
	toggle      bool // its values are "on" and "off"
	text        bool // a file has it as a string, never as a number
	secret      bool // no output shows its value

	group string // heading of the flag
	arg   string // what the flag takes
	usage string // of the flag

	fallback string // the default of one that is not the engine's
	allowed  string
	set      func(s *settings, value string) bool // nil: the engine's variable env is meant
}

// The headings of the flags, in the order of the help.
const (
	groupListen = "Listening"
	groupServed = "What is served"
	groupPeers  = "Who may connect"
	groupNodes  = "Several nodes"
	groupLimits = "Limits and resources"
	groupRun    = "Operation"
)

var groups = []string{groupListen, groupServed, groupPeers, groupNodes, groupLimits, groupRun}

// options returns all settings, in the order in which they are shown.
func options() []*option {
	list := append(listenOptions(), servedOptions()...)
	list = append(list, nodeOptions()...)
	list = append(list, engineFlags()...)
	list = append(list, runOptions()...)
	seen := make(map[string]bool)
	for _, o := range list {
		seen[o.env] = true
	}
	for _, name := range engine.EnvNames() {
		if !seen[name] {
			list = append(list, &option{env: name})
		}
	}
	for _, o := range list {
		if o.field == "" {
			o.field = strings.ToLower(o.env)
		}
	}
	return list
}

func listenOptions() []*option {
	return []*option{
		{field: "port", flag: "port", short: "p", env: "WS_PORT", group: groupListen, arg: "number", fallback: strconv.Itoa(defaultPort),
			usage:   "TCP port to listen on; 0 picks a free one",
			allowed: "a whole number from 0 to 65535", set: setPort},
		{field: "host", flag: "host", env: "WS_HOST", text: true, group: groupListen, arg: "address", fallback: defaultHost,
			usage:   "address to listen on; 0.0.0.0 or :: for all",
			allowed: hostAllowed, set: setHost},
		{field: "cert", flag: "cert", env: "WS_CERT", text: true, group: groupListen, arg: "file",
			usage:   "certificate chain (PEM) for wss://; read again when it changes, and on SIGHUP",
			allowed: "the name of a file", set: func(s *settings, v string) bool { s.cert = v; return v != "" }},
		{field: "key", flag: "key", env: "WS_KEY", text: true, group: groupListen, arg: "file",
			usage:   "private key (PEM) of the certificate",
			allowed: "the name of a file", set: func(s *settings, v string) bool { s.key = v; return v != "" }},
	}
}

func servedOptions() []*option {
	return []*option{
		{field: "filters", flag: "filter", short: "f", env: "WS_FILTERS", list: true, text: true, group: groupServed, arg: "name", fallback: filters.Default,
			usage:   "filters to run, in this order; repeatable",
			allowed: "the name of a filter", set: func(s *settings, v string) bool { s.filters = append(s.filters, v); return v != "" }},
		{field: "inline", flag: "inline", env: "WS_INLINE", toggle: true, group: groupServed, fallback: "off",
			usage:   "handle messages where they are read, without workers",
			allowed: onOrOff, set: func(s *settings, v string) bool { return setSwitch(&s.inline, v) }},
		{field: "manifest", flag: "manifest", env: "WS_MANIFEST", text: true, group: groupServed, arg: "path",
			usage:   "manifest of an app, or a directory of them (*.json), to serve beside the filters",
			allowed: "a file, or a directory with files *.json", set: func(s *settings, v string) bool { s.manifest = v; return v != "" }},
		{field: "slug_prefix", flag: "slug-prefix", env: "WS_SLUG_PREFIX", toggle: true, group: groupServed, fallback: "off",
			usage:   "put / and the app's slug before the paths of manifests",
			allowed: onOrOff, set: func(s *settings, v string) bool { return setSwitch(&s.slugPrefix, v) }},
		{field: "page", flag: "page", env: "WS_PAGE", toggle: true, group: groupServed, fallback: "on",
			usage:   "answer GET / with a page to try a connection and to watch the server; --page=false: do not",
			allowed: onOrOff, set: func(s *settings, v string) bool { return setSwitch(&s.page, v) }},
		{field: "live_token", env: "WS_LIVE_TOKEN", text: true, secret: true,
			allowed: page.TokenAllowed, set: func(s *settings, v string) bool { s.liveToken = v; return page.GoodToken(v) }},
		{field: "allow_origins", flag: "allow-origin", env: "WS_ALLOW_ORIGINS", list: true, text: true, group: groupPeers, arg: "pattern",
			usage:   "origin of web pages that may connect, besides the server's own; like https://*.example.com, or * for all; repeatable",
			allowed: `an origin pattern like "https://*.example.com", "example.com:8443" or "*"`, set: setOrigin},
		{field: "trusted_proxies", flag: "trusted-proxy", env: "WS_TRUSTED_PROXIES", list: true, text: true, group: groupPeers, arg: "network",
			usage:   "addresses of proxies whose Forwarded and X-Forwarded headers are believed; like 10.0.0.0/8; repeatable",
			allowed: "a network like 10.0.0.0/8 or fd00::/8, or an IP address", set: setProxy},
		{field: "tokens", env: "WS_TOKENS", list: true, text: true, secret: true,
			allowed: "a list of user=token, each token once", set: setToken},
	}
}

// engineFlags are the engine's variables that have a flag.
func engineFlags() []*option {
	return []*option{
		{flag: "max-message-bytes", env: "MAX_WS_MESSAGE_BYTES", group: groupLimits, arg: "bytes",
			usage: "largest message in either direction; a larger one closes with 1009"},
		{flag: "send-chunk-bytes", env: "WS_SEND_CHUNK_BYTES", group: groupLimits, arg: "bytes",
			usage: "largest frame to send; a larger message goes out in fragments"},
		{flag: "max-connections", env: "WS_MAX_CONNECTIONS", group: groupLimits, arg: "number",
			usage: "open connections; more are answered with 503"},
		{flag: "memory-budget-bytes", env: "WS_MEMORY_BUDGET_BYTES", group: groupLimits, arg: "bytes",
			usage: "memory that peers may cost; short of it the largest holders are closed with 1013"},
		{flag: "workers", env: "WS_WORKERS", group: groupLimits, arg: "number", usage: "handlers that may run at once"},
		{flag: "io", env: "WS_IO", text: true, group: groupLimits, arg: "way",
			usage: "how to wait for peers: goroutine, one for each, or epoll, a few event loops (Linux, without TLS)"},
		{flag: "loops", env: "WS_LOOPS", group: groupLimits, arg: "number", usage: "event loops of --io epoll"},
		{flag: "compress", env: "WS_COMPRESS", toggle: true, group: groupLimits,
			usage: "agree to permessage-deflate with clients that offer it"},
	}
}

func runOptions() []*option {
	return []*option{
		{flag: "drain-window", env: drainVariable, group: groupRun, arg: "duration",
			usage: "time over which a shutdown spreads its closes, at random; 0 closes all at once"},
		{field: "log_format", flag: "log-format", env: "WS_LOG_FORMAT", text: true, group: groupRun, arg: "format", fallback: "text",
			usage: "text or json", allowed: "text or json",
			set: func(s *settings, v string) bool { s.logFormat = v; return v == "text" || v == "json" }},
		{field: "log_level", flag: "log-level", env: "WS_LOG_LEVEL", text: true, group: groupRun, arg: "level", fallback: "info",
			usage: "least level to log: debug, info, warn or error", allowed: "debug, info, warn or error", set: setLevel},
		{field: "metrics_addr", flag: "metrics-addr", env: "WS_METRICS_ADDR", text: true, group: groupRun, arg: "host:port",
			usage:   "address to serve Prometheus metrics on, at /metrics; port 0 picks a free one",
			allowed: "a host and a port, like 127.0.0.1:9100 or [::1]:9100", set: setMetrics},
		{field: "pprof_addr", flag: "pprof-addr", env: "WS_PPROF_ADDR", text: true, group: groupRun, arg: "host:port",
			usage:   "loopback address to serve profiles on, at /debug/pprof/; port 0 picks a free one",
			allowed: "a loopback address and a port, like 127.0.0.1:6060 or [::1]:6060", set: setPprof},
	}
}

// names returns all that a file may call the option.
func (o *option) names() []string {
	list := []string{o.field}
	for _, other := range []string{strings.ReplaceAll(o.flag, "-", "_"), strings.ToLower(o.env)} {
		if other != "" && other != o.field {
			list = append(list, other)
		}
	}
	return list
}

// wrong returns what would be right if value is not, and otherwise "".
func (o *option) wrong(value string) (allowed string) {
	if o.set != nil {
		if o.set(new(settings), value) {
			return ""
		}
		return o.allowed
	}
	if value == "" { // to the engine that would be a variable that is not set
		return o.right()
	}
	_, err := engine.ConfigFrom(func(name string) string {
		if name == o.env {
			return value
		}
		return ""
	})
	if e, ok := errors.AsType[*engine.EnvError](err); ok {
		return e.Allowed
	}
	return ""
}

// right returns what is allowed where there is no value.
func (o *option) right() string {
	switch {
	case o.toggle:
		return "true or false"
	case o.set != nil:
		return o.allowed
	}
	return o.wrong("?")
}

// normal returns a value of a flag or a file as the environment would have it.
func (o *option) normal(value string) string {
	switch {
	case o.toggle:
		if on, err := strconv.ParseBool(value); err == nil {
			return onOff(on)
		}
	case o.env == drainVariable:
		if d, err := time.ParseDuration(value); err == nil && d == 0 {
			return "off"
		}
	}
	return value
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// shown is what may be shown of a value.
func (o *option) shown(value string) string {
	if o.secret && value != "" {
		return "(hidden)"
	}
	return value
}

// help is the flag's usage with its default and its variable.
func (o *option) help(defaults map[string]string) string {
	value := o.fallback
	if o.set == nil {
		value = defaults[o.env]
	}
	if value == "" {
		return fmt.Sprintf("%s\n(environment %s)", o.usage, o.env)
	}
	return fmt.Sprintf("%s\n(default %s; environment %s)", o.usage, value, o.env)
}
