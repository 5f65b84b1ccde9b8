package penstock_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinks: every link of a page to another, or to a heading, leads somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	seen := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(prose(t, page), -1) {
			seen++
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if m[2] != "" && !slices.Contains(anchors(t, target), m[2]) {
				t.Errorf("%s: %s has no heading #%s", page, target, m[2])
			}
		}
	}
	require.Greater(t, seen, 100, "the links have been found")
}

// TestIndex: docs/README.md leads to every page.
func TestIndex(t *testing.T) {
	list, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	require.Greater(t, len(list), 20, "the pages have been found")
	index := read(t, "docs/README.md")
	for _, page := range list {
		name := filepath.Base(page)
		if name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("%s is not in the index", page)
		}
	}
}

// anchors are the names by which links reach the headings of a page.
func anchors(t *testing.T, page string) (list []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(t, page), -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return list
}

// prose is a page without its blocks of code.
func prose(t *testing.T, page string) string {
	t.Helper()
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(read(t, page), "")
}

// TestPathsOfMessages: the functions that docs/architecture.md and its picture name with
// their files are there.
func TestPathsOfMessages(t *testing.T) {
	text := read(t, "docs/architecture.md") + read(t, "docs/images/paths.txt")
	page := strings.Join(strings.Fields(text), " ") // a name may stand on the next line
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
// and fields as Type.Name. Variables are the matter of TestVariablesOnPages.
func TestNamesOnPages(t *testing.T) {
	names := known{}
	for _, folder := range []string{
		"frame", "backpressure", "interceptors", "interceptors/schema", "engine", "engine/hub", "engine/enginetest", "engine/reconnect",
		"engine/auth", "engine/app", "engine/relay", "engine/filters", "engine/cluster", "engine/prometheus", "engine/otel", "engine/page",
	} {
		files, err := filepath.Glob(folder + "/*.go")
		require.NoError(t, err)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") || strings.Contains(file, "example") {
				names.parse(t, file)
			}
		}
	}
	// Of others, of TestTestsOnPages, or of TestVariablesOnPages.
	elsewhere := regexp.MustCompile(`^(GO|SIG)[A-Z]+$|_[A-Z]|^(ReadLoop|ExecStart)$|^(Test|Example|Benchmark|Fuzz)`)
	for page, least := range map[string]int{
		"docs/backpressure.md": 70, "docs/security.md": 60, "docs/interceptors.md": 60, "docs/testing.md": 60,
		"docs/client.md": 50, "docs/rooms.md": 40, "docs/auth.md": 40, "docs/apps.md": 60, "docs/coming-from.md": 150,
		"docs/faq.md": 30, "docs/observability.md": 8, "docs/writing-filters.md": 10, "docs/architecture.md": 20,
		"docs/compression.md": 5, "docs/tuning.md": 2, "docs/serve.md": 0, "docs/connect.md": 0, "README.md": 1, "SECURITY.md": 1,
	} {
		seen := 0
		for _, m := range regexp.MustCompile("`\\*?([A-Z][\\w.]*)`").FindAllStringSubmatch(prose(t, page), -1) {
			if name := m[1]; !elsewhere.MatchString(name) {
				seen++
				if !names[name] {
					t.Errorf("%s: no exported %s", page, name)
				}
			}
		}
		require.GreaterOrEqual(t, seen, least, "%s: the names have been found", page)
	}
}

// TestComingFrom: docs/coming-from.md has a row for every feature of the systems that its
// letters stand for; tests bear the same letters.
func TestComingFrom(t *testing.T) {
	page := read(t, "docs/coming-from.md")
	for letter, last := range map[string]int{"A": 11, "B": 10, "C": 11, "D": 7, "E": 6} {
		for n := 1; n <= last; n++ {
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^\|.*\([^)]*\b%s%d\b[^)]*\) \|`, letter, n)).MatchString(page) {
				t.Errorf("no row for %s%d", letter, n)
			}
		}
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
	name := regexp.MustCompile(`\b(Test|Fuzz|Benchmark|Example)[A-Z_]\w*`)
	seen := 0
	for _, page := range pages(t) {
		for _, test := range name.FindAllString(prose(t, page), -1) {
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

// TestFailuresOnPage: each row of the failures in docs/scaling.md names a case that is run.
func TestFailuresOnPage(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "docs/scaling.md"), "## When something fails")
	table, _, _ = strings.Cut(table, "\n## ")
	cases := ""
	for _, file := range []string{"nodes", "contract", "archive", "histories"} {
		cases += read(t, "engine/cluster/brokertest/"+file+".go")
	}
	rows := regexp.MustCompile(`(?m)^\| [A-Z].*$`).FindAllString(table, -1)
	require.Greater(t, len(rows), 10, "the rows have been found")
	quoted := regexp.MustCompile(`"[^"]+"`)
	for _, row := range rows {
		cells := strings.Split(row, " | ")
		require.Len(t, cells, 3, row)
		names := quoted.FindAllString(cells[2], -1)
		require.True(t, len(names) > 0 || strings.Contains(cells[2], "`Test"), row)
		for _, name := range names {
			require.Contains(t, cases, "{"+name+", ", "no such case")
		}
	}
}

// TestPackagesAreDescribed: each package that a program can import has a doc.go, which says
// what it does and what it refuses or leaves to others, and an example.
func TestPackagesAreDescribed(t *testing.T) {
	packages := make(map[string]bool)
	eachGoFile(t, func(folder, file string, _ []string) {
		if !packages[folder] && !strings.Contains("\n"+read(t, file), "\npackage main\n") {
			packages[folder] = true
		}
	})
	require.Greater(t, len(packages), 15, "the packages have been found")
	page := read(t, "docs/architecture.md")
	limits := regexp.MustCompile(`\b(refuses?|nothing|never|no|not)\b`)
	for folder := range packages {
		if strings.Contains(folder, "internal") {
			continue // which only we can import
		}
		if !strings.Contains(page, folder) {
			t.Errorf("docs/architecture.md does not list %s", folder)
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(folder, "doc.go"), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		if about := f.Doc.Text(); !strings.HasPrefix(about, "Package "+f.Name.Name+" ") || !limits.MatchString(about) {
			t.Errorf("%s/doc.go must begin with Package %s, and say what it refuses", folder, f.Name.Name)
		}
		tests, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		require.NoError(t, err)
		example := func(file string) bool { return strings.Contains(read(t, file), "\nfunc Example") }
		if !strings.HasSuffix(folder, "test") && !slices.ContainsFunc(tests, example) { // a test kit's are tests
			t.Errorf("%s has no example", folder)
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
