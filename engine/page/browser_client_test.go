package page_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// What follows has Chromium for a client of the engine, on a page with nothing else on it.

const mib = 1 << 20

// script is what the pages have for their tests.
const script = `<!DOCTYPE html><link rel="icon" href="data:,"><script>
// open resolves with a WebSocket that is open, or rejects with how it ended.
const open = (url, protocols = []) => new Promise((resolve, reject) => {
	const ws = new WebSocket(url, protocols);
	ws.binaryType = "arraybuffer";
	ws.got = [];
	ws.waiting = [];
	ws.onmessage = (e) => ws.waiting.length ? ws.waiting.shift()(e.data) : ws.got.push(e.data);
	ws.ended = new Promise((end) => ws.onclose = (e) => { const how = { code: e.code, reason: e.reason, clean: e.wasClean }; end(how); reject(new Error(JSON.stringify(how))); });
	ws.onopen = () => resolve(ws);
});
// next resolves with the next message, or rejects with how the connection has ended.
const next = (ws) => ws.got.length ? ws.got.shift() : Promise.race([
	new Promise((got) => ws.waiting.push(got)),
	ws.ended.then((how) => { throw new Error(JSON.stringify(how)); }),
]);
</script>`

// A site is an engine with a page of its own origin.
type site struct {
	engine  *engine.Engine
	url, ws string
}

func newSite(t *testing.T, cfg engine.Config, ep engine.Endpoint) *site {
	t.Helper()
	e, err := engine.New(cfg, ep)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/ws", e)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, script)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Shutdown(ctx); !errors.Is(err, engine.ErrShutdown) { // which a test may have called
			require.NoError(t, err)
		}
		s.Close()
	})
	return &site{engine: e, url: s.URL, ws: toWS(s.URL) + "/ws"}
}

// silent is for what fails on purpose.
var silent = slog.New(slog.DiscardHandler)

// onMessage is an endpoint that has only that.
func onMessage(f func(context.Context, *engine.Conn, engine.Message) error) engine.Endpoint {
	return engine.Endpoint{Handler: engine.Handler{OnMessage: f}}
}

func echo(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) }

// run evaluates the body of an async function that has the URL as url.
func run[T any](b *tab, url, body string) T {
	b.t.Helper()
	return eval[T](b, fmt.Sprintf("(async (url) => {%s})(%q)", body, url))
}

// A wire notes what passes between a browser and a server.
type wire struct {
	url      string // to be used instead of the server's
	mu       sync.Mutex
	up, down bytes.Buffer
}

// tapped listens for one connection and passes it on.
func tapped(t *testing.T, s *site) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{url: "ws://" + ln.Addr().String() + "/ws"}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // until the browser has connected, or the test ends
		browser, err := ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			_ = browser.Close()
			return
		}
		go w.pass(server, browser, &w.up) // until the browser closes
		w.pass(browser, server, &w.down)
	}()
	return w
}

func (w *wire) pass(to, from net.Conn, notes *bytes.Buffer) {
	defer func() { _ = to.(*net.TCPConn).CloseWrite() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		w.mu.Lock()
		notes.Write(b[:n])
		w.mu.Unlock()
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// frames returns the headers of the frames that have passed in one direction.
func (w *wire) frames(t *testing.T, notes *bytes.Buffer) (headers []frame.Header) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	_, b, found := bytes.Cut(notes.Bytes(), []byte("\r\n\r\n"))
	require.True(t, found, "the handshake has passed")
	for len(b) > 0 {
		h, n, err := frame.ParseHeader(b)
		require.NoError(t, err)
		if n == 0 {
			break
		}
		headers = append(headers, h)
		b = b[min(len(b), n+int(h.Length)):]
	}
	return headers
}

// TestChromiumMessages: text and binary of all sizes at which the frame's header changes,
// and in order.
func TestChromiumMessages(t *testing.T) {
	s := newSite(t, engine.Config{}, onMessage(echo))
	b := newTab(t, s.url)
	require.Empty(t, run[[]string](b, s.ws, `
		const ws = await open(url), wrong = [];
		for (const size of [0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20]) {
			const text = "é".repeat(size >> 1) + "x".repeat(size & 1);
			ws.send(text);
			if (await next(ws) !== text) wrong.push("text of " + size);
			const bytes = Uint8Array.from({ length: size }, (_, i) => i * 7);
			ws.send(bytes);
			const got = new Uint8Array(await next(ws));
			if (got.length !== size || !got.every((v, i) => v === bytes[i])) wrong.push("binary of " + size);
			ws.send(new Blob([bytes]));
			if ((await next(ws)).byteLength !== size) wrong.push("blob of " + size);
		}
		for (let i = 0; i < 3000; i++) ws.send(String(i));
		for (let i = 0; i < 3000; i++) if (await next(ws) !== String(i)) { wrong.push("order at " + i); break; }
		ws.close();
		await ws.ended;
		return wrong;`))
	b.quiet(s.url)
}

// data are the headers of data frames.
func data(headers []frame.Header) (list []frame.Header) {
	for _, h := range headers {
		if !h.Opcode.IsControl() {
			list = append(list, h)
		}
	}
	return list
}

// fromAnyPort lets the page connect to a wire, which is another origin.
var fromAnyPort = []string{"127.0.0.1:*"}

// TestChromiumFragments: 8 MiB in each direction arrive as they were sent. The engine sends
// them as fragments of SendChunkBytes of one message, and takes those that Chromium makes.
func TestChromiumFragments(t *testing.T) {
	const chunk = 256 << 10
	s := newSite(t, engine.Config{MaxMessageBytes: 8 * mib, SendChunkBytes: chunk, AllowedOrigins: fromAnyPort}, onMessage(echo))
	for _, kind := range []string{"text", "binary"} {
		t.Run(kind, func(t *testing.T) {
			w := tapped(t, s)
			require.True(t, run[bool](newTab(t, s.url), w.url, fmt.Sprintf(`
				const size = 8 << 20, bytes = new Uint8Array(size);
				for (let i = 0; i < size; i++) bytes[i] = 97 + (i * 31 + (i >> 8)) %% 26;
				const sent = %q === "text" ? new TextDecoder().decode(bytes) : bytes;
				const ws = await open(url);
				ws.send(sent);
				const got = await next(ws);
				ws.close();
				await ws.ended;
				if (typeof sent === "string") return got === sent;
				const back = new Uint8Array(got);
				return back.length === size && back.every((v, i) => v === bytes[i]);`, kind)))
			down := data(w.frames(t, &w.down))
			require.Len(t, down, 8*mib/chunk)
			for i, h := range down {
				require.EqualValues(t, chunk, h.Length)
				require.Equal(t, i == len(down)-1, h.Fin, "fragment %d", i)
				require.Equal(t, i > 0, h.Opcode == frame.Continuation, "fragment %d", i)
			}
			up := data(w.frames(t, &w.up))
			t.Logf("Chromium has sent %d frames", len(up))
			require.Greater(t, len(up), 1, "Chromium fragments, too")
		})
	}
}

// TestChromiumDeflate: permessage-deflate is agreed on, and both sides compress; without
// the engine's consent neither does.
func TestChromiumDeflate(t *testing.T) {
	const size = mib
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprintf("compress %v", on), func(t *testing.T) {
			s := newSite(t, engine.Config{Compress: on, AllowedOrigins: fromAnyPort}, onMessage(echo))
			w := tapped(t, s)
			extensions := run[string](newTab(t, s.url), w.url, `
				const ws = await open(url), text = Array.from({ length: 60000 }, (_, i) => '{"valve":' + i + ',"open":true}').join().slice(0, 1 << 20);
				for (const sent of [text, "short"]) {
					ws.send(sent);
					if (await next(ws) !== sent) return "another message";
				}
				ws.close();
				await ws.ended;
				return ws.extensions;`)
			up, down := data(w.frames(t, &w.up)), data(w.frames(t, &w.down))
			if !on {
				require.Empty(t, extensions)
				require.GreaterOrEqual(t, w.up.Len(), size)
				require.GreaterOrEqual(t, w.down.Len(), size)
				for _, h := range append(up, down...) {
					require.Zero(t, h.RSV)
				}
				return
			}
			require.Contains(t, extensions, "permessage-deflate")
			require.Contains(t, extensions, "client_no_context_takeover")
			require.Equal(t, frame.RSV1, up[0].RSV, "Chromium's is compressed")
			require.Equal(t, frame.RSV1, down[0].RSV, "the engine's is compressed")
			require.Zero(t, down[len(down)-1].RSV, "but not the one that would not become shorter")
			require.Less(t, w.up.Len(), size/4)
			require.Less(t, w.down.Len(), size/4)
		})
	}
}

// ended is how a browser says that a connection has ended.
type ended struct {
	Code   frame.CloseCode
	Reason string
	Clean  bool
}

// TestChromiumSeesCloseCodes: every code that a server may send reaches the page with its
// reason, whatever it stands for here.
func TestChromiumSeesCloseCodes(t *testing.T) {
	s := newSite(t, engine.Config{MaxMessageBytes: 1000, Logger: silent}, onMessage(func(_ context.Context, _ *engine.Conn, m engine.Message) error {
		var code frame.CloseCode
		switch n, _ := fmt.Sscan(string(m.Data), &code); {
		case n == 1:
			return &engine.CloseError{Code: code, Reason: "because of " + string(m.Data)}
		case string(m.Data) == "error":
			return errors.New("the handler's secret")
		case string(m.Data) == "congested":
			return engine.ErrCongested
		}
		panic("the handler's secret")
	}))
	b := newTab(t, s.url)
	after := func(message string) ended {
		return run[ended](b, s.ws, fmt.Sprintf(`const ws = await open(url); ws.send(%s); return ws.ended;`, message))
	}
	for _, code := range []frame.CloseCode{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		require.Equal(t, ended{code, fmt.Sprintf("because of %d", code), true}, after(fmt.Sprintf(`"%d"`, code)))
	}
	for message, code := range map[string]frame.CloseCode{
		`"error"`:                     frame.CloseInternalError,
		`"panic"`:                     frame.CloseInternalError,
		`"congested"`:                 frame.CloseTryAgainLater,
		`"x".repeat(1001)`:            frame.CloseMessageTooBig,
		`"x".repeat(20 << 20)`:        frame.CloseMessageTooBig, // of which the engine reads little
		`new Uint8Array(1001).buffer`: frame.CloseMessageTooBig,
	} {
		got := after(message)
		require.Equal(t, code, got.Code, message)
		require.NotContains(t, got.Reason, "secret")
	}
	require.Equal(t, ended{frame.CloseAbnormal, "", false}, run[ended](b, s.ws, `
		try { await open(url.replace("/ws", "/nothing")); } catch (e) { return JSON.parse(e.message); }`), "a handshake that is refused")
	done := make(chan ended, 1)
	go func() { done <- run[ended](b, s.ws, `const ws = await open(url); return ws.ended;`) }()
	require.Eventually(t, func() bool { return s.engine.Stats().Connections == 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, s.engine.Shutdown(ctx))
	got := <-done
	require.Equal(t, frame.CloseGoingAway, got.Code)
	require.True(t, got.Clean)
}

// TestChromiumCloses: what a page closes with reaches OnClose; so does that the page was
// left, or its tab closed.
func TestChromiumCloses(t *testing.T) {
	closes := make(chan *engine.CloseError, 1)
	ep := onMessage(echo)
	ep.Handler.OnClose = func(_ *engine.Conn, err *engine.CloseError) { closes <- err }
	s := newSite(t, engine.Config{}, ep)
	for leave, want := range map[string]engine.CloseError{
		`ws.close(1000)`:                         {Code: 1000},
		`ws.close(1000, "that was all")`:         {Code: 1000, Reason: "that was all"},
		`ws.close(4999, "ü".repeat(61))`:         {Code: 4999, Reason: strings.Repeat("ü", 61)},
		`ws.close()`:                             {Code: frame.CloseNoStatus},
		`location.href = "/elsewhere"`:           {Code: frame.CloseGoingAway},
		`setTimeout(() => location.reload(), 0)`: {Code: frame.CloseGoingAway},
		"":                                       {Code: frame.CloseGoingAway}, // the tab is closed
	} {
		b := newTab(t, s.url)
		run[bool](b, s.ws, `globalThis.ws = await open(url); return true;`)
		if leave == "" {
			require.NoError(t, chromedp.Cancel(b.ctx))
		} else {
			b.do(chromedp.Evaluate[chromedp.Void](leave))
		}
		select {
		case got := <-closes:
			require.Equal(t, want.Code, got.Code, leave)
			require.Equal(t, want.Reason, got.Reason, leave)
			require.True(t, got.Remote, leave)
		case <-time.After(patience):
			t.Fatalf("%q has not ended the connection", leave)
		}
	}
}

// TestChromiumReconnects: a page that connects again finds the server that has come in the
// place of the one that told it to go.
func TestChromiumReconnects(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	start := func(ln net.Listener, name string) (stop func()) {
		e, err := engine.New(engine.Config{AllowedOrigins: fromAnyPort}, onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
			return c.SendText(name)
		}))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Serve(ctx, ln) }() // until stop
		return func() {
			cancel()
			require.NoError(t, <-done)
		}
	}
	stop := start(ln, "first")
	b := newTab(t, newSite(t, engine.Config{}, onMessage(echo)).url)
	eval[bool](b, fmt.Sprintf(`globalThis.answers = [], globalThis.codes = [], globalThis.connect = () => {
		const ws = new WebSocket(%q);
		ws.onopen = () => ws.send("who?");
		ws.onmessage = (e) => answers.push(e.data);
		ws.onclose = (e) => { codes.push(e.code); setTimeout(connect, 50); };
	}, connect(), true`, "ws://"+ln.Addr().String()+"/"))
	b.until(`answers.length === 1`)
	stop()
	b.until(`codes.length >= 3`) // in vain
	again, err := net.Listen("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer start(again, "second")()
	b.until(`answers.length === 2`)
	require.Equal(t, []string{"first", "second"}, eval[[]string](b, "answers"))
	codes := eval[[]frame.CloseCode](b, "codes")
	require.Equal(t, frame.CloseGoingAway, codes[0])
	require.Equal(t, frame.CloseAbnormal, codes[1])
	eval[bool](b, "(globalThis.connect = () => {}, true)")
}

// TestChromiumSubprotocols: the server's preference decides; a page that offers none that
// the server speaks does not get a connection, for which the browser sees.
func TestChromiumSubprotocols(t *testing.T) {
	ep := onMessage(func(_ context.Context, c *engine.Conn, _ engine.Message) error {
		return c.SendText(c.Scope().Subprotocol())
	})
	ep.Subprotocols = []string{"chat.v2", "chat.v1"}
	s := newSite(t, engine.Config{}, ep)
	b := newTab(t, s.url)
	for offered, want := range map[string]string{
		`[]`:                     "",
		`["chat.v1"]`:            "chat.v1",
		`["chat.v1", "chat.v2"]`: "chat.v2",
		`["soap", "chat.v1"]`:    "chat.v1",
	} {
		require.Equal(t, []string{want, want}, run[[]string](b, s.ws, fmt.Sprintf(
			`const ws = await open(url, %s); ws.send("which?"); const seen = await next(ws); ws.close(); await ws.ended; return [ws.protocol, seen];`, offered)), offered)
	}
	require.Equal(t, ended{Code: frame.CloseAbnormal}, run[ended](b, s.ws,
		`try { await open(url, ["soap"]); } catch (e) { return JSON.parse(e.message); }`))
}

// TestChromiumOtherOrigins: a page of another origin gets no connection, nor does one that
// hides its origin, unless the configuration lets it.
func TestChromiumOtherOrigins(t *testing.T) {
	const try = `try { const ws = await open(url); ws.close(); return "open"; } catch { return "refused"; }`
	const hidden = `return new Promise((done) => {
		addEventListener("message", (e) => done(e.data));
		const frame = document.createElement("iframe");
		frame.sandbox = "allow-scripts";
		frame.srcdoc = "<script>const ws = new WebSocket(" + JSON.stringify(url) + "); ws.onopen = () => parent.postMessage('open', '*'); ws.onerror = () => parent.postMessage('refused', '*');</" + "script>";
		document.body.append(frame);
	});`
	own := newSite(t, engine.Config{}, onMessage(echo))
	b := newTab(t, own.url)
	require.Equal(t, "open", run[string](b, own.ws, try))
	require.Equal(t, "refused", run[string](b, own.ws, hidden), "Origin: null")

	other := newSite(t, engine.Config{}, onMessage(echo))
	require.Equal(t, "refused", run[string](b, other.ws, try))
	require.EqualValues(t, 1, other.engine.Stats().RefusedBy[engine.RefusedOrigin])
	require.Zero(t, other.engine.Stats().Opened)
	byName := strings.Replace(own.ws, "127.0.0.1", "localhost", 1)
	require.Equal(t, "refused", run[string](b, byName, try), "another name of the same server")

	invited := newSite(t, engine.Config{AllowedOrigins: []string{own.url}}, onMessage(echo))
	require.Equal(t, "open", run[string](b, invited.ws, try))
}

// TestChromiumPings: a page does not see pings, and the browser answers them, also while the
// page is busy.
func TestChromiumPings(t *testing.T) {
	s := newSite(t, engine.Config{PingInterval: 20 * time.Millisecond, IdleTimeout: patience, AllowedOrigins: fromAnyPort}, onMessage(echo))
	w := tapped(t, s)
	b := newTab(t, s.url)
	run[bool](b, w.url, `globalThis.ws = await open(url); return true;`)
	pongs := func() (n int) {
		for _, h := range w.frames(t, &w.up) {
			if h.Opcode == frame.Pong {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return pongs() >= 2 }, patience, 10*time.Millisecond)
	require.Zero(t, eval[int](b, "ws.got.length"))
}
