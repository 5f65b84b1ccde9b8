package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// settings is what holds.
type settings struct {
	host       string
	port       int
	cert, key  string
	filters    []string
	inline     bool
	manifest   string
	slugPrefix bool
	page       bool
	liveToken  string            // "": none
	tokens     map[string]string // users by their tokens

	allowOrigins   []string
	trustedProxies []netip.Prefix

	nodes nodeSettings

	logFormat   string
	logLevel    slog.Level
	metricsAddr string // "": none
	pprofAddr   string // likewise

	engine engine.Config
	given  map[*option]given // what is not by default
}

const (
	defaultHost = "127.0.0.1"
	defaultPort = 9000

	drainVariable   = "WS_SHUTDOWN_SPREAD"
	timeoutVariable = "WS_SHUTDOWN_TIMEOUT"
)

// given is what somebody has said about an option.
type given struct {
	values []string
	from   string // for people
}

// A layer is one of the places where settings are made.
type layer map[*option]given

// fromEnvironment returns what variables say. All of them must be right, whatever
// another layer has.
func fromEnvironment(list []*option, getenv func(string) string) (layer, error) {
	l := make(layer)
	var errs []error
	for _, o := range list {
		text := getenv(o.env)
		if text == "" {
			continue
		}
		values := []string{text}
		if o.list {
			values = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
		}
		if bad, allowed := o.firstWrong(values); allowed != "" {
			errs = append(errs, &engine.EnvError{Name: o.env, Value: o.shown(bad), Allowed: allowed})
		}
		l[o] = given{values, "environment " + o.env}
	}
	return l, errors.Join(errs...)
}

// firstWrong returns the first of values that is wrong, and what would be right.
func (o *option) firstWrong(values []string) (bad, allowed string) {
	if len(values) == 0 {
		return "", o.right()
	}
	scratch := new(settings)
	for _, v := range values {
		switch {
		case o.set == nil:
			if allowed := o.wrong(v); allowed != "" {
				return v, allowed
			}
		case !o.set(scratch, v):
			return v, o.allowed
		}
	}
	return "", ""
}

// resolve lays the layers, all of which are right, over each other: the first that has
// a setting decides it. Its errors are *UsageError.
func resolve(list []*option, layers ...layer) (*settings, error) {
	s := &settings{given: make(map[*option]given)}
	variables := make(map[string]string)
	for _, o := range list {
		values := strings.Fields(o.fallback)
		for _, l := range layers {
			if g, ok := l[o]; ok {
				s.given[o], values = g, g.values
				break
			}
		}
		for _, v := range values {
			if o.set == nil {
				variables[o.env] = v
			} else {
				o.set(s, v)
			}
		}
	}
	var err error
	if s.engine, err = engine.ConfigFrom(func(name string) string { return variables[name] }); err != nil {
		return nil, usage(err) // each layer has been checked: this does not come
	}
	s.engine.AllowedOrigins, s.engine.TrustedProxies = s.allowOrigins, s.trustedProxies
	return s, s.agree()
}

// drainGrace is what a shutdown has beyond the drain window, unless its timeout is set.
const drainGrace = 10 * time.Second

// agree finds settings that contradict each other.
func (s *settings) agree() error {
	switch {
	case s.cert != "" && s.key == "":
		return usagef("--cert and --key belong together: %s is set alone", s.source("cert"))
	case s.cert == "" && s.key != "":
		return usagef("--cert and --key belong together: %s is set alone", s.source("key"))
	}
	if err := s.nodes.agree(s.filters); err != nil {
		return err
	}
	switch window, timeout := s.engine.ShutdownSpread, s.engine.ShutdownTimeout; {
	case timeout == 0:
		s.engine.ShutdownTimeout = window + drainGrace
	case timeout <= window:
		return usagef("--drain-window=%v: allowed is less than %s, %v, or connections would be cut off", window, timeoutVariable, timeout)
	}
	if err := s.engine.Validate(); err != nil {
		return usagef("environment, file and flags contradict each other: %w", err)
	}
	return nil
}

// value returns what holds, as text.
func (s *settings) value(o *option, ofEngine map[string]string) string {
	if o.set == nil {
		return ofEngine[o.env]
	}
	if g, ok := s.given[o]; ok {
		return o.shown(strings.Join(g.values, " "))
	}
	return o.fallback
}

// from tells where it comes from.
func (s *settings) from(o *option) string {
	if g, ok := s.given[o]; ok {
		return g.from
	}
	return "default"
}

// source is what whoever has made a setting knows it by.
func (s *settings) source(field string) string {
	for o, g := range s.given {
		switch place, name, _ := strings.Cut(g.from, " "); {
		case o.field != field:
		case place == "file":
			return name + ": " + field
		default:
			return name
		}
	}
	return field
}

// variables returns an engine's settings by the names of their variables.
func variables(cfg engine.Config) map[string]string {
	values := make(map[string]string)
	for _, v := range cfg.Settings() {
		values[v.Name] = v.Value
	}
	return values
}

// String is for nobody: settings hold secrets.
func (s *settings) String() string { return fmt.Sprintf("settings with %d given", len(s.given)) }
