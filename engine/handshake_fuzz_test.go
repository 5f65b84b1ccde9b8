package engine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A memoryConn is a client that has sent all it will, and takes what it is sent.
type memoryConn struct {
	mu   sync.Mutex
	out  []byte
	ends int
}

func (c *memoryConn) Read([]byte) (int, error) { return 0, io.EOF }

func (c *memoryConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends > 0 {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, b...)
	return len(b), nil
}

func (c *memoryConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends++
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// A hijackable records a response, or gives its connection away.
type hijackable struct {
	*httptest.ResponseRecorder
	conn *memoryConn
	r    *bufio.Reader
	gone bool
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.gone = true
	return h.conn, bufio.NewReadWriter(h.r, bufio.NewWriter(h.conn)), nil
}

// The requests of FuzzHandshake come from a proxy that is trusted, unless nothing is
// configured, and from somebody else.
const (
	proxyAddr  = "192.0.2.1:4711"
	clientAddr = "198.51.100.1:4711"
)

var handshakeSubprotocols = []string{"v2", "v1"}

// A handshakes is an engine that FuzzHandshake asks.
type handshakes struct {
	e      *Engine
	ep     *endpoint
	strict bool // nothing is configured: no compression, no origins, no proxies
	ended  chan *Conn
}

func newHandshakes(t testing.TB, strict bool) *handshakes {
	cfg := Config{CountBuffers: true, ControlFramesPerSecond: -1, Logger: slog.New(slog.DiscardHandler)}
	if !strict {
		cfg.Compress = true
		cfg.AllowedOrigins = []string{"https://*.example.com"}
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}
	e, err := New(cfg, Endpoint{})
	require.NoError(t, err)
	h := &handshakes{e: e, strict: strict, ended: make(chan *Conn, 1)}
	h.ep = e.newEndpoint(Endpoint{Subprotocols: handshakeSubprotocols, Handler: Handler{
		OnMessage: func(_ context.Context, c *Conn, m Message) error { return c.Send(m.Type, m.Data) },
		OnClose:   func(c *Conn, _ *CloseError) { h.ended <- c },
	}})
	t.Cleanup(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		st := e.Stats()
		require.Zero(t, st.Buffers)
		require.Zero(t, st.BudgetUsed)
		require.Zero(t, st.Panics)
		require.Zero(t, e.admission.open.Load())
	})
	return h
}

// FuzzHandshake: of all bytes that net/http reads as a request, those and only those
// are upgraded that RFC 6455 §4.2.1 and the configuration allow, and every answer
// is one that §4.2.2 and §4.4 know. What follows the request is read as frames.
func FuzzHandshake(f *testing.F) {
	for _, request := range handshakeSeeds() {
		f.Add([]byte(request), true)
		f.Add([]byte(request), false)
	}
	engines := map[bool]*handshakes{true: newHandshakes(f, true), false: newHandshakes(f, false)}
	f.Fuzz(func(t *testing.T, raw []byte, strict bool) {
		for _, from := range []string{proxyAddr, clientAddr} {
			if err := engines[strict].ask(raw, from); err != nil {
				t.Fatalf("from %s: %q: %v", from, raw, err)
			}
		}
	})
}

// ask sends a request, and tells what is wrong with the answer.
func (h *handshakes) ask(raw []byte, from string) error {
	in := bufio.NewReader(bytes.NewReader(raw))
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil // net/http has answered it
	}
	r.RemoteAddr = from
	w := &hijackable{ResponseRecorder: httptest.NewRecorder(), conn: new(memoryConn), r: in}
	must, may := h.judge(r)
	behind, _ := in.Peek(in.Buffered()) // valid until somebody reads, which the engine does not
	h.ep.ServeHTTP(w, r)
	if !w.gone {
		if must {
			return fmt.Errorf("it is refused: %d %s", w.Code, w.Body)
		}
		return refused(w.ResponseRecorder, r)
	}
	var c *Conn
	select {
	case c = <-h.ended:
	case <-time.After(20 * time.Second):
		return errors.New("the connection does not end")
	}
	if !may {
		return fmt.Errorf("it is upgraded: %q", w.conn.out)
	}
	return h.upgraded(w, r, c, behind)
}

// judge tells whether a request must, and whether it may, be upgraded.
func (h *handshakes) judge(r *http.Request) (must, may bool) {
	has := func(name, want string) bool {
		return slices.ContainsFunc(listElements(r.Header[name]), func(s string) bool { return lower(s) == want })
	}
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	key, version := r.Header["Sec-Websocket-Key"], r.Header["Sec-Websocket-Version"]
	may = r.Method == "GET" && r.ProtoMajor == 1 && r.ProtoMinor >= 1 && r.Host != "" &&
		has("Upgrade", "websocket") && has("Connection", "upgrade") &&
		len(version) == 1 && version[0] == "13" &&
		len(key) == 1 && regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`).MatchString(key[0]) &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 && size <= 16<<10 && h.fromHere(r)
	// Whether a line of extensions is one, and an origin an origin, is for FuzzNegotiate
	// and net/url to know.
	must = may && r.Header["Origin"] == nil && (h.strict || r.Header["Sec-Websocket-Extensions"] == nil)
	return must, may
}

// fromHere tells whether a request's origin may connect (RFC 6455 §10.2).
func (h *handshakes) fromHere(r *http.Request) bool {
	if len(r.Header["Origin"]) == 0 {
		return true
	}
	m := regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://([^/?#@\\]+)$`).FindStringSubmatch(strings.ToLower(r.Header["Origin"][0]))
	if len(r.Header["Origin"]) > 1 || m == nil {
		return false
	}
	proto := slices.DeleteFunc(listElements(r.Header["X-Forwarded-Proto"]), func(s string) bool { return s == "" }) // RFC 9110 §5.6.1
	secure := len(proto) > 0 && slices.Contains([]string{"https", "wss"}, strings.ToLower(proto[len(proto)-1]))
	schemes := map[string]string{"http": ":80"}
	switch {
	case !h.believes(r):
	case r.Header["Forwarded"] != nil: // TestD7TrustedProxies knows better
		schemes["https"] = ":443"
	case secure:
		schemes = map[string]string{"https": ":443"}
	}
	port, ok := schemes[m[1]]
	if ok && strings.TrimSuffix(m[2], port) == strings.TrimSuffix(strings.ToLower(r.Host), port) {
		return true
	}
	return !h.strict && m[1] == "https" && strings.HasSuffix(strings.TrimSuffix(m[2], ":443"), ".example.com")
}

// believes tells whether what proxies say counts.
func (h *handshakes) believes(r *http.Request) bool { return !h.strict && r.RemoteAddr == proxyAddr }

// listElements of a list header.
func listElements(lines []string) (list []string) {
	for _, line := range lines {
		for _, s := range strings.Split(line, ",") {
			list = append(list, strings.Trim(s, " \t"))
		}
	}
	return list
}

// lower is ASCII's: RFC 6455 §4.2.1 compares letters of no other alphabet.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// refused judges the answer to a request that is not upgraded.
func refused(w *httptest.ResponseRecorder, r *http.Request) error {
	res := w.Result()
	defer res.Body.Close()
	is := func(name, want string) bool { return slices.Equal(res.Header[name], []string{want}) }
	switch {
	case res.StatusCode < 400 || res.StatusCode > 599:
		return fmt.Errorf("refused with %d", res.StatusCode)
	case w.Body.Len() == 0 || !is("Content-Type", "text/plain; charset=utf-8"):
		return fmt.Errorf("refused with %d and no reason: %v", res.StatusCode, res.Header)
	case res.StatusCode == http.StatusUpgradeRequired:
		if !is("Sec-Websocket-Version", "13") || !is("Upgrade", "websocket") || !is("Connection", "Upgrade") {
			return fmt.Errorf("426 with %v", res.Header)
		}
		return nil
	case res.StatusCode == http.StatusMethodNotAllowed && (!is("Allow", "GET") || r.Method == "GET"):
		return fmt.Errorf("405 with %v", res.Header)
	case !is("Connection", "close"):
		return fmt.Errorf("%d with %v", res.StatusCode, res.Header)
	}
	return nil
}

// upgraded judges the answer to a request that is, and what comes of the bytes behind it.
func (h *handshakes) upgraded(w *hijackable, r *http.Request, c *Conn, behind []byte) error {
	head, frames, ok := bytes.Cut(w.conn.out, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	if !ok || lines[0] != "HTTP/1.1 101 Switching Protocols" {
		return fmt.Errorf("the answer is %q", w.conn.out)
	}
	got := map[string]string{}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if got[name] != "" || value == "" {
			return fmt.Errorf("the answer is %q", w.conn.out)
		}
		got[name] = value
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	want := map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": base64.StdEncoding.EncodeToString(sum[:])}
	offered := listElements(r.Header["Sec-Websocket-Protocol"])
	for _, ours := range slices.Backward(handshakeSubprotocols) {
		if slices.Contains(offered, ours) {
			want["Sec-WebSocket-Protocol"] = ours
		}
	}
	extension := got["Sec-WebSocket-Extensions"]
	if extension != "" {
		want["Sec-WebSocket-Extensions"] = extension
	}
	if fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Errorf("headers are %v, not %v", got, want)
	}
	if err := h.deflates(extension, r.Header["Sec-Websocket-Extensions"]); err != nil {
		return err
	}
	hops := append(listElements(r.Header["X-Forwarded-For"]), r.RemoteAddr)
	if !h.believes(r) {
		hops = hops[len(hops)-1:]
	}
	told := h.believes(r) && strings.Contains(strings.ReplaceAll(strings.Join(r.Header["Forwarded"], "\n"), `\\`, ""), c.Scope().RemoteAddr())
	if !told && !slices.Contains(hops, c.Scope().RemoteAddr()) || c.Scope().Subprotocol() != want["Sec-WebSocket-Protocol"] {
		return fmt.Errorf("scope: from %q, subprotocol %q", c.Scope().RemoteAddr(), c.Scope().Subprotocol())
	}
	return h.framed(c, frames, behind, extension != "")
}

// deflates judges an answer to offers of permessage-deflate (RFC 7692 §7.1).
func (h *handshakes) deflates(answer string, offers []string) error {
	if answer == "" {
		return nil
	}
	offer := lower(strings.ReplaceAll(strings.ReplaceAll(strings.Join(offers, ","), " ", ""), "\t", ""))
	params := strings.Split(answer, "; ")
	if h.strict || params[0] != "permessage-deflate" || !strings.Contains(offer, "permessage-deflate") {
		return fmt.Errorf("extension %q to %q", answer, offers)
	}
	for i, p := range params[1:] {
		name, value, _ := strings.Cut(p, "=")
		legal := false
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			legal = value == ""
		case "server_max_window_bits":
			legal = slices.Contains(strings.Split("8 9 10 11 12 13 14 15", " "), value) &&
				regexp.MustCompile(`server_max_window_bits="?(\\?`+strings.Join(strings.Split(value, ""), `\\?`)+`)"?`).MatchString(offer)
		}
		if !legal || slices.Contains(params[1:i+1], p) {
			return fmt.Errorf("extension %q to %q", answer, offers)
		}
	}
	return nil
}

// framed judges what comes of the frames that came with the request.
func (h *handshakes) framed(c *Conn, out, behind []byte, deflates bool) error {
	x := reference{limit: defaultMaxMessage, fragments: defaultFragments, deflates: deflates, ratio: defaultInflateRatio}.expect(behind)
	bits := 0
	if deflates {
		bits = 15
	}
	c.mu.Lock()
	r := &sightings{events: nil, close: *c.cause, messages: c.receivedN, out: append([]byte(preface), out...)}
	c.mu.Unlock()
	a, err := r.answers(bits)
	if err != nil {
		return err
	}
	r.events = a.messages // what handlers are shown is for FuzzInbound; here, that they are shown it
	return x.compare("pool, direct", bits, r)
}

// handshakeSeeds are requests of every kind that the engine tells apart.
func handshakeSeeds() (list []string) {
	const good = "GET /chat?x=1 HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	list = append(list, good+"\r\n")
	for _, more := range []string{
		"Origin: http://example.org", "Origin: https://example.org", "Origin: http://example.org:80", "Origin: HTTP://Example.ORG", "Origin: null",
		"Origin: https://a.example.com", "Origin: https://example.com.evil", "Origin: https://a.example.com@evil", "Origin: https://a.example.com/", "Origin: http://example.org/page", "Origin: http://user@example.org", "Origin: http://example.org?x", "Origin: //example.org", "Origin: https://a.example.com\r\nOrigin: https://a.example.com", "Origin: ",
		"Origin: https://example.org\r\nX-Forwarded-Proto: https", "Origin: https://example.org\r\nX-Forwarded-Proto: https, http",
		"Origin: http://evil\r\nX-Forwarded-Host: evil", "Origin: http://evil\r\nForwarded: for=192.0.2.1;host=evil;proto=http",
		"X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: spoofed, 198.51.100.7, 192.0.2.9", "X-Forwarded-For: [2001:db8::1]:80, unknown", "X-Forwarded-For: 192.0.2.8\r\nX-Forwarded-For: 192.0.2.9",
		"Forwarded: for=\"[2001:db8::1]\";proto=https;by=203.0.113.43", "Forwarded: for=192.0.2.8;proto=https\r\nX-Forwarded-For: 192.0.2.7", "Origin: https://example.org\r\nForwarded: for=\"\\1\";proto=https, for=\"",
		"Sec-WebSocket-Protocol: v1, v2", "Sec-WebSocket-Protocol: v1\r\nSec-WebSocket-Protocol:\tv3", "Sec-WebSocket-Protocol: V2", "Sec-WebSocket-Protocol: ,,",
		"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_max_window_bits",
		"Sec-WebSocket-Extensions: x, permessage-deflate; server_max_window_bits=7, PerMessage-Deflate; server_max_window_bits=\"1\\5\"",
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1\r\nSec-WebSocket-Extensions: permessage-deflate; unknown",
		"Sec-WebSocket-Extensions: permessage-deflate;", "Sec-WebSocket-Extensions: ,",
		"Content-Length: 0", "Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c", "Connection: close",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-Long: " + strings.Repeat("x", 17<<10),
	} {
		list = append(list, good+more+"\r\n\r\n")
	}
	for _, row := range [][2]string{
		{"GET", "POST"}, {"GET", "HEAD"}, {"GET", "OPTIONS"}, {"GET /chat?x=1", "GET http://other.example/chat"}, {"HTTP/1.1", "HTTP/1.0"}, {"HTTP/1.1", "HTTP/1.2"}, {"HTTP/1.1", "HTTP/2.0"},
		{"Host: example.org\r\n", ""}, {"Host: example.org", "Host:"},
		{"Upgrade: websocket\r\n", ""}, {"Upgrade: websocket", "Upgrade: WebSocket/13"}, {"Upgrade: websocket", "Upgrade: h2c,\tWEBSOCKET"}, {"Upgrade: websocket", "Upgrade: web\u017focket"}, {"Upgrade: websocket", "Upgrade: websoc\u212aet"}, {"Upgrade: websocket", "Upgrade: xwebsocketx"},
		{"Connection: Upgrade\r\n", ""}, {"Connection: Upgrade", "Connection: keep-alive"}, {"Connection: Upgrade", "Connection: keep-alive, upgrade"}, {"Connection: Upgrade", "Connection: keep-alive\r\nConnection: UPGRADE"},
		{"Version: 13", "Version: 8"}, {"Version: 13", "Version: 13, 8"}, {"Version: 13", "Version: 013"}, {"Sec-WebSocket-Version: 13\r\n", ""},
		{"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""}, {"ZQ==", "ZR=="}, {"ZQ==", "ZQ"}, {"ZQ==", "ZWVl"}, {"dGhl", "!Ghl"}, {"dGhl", "dG-_"}, {"dGhl", ""}, {"Key: d", "Key: d d"},
	} {
		list = append(list, strings.Replace(good, row[0], row[1], 1)+"\r\n")
	}
	frames := wire{}.frame(true, 0, frame.Text, []byte("early")).frame(true, 0, frame.Ping, []byte("p")).close()
	packed := wire{}.frame(true, r1, frame.Text, packed([]byte(strings.Repeat("early ", 9)), 9)).frame(false, 0, frame.Text, []byte{0xff})
	return append(list, good+"\r\n"+string(frames), good+"\r\n"+string(frames[:9]), good+"\r\n"+string(packed),
		good+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"+string(packed))
}
