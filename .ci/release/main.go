// Command release makes what a release of Penstock consists of: for each system an archive
// with the program, the licences of what is in it and a software bill of materials, and the
// checksums of them all. The same commit and the same Go give the same bytes.
//
//	release build DIR      makes them, of HEAD
//	release verify DIR     makes some again, elsewhere and with nothing cached, and compares
//	release licences       fails on a dependency whose licence is not among the allowed
//
// It is a module of its own, so that what it needs enters no user's go.sum.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: release build DIR | verify DIR [OS/ARCH ...] | licences")

func run(args []string) error {
	root, err := repository()
	switch {
	case err != nil:
		return err
	case len(args) == 1 && args[0] == "licences":
		return checkLicences(root)
	case len(args) == 2 && args[0] == "build":
		return build(root, args[1])
	case len(args) >= 2 && args[0] == "verify":
		list, err := parseTargets(args[2:])
		if err != nil {
			return err
		}
		return verify(root, args[1], list)
	}
	return errUsage
}

// repository returns the folder of the module that is released: the first above this one
// that go.mod names so.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+module+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder above this one has the go.mod of %s", module)
		}
	}
}

const module = "github.com/penstock-ws/penstock"

// output runs a command in dir and returns what it prints. An error has what it complains of.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}
