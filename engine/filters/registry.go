package filters

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-ws/penstock/engine"
)

// Registry knows constructors by name. The zero value is empty and ready; Stock
// returns one with the filters of this package. Register everything first: after
// that any number of goroutines may use it.
type Registry struct {
	constructors map[string]Constructor
}

// Register adds a constructor under name, which must be new and not empty.
func (r *Registry) Register(name string, c Constructor) error {
	switch _, taken := r.constructors[name]; {
	case strings.TrimSpace(name) == "":
		return errors.New("filters: a filter's name must not be empty")
	case taken:
		return fmt.Errorf("filters: the name %q is taken; choose another", name)
	case c == nil:
		return fmt.Errorf("filters: the constructor of %q is nil", name)
	}
	if r.constructors == nil {
		r.constructors = make(map[string]Constructor)
	}
	r.constructors[name] = c
	return nil
}

// Names returns the names that are registered, sorted.
func (r *Registry) Names() []string { return slices.Sorted(maps.Keys(r.constructors)) }

// Check returns an *UnknownError for the first of names that is not registered.
func (r *Registry) Check(names []string) error {
	for _, name := range names {
		if _, ok := r.constructors[name]; !ok {
			known := r.Names()
			return &UnknownError{Name: name, Known: known, Near: nearest(name, known)}
		}
	}
	return nil
}

// Build constructs the filters that are named and composes them, in that order,
// into an endpoint for env.Engine. A filter that is named twice is there twice;
// without any, messages are dropped. The error is an *UnknownError, or that of a
// constructor, with the filter's name before it.
func (r *Registry) Build(names []string, env Env) (engine.Endpoint, error) {
	if err := r.Check(names); err != nil {
		return engine.Endpoint{}, err
	}
	env.setDefaults()
	source := &consumer{engine: env.Engine, hub: env.Hub, logger: env.Logger}
	env.Put = source.put
	var list []Filter
	for _, name := range names {
		f, err := r.constructors[name](env)
		if err != nil {
			return engine.Endpoint{}, fmt.Errorf("filters: %s: %w", name, err)
		}
		list = append(list, f)
	}
	source.row.Store((*pipeline)(&list))
	return compose(list, env.Hub), nil
}

// UnknownError is a name that no filter is registered under.
type UnknownError struct {
	Name  string   // as it was given
	Known []string // all that are registered, sorted
	Near  string   // the known one that was probably meant, or ""
}

// Error lists the known names.
func (e *UnknownError) Error() string {
	hint := ""
	if e.Near != "" {
		hint = fmt.Sprintf(" (did you mean %s?)", e.Near)
	}
	known := "none"
	if len(e.Known) > 0 {
		known = strings.Join(e.Known, ", ")
	}
	return fmt.Sprintf("unknown filter %q%s; known: %s", e.Name, hint, known)
}
