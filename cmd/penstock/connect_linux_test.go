package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A terminal is a pseudo-terminal with the program on it, and a person before it.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File
	device *os.File
	before unix.Termios

	mu     sync.Mutex
	screen strings.Builder // all that was written to it
}

func startOnTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	device, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	p := &terminal{t: t, cmd: command(t, env, args...), master: master, device: device}
	p.before = p.mode()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = device, device, device
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, p.cmd.Start())
	go p.watch() // ends with the terminal
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = device.Close()
		_ = master.Close()
	})
	return p
}

func (p *terminal) watch() {
	b := make([]byte, 4096)
	for {
		n, err := p.master.Read(b)
		p.mu.Lock()
		p.screen.Write(b[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *terminal) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

// await waits until the screen has a text.
func (p *terminal) await(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(p.shown(), text); time.Sleep(time.Millisecond) {
		require.True(p.t, time.Now().Before(deadline), "%q should have come: %q", text, p.shown())
	}
}

func (p *terminal) keys(text string) {
	p.t.Helper()
	_, err := p.master.WriteString(text)
	require.NoError(p.t, err)
}

// mode is what raw mode changes.
func (p *terminal) mode() unix.Termios {
	p.t.Helper()
	mode, err := unix.IoctlGetTermios(int(p.device.Fd()), unix.TCGETS)
	require.NoError(p.t, err)
	return *mode
}

// A visit is what a server sees of a client.
type visit struct {
	messages chan string
	closed   chan string
}

func newVisit(t *testing.T) (target string, v visit) {
	v = visit{make(chan string, 10), make(chan string, 1)}
	return gorillaServer(t, func(ws *gorilla.Conn) {
		for {
			op, data, err := ws.ReadMessage()
			if err != nil {
				v.closed <- err.Error()
				return
			}
			v.messages <- string(data)
			_ = ws.WriteMessage(op, data)
		}
	}), v
}

// TestConnectOnATerminal: lines are edited and sent, what comes is shown above the line
// that is being typed, commands are obeyed, and the terminal is left as it was.
func TestConnectOnATerminal(t *testing.T) {
	target, v := newVisit(t)
	p := startOnTerminal(t, nil, "connect", target)
	p.await("* connected to ")
	p.await("> ")
	p.keys("hellp\x7fo\r")
	require.Equal(t, "hello", <-v.messages)
	p.await("< hello\r\n")
	p.keys("\x1b[A!\r") // the line before, from the history
	require.Equal(t, "hello!", <-v.messages)
	p.keys("//slash\r")
	require.Equal(t, "/slash", <-v.messages)
	p.keys("/nonsense\r")
	p.await("* no command /nonsense")
	p.keys("/ping there\r")
	p.await(`* pong "there" after `)
	p.keys("/close 4002 good bye\r")
	require.Equal(t, "websocket: close 4002: good bye", <-v.closed)
	p.await("* this side closed the connection: 4002")
	require.Equal(t, 0, status(t, p.cmd))
	require.Equal(t, p.before, p.mode())
}

// TestConnectQuotes: what a server sends does nothing to the terminal.
func TestConnectQuotes(t *testing.T) {
	target := gorillaServer(t, func(ws *gorilla.Conn) {
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("\x1b[2Jgone"))
		_ = ws.WriteMessage(gorilla.BinaryMessage, []byte("\x1b]0;title\x07\xff"))
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("a\n* closed"))
		_ = ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(4000, "\x1b[31mred"), time.Now().Add(patience))
		_, _, _ = ws.ReadMessage()
	})
	p := startOnTerminal(t, nil, "connect", target)
	p.await(`< "\x1b[2Jgone"`)
	p.await(`< binary, 11 bytes: "\x1b]0;title\a\xff"`)
	p.await("< a\r\n  * closed")
	p.await(`4000 private use "\x1b[31mred"`)
	require.Equal(t, 121, status(t, p.cmd))
	for _, harm := range []string{"\x1b[2J", "\x1b]0", "\x1b[31m"} {
		require.NotContains(t, p.shown(), harm)
	}
	require.NotZero(t, p.mode().Lflag&unix.ECHO)
}

// TestConnectKeys: Ctrl-C closes as the signal would, and so does Ctrl-D.
func TestConnectKeys(t *testing.T) {
	for name, key := range map[string]string{"Ctrl-C": "\x03", "Ctrl-D": "\x04", "/quit": "/quit\r"} {
		t.Run(name, func(t *testing.T) {
			target, v := newVisit(t)
			p := startOnTerminal(t, nil, "connect", target)
			p.await("> ")
			p.keys(key)
			require.Equal(t, "websocket: close 1000 (normal)", <-v.closed)
			require.Equal(t, 0, status(t, p.cmd))
			require.NotZero(t, p.mode().Lflag&unix.ECHO)
		})
	}
	end := make(chan bool)
	target := gorillaServer(t, func(*gorilla.Conn) { <-end })
	defer close(end)
	p := startOnTerminal(t, nil, "connect", target)
	p.await("> ")
	p.keys("\x03\x03")
	require.Equal(t, 130, status(t, p.cmd))
	require.NotZero(t, p.mode().Lflag&unix.ECHO, "restored although it ended at once")
}

// TestConnectPassword: it is asked for, not shown, and sent.
func TestConnectPassword(t *testing.T) {
	passwords := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		passwords <- password
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	p := startOnTerminal(t, nil, "connect", "ws"+strings.TrimPrefix(server.URL, "http"), "--auth", "jo")
	p.await("password of jo: ")
	for p.mode().Lflag&unix.ECHO != 0 {
		time.Sleep(time.Millisecond)
	}
	p.keys("s3cret\r")
	require.Equal(t, "s3cret", <-passwords)
	require.Equal(t, 4, status(t, p.cmd))
	require.NotContains(t, p.shown(), "s3cret")
}
