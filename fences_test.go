package penstock_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/bench"
	"github.com/penstock-ws/penstock/cmd/serve"
	"github.com/penstock-ws/penstock/engine/app"
)

// A fence is a block of code on a page. Behind the backticks stands what it is, and what
// becomes of it:
//
//	go [name]        a complete program, which compiles; name is for TestTypedPages
//	go FILE          lines of FILE, which the tests compile; "// …" stands for others
//	json KIND [name] what a parser of ours takes: config, manifest, profile; or message
//	sh [terminal]    commands, which TestCommandsOnPages reads and TestTypedPages types
//	console          the same with what they print; they stand behind "$ "
//	diff FILE        what TestTypedPages changes in FILE
//	text [shown]     what has been shown, or nothing
type fence struct {
	page  string
	line  int // of its first line
	kind  string
	about string // what else stands behind the backticks
	text  string
}

func (f fence) String() string { return fmt.Sprintf("%s:%d", f.page, f.line) }

// pages are all that a reader is led to.
func pages(t *testing.T) (list []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			list = append(list, filepath.ToSlash(file))
		}
	}
	require.Greater(t, len(list), 30, "the pages have been found")
	return list
}

// fences returns the blocks of a page.
func fences(t *testing.T, page string) (list []fence) {
	t.Helper()
	inside, line := false, 0
	for lines := bufio.NewScanner(strings.NewReader(read(t, page))); lines.Scan(); {
		line++
		text, mark := strings.CutPrefix(lines.Text(), "```")
		switch {
		case mark && !inside:
			kind, about, _ := strings.Cut(text, " ")
			list = append(list, fence{page: page, line: line + 1, kind: kind, about: about})
			inside = true
		case mark:
			inside = false
		case inside:
			list[len(list)-1].text += lines.Text() + "\n"
		}
	}
	require.False(t, inside, "%s: a block has no end", page)
	return list
}

// TestFences: every block of code on a page is what it says that it is: programs compile,
// fragments stand in a file that does, and files are what their parsers take.
func TestFences(t *testing.T) {
	var programs []fence
	seen := make(map[string]int)
	for _, page := range pages(t) {
		for _, f := range fences(t, page) {
			seen[f.kind]++
			switch f.kind {
			case "go":
				if strings.HasPrefix(f.text, "package ") {
					programs = append(programs, f)
				} else {
					isPart(t, f)
				}
			case "json":
				isTaken(t, f)
			case "sh", "console", "diff", "text":
			default:
				t.Errorf("%s: a block must say what it is: go, json, sh, console, diff or text, not %q", f, f.kind)
			}
		}
	}
	require.Greater(t, seen["go"], 2, "the programs have been found")
	require.Greater(t, seen["json"], 3, "the files have been found")
	compile(t, programs)
}

// isPart requires that a fragment stands in the file that it names.
func isPart(t *testing.T, f fence) {
	t.Helper()
	if f.about == "" {
		t.Errorf("%s: a fragment must name the file in which it is compiled: ```go path/to/example_test.go", f)
		return
	}
	rest, ok := unindented(read(t, f.about)), true
	for part := range strings.SplitSeq(unindented(f.text), "// …\n") {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			t.Errorf("%s: %s does not have these lines: %s", f, f.about, part)
			return
		}
	}
}

// unindented is text without what stands at the beginning of its lines.
func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t "))
	}
	return b.String()
}

// isTaken gives a file to the parser that is meant to read it.
func isTaken(t *testing.T, f fence) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.json")
	require.NoError(t, os.WriteFile(file, []byte(f.text), 0o600))
	var err error
	switch kind, _, _ := strings.Cut(f.about, " "); kind {
	case "manifest":
		_, err = app.ParseManifest(f.String(), []byte(f.text))
	case "profile":
		_, err = bench.ReadProfile(file)
	case "config":
		err = executed(serve.NewCommand(serve.Config{}), "--print-config", "-c", file)
	case "message":
		err = json.Unmarshal([]byte(f.text), new(map[string]any))
	default:
		t.Errorf("%s: a file must say what it is: config, manifest, profile or message, not %q", f, f.about)
	}
	if err != nil {
		t.Errorf("%s: %v", f, err)
	}
}

// executed runs a command in this process, and shows nothing of what it prints.
func executed(cmd *cobra.Command, args ...string) error {
	cmd.SetOut(new(strings.Builder))
	cmd.SetErr(new(strings.Builder))
	cmd.SetArgs(args)
	return cmd.Execute()
}

// compile builds programs as packages of this module that only the compiler sees. Files
// without a main are parts of the program that TestTypedPages builds and tests.
func compile(t *testing.T, programs []fence) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	require.NoError(t, err)
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	args := []string{"build", "-o", os.DevNull, "-overlay", filepath.Join(dir, "overlay.json")}
	for i, f := range programs {
		if !strings.Contains(f.text, "\nfunc main() {") {
			require.Equal(t, "docs/quickstart.md", f.page, "%s: what is to be done with this file?", f)
			continue
		}
		folder := fmt.Sprintf("page%d", i)
		source := filepath.Join(dir, folder+".go")
		require.NoError(t, os.WriteFile(source, []byte("//line "+f.String()+"\n"+f.text), 0o600))
		overlay.Replace[filepath.Join(here, folder, "main.go")] = source
		args = append(args, "./"+folder)
	}
	text, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(args[4], text, 0o600))
	out, err := exec.Command("go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
