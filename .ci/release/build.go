package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A target is a system to build for.
type target struct{ os, arch string }

// String is the name that Go has for it.
func (t target) String() string { return t.os + "/" + t.arch }

var targets = []target{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// parseTargets takes names of targets; none are all.
func parseTargets(names []string) (list []target, err error) {
	if len(names) == 0 {
		return targets, nil
	}
	for _, name := range names {
		i := slices.IndexFunc(targets, func(t target) bool { return t.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("no target %q: there are %v", name, targets)
		}
		list = append(list, targets[i])
	}
	return list, nil
}

// A program is one that has been built.
type program struct {
	target
	path    string
	info    *debug.BuildInfo
	version string    // without the v
	time    time.Time // of the commit
}

// name is that of its archive, without an extension.
func (p *program) name() string {
	return fmt.Sprintf("penstock_%s_%s_%s", p.version, p.os, p.arch)
}

// build makes a release of what is committed: work that is not has no name that others could
// find it by.
func build(root, dir string) error {
	if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is not empty: checksums are of what is in it, so remove it first", dir)
	}
	if changes, err := output(root, nil, "git", "status", "--porcelain"); err != nil {
		return err
	} else if changes != "" {
		fmt.Fprintln(os.Stderr, "release: what is not committed is left out")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := pack(root, dir, targets, nil); err != nil {
		return err
	}
	return writeSums(dir)
}

// pack builds for the targets in a clone, and puts archives and bills of materials into dir.
func pack(root, dir string, list []target, env []string) error {
	work, err := os.MkdirTemp("", "penstock-release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	source := filepath.Join(work, "source")
	if _, err := output(root, nil, "git", "clone", "--quiet", root, source); err != nil {
		return err
	}
	known, err := newLicences()
	if err != nil {
		return err
	}
	for _, t := range list {
		p, err := compile(source, filepath.Join(work, t.os+"-"+t.arch), t, env)
		if err != nil {
			return err
		}
		fmt.Println(p.name())
		parts, err := known.ofProgram(source, p)
		if err != nil {
			return err
		}
		if err := errors.Join(writeArchive(source, dir, p, parts), writeBill(dir, p, parts)); err != nil {
			return err
		}
	}
	return nil
}

// compile builds for one target. The version is Go's own, from the tag or the commit
// (-buildvcs); the environment's flags have no say.
func compile(source, dir string, t target, env []string) (*program, error) {
	path := filepath.Join(dir, "penstock")
	if t.os == "windows" {
		path += ".exe"
	}
	env = append(slices.Clone(env), "GOOS="+t.os, "GOARCH="+t.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off")
	if _, err := output(source, env, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", path, "./cmd/penstock"); err != nil {
		return nil, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &program{target: t, path: path, info: info, version: strings.TrimPrefix(info.Main.Version, "v")}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			p.time, err = time.Parse(time.RFC3339, s.Value)
		}
	}
	if err != nil || p.time.IsZero() || p.version == "" || p.version == "(devel)" || strings.Contains(p.version, "+dirty") {
		return nil, fmt.Errorf("%v: the program knows no version of its own (%q, of %v): %w", t, info.Main.Version, p.time, err)
	}
	return p, nil
}
