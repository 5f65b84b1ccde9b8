// Package examples_test builds the example programs, starts them and speaks to them.
package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// patience is how long anything may take that should be done at once.
const patience = 30 * time.Second

// secrets are all that these tests give to the programs and no program may print.
var secrets = []string{"canary-worker", "canary-ann", "canary-bob", "canary-notify"}

// A process is a running example.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string // host:port; "" of one that does not listen
	output *bytes.Buffer
	ended  chan error
}

// build returns the program of a folder.
func build(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", file, "./"+name).CombinedOutput()
	require.NoError(t, err, string(out))
	return file
}

// start runs a program until the test ends. Then nothing that it has printed may have a
// secret in it.
func start(t *testing.T, program string, env []string, args ...string) *process {
	t.Helper()
	return startWith(t, nil, program, env, args)
}

func startWith(t *testing.T, stdout *os.File, program string, env, args []string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), output: new(bytes.Buffer), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.output
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	require.NoError(t, p.cmd.Start())
	go func() { p.ended <- p.cmd.Wait() }() // ends with the process
	t.Cleanup(p.stop)
	return p
}

// stop ends the process hard, if it runs, and looks at what it has printed.
func (p *process) stop() {
	if p.ended == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.ended = nil
	for _, secret := range secrets {
		require.NotContains(p.t, p.output.String(), secret, "a secret was printed")
	}
}

var firstLine = regexp.MustCompile(`^listening on http://(127\.0\.0\.1:[1-9][0-9]*)/\n$`)

// serve starts a program and waits until it listens.
func serve(t *testing.T, program string, env []string, args ...string) *process {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	p := startWith(t, w, program, env, append([]string{"-addr", "127.0.0.1:0"}, args...))
	require.NoError(t, w.Close())
	_ = r.SetReadDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		p.stop()
		require.NoError(t, err, p.output.String())
	}
	require.Regexp(t, firstLine, line)
	p.addr = firstLine.FindStringSubmatch(line)[1]
	return p
}

// interrupt ends a server as Ctrl-C does: well, and with its clients told.
func (p *process) interrupt(c client) {
	p.t.Helper()
	if runtime.GOOS == "windows" {
		return // where no other process can be interrupted
	}
	require.NoError(p.t, p.cmd.Process.Signal(os.Interrupt))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := c.ReadMessage(); err != nil {
			require.True(p.t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
			break
		}
	}
	require.NoError(p.t, c.Close())
	select {
	case err := <-p.ended:
		require.NoError(p.t, err, p.output.String())
		p.ended <- nil // for stop
	case <-time.After(patience):
		require.Fail(p.t, "the program has not ended")
	}
}

type client struct {
	t *testing.T
	*websocket.Conn
}

func (p *process) dial(path string, header ...string) client {
	p.t.Helper()
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.addr+path, h)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = ws.Close() })
	return client{p.t, ws}
}

// refused returns the status of a handshake that fails.
func (p *process) refused(path string) int {
	p.t.Helper()
	_, resp, err := websocket.DefaultDialer.Dial("ws://"+p.addr+path, nil)
	require.Error(p.t, err)
	require.NotNil(p.t, resp)
	return resp.StatusCode
}

func (c client) say(text string) {
	c.t.Helper()
	require.NoError(c.t, c.WriteMessage(websocket.TextMessage, []byte(text)))
}

func (c client) hear() map[string]any {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, text, err := c.ReadMessage()
	require.NoError(c.t, err)
	var m map[string]any
	require.NoError(c.t, json.Unmarshal(text, &m), string(text))
	return m
}

// page returns what a browser sees; it must not need anything from elsewhere.
func (p *process) page() string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + "/")
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	require.NotRegexp(p.t, `https?://|src=|href=|import `, string(text))
	return string(text)
}

func TestChat(t *testing.T) {
	p := serve(t, build(t, "chat"), nil)
	require.Contains(t, p.page(), "new WebSocket")
	require.Equal(t, http.StatusBadRequest, p.refused("/ws"))
	require.Equal(t, http.StatusBadRequest, p.refused("/ws?name=ann&after=x"))
	ann, bob := p.dial("/ws?name=ann"), p.dial("/ws?name=bob")
	ann.say("hello")
	var at string
	for _, c := range []client{ann, bob} {
		m := c.hear()
		require.Equal(t, map[string]any{"name": "ann", "text": "hello"}, m["said"])
		at = m["position"].(string)
	}
	require.NoError(t, bob.NetConn().Close()) // bob loses the connection, and what is said meanwhile
	ann.say("still there?")
	require.Equal(t, "still there?", ann.hear()["said"].(map[string]any)["text"])
	bob = p.dial("/ws?name=bob&after=" + at)
	require.Equal(t, "still there?", bob.hear()["said"].(map[string]any)["text"])
	carl := p.dial("/ws?name=carl") // a newcomer gets all that is kept
	require.Equal(t, "hello", carl.hear()["said"].(map[string]any)["text"])
	carl = p.dial("/ws?name=carl&after=1-1") // of another life of the server
	require.Equal(t, true, carl.hear()["gap"])
	require.NoError(t, bob.WriteMessage(websocket.BinaryMessage, nil))
	require.EqualValues(t, http.StatusUnsupportedMediaType, bob.hear()["status"])
	bob.say(strings.Repeat("x", 4097))
	require.EqualValues(t, http.StatusRequestEntityTooLarge, bob.hear()["status"])
	p.interrupt(ann)
}

func TestDashboard(t *testing.T) {
	program, env := build(t, "dashboard"), []string{"WORKER_SECRET=canary-worker"}
	p := serve(t, program, env)
	require.Contains(t, p.page(), "get_worker_status")
	c := p.dial("/ws")
	c.say("get_worker_status")
	require.Equal(t, map[string]any{"type": "worker_status", "online": false}, c.hear())
	worker := start(t, program, env, "-feed", "ws://"+p.addr+"/ws", "-every", "10ms")
	require.Equal(t, true, c.hear()["online"])
	for range 3 {
		m := c.hear()
		for m["type"] == "worker_status" { // it may be told twice
			m = c.hear()
		}
		require.Equal(t, "sample", m["type"])
		require.Positive(t, m["goroutines"])
		require.Positive(t, m["heap_bytes"])
	}
	worker.stop() // a crash
	for c.hear()["online"] != false {
	}
	impostor := start(t, program, []string{"WORKER_SECRET=canary-ann"}, "-feed", "ws://"+p.addr+"/ws", "-every", "10ms")
	select {
	case err := <-impostor.ended:
		require.Error(t, err)
		impostor.ended <- nil
	case <-time.After(patience):
		require.Fail(t, "an impostor goes on")
	}
	p.interrupt(c)
}

func TestNotifications(t *testing.T) {
	p := serve(t, build(t, "notifications"), []string{"USER_TOKENS=canary-ann=ann,canary-bob=bob", "NOTIFY_TOKEN=canary-notify"})
	require.Equal(t, http.StatusUnauthorized, p.refused("/ws"))
	require.Equal(t, http.StatusUnauthorized, p.refused("/ws?token=canary-notify"))
	phone, desk := p.dial("/ws?token=canary-ann"), p.dial("/ws", "Authorization", "Bearer canary-ann")
	bob := p.dial("/ws?token=canary-bob")
	notify := func(token, user, text string) (int, string) {
		r, err := http.NewRequest(http.MethodPost, "http://"+p.addr+"/notify?user="+user, strings.NewReader(text))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}
	status, _ := notify("canary-ann", "bob", `{"for":"nobody"}`)
	require.Equal(t, http.StatusUnauthorized, status)
	status, reached := notify("canary-notify", "ann", `{"for":"ann"}`)
	require.Equal(t, []any{http.StatusOK, "2\n"}, []any{status, reached})
	_, reached = notify("canary-notify", "", `{"for":"nobody"}`)
	require.Equal(t, "0\n", reached)
	_, reached = notify("canary-notify", "bob", `{"for":"bob"}`)
	require.Equal(t, "1\n", reached)
	require.Equal(t, "ann", phone.hear()["for"])
	require.Equal(t, "ann", desk.hear()["for"])
	require.Equal(t, "bob", bob.hear()["for"], "bob must not get what was for ann")
	bob.say("hello")
	require.EqualValues(t, http.StatusMethodNotAllowed, bob.hear()["status"])
	p.interrupt(bob)
}

func TestApps(t *testing.T) {
	p := serve(t, build(t, "apps"), []string{"USER_TOKENS=canary-ann=ann,canary-bob=bob"}, "-manifests", "apps/manifests")
	for _, path := range []string{"/shop/orders", "/support/chat", "/support/chat?token=canary"} {
		require.Equal(t, http.StatusUnauthorized, p.refused(path))
	}
	open := func(path, slug string, as any) client {
		c := p.dial(path)
		m := c.hear()
		require.Equal(t, []any{"connected", slug, as}, []any{m["type"], m["app_slug"], m["user_id"]})
		return c
	}
	ann, bob := open("/shop/orders?token=canary-ann", "shop", "ann"), open("/shop/orders?token=canary-bob", "shop", "bob")
	prices, chat := open("/shop/prices", "shop", nil), open("/support/chat?token=canary-ann", "support", "ann")
	prices.say(`{"type":"subscribe","channel":"tea"}`)
	require.Equal(t, "subscribed", prices.hear()["type"])
	ann.say(`{"type":"order","product":"tea","price":3}`)
	require.Equal(t, map[string]any{"type": "ordered", "app_slug": "shop", "product": "tea"}, ann.hear())
	require.Equal(t, map[string]any{"type": "price", "app_slug": "shop", "product": "tea", "price": 3.0}, prices.hear())
	chat.say(`{"type":"say","text":"hi"}`)
	require.Equal(t, map[string]any{"type": "said", "app_slug": "support", "user": "ann", "text": "hi"}, chat.hear(), "ann's order must not get here")
	bob.say(`{"type":"order"}`)
	require.Equal(t, "an order has a product and a price", bob.hear()["message"], "neither ann's order nor the chat must get here")
	prices.say(`{"type":"order","product":"tea","price":3}`)
	require.Equal(t, `unknown message type "order"`, prices.hear()["message"])
	p.interrupt(chat)
}

// Without what they need the programs do not start.
func TestMissingSettings(t *testing.T) {
	for name, env := range map[string]string{"dashboard": "WORKER_SECRET=", "notifications": "USER_TOKENS=canary-ann", "apps": "USER_TOKENS=canary-ann="} {
		p := start(t, build(t, name), []string{env}, "-addr", "127.0.0.1:0")
		select {
		case err := <-p.ended:
			require.Error(t, err, name)
			p.ended <- err
		case <-time.After(patience):
			require.Fail(t, "it has started")
		}
	}
}

// Every program is in the list.
func TestList(t *testing.T) {
	list, err := os.ReadFile("README.md")
	require.NoError(t, err)
	programs, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, programs)
	for _, program := range programs {
		require.Contains(t, string(list), "("+program+")")
	}
}
