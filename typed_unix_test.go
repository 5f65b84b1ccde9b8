//go:build unix

package penstock_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long anything may take that a reader waits for; compiling is in it.
const patience = 5 * time.Minute

// TestTypedPages types these pages into two shells, block by block, and holds what they
// show against the page. What a reader does at another place is done elsewhere here: the
// clone is this folder, and the port a free one.
func TestTypedPages(t *testing.T) {
	for page, blocks := range map[string]int{"docs/quickstart.md": 19, "docs/serve.md": 4, "docs/apps.md": 4} {
		t.Run(filepath.Base(page), func(t *testing.T) { require.GreaterOrEqual(t, typePage(t, page), blocks, "the blocks have been found") })
	}
}

// typePage returns how many blocks a reader has something to do with. Those that do not
// say what, as on other pages, are passed over.
func typePage(t *testing.T, page string) (blocks int) {
	t.Helper()
	dir := t.TempDir()
	elsewhere := placesOf(t, dir)
	shells := map[string]*shell{"first": newShell(t, dir), "second": newShell(t, dir)}
	var last *shell
	for _, f := range fences(t, page) {
		_, name, _ := strings.Cut(" "+f.about, " ") // the last word
		name = name[strings.LastIndex(name, " ")+1:]
		text, file := elsewhere.Replace(f.text), elsewhere.Replace(name)
		switch {
		case f.kind == "sh" && shells[f.about] != nil:
			last = shells[f.about]
			last.interrupt()
			last.typed(text)
			if !strings.Contains(text, "penstock serve") && !strings.HasSuffix(text, "go run .\n") {
				last.wait() // the servers stay
			}
		case f.kind == "text" && f.about == "shown":
			last.shows(text)
		case strings.Contains(name, ".") && (f.kind != "go" || !strings.Contains(name, "/")): // a fragment's file is here already
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, "hello", file)
			}
			if f.kind == "diff" {
				patch(t, file, f.text)
			} else {
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			}
		default:
			continue
		}
		blocks++
		t.Log(f)
	}
	return blocks
}

// placesOf says where things are here that a page has elsewhere.
func placesOf(t *testing.T, dir string) *strings.Replacer {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return strings.NewReplacer(
		"127.0.0.1:9000", addr,
		"penstock serve", "penstock serve -p "+port,
		"git clone https://github.com/penstock-ws/penstock\n", "",
		"cd penstock\n", "cd '"+here+"'\n",
		"=../penstock", "="+here,
		"../", dir+"/",
	)
}

// patch changes a file as lines with + and - say.
func patch(t *testing.T, file, diff string) {
	t.Helper()
	var before, after strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			before.WriteString(line[1:])
		}
		if line[0] != '-' {
			after.WriteString(line[1:])
		}
	}
	text := read(t, file)
	require.Equal(t, 1, strings.Count(text, before.String()), "the place for the change: %q", before.String())
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(text, before.String(), after.String(), 1)), 0o600))
}

// A shell is a terminal with a person before it.
type shell struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Writer

	mu     sync.Mutex
	output bytes.Buffer // of the block that was typed last
}

// prompt is what a shell prints when a block is over, before its status.
const prompt = "the block is over: "

func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	s := &shell{t: t, cmd: exec.Command("sh")}
	s.cmd.Dir = dir
	s.cmd.Stdout, s.cmd.Stderr = s, s
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to which Ctrl-C goes
	stdin, err := s.cmd.StdinPipe()
	require.NoError(t, err)
	s.stdin = stdin
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		_ = s.cmd.Wait()
	})
	s.typed("trap : INT\n") // which ends what the shell runs, and not the shell
	s.wait()
	return s
}

// Write is for what the shell runs.
func (s *shell) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

func (s *shell) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// typed begins a block, of which each command needs those before it.
func (s *shell) typed(block string) {
	s.t.Helper()
	s.mu.Lock()
	s.output.Reset()
	s.mu.Unlock()
	_, err := fmt.Fprintf(s.stdin, "%s; echo '%s'$?\n", strings.ReplaceAll(strings.TrimSpace(block), "\n", " && "), prompt)
	require.NoError(s.t, err)
}

// over waits until the block has ended, and returns its status.
func (s *shell) over() string {
	s.t.Helper()
	s.shows(prompt)
	_, status, _ := strings.Cut(s.text(), prompt)
	return strings.TrimSpace(status)
}

// wait waits until the block has ended well.
func (s *shell) wait() {
	s.t.Helper()
	require.Equal(s.t, "0", s.over(), s.text())
}

// interrupt is Ctrl-C, if something runs.
func (s *shell) interrupt() {
	s.t.Helper()
	if !strings.Contains(s.text(), prompt) {
		require.NoError(s.t, syscall.Kill(-s.cmd.Process.Pid, syscall.SIGINT))
		s.over()
	}
}

// shows waits until the block has printed these lines, in this order.
func (s *shell) shows(lines string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text := s.text()
		if inOrder(text, lines) {
			return
		}
		ended := strings.Contains(text, prompt)
		require.True(s.t, time.Now().Before(deadline) && (!ended || inOrder(s.text(), lines)), "%q should have come: %s", lines, text)
	}
}

func inOrder(text, lines string) bool {
	for line := range strings.Lines(lines) {
		var ok bool
		if _, text, ok = strings.Cut(text, strings.TrimSpace(line)); !ok {
			return false
		}
	}
	return true
}
