package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerStartAndStop(t *testing.T) {
	for _, behaviour := range []string{"idle", "chatter", "burn"} {
		s, err := StartServer(t.Context(), childConfig(behaviour))
		require.NoError(t, err)
		require.Equal(t, "ws://127.0.0.1:1/", s.URL())
		require.True(t, alive(s.PID()))
		require.NoError(t, s.Stop())
		require.False(t, alive(s.PID()))
		require.NoError(t, s.Stop())
	}
}

func TestServerThatFailsToStart(t *testing.T) {
	_, err := StartServer(t.Context(), ServerConfig{Path: "/nonexistent"})
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, behaviour := range []string{"stranger", "broken"} {
		_, err := StartServer(t.Context(), childConfig(behaviour))
		require.ErrorContains(t, err, "some last words", behaviour)
	}
	c := childConfig("mute")
	c.StartTimeout = 100 * time.Millisecond
	_, err = StartServer(t.Context(), c)
	require.Error(t, err)
}

// What a stranger says without a line's end is in the error, as far as it helps.
func TestServerWithoutALine(t *testing.T) {
	first := make(chan string, 1)
	_, err := (&lineWriter{first: first}).Write(bytes.Repeat([]byte("usage "), tailBytes))
	require.NoError(t, err)
	line := <-first
	require.True(t, strings.HasPrefix(line, "usage usage"), "%q", line)
	require.LessOrEqual(t, len(line), tailBytes)
}

// A server that has said where it listens has listened, also if it has ended since.
func TestServerThatListenedAndEnded(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	for range 50 {
		first := make(chan string, 1)
		first <- listeningPrefix + "ws://127.0.0.1:1/\n"
		s := &Server{cmd: new(exec.Cmd), ended: ended}
		require.NoError(t, s.awaitURL(t.Context(), first, time.Minute))
		require.Equal(t, "ws://127.0.0.1:1/", s.URL())
	}
}

// Every bad end of a server is told.
func TestServerThatEndsBadly(t *testing.T) {
	c := childConfig("stubborn")
	c.StopTimeout = 100 * time.Millisecond
	for _, c := range []ServerConfig{c, childConfig("unclean")} {
		s, err := StartServer(t.Context(), c)
		require.NoError(t, err)
		require.Error(t, s.Stop())
		require.False(t, alive(s.PID()))
	}
	s, err := StartServer(t.Context(), childConfig("shortlived"))
	require.NoError(t, err)
	<-s.ended
	require.Error(t, s.Stop())
}

// A start that is cancelled leaves no process.
func TestServerCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	before := childrenOf(t, os.Getpid())
	_, err := StartServer(ctx, childConfig("mute"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, before, childrenOf(t, os.Getpid()))
}

// A server does not outlive a parent that was killed.
func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	parent, err := StartServer(t.Context(), childConfig("parent"))
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscanf(parent.URL(), "pid %d", &pid)
	require.NoError(t, err)
	require.True(t, alive(pid))
	parent.kill()
	require.Eventually(t, func() bool { return !alive(pid) }, 10*time.Second, 5*time.Millisecond)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	if runtime.GOOS != "linux" {
		p, err := os.FindProcess(pid)
		return err == nil && p.Signal(syscall.Signal(0)) == nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	return !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" Z"))
}

func childrenOf(t *testing.T, pid int) (children []string) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Skip("needs /proc")
	}
	for _, task := range tasks {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		children = append(children, strings.Fields(string(list))...)
	}
	return children
}
