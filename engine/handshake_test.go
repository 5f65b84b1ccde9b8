package engine_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

func TestHandshakeRefused(t *testing.T) {
	header := func(lines ...string) map[string][]string { return map[string][]string{lines[0]: lines[1:]} }
	for name, row := range map[string]struct {
		ask    enginetest.Handshake
		status int
	}{
		"POST":                        {enginetest.Handshake{Method: "POST", Header: header("Content-Length", "0")}, 405},
		"HEAD":                        {enginetest.Handshake{Method: "HEAD"}, 405},
		"HTTP/1.0":                    {enginetest.Handshake{Proto: "HTTP/1.0"}, 505},
		"no Host":                     {enginetest.Handshake{Header: header("Host")}, 400},
		"no Upgrade":                  {enginetest.Handshake{Header: header("Upgrade")}, 426},
		"another Upgrade":             {enginetest.Handshake{Header: header("Upgrade", "h2c")}, 426},
		"no Connection":               {enginetest.Handshake{Header: header("Connection", "keep-alive")}, 400},
		"Connection in other letters": {enginetest.Handshake{Header: header("Connection", "xUpgradex")}, 400},
		"no version":                  {enginetest.Handshake{Header: header("Sec-WebSocket-Version")}, 426},
		"version 8":                   {enginetest.Handshake{Header: header("Sec-WebSocket-Version", "8")}, 426},
		"two versions":                {enginetest.Handshake{Header: header("Sec-WebSocket-Version", "13", "13")}, 426},
		"no key":                      {enginetest.Handshake{Header: header("Sec-WebSocket-Key")}, 400},
		"key not base64":              {enginetest.Handshake{Header: header("Sec-WebSocket-Key", "!")}, 400},
		"short key":                   {enginetest.Handshake{Header: header("Sec-WebSocket-Key", "c2hvcnQ=")}, 400},
		"two keys":                    {enginetest.Handshake{Header: header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==")}, 400},
		"body":                        {enginetest.Handshake{Header: header("Content-Length", "5"), Early: []byte("hello")}, 400},
		"chunked body":                {enginetest.Handshake{Header: header("Transfer-Encoding", "chunked"), Early: []byte("0\r\n\r\n")}, 400},
		"foreign origin":              {enginetest.Handshake{Header: header("Origin", "https://evil.example")}, 403},
		"header over 16 KiB":          {enginetest.Handshake{Header: header("X-Long", strings.Repeat("x", 32<<10))}, 431},
	} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			res := s.Request(row.ask)
			require.Equal(t, row.status, res.StatusCode)
			require.Empty(t, open)
			switch row.status {
			case 405:
				require.Equal(t, "GET", res.Header.Get("Allow"))
			case 426:
				require.Equal(t, "13", res.Header.Get("Sec-WebSocket-Version"))
				require.Equal(t, "websocket", res.Header.Get("Upgrade"))
			}
			if name != "no Host" && name != "header over 16 KiB" { // net/http's own
				require.EqualValues(t, 1, s.Engine.Stats().Refused)
			}
			require.Zero(t, s.Engine.Stats().Opened)
		})
	}
}

// Correct handshakes come in many spellings.
func TestHandshakeAccepted(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	for name, h := range map[string]map[string][]string{
		"case":        {"Upgrade": {"WebSocket"}, "Connection": {"UPGRADE"}},
		"lists":       {"Upgrade": {"h2c, websocket"}, "Connection": {"keep-alive,  Upgrade"}},
		"lines":       {"Connection": {"keep-alive", "Upgrade"}},
		"extensions":  {"Sec-WebSocket-Extensions": {"permessage-deflate; client_max_window_bits"}},
		"empty body":  {"Content-Length": {"0"}},
		"subprotocol": {"Sec-WebSocket-Protocol": {"unknown"}},
	} {
		c := s.DialWith(enginetest.Handshake{Header: h})
		require.Equal(t, "websocket", c.Response.Header.Get("Upgrade"), name)
		require.Empty(t, c.Response.Header.Get("Sec-WebSocket-Extensions"), "nothing is negotiated that is not done")
		require.NotContains(t, c.Response.Header, "Sec-Websocket-Protocol")
		c.SendText(name)
		require.Equal(t, name, c.ReadText())
		c.Hangup()
	}
}

func TestHandshakeOrigin(t *testing.T) {
	trust := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for name, row := range map[string]struct {
		cfg    engine.Config
		host   string
		origin string
		proxy  string // X-Forwarded-Proto
		ok     bool
	}{
		"same":                            {engine.Config{}, "example.org", "http://example.org", "", true},
		"same, other case":                {engine.Config{}, "example.org", "HTTP://Example.ORG", "", true},
		"same, default port":              {engine.Config{}, "example.org:80", "http://example.org", "", true},
		"same, with port":                 {engine.Config{}, "example.org:8080", "http://example.org:8080", "", true},
		"other port":                      {engine.Config{}, "example.org:8080", "http://example.org", "", false},
		"other scheme":                    {engine.Config{}, "example.org", "https://example.org", "", false},
		"other scheme's port":             {engine.Config{}, "example.org:443", "https://example.org", "", false},
		"subdomain":                       {engine.Config{}, "example.org", "http://a.example.org", "", false},
		"null":                            {engine.Config{}, "example.org", "null", "", false},
		"garbage":                         {engine.Config{}, "example.org", "http://%zz", "", false},
		"TLS at a trusted proxy":          {engine.Config{TrustedProxies: trust}, "example.org", "https://example.org", "https", true},
		"no TLS at a trusted proxy":       {engine.Config{TrustedProxies: trust}, "example.org", "http://example.org", "https", false},
		"TLS at one that is not":          {engine.Config{}, "example.org", "https://example.org", "https", false},
		"any":                             {engine.Config{AllowedOrigins: []string{"*"}}, "example.org", "null", "", true},
		"pattern with scheme":             {engine.Config{AllowedOrigins: []string{"https://*.example.com"}}, "x", "https://a.b.example.com", "", true},
		"pattern with scheme, other one":  {engine.Config{AllowedOrigins: []string{"https://*.example.com"}}, "x", "http://a.example.com", "", false},
		"pattern, not the domain itself":  {engine.Config{AllowedOrigins: []string{"https://*.example.com"}}, "x", "https://example.com", "", false},
		"pattern, not a longer one":       {engine.Config{AllowedOrigins: []string{"https://*.example.com"}}, "x", "https://a.example.com.evil", "", false},
		"pattern, not as user info":       {engine.Config{AllowedOrigins: []string{"https://*.example.com"}}, "x", "https://a.example.com@evil", "", false},
		"pattern, not another port":       {engine.Config{AllowedOrigins: []string{"https://example.com"}}, "x", "https://example.com:8443", "", false},
		"pattern with port":               {engine.Config{AllowedOrigins: []string{"https://example.com:8443"}}, "x", "https://example.com:8443", "", true},
		"pattern without scheme":          {engine.Config{AllowedOrigins: []string{"*.example.com"}}, "x", "http://a.example.com", "", true},
		"pattern in capitals":             {engine.Config{AllowedOrigins: []string{"HTTPS://Example.COM"}}, "x", "https://example.com", "", true},
		"the second pattern":              {engine.Config{AllowedOrigins: []string{"a.example", "b.example"}}, "x", "http://b.example", "", true},
		"same besides patterns":           {engine.Config{AllowedOrigins: []string{"a.example"}}, "x", "http://x", "", true},
		"IPv6 literal in a pattern":       {engine.Config{AllowedOrigins: []string{"http://[::1]:3000"}}, "x", "http://[::1]:3000", "", true},
		"IPv6 literal, another":           {engine.Config{AllowedOrigins: []string{"http://[::1]:3000"}}, "x", "http://[::2]:3000", "", false},
		"IPv6 literal, same":              {engine.Config{}, "[::1]:3000", "http://[::1]:3000", "", true},
		"pattern with the default port":   {engine.Config{AllowedOrigins: []string{"https://example.com:443"}}, "x", "https://example.com", "", true},
		"origin with the default port":    {engine.Config{AllowedOrigins: []string{"https://example.com"}}, "x", "https://example.com:443", "", true},
		"pattern of the port only":        {engine.Config{AllowedOrigins: []string{"example.com:443"}}, "x", "https://example.com", "", true},
		"pattern of the port, other one":  {engine.Config{AllowedOrigins: []string{"example.com:443"}}, "x", "http://example.com", "", false},
		"pattern of any port":             {engine.Config{AllowedOrigins: []string{"example.com:*"}}, "x", "https://example.com", "", true},
		"pattern of any port, not a name": {engine.Config{AllowedOrigins: []string{"example.com:*"}}, "x", "https://example.com.evil:1", "", false},
		"IPv6 literal and default port":   {engine.Config{AllowedOrigins: []string{"https://[::1]:443"}}, "x", "https://[::1]", "", true},
		"pattern of any host on one port": {engine.Config{AllowedOrigins: []string{"http://localhost:*"}}, "x", "http://localhost:5173", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := enginetest.Start(t, row.cfg, onMessage(echo))
			h := map[string][]string{"Host": {row.host}, "Origin": {row.origin}}
			if row.proxy != "" {
				h["X-Forwarded-Proto"] = []string{row.proxy}
			}
			want := http.StatusForbidden
			if row.ok {
				want = http.StatusSwitchingProtocols
			}
			require.Equal(t, want, s.Request(enginetest.Handshake{Header: h}).StatusCode)
		})
	}
}

// Admit refuses with what it says, before anything is upgraded.
func TestHandshakeAdmit(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: echo,
		Admit: func(r *http.Request) error {
			switch r.URL.Path {
			case "/known":
				return nil
			case "/login":
				return &engine.HandshakeError{Status: 401, Reason: "who are you?", Header: http.Header{"Www-Authenticate": {"Basic", "Bearer"}}}
			}
			return errors.New("secret")
		},
	}})
	res := s.Request(enginetest.Handshake{Target: "/login"})
	require.Equal(t, 401, res.StatusCode)
	require.Equal(t, []string{"Basic", "Bearer"}, res.Header["Www-Authenticate"])
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "who are you?\n", string(body))
	res = s.Request(enginetest.Handshake{Target: "/else"})
	require.Equal(t, 403, res.StatusCode)
	body, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NotContains(t, string(body), "secret")
	s.DialWith(enginetest.Handshake{Target: "/known"}).Hangup()
}

// The engine answers a wrong handshake before it asks Admit.
func TestHandshakeAdmitComesLast(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnMessage: echo,
		Admit:     func(*http.Request) error { return &engine.HandshakeError{Status: 418} },
	}})
	require.Equal(t, 426, s.Request(enginetest.Handshake{Header: map[string][]string{"Upgrade": nil}}).StatusCode)
	require.Equal(t, 403, s.Request(enginetest.Handshake{Header: map[string][]string{"Origin": {"http://evil"}}}).StatusCode)
	require.Equal(t, 418, s.Request(enginetest.Handshake{}).StatusCode)
}

// Headers that a wrapping handler sets go out with the response; the handshake's
// own cannot be set so, and none can break out of its line.
func TestHandshakeResponseHeaders(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	inner := s.Engine.Endpoint(onMessage(echo))
	s.HandleHTTP("/wrapped", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("X-Injected", "x\r\nX-Evil: 1")
		w.Header().Set("Sec-WebSocket-Accept", "wrong")
		w.Header().Set("Sec-WebSocket-Protocol", "wrong")
		w.Header().Set("Content-Length", "10")
		inner.ServeHTTP(w, r)
	}))
	c := s.DialWith(enginetest.Handshake{Target: "/wrapped"})
	require.Equal(t, []string{"a=1", "b=2"}, c.Response.Header["Set-Cookie"])
	require.NotContains(t, c.Response.Header, "X-Evil")
	require.NotContains(t, c.Response.Header, "Sec-Websocket-Protocol")
	require.NotContains(t, c.Response.Header, "Content-Length")
	c.SendText("x")
	require.Equal(t, "x", c.ReadText())
	c.Hangup()
}

// A response writer that cannot be taken over is told so.
func TestHandshakeWithoutHijacker(t *testing.T) {
	s := enginetest.Start(t, engine.Config{}, onMessage(echo))
	type plain struct{ http.ResponseWriter }
	s.HandleHTTP("/plain", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Engine.ServeHTTP(plain{w}, r)
	}))
	require.Equal(t, http.StatusInternalServerError, s.Request(enginetest.Handshake{Target: "/plain"}).StatusCode)
}

// The preferred subprotocol that both speak is chosen.
func TestHandshakeSubprotocol(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
		Handler:      engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		Subprotocols: []string{"v2", "v1"},
	})
	for offered, want := range map[string]string{"v1, v2": "v2", "v1": "v1", "v3": "", "V2": "", "": "", " v1 ,x": "v1"} {
		h := enginetest.Handshake{Header: map[string][]string{"Sec-WebSocket-Protocol": {offered}}}
		if offered == "" {
			h.Header["Sec-WebSocket-Protocol"] = nil
		}
		c := s.DialWith(h)
		require.Equal(t, want, c.Response.Header.Get("Sec-WebSocket-Protocol"), offered)
		require.Equal(t, want, (<-open).Scope().Subprotocol())
		c.SendClose(frame.CloseNormal, "")
		c.Close()
	}
}

// A client that does not finish its request is let go.
func TestHandshakeTimeout(t *testing.T) {
	cfg := engine.Config{HandshakeTimeout: time.Second}
	for name, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{
		"TCP": enginetest.Start, "TLS": enginetest.StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, cfg, onMessage(echo))
			conn, err := net.Dial("tcp", s.Addr())
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost:"))
			require.NoError(t, err)
			begun := time.Now()
			require.NoError(t, conn.SetReadDeadline(begun.Add(enginetest.Patience)))
			_, err = io.Copy(io.Discard, conn)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Less(t, time.Since(begun), enginetest.Patience/2)
			// it does not hold for connections once they are upgraded
			c := s.Dial()
			time.Sleep(2 * cfg.HandshakeTimeout)
			c.SendText("still here")
			require.Equal(t, "still here", c.ReadText())
			c.Hangup()
		})
	}
}
