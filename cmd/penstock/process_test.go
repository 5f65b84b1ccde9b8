package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mainVariable makes the test binary the program itself: a process of its own,
// with the real main, and with the race detector if the tests have it.
const mainVariable = "PENSTOCK_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is how long a process may take for what it should do at once.
const patience = 20 * time.Second

// reads are the variables that the program reads.
var reads = regexp.MustCompile(`^(WS_|MAX_WS_|LISTEN_|NOTIFY_SOCKET=|WORKER_SECRET=)`)

// command returns the program, not started, in an environment that holds none of
// the variables that it reads but env.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	for _, v := range os.Environ() {
		if !reads.MatchString(v) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, mainVariable+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// outcome runs the program until it ends by itself.
func outcome(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := command(t, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Start())
	deadline := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer deadline.Stop()
	_ = cmd.Wait() // the status says it
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// A process is a running "serve".
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string // ws://…/
	addr   string // host:port
	stdout *bufio.Reader
	stderr output
}

// An output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds to it.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String returns all of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var firstLine = regexp.MustCompile(`^listening on (wss?://((?:127\.0\.0\.1|\[::1\]):[1-9][0-9]*)/)\n$`)

// start runs "serve -p 0" with more arguments until it listens. The test's end
// kills it.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return launch(t, command(t, env, append([]string{"serve", "-p", "0"}, args...)...))
}

// launch is start for a command line as it is.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.stdout = bufio.NewReader(out)
	p.cmd.Stderr = &p.stderr
	require.NoError(t, p.cmd.Start())
	deadline := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
	}
	require.NoError(t, err, "%s", &p.stderr)
	deadline.Stop()
	match := firstLine.FindStringSubmatch(line)
	require.NotNil(t, match, "first line: %q", line)
	p.url, p.addr = match[1], match[2]
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// wait returns the exit status, and requires that the first line was the only one
// on standard output.
func (p *process) wait() int {
	p.t.Helper()
	deadline := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer deadline.Stop()
	rest, err := io.ReadAll(p.stdout)
	require.NoError(p.t, err)
	require.Empty(p.t, string(rest))
	_ = p.cmd.Wait() // the status says it
	return p.cmd.ProcessState.ExitCode()
}
