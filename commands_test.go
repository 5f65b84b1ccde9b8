package penstock_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/cmd/bench"
	"github.com/penstock-ws/penstock/cmd/connect"
	"github.com/penstock-ws/penstock/cmd/serve"
	"github.com/penstock-ws/penstock/engine/filters"
)

// TestCommandsOnPages: a reader can type what pages, and the examples of our help, tell him to. Flags, filters, folders,
// make's targets, tests and variables of every command are there, and those of our
// commands that end by themselves at once are run.
func TestCommandsOnPages(t *testing.T) {
	c := &checker{t: t, variables: knownVariables(t), runs: make(map[string][]string), seen: make(map[string]int)}
	for _, page := range pages(t) {
		for _, f := range fences(t, page) {
			if f.kind == "sh" || f.kind == "console" {
				c.script(f)
			}
		}
		for _, span := range spans(t, page) {
			c.at, c.inProse = page, true
			if typed.MatchString(span) {
				c.line(span)
			}
		}
	}
	for _, cmd := range []*cobra.Command{serve.NewCommand(serve.Config{}), connect.NewCommand(), bench.NewCommand()} {
		c.examples(cmd)
	}
	require.Greater(t, c.seen["penstock"], 30, "the commands have been found")
	require.Greater(t, c.seen["go"], 15, "the commands have been found")
	c.run()
}

// TestVariablesOnPages: every environment variable that a page names is one.
func TestVariablesOnPages(t *testing.T) {
	variables := knownVariables(t)
	seen := 0
	for _, page := range pages(t) {
		for _, name := range regexp.MustCompile(`\b(?:MAX_)?WS_[A-Z_]*[A-Z]\b`).FindAllString(read(t, page), -1) {
			seen++
			if !slices.Contains(variables, name) {
				t.Errorf("%s: no environment variable %s", page, name)
			}
		}
	}
	require.Greater(t, seen, 100, "the variables have been found")
}

// knownVariables are those that the help of our commands names, and those of the example
// programs, of make and of CI.
func knownVariables(t *testing.T) (names []string) {
	t.Helper()
	text := help(t, serve.NewCommand(serve.Config{})) + help(t, connect.NewCommand())
	names = regexp.MustCompile(`\b[A-Z]+_[A-Z_]*[A-Z]\b`).FindAllString(text, -1)
	examples, err := filepath.Glob("docs/examples/*/*.go")
	require.NoError(t, err)
	for _, file := range examples {
		for _, m := range regexp.MustCompile(`os\.Getenv\("([A-Z_]+)"\)`).FindAllStringSubmatch(read(t, file), -1) {
			names = append(names, m[1])
		}
	}
	scripts, err := filepath.Glob(".ci/*")
	require.NoError(t, err)
	for _, file := range append(scripts, "Makefile") {
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			names = append(names, regexp.MustCompile(`\b[A-Z]+_[A-Z_]*[A-Z]\b`).FindAllString(read(t, file), -1)...)
		}
	}
	require.Greater(t, len(names), 50, "the variables have been found")
	return names
}

func help(t *testing.T, cmd *cobra.Command) string {
	t.Helper()
	var b strings.Builder
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs([]string{"-h"})
	require.NoError(t, cmd.Execute())
	return b.String()
}

// spans returns what stands between backticks outside fences; it may be broken into lines.
func spans(t *testing.T, page string) (list []string) {
	t.Helper()
	text := strings.ReplaceAll(prose(t, page), "\n|", "\n\n|") // each row for itself
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(paragraph, -1) {
			list = append(list, strings.ReplaceAll(strings.Join(strings.Fields(m[1]), " "), `\|`, "|"))
		}
	}
	return list
}

// typed tells commands from other code.
var typed = regexp.MustCompile(`^([A-Z_]+=\S+ )*(penstock |go (run|test|build|mod) |make [a-z]|cd )|\| penstock |^[A-Z]+_[A-Z_]+=\S+$`)

// A checker holds commands against what there is.
type checker struct {
	t         *testing.T
	variables []string
	at        string              // where the command stands
	inProse   bool                // and not in a block
	dir       string              // where it would run
	runs      map[string][]string // those of ours that end at once, by where they stand
	seen      map[string]int
}

func (c *checker) script(f fence) {
	c.at, c.inProse = f.String(), false
	for line := range strings.Lines(strings.ReplaceAll(f.text, "\\\n", " ")) {
		if f.kind == "console" {
			var ok bool
			if line, ok = strings.CutPrefix(line, "$ "); !ok {
				continue
			}
		}
		c.line(line)
	}
}

// examples checks what a command's help shows.
func (c *checker) examples(cmd *cobra.Command) {
	c.at, c.inProse = "the help of "+cmd.CommandPath(), false
	for line := range strings.Lines(cmd.Example) {
		c.line(line)
	}
	for _, sub := range cmd.Commands() {
		c.examples(sub)
	}
}

// line checks one line of a shell. It knows pipes and lists, redirections and loops.
func (c *checker) line(line string) {
	c.dir = "."
	line = regexp.MustCompile(`(^|\s)#.*`).ReplaceAllString(strings.TrimSpace(line), "")
	for part := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(";|&", r) }) {
		part = regexp.MustCompile(`[<>]\s*\S+`).ReplaceAllString(part, "")
		words := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(part, -1)
		for i, w := range words {
			words[i] = strings.Trim(w, "'")
		}
		if len(words) > 0 && words[0] == "do" {
			words = words[1:]
		}
		for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
			name, _, _ := strings.Cut(words[0], "=")
			if !strings.HasPrefix(name, "GO") && !slices.Contains(c.variables, name) {
				c.t.Errorf("%s: no environment variable %s", c.at, name)
			}
			words = words[1:]
		}
		if len(words) > 0 {
			c.command(words[0], words[1:])
		}
	}
}

// elsewhere are programs that are not ours to check.
var elsewhere = []string{"git", "mkdir", "for", "done", "seq", "head", "echo", "printf", "curl", "cat", "true", "docker", "systemctl"}

func (c *checker) command(name string, args []string) {
	name = regexp.MustCompile(`^(\./|bin/)?penstock(-old|-new)?$`).ReplaceAllString(name, "penstock")
	c.seen[name]++
	var err error
	switch {
	case name == "penstock":
		err = c.penstock(args)
	case name == "go" && len(args) > 0:
		err = c.gotool(args[0], args[1:])
	case name == "make":
		err = c.targets(args)
	case name == "cd":
		c.dir = args[0]
	case !slices.Contains(elsewhere, name):
		err = fmt.Errorf("the test does not know %s", name)
	}
	if err != nil {
		c.t.Errorf("%s: %s %s: %v", c.at, name, strings.Join(args, " "), err)
	}
}

// penstock checks a command line of ours, values of flags and names of filters included.
func (c *checker) penstock(args []string) error {
	switch {
	case len(args) == 0, slices.Contains(args, "-h"), slices.Contains(args, "--print-config"),
		args[0] == "version", args[0] == "bench" && slices.Contains(args, "list"):
		c.later(args) // running it checks it
		return nil
	case args[0] == "serve":
		registry := filters.Stock()
		err := registry.Register("shout", nothing) // that of docs/writing-filters.md
		require.NoError(c.t, err)
		return executed(serve.NewCommand(serve.Config{Filters: registry}), append(placed(args[1:]), "--print-config")...)
	}
	root := &cobra.Command{Use: "penstock"}
	root.AddCommand(connect.NewCommand(), bench.NewCommand())
	cmd, rest, err := root.Find(args)
	if err != nil || len(args) == 1 { // the command's name and nothing else
		return err
	}
	if err := cmd.ParseFlags(placed(rest)); err != nil {
		return err
	}
	if c.inProse && len(cmd.Flags().Args()) == 0 {
		return nil // it speaks of a flag
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

func nothing(filters.Env) (filters.Filter, error) { return filters.Filter{}, nil }

// placed puts values into the places that a page leaves open.
func placed(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		switch arg {
		case "a", "b":
			args[i] = "echo_messages"
		case "URL":
			args[i] = "redis://127.0.0.1:6379/0" // connect does not look at it, either
		}
		args[i] = strings.NewReplacer("NAME=VALUE", "WS_IO=epoll", "/$i", "/1", "@token.txt", "Token: t").Replace(args[i])
	}
	return args
}

func (c *checker) later(args []string) {
	c.runs[c.at+": penstock "+strings.Join(args, " ")] = args
}

// gotool checks the go command: its folders, its tests, and the flags of programs.
func (c *checker) gotool(verb string, args []string) error {
	if len(args) > 1 && verb == "run" && args[0] == "./cmd/penstock" {
		return c.penstock(args[1:])
	}
	if verb == "mod" || verb == "run" && args[0] == "." {
		return nil // TestTypedPages does it
	}
	args, ours, _ := cutAt(args, "-args")
	folders := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !strings.HasPrefix(a, ".") })
	var sources string
	for i, folder := range folders {
		if verb == "run" && i > 0 {
			break
		}
		text, err := c.sources(strings.TrimSuffix(folder, "/..."))
		if err != nil {
			return err
		}
		sources += text
	}
	for i, arg := range args {
		if (arg == "-run" || arg == "-bench") && i+1 < len(args) && !regexp.MustCompile(`^(\^\$|\.|(?i:xxx))$`).MatchString(args[i+1]) {
			name := strings.TrimPrefix(strings.Trim(args[i+1], "^$"), "Test")
			if !regexp.MustCompile(`(?m)^func (Test|Benchmark)\w*` + name).MatchString(sources) {
				return fmt.Errorf("there is no test for %s", args[i+1])
			}
		}
	}
	if verb == "run" {
		ours = args[1:]
	}
	return flagsIn(sources, ours)
}

func cutAt(args []string, mark string) (before, after []string, found bool) {
	if i := slices.Index(args, mark); i >= 0 {
		return args[:i], args[i+1:], true
	}
	return args, nil, false
}

// sources returns the Go files of a folder, which stands here or among the peers.
func (c *checker) sources(folder string) (string, error) {
	var text strings.Builder
	for _, dir := range []string{filepath.Join(c.dir, folder), filepath.Join("bench/peers", folder)} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(c.t, err)
		for _, file := range files {
			text.WriteString(read(c.t, file))
		}
		if _, err := os.Stat(dir); err == nil {
			return text.String(), nil
		}
	}
	return "", fmt.Errorf("no folder %s", folder)
}

// flagsIn looks for the definitions of flags in sources.
func flagsIn(sources string, args []string) error {
	for _, arg := range args {
		name, ok := strings.CutPrefix(arg, "-")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !regexp.MustCompile(`flag\.\w+\((&[\w.]+, )?"` + regexp.QuoteMeta(name) + `"`).MatchString(sources) {
			return fmt.Errorf("no flag -%s", name)
		}
	}
	return nil
}

// targets checks those of make.
func (c *checker) targets(names []string) error {
	makefile := read(c.t, "Makefile")
	for _, name := range names {
		if !strings.Contains(name, "=") && !strings.Contains(makefile, "\n"+name+":") {
			return fmt.Errorf("no target %s", name)
		}
	}
	return nil
}

// run runs what ends at once.
func (c *checker) run() {
	require.Greater(c.t, len(c.runs), 3, "the commands have been found")
	program := filepath.Join(c.t.TempDir(), "penstock.exe")
	out, err := exec.Command("go", "build", "-o", program, "./cmd/penstock").CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	dir := c.t.TempDir()
	for _, f := range fences(c.t, "docs/serve.md") {
		if strings.HasPrefix(f.about, "config") {
			require.NoError(c.t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(f.text), 0o600))
		}
	}
	for at, args := range c.runs {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			c.t.Errorf("%s: %v\n%s", at, err, out)
		}
	}
}
