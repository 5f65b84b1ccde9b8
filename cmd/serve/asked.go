package serve

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// asked are the variables of the environment that somebody has asked for, to tell of those that
// look like settings and that nobody knows.
type asked struct {
	mu    sync.Mutex
	names map[string]bool // guarded by mu
}

func newAsked() *asked { return &asked{names: make(map[string]bool)} }

// get is os.Getenv.
func (a *asked) get(name string) string {
	a.mu.Lock()
	a.names[name] = true
	a.mu.Unlock()
	return os.Getenv(name)
}

// unknown returns the names in environ, NAME=VALUE each, that look like settings and have
// not been asked for, nor belong to a stock filter that is not there.
func (a *asked) unknown(environ []string) (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if value != "" && looksLikeSetting.MatchString(name) && !a.names[name] && !ofFilter(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

var looksLikeSetting = regexp.MustCompile(`^(MAX_)?WS_`)

// ofFilter reports whether a stock filter has that variable.
func ofFilter(name string) bool {
	for _, f := range filterSettings {
		if slices.Contains(strings.Fields(f.text), name) {
			return true
		}
	}
	return false
}
