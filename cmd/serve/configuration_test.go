package serve

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/filters"
)

//go:generate go test -run ^TestConfigurationPage$ -count=1 . -write

var write = flag.Bool("write", false, "write docs/configuration.md instead of holding it against the code")

const configurationPage = "../../docs/configuration.md"

// TestConfigurationPage: docs/configuration.md says what the fields of engine.Config and
// the options of this command say of themselves.
func TestConfigurationPage(t *testing.T) {
	want := configuration(t)
	if *write {
		require.NoError(t, os.WriteFile(configurationPage, []byte(want), 0o644)) //nolint:gosec // a page for everybody
		return
	}
	text, err := os.ReadFile(configurationPage)
	require.NoError(t, err)
	lines := strings.Split(want, "\n")
	for i, line := range strings.Split(string(text), "\n") {
		require.Less(t, i, len(lines), "the page is stale: make generate writes it anew")
		require.Equal(t, lines[i], line, "line %d is stale: make generate writes the page anew", i+1)
	}
	require.Equal(t, len(want), len(text), "the page is stale: make generate writes it anew")
}

// TestDefaultsInComments: the default that a field's comment names is the one that holds.
func TestDefaultsInComments(t *testing.T) {
	seen := 0
	defaults := variables(engine.Config{})
	for _, s := range configFields(t) {
		comment := strings.Join(strings.Fields(s.text), " ")
		for _, f := range s.fields {
			value := defaults[f.variable]
			if value == "" || s.byMachine() || f.variable == "WS_LOW_WATER_BYTES" || f.variable == "WS_INBOX_BYTES" {
				continue // none, or told by another field
			}
			seen++
			require.Regexp(t, `Defaults?:? [^.]*`+inWords(value), comment, "%s is %s by default", f.name, value)
		}
	}
	require.Greater(t, seen, 25, "the defaults have been found")
}

// inWords is an expression for what a comment calls the value of a variable.
func inWords(value string) string {
	if d, err := time.ParseDuration(value); err == nil {
		return strconv.Itoa(int(d.Seconds())) + " s"
	}
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return map[string]string{"off": "(off|0|no limit)", "goroutine": "IOGoroutines"}[value]
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("(%d KiB|%d)", n>>10, n)
	}
	return value
}

// A section is a comment of engine.Config and the fields that it stands above.
type section struct {
	fields []configField
	text   string // without the names of variables
}

type configField struct {
	name, typ string
	variable  string // "": none
}

var (
	inComment    = regexp.MustCompile(`Default:? ([^;:,]*?)[.;:,](?: |$)`)
	byFunction   = regexp.MustCompile(`Default: (Default\w+\(\))`)
	environment  = regexp.MustCompile(`\s*Environment: ([A-Z_]+(?:,\s+[A-Z_]+)*)\.`)
	variableName = regexp.MustCompile(`[A-Z_]+`)
)

// byMachine tells whether the default is another one on another machine.
func (s section) byMachine() bool { return byFunction.MatchString(s.text) }

// configFields reads the fields of engine.Config with their comments.
func configFields(t *testing.T) (list []section) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../engine/config.go", nil, parser.ParseComments)
	require.NoError(t, err)
	var config *ast.StructType
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == "Config" {
			config = spec.Type.(*ast.StructType)
		}
		return config == nil
	})
	require.NotNil(t, config)
	for _, field := range config.Fields.List {
		if field.Doc != nil {
			list = append(list, section{text: field.Doc.Text()})
		}
		s := &list[len(list)-1] // fields below one another share a comment
		for _, name := range field.Names {
			s.fields = append(s.fields, configField{name: name.Name, typ: types.ExprString(field.Type)})
		}
	}
	for i := range list {
		list[i].takeVariables(t)
	}
	return list
}

// takeVariables moves the names of the variables from the comment to the fields.
func (s *section) takeVariables(t *testing.T) {
	t.Helper()
	m := environment.FindStringSubmatch(s.text)
	if m == nil {
		return
	}
	names := variableName.FindAllString(m[1], -1)
	require.Len(t, names, len(s.fields), "%s: a variable for each field, or for none", s.fields[0].name)
	for i, name := range names {
		require.Contains(t, engine.EnvNames(), name, s.fields[i].name)
		s.fields[i].variable = name
	}
	s.text = strings.TrimSpace(environment.ReplaceAllString(s.text, "")) + "\n"
}

// configuration returns the page.
func configuration(t *testing.T) string {
	t.Helper()
	p := &settingsPage{sections: configFields(t), command: newCommandLine(pflag.NewFlagSet("serve", pflag.ContinueOnError))}
	p.head()
	p.engineTable(t)
	p.meanings()
	p.serveTables()
	p.ofFilters()
	return p.text.String()
}

type settingsPage struct {
	text     strings.Builder
	sections []section
	command  *commandLine
}

func (p *settingsPage) printf(format string, args ...any) { fmt.Fprintf(&p.text, format, args...) }

func (p *settingsPage) head() {
	p.printf(`# Configuration

<!-- Written by make generate, from the comments of engine.Config and the options of
penstock serve, and checked by TestConfigurationPage. Edit those, not this. -->

All settings, by all their names. A program sets the fields of %[1]sengine.Config%[1]s;
%[1]sengine.ConfigFromEnv()%[1]s fills them from the variables. [penstock serve](serve.md)
takes flags, a file and the variables. The zero value of a field is its default, and so is an
empty variable; a value that is not allowed is an error that names it.

- [The engine](#the-engine), and [what its fields mean](#what-the-fields-mean)
- [penstock serve](#penstock-serve), and [the settings of its filters](#settings-of-filters)

`, "`")
}

// engineTable lists the fields of engine.Config.
func (p *settingsPage) engineTable(t *testing.T) {
	t.Helper()
	p.printf("## The engine\n\n| field | type | default | variable | the variable may be |\n|---|---|---|---|---|\n")
	defaults := variables(engine.Config{})
	names := engine.EnvNames()
	for _, s := range p.sections {
		for _, f := range s.fields {
			value, allowed := defaults[f.variable], ""
			if f.variable != "" {
				allowed = allowedBy(f.variable)
				names = slices.DeleteFunc(names, func(name string) bool { return name == f.variable })
			}
			p.row(link(f.name, s.fields), code(f.typ), code(cmp.Or(s.defaultInWords(f), value)), code(f.variable), allowed)
		}
	}
	require.Empty(t, names, "each variable stands in the comment of a field")
	p.printf("\nWhat has no variable is set by programs only. Fields have the bounds of their variables, and are\n" +
		"negative for \"off\", unless their comments say otherwise.\n\n")
}

// defaultInWords is the default of a field without a variable, and of one to which each
// machine has its own.
func (s section) defaultInWords(f configField) string {
	if m := byFunction.FindStringSubmatch(s.text); m != nil {
		return m[1]
	}
	m := inComment.FindStringSubmatch(strings.Join(strings.Fields(s.text), " "))
	if f.variable != "" || m == nil {
		return ""
	}
	return m[1]
}

// allowedBy returns what the engine says is allowed.
func allowedBy(variable string) string {
	allowed := refused(variable, "?")
	if !strings.Contains(allowed, "off") && refused(variable, "off") == "" {
		allowed += `, or "off"`
	}
	return strings.ReplaceAll(allowed, strconv.Itoa(math.MaxInt), "the largest int")
}

// refused is what the engine answers to a value; "" if it takes it.
func refused(variable, value string) (allowed string) {
	_, err := engine.ConfigFrom(func(name string) string {
		if name == variable {
			return value
		}
		return ""
	})
	if e, ok := errors.AsType[*engine.EnvError](err); ok {
		return e.Allowed
	}
	return ""
}

// meanings has the comments.
func (p *settingsPage) meanings() {
	p.printf("## What the fields mean\n\n")
	for _, s := range p.sections {
		p.printf("### %s\n\n%s\n", heading(s.fields), markdown(s.text))
	}
}

// serveTables lists the options, under the headings of the help.
func (p *settingsPage) serveTables() {
	p.printf(`## penstock serve

A flag wins over the file, the file over the environment, that over the default. A file may
call a field as its flag or its variable is called, too, in lower case with underscores.
[serve.md](serve.md) has the rest. A default of the engine's that depends on the machine
is as in the table above.

`)
	defaults := p.defaults()
	for _, title := range groups {
		p.printf("### %s\n\n| flag | field | variable | default | allowed | what it is |\n|---|---|---|---|---|---|\n", title)
		for _, o := range p.command.options {
			if o.group == title {
				p.row(code(o.flags()), code(o.field), code(o.env), code(cmp.Or(o.fallback, defaults[o.env])), o.mayBe(), o.usage)
			}
		}
		p.command.flags.VisitAll(func(f *pflag.Flag) {
			if _, ok := f.Value.(*flagValue); !ok && slices.Contains(f.Annotations[groupKey], title) {
				p.row(code(spelt(f.Name, f.Shorthand)), "", "", "", "", f.Usage)
			}
		})
		p.printf("\n")
	}
	p.printf("### Without a flag\n\n| field | variable | allowed |\n|---|---|---|\n")
	for _, o := range p.command.options {
		if o.flag == "" && o.set != nil {
			p.row(code(o.field), code(o.env), o.allowed)
		}
	}
	p.printf("\nEvery other setting of the engine is a variable and, in lower case, a field of the file:\n" +
		"`WS_PING_INTERVAL` is `ws_ping_interval`. `penstock serve --print-config` lists them all, with\nwhat holds.\n\n")
}

// defaults are the engine's by variable, the same on every machine.
func (p *settingsPage) defaults() map[string]string {
	values := variables(engine.Config{})
	for _, s := range p.sections {
		if m := byFunction.FindStringSubmatch(s.text); m != nil {
			values[s.fields[0].variable] = m[1]
		}
	}
	return values
}

func (p *settingsPage) ofFilters() {
	p.printf("### Settings of filters\n\nThese are in the environment only.\n\n```text\n")
	names := filters.Stock().Names()
	for _, f := range filterSettings {
		if slices.Contains(names, f.filter) {
			p.printf("%s", f.text)
		}
	}
	p.printf("```\n")
}

func (p *settingsPage) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(cell, "|", `\|`)
	}
	p.printf("| %s |\n", strings.Join(cells, " | "))
}

// mayBe is what is allowed, in all places.
func (o *option) mayBe() string {
	switch {
	case o.toggle:
		return "true or false; the variable: on or off"
	case o.set == nil:
		return allowedBy(o.env)
	}
	return o.right()
}

// flags is how the option is spelt on a command line.
func (o *option) flags() string {
	if o.flag == "" {
		return ""
	}
	return spelt(o.flag, o.short)
}

func spelt(long, short string) string {
	if short == "" {
		return "--" + long
	}
	return "-" + short + ", --" + long
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func heading(fields []configField) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// link leads from a field to what it means.
func link(name string, among []configField) string {
	anchor := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(heading(among), ",", ""), " ", "-"))
	return fmt.Sprintf("[%s](#%s)", name, anchor)
}

// markdown escapes what a comment does not mean as markup.
func markdown(text string) string {
	return strings.NewReplacer("*", `\*`, "<", `\<`).Replace(text)
}
