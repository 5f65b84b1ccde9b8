package page_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/page"
	"github.com/penstock-ws/penstock/frame"
)

const (
	livePath  = "/_penstock/live"
	aboutPath = "/_penstock/about"
	token     = "a-token-of-24-characters"
)

// newEngine is an echo server's.
func newEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error { return c.Send(m.Type, m.Data) },
	}})
	require.NoError(t, err)
	t.Cleanup(func() { end(t, e.Shutdown) })
	return e
}

func end(t *testing.T, shutdown func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, shutdown(ctx))
}

func newPage(t *testing.T, source page.Source, cfg page.Config) *page.Page {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := page.New(source, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { end(t, p.Shutdown) })
	return p
}

// serveHTTP returns the URL of a server that ends with the test.
func serveHTTP(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func toWS(url string) string { return "ws" + strings.TrimPrefix(url, "http") }

// get asks, and returns the response with its body read.
func get(t *testing.T, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	if header != nil {
		req.Header = header
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(body)
}

// view connects to the live view, or returns the status that it is refused with.
func view(t *testing.T, url string, header http.Header) (*websocket.Conn, int) {
	t.Helper()
	ws, res, err := websocket.DefaultDialer.Dial(toWS(url)+livePath, header)
	if err != nil {
		require.NotNil(t, res, "%v", err)
		return nil, res.StatusCode
	}
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	return ws, res.StatusCode
}

// figures are what a sample has.
type figures struct {
	At          int64
	Connections int
	Opened      uint64
	MessagesIn  uint64 `json:"messages_in"`
	Closes      []struct {
		Code  frame.CloseCode
		Count uint64
	}
}

func next(t *testing.T, ws *websocket.Conn) (f figures) {
	t.Helper()
	require.NoError(t, ws.ReadJSON(&f))
	return f
}

// TestPaths: a plain GET gets the page, and a handshake on the same path the endpoint; what
// is not the page's goes on.
func TestPaths(t *testing.T) {
	p := newPage(t, newEngine(t), page.Config{})
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	url := serveHTTP(t, p.Before(next))
	upgrade := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	for _, tc := range []struct {
		method, path string
		header       http.Header
		status       int
		kind         string
	}{
		{"GET", "/", nil, 200, "text/html; charset=utf-8"},
		{"HEAD", "/", nil, 200, "text/html; charset=utf-8"},
		{"GET", "/?from=bookmark", nil, 200, "text/html; charset=utf-8"},
		{"GET", "/", http.Header{"Upgrade": {"h2c"}}, 200, "text/html; charset=utf-8"},
		{"GET", "/_penstock/page.js", nil, 200, "text/javascript; charset=utf-8"},
		{"GET", "/_penstock/page.css", nil, 200, "text/css; charset=utf-8"},
		{"GET", "/_penstock/icon.svg", nil, 200, "image/svg+xml"},
		{"GET", aboutPath, nil, 200, "application/json"},
		{"POST", "/", nil, 405, "text/plain; charset=utf-8"},
		{"DELETE", aboutPath, nil, 405, "text/plain; charset=utf-8"},
		{"GET", livePath, nil, 426, "text/plain; charset=utf-8"},
		{"GET", "/", upgrade, 418, ""},
		{"GET", "/", http.Header{"Upgrade": {"h2c, WebSocket"}}, 418, ""},
		{"GET", "/_penstock/page.js", upgrade, 418, ""},
		{"GET", "/_penstock/", nil, 418, ""},
		{"GET", "/_penstock/index.html", nil, 418, ""},
		{"GET", "/_penstock/../page.go", nil, 418, ""},
		{"GET", "/chat", nil, 418, ""},
		{"GET", "//", nil, 418, ""},
	} {
		res, body := get(t, tc.method, url+tc.path, tc.header)
		require.Equal(t, tc.status, res.StatusCode, "%s %s", tc.method, tc.path)
		require.Equal(t, tc.kind, res.Header.Get("Content-Type"), "%s %s", tc.method, tc.path)
		if tc.status == 200 && tc.method == "GET" {
			require.NotEmpty(t, body)
		}
		if tc.status == 405 {
			require.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
		}
	}
}

// TestHandler: without a next one the page answers 404, and it works below a prefix.
func TestHandler(t *testing.T) {
	p := newPage(t, newEngine(t), page.Config{Endpoint: "/ws"})
	mux := http.NewServeMux()
	mux.Handle("/status/", http.StripPrefix("/status", p))
	url := serveHTTP(t, mux)
	res, body := get(t, "GET", url+"/status", nil)
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "/status/", res.Request.URL.Path)
	require.Contains(t, body, `src="_penstock/page.js"`, "relative, so that it is found there")
	res, _ = get(t, "GET", url+"/status/_penstock/page.js", nil)
	require.Equal(t, 200, res.StatusCode)
	res, _ = get(t, "GET", url+"/status/nothing", nil)
	require.Equal(t, 404, res.StatusCode)
	_, body = get(t, "GET", url+"/status"+aboutPath, nil)
	require.JSONEq(t, `{"live": "open", "endpoint": "/ws"}`, body)
	ws, _ := view(t, url+"/status", nil)
	require.NotNil(t, ws)
}

// TestCaching: a browser keeps the files and asks whether they are still the same; what is
// said about the server it does not keep.
func TestCaching(t *testing.T) {
	url := serveHTTP(t, newPage(t, newEngine(t), page.Config{}))
	for _, path := range []string{"/", "/_penstock/page.css"} {
		res, _ := get(t, "GET", url+path, nil)
		require.Equal(t, "no-cache", res.Header.Get("Cache-Control"))
		tag := res.Header.Get("Etag")
		require.NotEmpty(t, tag)
		res, body := get(t, "GET", url+path, http.Header{"If-None-Match": {tag}})
		require.Equal(t, http.StatusNotModified, res.StatusCode)
		require.Empty(t, body)
		res, _ = get(t, "GET", url+path, http.Header{"If-None-Match": {`"another"`}})
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	res, _ := get(t, "GET", url+aboutPath, nil)
	require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	require.Empty(t, res.Header.Get("Etag"))
}

// TestPolicy: every answer of the page's keeps scripts of others out, and others' frames
// away.
func TestPolicy(t *testing.T) {
	url := serveHTTP(t, newPage(t, newEngine(t), page.Config{}))
	for _, path := range []string{"/", "/_penstock/page.js", "/_penstock/icon.svg", aboutPath} {
		res, _ := get(t, "GET", url+path, nil)
		policy := res.Header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "connect-src 'self'", "base-uri 'none'",
			"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
		} {
			require.Contains(t, strings.Split(policy, "; "), directive, path)
		}
		require.NotContains(t, policy, "unsafe")
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", res.Header.Get("Referrer-Policy"))
		require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "same-origin", res.Header.Get("Cross-Origin-Opener-Policy"))
	}
	res, _ := get(t, "GET", url, http.Header{"Host": {"penstock.example"}})
	require.Empty(t, res.Header.Get("Cross-Origin-Opener-Policy"), "without TLS a browser would complain on the console")
}

// A slowWriter notes the deadline that it is given.
type slowWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

// TestSlowReader: who asks and does not read cannot keep the answer waiting for ever.
func TestSlowReader(t *testing.T) {
	p := newPage(t, newEngine(t), page.Config{})
	for _, path := range []string{"/", aboutPath} {
		w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
		p.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		require.WithinDuration(t, time.Now().Add(10*time.Second), w.deadline, 5*time.Second, path)
	}
}

// TestLocal: without a token only a program of this machine is shown the live view, and
// only if nothing tells that somebody has passed its request on. Each row but the first two
// differs in one thing from one that is admitted.
func TestLocal(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("::ffff:127.0.1.0/120")}
	p := newPage(t, newEngine(t), page.Config{TrustedProxies: proxies})
	for name, tc := range map[string]struct {
		remote, host, header string
		want                 string
	}{
		"IPv4":                           {"127.0.0.1:4000", "127.0.0.1:9000", "", "open"},
		"IPv6":                           {"[::1]:4000", "[::1]:9000", "", "open"},
		"by name":                        {"127.0.0.1:4000", "LocalHost:9000", "", "open"},
		"IPv4 on an IPv6 socket":         {"[::ffff:127.0.0.1]:4000", "localhost", "", "open"},
		"without a port":                 {"127.0.0.1:4000", "[::1]", "", "open"},
		"another machine":                {"192.0.2.1:4000", "127.0.0.1:9000", "", "local"},
		"another machine, IPv6":          {"[2001:db8::1]:4000", "localhost", "", "local"},
		"a name that leads here":         {"127.0.0.1:4000", "rebound.example:9000", "", "local"},
		"a name that looks like it":      {"127.0.0.1:4000", "localhost.example", "", "local"},
		"an address that looks like it":  {"127.0.0.1:4000", "127.0.0.1.example", "", "local"},
		"this machine's other address":   {"127.0.0.1:4000", "192.0.2.7:9000", "", "local"},
		"no host":                        {"127.0.0.1:4000", "", "", "local"},
		"Forwarded":                      {"127.0.0.1:4000", "localhost", "Forwarded", "local"},
		"X-Forwarded-For":                {"127.0.0.1:4000", "localhost", "X-Forwarded-For", "local"},
		"X-Forwarded-Host":               {"127.0.0.1:4000", "localhost", "X-Forwarded-Host", "local"},
		"X-Real-IP":                      {"127.0.0.1:4000", "localhost", "X-Real-Ip", "local"},
		"Via":                            {"127.0.0.1:4000", "localhost", "Via", "local"},
		"a proxy that is known":          {"127.0.0.2:4000", "localhost", "", "local"},
		"the same on an IPv6 socket":     {"[::ffff:127.0.0.2]:4000", "localhost", "", "local"},
		"one that is known in IPv6":      {"127.0.1.9:4000", "localhost", "", "local"},
		"a socket without an address":    {"@", "localhost", "", "local"},
		"a header that says nothing new": {"127.0.0.1:4000", "localhost", "X-Request-Id", "open"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", aboutPath, nil)
			r.RemoteAddr, r.Host = tc.remote, tc.host
			if tc.header != "" {
				r.Header.Set(tc.header, "127.0.0.1")
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			require.JSONEq(t, fmt.Sprintf(`{"live": %q, "endpoint": "/"}`, tc.want), w.Body.String())
		})
	}
}

// TestLocalHandshake: what is said about the live view holds for it.
func TestLocalHandshake(t *testing.T) {
	url := serveHTTP(t, newPage(t, newEngine(t), page.Config{}))
	ws, _ := view(t, url, nil)
	require.Zero(t, next(t, ws).Connections)
	_, status := view(t, url, http.Header{"Host": {"rebound.example"}})
	require.Equal(t, http.StatusForbidden, status)
	_, status = view(t, url, http.Header{"X-Forwarded-For": {"127.0.0.1"}})
	require.Equal(t, http.StatusForbidden, status)
}

// TestOtherOrigins: a page of another origin sees nothing, also on this machine, also with
// the token.
func TestOtherOrigins(t *testing.T) {
	for name, cfg := range map[string]page.Config{"local": {}, "token": {Token: token}} {
		t.Run(name, func(t *testing.T) {
			url := serveHTTP(t, newPage(t, newEngine(t), cfg))
			bearer := "Bearer " + token
			for _, origin := range []string{"http://127.0.0.1:1", "https" + strings.TrimPrefix(url, "http"), "http://example.com", "null"} {
				_, status := view(t, url, http.Header{"Origin": {origin}, "Authorization": {bearer}})
				require.Equal(t, http.StatusForbidden, status, origin)
			}
			ws, _ := view(t, url, http.Header{"Origin": {url}, "Authorization": {bearer}})
			require.NotNil(t, ws)
		})
	}
}

// TestToken: with a token whoever has it is shown the live view, wherever he is; who does
// not have it is not, also on this machine.
func TestToken(t *testing.T) {
	url := serveHTTP(t, newPage(t, newEngine(t), page.Config{Token: token}))
	far := func(h http.Header) http.Header {
		h.Set("Host", "penstock.example")
		h.Set("X-Forwarded-For", "192.0.2.1")
		return h
	}
	for name, tc := range map[string]struct {
		header http.Header
		status int
	}{
		"bearer":                  {far(http.Header{"Authorization": {"Bearer " + token}}), 101},
		"subprotocol":             {far(http.Header{"Sec-Websocket-Protocol": {"penstock.live, token." + token}}), 101},
		"none":                    {far(http.Header{}), 401},
		"none, on this machine":   {http.Header{}, 401},
		"wrong":                   {far(http.Header{"Authorization": {"Bearer " + strings.ToUpper(token)}}), 401},
		"wrong, as a subprotocol": {far(http.Header{"Sec-Websocket-Protocol": {"penstock.live, token." + token + "x"}}), 401},
		"beginning":               {far(http.Header{"Authorization": {"Bearer " + token[:20]}}), 401},
		"empty":                   {far(http.Header{"Authorization": {"Bearer "}}), 401},
		"in the URL":              {far(http.Header{}), 401},
	} {
		t.Run(name, func(t *testing.T) {
			at := url
			if name == "in the URL" { // logs of proxies have it
				res, _ := get(t, "GET", url+livePath+"?token="+token, tc.header)
				require.NotEqual(t, 101, res.StatusCode)
				return
			}
			ws, status := view(t, at, tc.header.Clone())
			require.Equal(t, tc.status, status)
			want := "token"
			if status == 101 {
				want = "open"
				next(t, ws)
				require.NotContains(t, ws.Subprotocol(), "token", "it is not echoed")
			}
			if name != "subprotocol" && name != "wrong, as a subprotocol" {
				_, body := get(t, "GET", url+aboutPath, tc.header)
				require.JSONEq(t, fmt.Sprintf(`{"live": %q, "endpoint": "/"}`, want), body)
			}
		})
	}
}

// TestBehindProxy: where a proxy ends TLS, the origin of the page is https, if the proxy is
// known.
func TestBehindProxy(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, known := range []bool{true, false} {
		cfg := page.Config{Token: token}
		if known {
			cfg.TrustedProxies = loopback
		}
		_, status := view(t, serveHTTP(t, newPage(t, newEngine(t), cfg)), http.Header{
			"Host": {"penstock.example"}, "Origin": {"https://penstock.example"}, "X-Forwarded-Proto": {"https"},
			"X-Forwarded-For": {"192.0.2.1"}, "Authorization": {"Bearer " + token},
		})
		require.Equal(t, map[bool]int{true: 101, false: 403}[known], status)
	}
}

// TestMistakes: an error names what is wrong and what would be right, and never a token.
func TestMistakes(t *testing.T) {
	for _, bad := range []string{"short", "with a space in between", "with,a,comma,in,it", "fünfzehn-und-mehr", strings.Repeat("x", 15)} {
		_, err := page.New(newEngine(t), page.Config{Token: bad, Endpoint: "ws"})
		require.ErrorContains(t, err, "Token")
		require.ErrorContains(t, err, page.TokenAllowed)
		require.ErrorContains(t, err, `Endpoint is "ws"`)
		require.NotContains(t, err.Error(), bad)
	}
}

// TestReadOnly: the live view takes no message, whatever is in it.
func TestReadOnly(t *testing.T) {
	url := serveHTTP(t, newPage(t, newEngine(t), page.Config{}))
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
		ws, _ := view(t, url, nil)
		require.NoError(t, ws.WriteMessage(kind, []byte(`{"connections":0}`)))
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				require.True(t, websocket.IsCloseError(err, websocket.ClosePolicyViolation), "%v", err)
				break
			}
		}
	}
}

// TestViewersAreNotCounted: a sample shows the users and nobody who watches; and those who
// watch take no place from users.
func TestViewersAreNotCounted(t *testing.T) {
	e := newEngine(t)
	p := newPage(t, e, page.Config{})
	url := serveHTTP(t, p.Before(e))
	var viewers []*websocket.Conn
	for range 3 {
		ws, _ := view(t, url, nil)
		require.Zero(t, next(t, ws).Connections)
		viewers = append(viewers, ws)
	}
	user, _, err := websocket.DefaultDialer.Dial(toWS(url)+"/", nil)
	require.NoError(t, err)
	defer user.Close()
	for range 5 {
		require.NoError(t, user.WriteMessage(websocket.TextMessage, []byte("x")))
		_, _, err = user.ReadMessage()
		require.NoError(t, err)
	}
	for _, ws := range viewers {
		f := next(t, ws)
		for f.MessagesIn < 5 {
			f = next(t, ws)
		}
		require.Equal(t, 1, f.Connections)
		require.EqualValues(t, 1, f.Opened)
		require.EqualValues(t, 5, f.MessagesIn)
	}
	require.Equal(t, 1, e.Stats().Connections)
	require.EqualValues(t, 1, e.Stats().Opened)
}

// A countedSource counts how often it is asked.
type countedSource struct {
	mu    sync.Mutex
	asked uint64
}

func (s *countedSource) Stats() engine.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return engine.Stats{Opened: s.asked}
}

func (s *countedSource) times() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// TestOneSampleForAll: however many watch, the engine is asked once a second, and when
// nobody does, not at all.
func TestOneSampleForAll(t *testing.T) {
	source := new(countedSource)
	url := serveHTTP(t, newPage(t, source, page.Config{}))
	require.Zero(t, source.times())
	began := time.Now()
	var viewers []*websocket.Conn
	for range 20 {
		ws, _ := view(t, url, nil)
		viewers = append(viewers, ws)
	}
	at := make(map[int64]uint64) // what was said at a time
	for range 3 {
		for _, ws := range viewers {
			f := next(t, ws)
			if said, ok := at[f.At]; ok {
				require.Equal(t, said, f.Opened)
			}
			at[f.At] = f.Opened
		}
	}
	require.LessOrEqual(t, source.times(), uint64(time.Since(began)/time.Second)+2)
	for _, ws := range viewers {
		require.NoError(t, ws.Close())
	}
	require.Eventually(t, func() bool {
		before := source.times()
		time.Sleep(1500 * time.Millisecond)
		return source.times() == before
	}, patience, time.Millisecond, "nobody watches any more")
}

// A fixedSource has ended connections.
type fixedSource map[frame.CloseCode]uint64

func (s fixedSource) Stats() engine.Stats { return engine.Stats{Closed: s} }

// TestCodesAreBounded: peers choose among two thousand codes; the most frequent are shown,
// and the others together.
func TestCodesAreBounded(t *testing.T) {
	source := fixedSource{1000: 50, 1009: 20}
	for code := frame.CloseCode(3000); code < 5000; code++ {
		source[code] = 1
	}
	ws, _ := view(t, serveHTTP(t, newPage(t, source, page.Config{})), nil)
	closes := next(t, ws).Closes
	require.Len(t, closes, 12)
	require.EqualValues(t, 1000, closes[0].Code)
	require.EqualValues(t, 1009, closes[1].Code)
	require.Zero(t, closes[11].Code)
	sum := uint64(0)
	for _, c := range closes {
		sum += c.Count
	}
	require.EqualValues(t, 2070, sum)
}

// TestViewersAreBounded: those who watch are too few to harm those who are watched.
func TestViewersAreBounded(t *testing.T) {
	url := serveHTTP(t, newPage(t, new(countedSource), page.Config{}))
	for range 64 {
		ws, _ := view(t, url, nil)
		require.NotNil(t, ws)
	}
	_, status := view(t, url, nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
}

// TestShutdown: those who watch are told by 1001.
func TestShutdown(t *testing.T) {
	p, err := page.New(new(countedSource), page.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ws, _ := view(t, serveHTTP(t, p), nil)
	next(t, ws)
	done := make(chan error, 1)
	go func() { done <- p.Shutdown(context.Background()) }() // ends when the viewer has closed
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			require.True(t, websocket.IsCloseError(err, websocket.CloseGoingAway), "%v", err)
			break
		}
	}
	_ = ws.Close()
	require.NoError(t, <-done)
}

// TestNoPeerIsNamed: a sample has numbers, and nothing that a peer could have chosen.
func TestNoPeerIsNamed(t *testing.T) {
	e := newEngine(t)
	url := serveHTTP(t, newPage(t, e, page.Config{}).Before(e))
	user, _, err := websocket.DefaultDialer.Dial(toWS(url)+"/secret-path?secret-query", http.Header{"X-Secret": {"secret"}})
	require.NoError(t, err)
	require.NoError(t, user.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "secret reason"), time.Now().Add(patience)))
	_, _, err = user.ReadMessage()
	require.Error(t, err)
	_ = user.Close()
	ws, _ := view(t, url, nil)
	for {
		_, text, err := ws.ReadMessage()
		require.NoError(t, err)
		require.NotContains(t, string(text), "secret")
		var values map[string]any
		require.NoError(t, json.Unmarshal(text, &values))
		if values["opened"] == 1.0 && values["connections"] == 0.0 {
			break
		}
	}
}

// TestUnixSocket: a peer without an address is nobody's neighbour.
func TestUnixSocket(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/socket")
	require.NoError(t, err)
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: newPage(t, newEngine(t), page.Config{})}}
	s.Start()
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", ln.Addr().String())
	}}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://localhost" + aboutPath)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), `"local"`)
}
