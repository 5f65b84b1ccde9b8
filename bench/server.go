package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Server is a WebSocket server in a child process.
type Server struct {
	// immutable
	url   string
	cmd   *exec.Cmd
	grace time.Duration
	ended chan struct{} // closed when the process is gone and its output read

	// readable once ended is closed
	waitErr error

	stopping sync.Once
	stderr   tail
}

// ServerConfig says how to start a Server. Path is required; every other field's zero value
// is its default.
type ServerConfig struct {
	// Path is the executable. It must print "listening on " and its URL as the
	// first line of its standard output, and end on SIGTERM.
	Path string

	// Args are its arguments, without the name.
	Args []string

	// Env are further environment variables, NAME=VALUE, besides those of this process.
	Env []string

	// CPUs are the numbers of the CPUs that the server may use (Linux only).
	// Empty: those of this process.
	CPUs []int

	// StartTimeout is how long the first line may take. 0: 10 s.
	StartTimeout time.Duration

	// StopTimeout is how long Stop waits before it kills. 0: 5 s.
	StopTimeout time.Duration
}

const listeningPrefix = "listening on "

// StartServer starts a server and waits until it listens. If ctx ends first the
// process is killed; afterwards it lives until Stop.
//
// No way of ending this process leaves the server behind: Ctrl-C in a
// terminal does not reach the server, so that it is stopped in good order and
// its CPU can be read to the end; and on Linux it dies with this process however that ends.
func StartServer(ctx context.Context, c ServerConfig) (*Server, error) {
	setDefault(&c.StartTimeout, 10*time.Second)
	setDefault(&c.StopTimeout, 5*time.Second)
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = childAttributes()
	s := &Server{cmd: cmd, grace: c.StopTimeout, ended: make(chan struct{})}
	cmd.Stderr = &s.stderr
	first := make(chan string, 1)
	cmd.Stdout = &lineWriter{first: first}
	cmd.WaitDelay = time.Second // for output that a process of its own holds open
	started := make(chan error, 1)
	go s.run(c.CPUs, started) // until the process has ended
	if err := <-started; err != nil {
		return nil, fmt.Errorf("bench: start %s: %w", c.Path, err)
	}
	if err := s.awaitURL(ctx, first, c.StartTimeout); err != nil {
		s.kill()
		return nil, fmt.Errorf("bench: %s: %w", c.Path, err)
	}
	return s, nil
}

// run starts the process and stays with it. Two things hang on the thread that
// starts it: the child inherits its CPU affinity, and the kernel takes its end
// for the parent's (PR_SET_PDEATHSIG), so that it is kept until the child is gone.
func (s *Server) run(cpus []int, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore, err := pinThread(cpus)
	if err != nil {
		started <- err
		return
	}
	err = s.cmd.Start()
	restore()
	started <- err
	if err != nil {
		return
	}
	s.waitErr = s.cmd.Wait()
	close(s.ended)
}

// awaitURL takes the URL from the server's first line.
func (s *Server) awaitURL(ctx context.Context, first <-chan string, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case line := <-first:
		return s.takeURL(line)
	case <-s.ended:
		select {
		case line := <-first: // it has listened before it ended
			return s.takeURL(line)
		default:
		}
		return fmt.Errorf("ended (%v) without listening%s", s.cmd.ProcessState, s.stderr.quote())
	case <-timer.C:
		return fmt.Errorf("not listening after %v%s", timeout, s.stderr.quote())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Server) takeURL(line string) error {
	url, ok := strings.CutPrefix(strings.TrimSpace(line), listeningPrefix)
	if ok {
		s.url = url
		return nil
	}
	s.kill() // so that its last words are complete
	return fmt.Errorf("the first line is %q, not %q and a URL%s", line, listeningPrefix, s.stderr.quote())
}

// URL is where the server listens.
func (s *Server) URL() string { return s.url }

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server: SIGTERM, and a kill if it has not ended within
// StopTimeout. The error tells that it had to be killed, that it had ended before,
// or that it ended badly. Stop returns when the process is gone; a second call changes nothing.
func (s *Server) Stop() error {
	var err error
	s.stopping.Do(func() { err = s.stop() })
	<-s.ended
	return err
}

func (s *Server) stop() error {
	select {
	case <-s.ended:
		return fmt.Errorf("bench: the server ended on its own (%v)%s", s.cmd.ProcessState, s.stderr.quote())
	default:
	}
	terminate(s.cmd.Process)
	timer := time.NewTimer(s.grace)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		s.kill()
		return fmt.Errorf("bench: the server did not end within %v and was killed%s", s.grace, s.stderr.quote())
	}
	if s.waitErr != nil && !terminated(s.cmd.ProcessState) {
		return fmt.Errorf("bench: the server ended with %w%s", s.waitErr, s.stderr.quote())
	}
	return nil
}

func (s *Server) kill() {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return // nothing that waiting would improve
	}
	<-s.ended
}

// terminated reports whether the process died of SIGTERM: that it had no handler is no fault.
func terminated(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// lineWriter sends on the first line of what is written to it, and drops the
// rest: a server that nobody read would block as soon as the pipe was full.
type lineWriter struct {
	line  []byte
	first chan<- string // nil once sent
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if w.first == nil {
		return len(p), nil
	}
	w.line = append(w.line, p...)
	end := bytes.IndexByte(w.line, '\n')
	if end < 0 && len(w.line) > tailBytes {
		end = tailBytes
	}
	if end >= 0 {
		w.first <- string(w.line[:end])
		w.first, w.line = nil, nil
	}
	return len(p), nil
}

// tail keeps the end of what is written to it: a child's last words.
type tail struct {
	mu  sync.Mutex
	end []byte // guarded by mu
}

const tailBytes = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, p...)
	if extra := len(t.end) - tailBytes; extra > 0 {
		t.end = append(t.end[:0], t.end[extra:]...)
	}
	return len(p), nil
}

// quote returns the last words as the end of an error message.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.end)
	if len(text) == 0 {
		return ""
	}
	return "; it said:\n" + string(text)
}
