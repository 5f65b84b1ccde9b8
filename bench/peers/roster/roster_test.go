package roster

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNamed(t *testing.T) {
	all, err := Named()
	if err != nil || len(all) != len(All()) {
		t.Fatalf("%d peers, %v", len(all), err)
	}
	some, err := Named("melody", "gws")
	if err != nil || !slices.Equal(namesOf(some), []string{"gws", "melody"}) {
		t.Errorf("%v, %v", namesOf(some), err)
	}
	if _, err := Named("gws", "nosuch"); err == nil || !strings.Contains(err.Error(), "gorilla") {
		t.Errorf("the error does not tell which peers there are: %v", err)
	}
	for _, p := range all {
		if p.What == "" || p.Setup == "" || !slices.Contains(p.Modes, Echo) || !slices.Contains(p.Modes, Fanout) {
			t.Errorf("incomplete: %+v", p)
		}
	}
}

func TestFindSources(t *testing.T) {
	dir, err := FindSources()
	if err != nil || filepath.Base(dir) != "peers" {
		t.Errorf("%q, %v", dir, err)
	}
	t.Chdir(t.TempDir())
	if dir, err := FindSources(); err == nil {
		t.Errorf("found in %s", dir)
	}
}

// What a JavaScript peer lacks is told, and is no fault of the peer.
func TestAbsent(t *testing.T) {
	node, err := Named("node")
	if err != nil {
		t.Fatal(err)
	}
	sources := t.TempDir() // with a lock file and nothing else
	lock := `{"packages": {"node_modules/ws": {"version": "1.2.3"}}}`
	if err := os.Mkdir(filepath.Join(sources, "node"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sources, "node/package-lock.json"), []byte(lock), 0o600); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	t.Setenv("PATH", programs)
	b := &Builder{Sources: sources, Dir: t.TempDir()}
	for _, step := range []struct{ program, script, reason string }{
		{"", "", "no node"},
		{"node", "echo v1.0.0", "no npm"},
		{"npm", "echo npm error code ENOTFOUND; echo more; exit 1", "npm error code ENOTFOUND"},
		{"npm", "exit 0", ""},
		{"node", "exit 1", "--version"},
	} {
		if step.program != "" {
			path := filepath.Join(programs, step.program)
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+step.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		program, err := b.Build(t.Context(), node[0])
		if step.reason == "" {
			if err != nil || program.Version != "1.2.3, node v1.0.0" {
				t.Errorf("with node and npm: %+v, %v", program, err)
			}
			continue
		}
		var absent *AbsentError
		if !errors.As(err, &absent) || absent.Peer != "node" || !strings.Contains(absent.Reason, step.reason) {
			t.Errorf("%v, not an AbsentError with %q", err, step.reason)
		}
	}
}

// The lock files hold for everybody, whichever registry they were made with.
func TestLockFiles(t *testing.T) {
	files, err := filepath.Glob("../*/package-lock.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"resolved"`) {
			t.Errorf("%s names the registry that it was made with", file)
		}
	}
}
