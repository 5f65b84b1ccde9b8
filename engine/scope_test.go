package engine_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// D7: the handshake is kept for the connection's life.
func TestD7Scope(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{
		Handler:      engine.Handler{OnOpen: open.OnOpen, OnMessage: echo},
		Subprotocols: []string{"b", "a"},
	})
	c := s.DialWith(enginetest.Handshake{Target: "/päth/%41?q=1&q=2&r=%20&bad=%zz", Header: map[string][]string{
		"Host": {"example.org:1234"}, "X-One": {"1", "2"}, "Sec-WebSocket-Protocol": {"x, a", "b"},
	}})
	require.Equal(t, "b", c.Response.Header.Get("Sec-WebSocket-Protocol"))
	scope := (<-open).Scope()
	require.Equal(t, "/päth/A", scope.Path())
	require.Equal(t, "q=1&q=2&r=%20&bad=%zz", scope.RawQuery())
	require.Equal(t, []string{"1", "2"}, scope.Query()["q"])
	require.Equal(t, " ", scope.Query().Get("r"))
	require.False(t, scope.Query().Has("bad"))
	require.Equal(t, "example.org:1234", scope.Host())
	require.Equal(t, "1", scope.Header("x-one"))
	require.Empty(t, scope.Header("X-Two"))
	lines := make(map[string][]string)
	for name, value := range scope.Headers() {
		lines[name] = append(lines[name], value)
	}
	require.Equal(t, []string{"1", "2"}, lines["X-One"])
	require.Equal(t, []string{"websocket"}, lines["Upgrade"])
	require.Equal(t, []string{"Upgrade"}, lines["Connection"])
	require.Equal(t, []string{"13"}, lines["Sec-Websocket-Version"])
	require.Equal(t, []string{"dGhlIHNhbXBsZSBub25jZQ=="}, lines["Sec-Websocket-Key"])
	require.Equal(t, c.Conn.LocalAddr().String(), scope.RemoteAddr())
	require.False(t, scope.Secure())
	require.Equal(t, "b", scope.Subprotocol())
	require.True(t, strings.HasPrefix(scope.URL(), "ws://example.org:1234/p"))

	scope.Query().Set("q", "changed")
	require.Equal(t, "1", scope.Query().Get("q"), "a reader has changed it")
	c.Hangup()
	require.Equal(t, "example.org:1234", scope.Host())
}

// What nearly all handshakes have alike is kept as it came when it is not alike.
func TestD7ScopeUnusualHeaders(t *testing.T) {
	open := make(conns, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	for _, header := range []map[string][]string{
		{"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, Upgrade"}},
		{"Upgrade": {"websocket"}, "Connection": {"keep-alive", "Upgrade"}},
		{"Upgrade": {"x/1, websocket"}, "Connection": {"Upgrade"}},
	} {
		c := s.DialWith(enginetest.Handshake{Header: header})
		scope := (<-open).Scope()
		got := make(map[string][]string)
		for name, value := range scope.Headers() {
			got[name] = append(got[name], value)
		}
		for name, values := range header {
			require.Equal(t, values, got[name])
			require.Equal(t, values[0], scope.Header(name))
		}
		require.Equal(t, []string{"13"}, got["Sec-Websocket-Version"])
		c.Hangup()
	}
}

// D7: behind trusted proxies the remote address is the client's; others cannot
// make one up.
func TestD7TrustedProxies(t *testing.T) {
	for name, row := range map[string]struct {
		trusted []string
		header  map[string][]string
		remote  string // "" is the socket's
		secure  bool
	}{
		"nobody trusted":        {nil, map[string][]string{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "", false},
		"not this one":          {[]string{"10.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "", false},
		"one proxy":             {[]string{"127.0.0.1/32"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "1.2.3.4", true},
		"two proxies":           {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4, 10.1.1.1"}}, "1.2.3.4", false},
		"two lines":             {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4", "10.1.1.1"}}, "1.2.3.4", false},
		"forged by the client":  {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"6.6.6.6, 1.2.3.4"}}, "1.2.3.4", false},
		"IPv6":                  {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"2001:db8::1"}}, "2001:db8::1", false},
		"with port":             {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"[2001:db8::1]:99"}}, "[2001:db8::1]:99", false},
		"mapped":                {[]string{"::ffff:127.0.0.0/104"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4"}}, "1.2.3.4", false},
		"Forwarded":             {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4;proto=https;by=9.9.9.9"}}, "1.2.3.4", true},
		"Forwarded, quoted":     {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {`For="[2001:db8::1]:99" ; Proto="htt\ps"; host="a,b;c"`}}, "[2001:db8::1]:99", true},
		"Forwarded, forged":     {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=6.6.6.6;proto=https, for=1.2.3.4;proto=http"}}, "1.2.3.4", false},
		"Forwarded, two lines":  {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4", "for=10.1.1.1;proto=https"}}, "1.2.3.4", true},
		"Forwarded, hidden":     {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4, for=_secret, for=10.1.1.1"}}, "10.1.1.1", false},
		"Forwarded, nobody":     {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4, by=9.9.9.9"}}, "", false},
		"Forwarded, untrusted":  {nil, map[string][]string{"Forwarded": {"for=1.2.3.4;proto=https"}}, "", false},
		"Forwarded, empty":      {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {", for=1.2.3.4;, ,"}}, "1.2.3.4", false},
		"Forwarded, twice":      {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4;for=6.6.6.6"}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"Forwarded, open quote": {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {`for="1.2.3.4`}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"Forwarded, open slash": {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {`for="1.2.3.4\`}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"Forwarded, no value":   {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=;proto=https"}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"Forwarded, no name":    {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4;https"}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"Forwarded, two values": {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4 proto=https"}, "X-Forwarded-For": {"1.2.3.4"}}, "", false},
		"both agree":            {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4;proto=wss"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "1.2.3.4", true},
		"both, one with a port": {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {`for="1.2.3.4:99"`}, "X-Forwarded-For": {"1.2.3.4"}}, "1.2.3.4", false},
		"both, another address": {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=6.6.6.6;proto=https"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "", true},
		"both, another scheme":  {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4;proto=https"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"http"}}, "1.2.3.4", false},
		"each tells one thing":  {[]string{"127.0.0.0/8"}, map[string][]string{"Forwarded": {"for=1.2.3.4"}, "X-Forwarded-Proto": {"https"}}, "1.2.3.4", true},
		"IPv4 in IPv6 is a hop": {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4, ::ffff:10.1.1.1"}}, "1.2.3.4", false},
		"garbage":               {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"1.2.3.4, unknown"}}, "", false},
		"nothing said":          {[]string{"127.0.0.0/8"}, nil, "", false},
		"all are proxies":       {[]string{"127.0.0.0/8", "10.0.0.0/8"}, map[string][]string{"X-Forwarded-For": {"10.0.0.1, 10.0.0.2"}}, "10.0.0.1", false},
		"the last scheme":       {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-Proto": {"http, wss"}}, "", true},
		"plain":                 {[]string{"127.0.0.0/8"}, map[string][]string{"X-Forwarded-Proto": {"https, http"}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			var cfg engine.Config
			for _, p := range row.trusted {
				cfg.TrustedProxies = append(cfg.TrustedProxies, netip.MustParsePrefix(p))
			}
			open := make(conns, 1)
			s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			c := s.DialWith(enginetest.Handshake{Header: row.header})
			scope := (<-open).Scope()
			want := row.remote
			if want == "" {
				want = c.Conn.LocalAddr().(*net.TCPAddr).String()
			}
			require.Equal(t, want, scope.RemoteAddr())
			require.Equal(t, row.secure, scope.Secure())
			require.Equal(t, row.secure, strings.HasPrefix(scope.URL(), "wss://"))
		})
	}
}
