package roster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// jsPeer is a server.mjs in a folder with a package.json.
type jsPeer struct {
	folder  string
	library string // the npm package whose version counts
	runtime func(folder string) (path string, err error)
}

func (j jsPeer) build(ctx context.Context, b *Builder) (*Program, error) {
	folder := filepath.Join(b.Sources, j.folder)
	program, err := j.prepare(ctx, folder)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &AbsentError{j.folder, err.Error()}
	}
	return program, nil
}

// prepare installs the folder's packages and finds what runs them. Every error
// is for want of something.
func (j jsPeer) prepare(ctx context.Context, folder string) (*Program, error) {
	if _, err := j.runtime(folder); errors.Is(err, exec.ErrNotFound) {
		return nil, err // no package would change that
	}
	version, err := install(ctx, folder, j.library)
	if err != nil {
		return nil, err
	}
	path, err := j.runtime(folder)
	if err != nil {
		return nil, err
	}
	// It may be there and not run: another libc, a CPU without what it needs.
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	if own := strings.TrimSpace(string(out)); own != version {
		version += ", " + filepath.Base(path) + " " + own
	}
	script := filepath.Join(folder, "server.mjs")
	args := func(mode string) []string { return append([]string{script}, modeFlag(mode)...) }
	return &Program{Version: version, path: path, args: args}, nil
}

func findNode(string) (string, error) {
	path, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("there is no node: install Node (%w)", exec.ErrNotFound)
	}
	return path, nil
}

// findBun finds the executable that the package bun has for this machine in a
// package of its own. Its bin/bun is but a place that a script, which is not
// run here, would move it to.
func findBun(folder string) (string, error) {
	found, _ := filepath.Glob(filepath.Join(folder, "node_modules/@oven/bun-*/bin/bun*"))
	if len(found) == 0 {
		return "", fmt.Errorf("the npm package bun has no executable for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	return found[0], nil
}

// installTimeout is for a hundred megabytes over a slow line.
const installTimeout = 3 * time.Minute

// install brings node_modules to what the folder's lock file says, unless that
// is there, and returns the library's version.
func install(ctx context.Context, folder, library string) (version string, err error) {
	locked := lockedVersion(filepath.Join(folder, "package-lock.json"), library)
	if locked == "" {
		return "", fmt.Errorf("%s has no package-lock.json with %s", folder, library)
	}
	// npm writes this file last: it says what has been installed to the end.
	if lockedVersion(filepath.Join(folder, "node_modules/.package-lock.json"), library) == locked {
		return locked, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("its packages are not installed and there is no npm: install npm")
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	// No package's scripts: none is needed, and a benchmark is no reason to run them.
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
	cmd.Dir = folder
	cmd.WaitDelay = time.Second // for what npm has started
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in %s (is there a network?): %w: %s", folder, err, npmError(out))
	}
	return locked, nil
}

// npmError is the first line of npm's output that is an error, or the last one.
func npmError(out []byte) string {
	last := ""
	for line := range strings.Lines(string(out)) {
		last = strings.TrimSpace(line)
		if strings.HasPrefix(last, "npm error") {
			break
		}
	}
	return last
}

// lockedVersion reads a package's version from a lock file; empty if it is not there.
func lockedVersion(file, library string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	var lock struct {
		Packages map[string]struct {
			Version string `json:"version"`
		} `json:"packages"`
	}
	if json.Unmarshal(text, &lock) != nil {
		return ""
	}
	return lock.Packages["node_modules/"+library].Version
}
