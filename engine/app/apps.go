package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config says which apps there are and who their users are.
type Config struct {
	// Manifests are the apps, as ParseManifest or Load has made them. Required.
	Manifests []Manifest

	// Auth returns what authenticates the connections of an endpoint: its Admit, or that
	// of an interceptor before it, sets the user (interceptors.SetUser), and lets those
	// pass that have none. nil, for an endpoint that needs no user, asks nobody.
	// Required if any endpoint requires a user.
	Auth func(slug, endpoint string) interceptors.Interceptor

	// Email returns the e-mail address of a connection's user, "" if it is not known.
	// Default: it is not.
	Email func(c *engine.Conn) string

	// Prefix returns what stands before the paths of an app: a path, or "". Default: "".
	// With "/"+slug the paths of several apps need not differ.
	Prefix func(slug string) string

	// Logger is told of handlers that fail, with their errors and the types of the
	// messages, and nothing else that clients have sent. Default: slog.Default().
	Logger *slog.Logger
}

// Apps are the apps of a process. Any goroutine may call its methods.
type Apps struct {
	// immutable
	e    *engine.Engine
	cfg  Config
	apps map[string]*App
}

// Router is what endpoints are mounted on: an *http.ServeMux, or chi's. For others see
// RouterFunc.
type Router interface {
	Handle(pattern string, handler http.Handler)
}

// RouterFunc makes a Router of a function.
type RouterFunc func(pattern string, handler http.Handler)

// Handle calls f.
func (f RouterFunc) Handle(pattern string, handler http.Handler) { f(pattern, handler) }

// New returns the apps, with connections of e. The error joins what is wrong: two apps
// with one slug or path, a prefix that is none, or an endpoint that requires a user where
// nobody authenticates.
func New(e *engine.Engine, cfg Config) (*Apps, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Prefix == nil {
		cfg.Prefix = func(string) string { return "" }
	}
	s := &Apps{e: e, cfg: cfg, apps: make(map[string]*App)}
	errs := []error{distinct(cfg.Manifests)}
	if len(cfg.Manifests) == 0 {
		errs = append(errs, errors.New("app: Config.Manifests is empty"))
	}
	paths := make(map[string]string)
	for i, m := range cfg.Manifests {
		if !m.parsed {
			errs = append(errs, fmt.Errorf("app: Config.Manifests[%d] has been made neither by ParseManifest nor by Load", i))
		}
		a := newApp(s, m)
		s.apps[m.Slug] = a
		for _, ep := range a.endpoints {
			if other, taken := paths[ep.pattern]; taken {
				errs = append(errs, fmt.Errorf("app: %s has the path %s of %s: use Config.Prefix", ep, ep.pattern, other))
			}
			paths[ep.pattern] = ep.String()
			if !isPath(ep.pattern) {
				errs = append(errs, fmt.Errorf("app: %s would have the path %q: Config.Prefix must return a path like \"/apps\", or nothing", ep, ep.pattern))
			}
			if ep.AuthRequired && ep.auth == nil {
				errs = append(errs, fmt.Errorf("app: %s requires a user, but Config.Auth has nothing for it", ep))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// App returns an app, or an *UnknownError.
func (s *Apps) App(slug string) (*App, error) {
	if a := s.apps[slug]; a != nil {
		return a, nil
	}
	return nil, &UnknownError{"app", slug, s.Slugs()}
}

// Slugs returns those of all apps, sorted.
func (s *Apps) Slugs() (list []string) {
	for slug := range s.apps {
		list = append(list, slug)
	}
	slices.Sort(list)
	return list
}

// Handle has h handle the messages to an endpoint. It must be called before the app
// is mounted, and once for an endpoint: else the error is ErrMounted or ErrHandled, or
// an *UnknownError.
func (s *Apps) Handle(slug, endpoint string, h Handler) error {
	a, err := s.App(slug)
	if err != nil {
		return err
	}
	return a.handle(endpoint, h)
}

// Mount puts all endpoints of all apps on r.
func (s *Apps) Mount(r Router) {
	for _, slug := range s.Slugs() {
		s.apps[slug].Mount(r)
	}
}

var (
	// ErrMounted: a handler was registered for an app whose endpoints are mounted.
	ErrMounted = errors.New("app: the app is mounted already; register handlers before")

	// ErrHandled: an endpoint has a handler already.
	ErrHandled = errors.New("app: the endpoint has a handler already")
)

// UnknownError is a name that nothing has.
type UnknownError struct {
	Kind  string // "app", or "endpoint of" and the app
	Name  string
	Known []string // sorted
}

// Error lists the known names.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("app: no %s is called %q; there are %s", e.Kind, e.Name, strings.Join(e.Known, ", "))
}
