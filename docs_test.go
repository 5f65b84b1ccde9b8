package penstock_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinks: every relative link of a page leads to a file.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob("docs/decisions/*.md")
	require.NoError(t, err)
	pages = append(append(pages, decisions...), "README.md", "CONTRIBUTING.md", "SECURITY.md")
	seen := 0
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			seen++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	require.Greater(t, seen, 10, "the links have been found")
}

// TestPathsOfMessages: the functions that docs/architecture.md names with their
// files are there.
func TestPathsOfMessages(t *testing.T) {
	page := strings.Join(strings.Fields(read(t, "docs/architecture.md")), " ") // a name may stand on the next line
	steps := regexp.MustCompile("`([a-z_/]+\\.go): (\\w+)`").FindAllStringSubmatch(page, -1)
	require.Greater(t, len(steps), 20, "the steps have been found")
	for _, step := range steps {
		names := known{}
		names.parse(t, step[1])
		if !names[step[2]] {
			t.Errorf("%s has no %s", step[1], step[2])
		}
	}
}

// TestNamesOnPages: what these pages name in backticks exists: exported names, methods
// and fields as Type.Name, environment variables.
func TestNamesOnPages(t *testing.T) {
	names := known{}
	for _, folder := range []string{
		"frame", "backpressure", "interceptors", "interceptors/schema", "engine", "engine/hub", "engine/enginetest",
		"engine/reconnect", "engine/auth", "engine/app", "engine/relay", "engine/filters", "engine/cluster", "engine/page",
	} {
		files, err := filepath.Glob(folder + "/*.go")
		require.NoError(t, err)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") || strings.Contains(file, "example") {
				names.parse(t, file)
			}
		}
	}
	env := read(t, "engine/env.go")
	elsewhere := regexp.MustCompile(`^(GO|TCP_)[A-Z_]+$|^(Test|Example|Benchmark)`) // not ours, or of TestTestsOnPages
	for page, least := range map[string]int{
		"docs/backpressure.md": 80, "docs/security.md": 60, "docs/interceptors.md": 60, "docs/testing.md": 60,
		"docs/client.md": 50, "docs/rooms.md": 40, "docs/auth.md": 40, "docs/apps.md": 60, "docs/coming-from.md": 90,
	} {
		seen := 0
		for _, m := range regexp.MustCompile("`\\*?([A-Z][\\w.]*)`").FindAllStringSubmatch(read(t, page), -1) {
			name := m[1]
			if elsewhere.MatchString(name) {
				continue
			}
			seen++
			if strings.Contains(name, "WS_") {
				if !strings.Contains(env, `"`+name+`"`) {
					t.Errorf("%s: no environment variable %s", page, name)
				}
			} else if !names[name] {
				t.Errorf("%s: no exported %s", page, name)
			}
		}
		require.Greater(t, seen, least, "the names have been found")
	}
}

// TestTestsOnPages: every test that a page names is there, and each row of the table in
// docs/security.md names one.
func TestTestsOnPages(t *testing.T) {
	tests := known{}
	require.NoError(t, filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			tests.parse(t, path)
		}
		return err
	}))
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob("docs/decisions/*.md")
	require.NoError(t, err)
	name := regexp.MustCompile(`\b(Test|Fuzz|Benchmark|Example)[A-Z_]\w*`)
	seen := 0
	for _, page := range append(append(pages, decisions...), "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		for _, test := range name.FindAllString(read(t, page), -1) {
			seen++
			if !tests[test] {
				t.Errorf("%s: no %s", page, test)
			}
		}
	}
	require.Greater(t, seen, 80, "the names have been found")

	_, table, _ := strings.Cut(read(t, "docs/security.md"), "## Behaviours")
	rows := regexp.MustCompile(`(?m)^\| [^*-].*$`).FindAllString(table, -1)
	require.Greater(t, len(rows), 50, "the rows have been found")
	for _, row := range rows[1:] {
		cells := strings.Split(row, " | ")
		if len(cells) != 3 || !name.MatchString(cells[2]) {
			t.Errorf("a row without a test, or not of three cells: %s", row)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

// known are the names of sources: Name for everything, and Type.Name for fields and
// methods, also those of interfaces.
type known map[string]bool

func (k known) parse(t *testing.T, file string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			k.add(receiver(d), d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				k.spec(spec)
			}
		}
	}
}

func (k known) spec(spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		k.add("", s.Names...)
	case *ast.TypeSpec:
		k.add("", s.Name)
		var members *ast.FieldList
		switch t := s.Type.(type) {
		case *ast.StructType:
			members = t.Fields
		case *ast.InterfaceType:
			members = t.Methods
		default:
			return
		}
		for _, m := range members.List {
			k.add(s.Name.Name, m.Names...)
		}
	}
}

func (k known) add(of string, names ...*ast.Ident) {
	for _, n := range names {
		k[n.Name] = true
		k[of+"."+n.Name] = true
	}
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
