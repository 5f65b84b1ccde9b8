package roster

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/penstock-ws/penstock/bench"
)

// Builder makes programs of peers.
type Builder struct {
	// Sources is the folder bench/peers of Penstock's sources; FindSources finds it.
	Sources string

	// Dir is an existing folder for executables. What has been built there is
	// taken as it is, so that it has to be empty at first.
	Dir string

	// Penstock is an executable to take for Penstock. Empty: it is built.
	Penstock string

	// Log is where go says what it has to say. nil: nowhere.
	Log io.Writer
}

// Program is a peer that can be started.
type Program struct {
	Peer
	Version string // of the library and what runs it; empty if it is not known

	path string
	args func(mode string) []string
}

// Server says how to start the program in one of its modes.
func (p *Program) Server(mode string) bench.ServerConfig {
	return bench.ServerConfig{Path: p.path, Args: p.args(mode)}
}

// AbsentError is a peer that cannot run here for want of something that is
// neither Penstock's nor Go's: the others are not concerned.
type AbsentError struct {
	Peer   string
	Reason string // and what can be done about it
}

// Error tells the peer and the reason.
func (e *AbsentError) Error() string { return e.Peer + " cannot run here: " + e.Reason }

// Build makes a program of p. The error is an *AbsentError if this machine lacks
// something that p needs, any other if p itself is broken.
func (b *Builder) Build(ctx context.Context, p Peer) (*Program, error) {
	program, err := p.recipe.build(ctx, b)
	if err != nil {
		return nil, err
	}
	program.Peer = p
	return program, nil
}

// modulePath is that of bench/peers.
const modulePath = "github.com/penstock-ws/penstock/bench/peers"

// FindSources returns the folder bench/peers, which is the working directory or one
// above it.
func FindSources() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		first, _, _ := strings.Cut(string(text), "\n")
		if err == nil && strings.TrimSpace(first) == "module "+modulePath {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in the folder bench/peers of Penstock's sources, where the peers are built: go there first", start)
		}
	}
}

// goBuild builds pkg of the module in the folder, unless that has been done.
func (b *Builder) goBuild(ctx context.Context, folder, pkg, out string) error {
	if _, err := os.Stat(out); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	cmd.Dir = folder
	cmd.Stderr = b.Log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build %s in %s: %w", pkg, folder, err)
	}
	return nil
}

// goPeer is a command of this module, in the folder of its name, that takes -mode.
type goPeer struct {
	command string
	module  string // of the library
}

func (g goPeer) build(ctx context.Context, b *Builder) (*Program, error) {
	path := filepath.Join(b.Dir, g.command)
	if err := b.goBuild(ctx, b.Sources, "./"+g.command, path); err != nil {
		return nil, err
	}
	return &Program{Version: libraryVersion(path, g.module), path: path, args: modeFlag}, nil
}

func modeFlag(mode string) []string { return []string{"-mode", mode} }

// libraryVersion is that of a module in an executable; empty if it cannot be told.
func libraryVersion(path, module string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

// ours is Penstock's own server.
type ours struct{ inline, epoll bool }

// filters are what penstock serve calls the modes.
var filters = map[string]string{Echo: "echo_messages", Fanout: "broadcast_messages"}

func (o ours) build(ctx context.Context, b *Builder) (*Program, error) {
	path := b.Penstock
	if path == "" {
		path = filepath.Join(b.Dir, "penstock")
		if err := b.goBuild(ctx, filepath.Join(b.Sources, "../.."), "./cmd/penstock", path); err != nil {
			return nil, err
		}
	}
	return &Program{Version: commit(ctx, b.Sources), path: path, args: o.args}, nil
}

func (o ours) args(mode string) []string {
	args := []string{"serve", "--host", "127.0.0.1", "--port", "0", "-f", filters[mode], "--allow-origin", "*"}
	if o.inline {
		args = append(args, "--inline")
	}
	if o.epoll {
		args = append(args, "--io", "epoll")
	}
	return args
}

// commit is that of the sources, with a mark if they differ from it; empty if there is no git.
func commit(ctx context.Context, sources string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	cmd.Dir = sources
	out, _ := cmd.Output()
	return strings.TrimSpace(string(out))
}
