package penstock_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/penstock-ws/penstock"

// arrows lists, for each folder, which of our own packages it may import besides
// those below itself; an entry stands for its subfolders, too, unless they have
// one of their own. Arrows only point down (docs/architecture.md).
var arrows = map[string][]string{
	"frame":                            {},
	"frame/deflate":                    {"frame"},
	"backpressure":                     {"frame"},
	"interceptors":                     {"frame"},
	"interceptors/schema":              {"frame", "interceptors"},
	"engine":                           {"frame", "frame/deflate", "backpressure", "interceptors"},
	"engine/enginetest":                {"engine", "frame", "backpressure", "interceptors"},
	"engine/hub":                       {"engine", "frame", "backpressure", "interceptors"},
	"engine/filters":                   {"engine", "engine/hub", "engine/relay", "engine/cluster", "engine/session", "frame", "backpressure", "interceptors"},
	"engine/app":                       {"engine", "engine/hub", "frame", "interceptors"},
	"engine/relay":                     {"engine", "engine/hub", "engine/cluster", "frame", "backpressure", "interceptors"},
	"engine/cluster":                   {"engine", "engine/cluster/internal/retry", "engine/hub", "frame"},
	"engine/cluster/internal/channels": {},
	"engine/cluster/internal/retry":    {},
	"engine/cluster/brokertest":        {"engine", "engine/hub", "engine/cluster", "frame", "interceptors"},
	"engine/cluster/redis":             {"engine/cluster", "engine/cluster/internal/channels", "engine/cluster/internal/retry", "engine/session", "engine/hub", "frame"},
	"engine/cluster/nats":              {"engine/cluster", "engine/cluster/internal/channels", "engine/cluster/internal/retry", "engine/hub", "frame"},
	"engine/session":                   {},
	"engine/session/sessiontest":       {"engine/session"},
	"bench":                            {"frame", "frame/deflate"},
	"cmd/bench":                        {"cmd/internal/flagvalue", "bench", "engine"}, // for the names of its settings
	"cmd/serve":                        {"cmd/internal/flagvalue", "engine", "engine/hub", "engine/filters", "engine/cluster", "engine/cluster/redis", "engine/cluster/nats", "engine/session", "frame", "interceptors", "engine/prometheus", "engine/app", "engine/page"},
	"cmd/penstock":                     {"cmd/serve", "cmd/bench", "cmd/connect"},
	"cmd":                              {},
	"cmd/connect":                      {"cmd/internal/flagvalue", "engine", "engine/reconnect", "frame", "interceptors"},
	"engine/prometheus":                {"engine", "frame", "interceptors"},
	"engine/otel":                      {"engine", "frame", "interceptors"},
	"engine/reconnect":                 {"engine", "frame", "backpressure"},
	"engine/auth":                      {"engine", "frame", "interceptors"},
	"engine/page":                      {"engine", "frame", "interceptors"},

	"docs/draw":              {},
	"cmd/internal/flagvalue": {},

	"docs/examples/chat":          {"engine", "engine/hub", "frame", "interceptors"},
	"docs/examples/dashboard":     {"engine", "engine/relay"},
	"docs/examples/notifications": {"engine", "engine/hub", "frame", "interceptors"},
	"docs/examples/apps":          {"engine", "engine/app", "interceptors"},
}

// TestImportDirection fails on an import that points upwards, and on a folder
// that has no place in the order.
func TestImportDirection(t *testing.T) {
	seen := 0
	eachGoFile(t, func(folder, file string, imports []string) {
		seen++
		allowed, ok := arrowsOf(folder)
		if !ok {
			t.Errorf("%s: folder %s has no entry in arrows", file, folder)
			return
		}
		for _, i := range imports {
			if own, ok := strings.CutPrefix(i, module+"/"); ok && own != folder && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s; %s may import %v", file, own, folder, allowed)
			}
		}
	})
	require.Greater(t, seen, 30, "the walk has found the sources")
}

// arrowsOf finds the entry of a folder, or of the nearest folder above.
func arrowsOf(folder string) ([]string, bool) {
	for f := folder; f != "." && f != "/"; f = path.Dir(f) {
		if allowed, ok := arrows[f]; ok {
			return allowed, f == folder || f == "bench"
		}
	}
	return nil, false
}

// eachGoFile visits the module's sources, tests excepted.
func eachGoFile(t *testing.T, visit func(folder, file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (p == "bench/peers" || d.Name() == "testdata" || p != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, name)
		}
		visit(filepath.ToSlash(filepath.Dir(p)), p, imports)
		return nil
	})
	require.NoError(t, err)
}

// TestEngineDependencies: whoever embeds the engine compiles these and no others.
func TestEngineDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./engine").Output()
	require.NoError(t, err)
	allowed := []string{
		module,
		"github.com/klauspost/compress",
		"github.com/lxzan/gws",
		"github.com/panjf2000/ants/v2",
		"github.com/valyala/bytebufferpool",
		"golang.org/x/sync",
		"golang.org/x/sys",
		"golang.org/x/time",
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	require.Contains(t, modules, "github.com/lxzan/gws", "go list has worked")
	for _, m := range modules {
		require.Contains(t, allowed, m)
	}
}
