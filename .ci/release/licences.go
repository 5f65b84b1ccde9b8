package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// allowed are the licences, by their SPDX names, under which others may be used in a program
// and in tests: they ask for notices, which the archives have, and for nothing else.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// A part is a module that a program is made of, with its licences.
type part struct {
	path, version string
	sum           string // of go.sum; empty for the standard library
	licences      []string
	texts         []file
}

// licences finds out under which ones modules are.
type licences struct{ classifier *classifier.Classifier }

func newLicences() (*licences, error) {
	c, err := assets.DefaultClassifier()
	return &licences{c}, err
}

// legal are the names of files that speak of rights.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-.].*)?$`)

// of reads the licences of the module in dir. What is under none that is known, or under one
// that is not allowed, is an error.
func (l *licences) of(path, version, dir string) (part, error) {
	p := part{path: path, version: version}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return p, fmt.Errorf("%s %s is not here: %w", path, version, err)
	}
	for _, e := range entries {
		if e.IsDir() || !legal.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return p, err
		}
		p.texts = append(p.texts, file{name: e.Name(), data: text})
		for _, match := range l.classifier.Match(l.classifier.Normalize(text)).Matches {
			if match.MatchType == "License" || match.MatchType == "Header" {
				p.licences = append(p.licences, match.Name)
			}
		}
	}
	slices.Sort(p.licences)
	p.licences = slices.Compact(p.licences)
	return p, p.check()
}

func (p *part) check() error {
	if len(p.licences) == 0 {
		return fmt.Errorf("%s %s: no licence has been recognised; allowed are %s", p.path, p.version, strings.Join(allowed, ", "))
	}
	for _, name := range p.licences {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%s %s is under %s; allowed are %s", p.path, p.version, name, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// ofProgram returns what a program is made of: the standard library, and its modules as
// its build information has them.
func (l *licences) ofProgram(source string, p *program) (parts []part, err error) {
	root, err := output(source, nil, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	std, err := l.of("std", strings.TrimPrefix(p.info.GoVersion, "go"), strings.TrimSpace(root))
	if err != nil {
		return nil, err
	}
	parts = append(parts, std)
	for _, m := range p.info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced: a release is of what others can get", m.Path)
		}
		dir, err := output(source, nil, "go", "list", "-m", "-f", "{{.Dir}}", m.Path)
		if err != nil {
			return nil, err
		}
		one, err := l.of(m.Path, m.Version, strings.TrimSpace(dir))
		if err != nil {
			return nil, err
		}
		one.sum = m.Sum
		parts = append(parts, one)
	}
	return parts, nil
}

// checkLicences looks at every module that a package or a test of ours needs on any of the
// systems, and prints them.
func checkLicences(root string) error {
	modules := make(map[string][2]string)
	for _, system := range []string{"linux", "darwin", "windows"} {
		out, err := output(root, []string{"GOOS=" + system}, "go", "list", "-deps", "-test",
			"-f", `{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}`, "./...")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 {
				modules[f[0]] = [2]string{f[1], f[2]}
			}
		}
	}
	l, err := newLicences()
	if err != nil {
		return err
	}
	var errs []error
	lines := []string{}
	for path, m := range modules {
		p, err := l.of(path, m[0], m[1])
		errs = append(errs, err)
		lines = append(lines, fmt.Sprintf("%s %s: %s", path, m[0], strings.Join(p.licences, ", ")))
	}
	if len(lines) == 0 {
		errs = append(errs, errors.New("no modules have been found"))
	}
	slices.Sort(lines)
	fmt.Println(strings.Join(lines, "\n"))
	return errors.Join(errs...)
}

// notices is the file that the licences ask for.
func notices(parts []part) []byte {
	var b bytes.Buffer
	b.WriteString("The program contains the following, under these terms.\n")
	for _, p := range parts {
		for _, t := range p.texts {
			fmt.Fprintf(&b, "\n%s\n%s %s, %s\n%s\n\n", rule, p.path, p.version, t.name, rule)
			b.Write(bytes.TrimSpace(t.data))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

var rule = strings.Repeat("-", 80)
