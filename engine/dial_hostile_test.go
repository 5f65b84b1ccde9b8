package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n"

// badResponses are answers that Dial must not take for one, and goodResponses some odd
// ones that it must. KEY stands for what belongs to the request.
var badResponses = map[string]string{
	"nothing":                     "",
	"end inside the status line":  "HTTP/1.1 101 Swi",
	"end inside the header":       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websoc",
	"end before the empty line":   accepted,
	"another protocol":            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
	"no status":                   "HTTP/1.1\r\n\r\n",
	"status of two digits":        "HTTP/1.1 10 OK\r\n\r\n",
	"status that is no number":    "HTTP/1.1 1x1 OK\r\n\r\n",
	"HTTP/1.0":                    strings.Replace(accepted, "1.1", "1.0", 1) + "\r\n",
	"HTTP/1.2":                    strings.Replace(accepted, "1.1", "1.2", 1) + "\r\n",
	"HTTP/2.0":                    strings.Replace(accepted, "1.1", "2.0", 1) + "\r\n",
	"HTTP/9.9":                    strings.Replace(accepted, "1.1", "9.9", 1) + "\r\n",
	"a header line without colon": accepted + "oops\r\n\r\n",
	"wrong accept":                strings.Replace(accepted, "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1) + "\r\n",
	"accept in lower case":        strings.Replace(accepted, "KEY", "s3pplmbitxaq9kygzzhzrbk+xoo=", 1) + "\r\n",
	"empty accept":                strings.Replace(accepted, "KEY", "", 1) + "\r\n",
	"no accept":                   strings.Replace(accepted, "Sec-WebSocket-Accept: KEY\r\n", "", 1) + "\r\n",
	"accept twice":                accepted + "Sec-WebSocket-Accept: KEY\r\n\r\n",
	"accept and a wrong one":      accepted + "Sec-WebSocket-Accept: x\r\n\r\n",
	"accepts in a list":           strings.Replace(accepted, "KEY", "KEY, KEY", 1) + "\r\n",
	"no Upgrade":                  strings.Replace(accepted, "Upgrade: websocket\r\n", "", 1) + "\r\n",
	"Upgrade to h2c":              strings.Replace(accepted, "websocket", "h2c", 1) + "\r\n",
	"Upgrade to h2c, too":         strings.Replace(accepted, "websocket", "h2c, websocket", 1) + "\r\n",
	"Upgrade to xwebsocketx":      strings.Replace(accepted, "websocket", "xwebsocketx", 1) + "\r\n",
	"no Connection":               strings.Replace(accepted, "Connection: Upgrade\r\n", "", 1) + "\r\n",
	"Connection: close":           strings.Replace(accepted, "Connection: Upgrade", "Connection: close", 1) + "\r\n",
	"Connection: xUpgradex":       strings.Replace(accepted, "Connection: Upgrade", "Connection: xUpgradex", 1) + "\r\n",
	"an extension not offered":    accepted + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n",
	"an unknown extension":        accepted + "Sec-WebSocket-Extensions: x-unknown\r\n\r\n",
	"a malformed extension":       accepted + "Sec-WebSocket-Extensions: ;;;\r\n\r\n",
	"a subprotocol not offered":   accepted + "Sec-WebSocket-Protocol: evil\r\n\r\n",
	"an empty subprotocol":        accepted + "Sec-WebSocket-Protocol: \r\n\r\n",
	"two subprotocols":            accepted + "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
	"subprotocols in a list":      accepted + "Sec-WebSocket-Protocol: chat, old\r\n\r\n",
	"a subprotocol in upper case": accepted + "Sec-WebSocket-Protocol: CHAT\r\n\r\n",
	"too many interim responses":  strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9) + accepted + "\r\n",
	"a long header":               accepted + strings.Repeat("X-Pad: "+strings.Repeat("x", 993)+"\r\n", 66) + "\r\n",
	"a long line":                 accepted + "X-Pad: " + strings.Repeat("x", 66_000) + "\r\n\r\n",
	"long interim responses":      strings.Repeat("HTTP/1.1 102 Processing\r\nX-Pad: "+strings.Repeat("x", 20_000)+"\r\n\r\n", 4) + accepted + "\r\n",
	"a malformed Content-Length":  accepted + "Content-Length: x\r\n\r\n",
}

var goodResponses = map[string]string{
	"plain":                   accepted + "\r\n",
	"other cases":             strings.NewReplacer("websocket", "WebSocket", "Connection: Upgrade", "connection: keep-alive, UPGRADE").Replace(accepted) + "\r\n",
	"spaces":                  strings.Replace(accepted, "KEY", "  KEY\t ", 1) + "\r\n",
	"no reason":               strings.Replace(accepted, " Switching Protocols", "", 1) + "\r\n",
	"line feeds":              strings.ReplaceAll(accepted, "\r\n", "\n") + "\n",
	"a subprotocol":           accepted + "Sec-WebSocket-Protocol: chat\r\n\r\n",
	"an empty extension list": accepted + "Sec-WebSocket-Extensions: ,\r\n\r\n",
	"interim responses":       strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 8) + accepted + "\r\n",
	"a header of 60 KB":       accepted + strings.Repeat("X-Pad: "+strings.Repeat("x", 991)+"\r\n", 60) + "\r\n",
}

func chatConfig(e *engine.Engine) engine.DialConfig {
	return engine.DialConfig{Engine: e, Proxy: direct, Endpoint: engine.Endpoint{Subprotocols: []string{"chat", "old"}}}
}

func TestDialBadResponse(t *testing.T) {
	e := newEngine(t, engine.Config{})
	for name, response := range badResponses {
		t.Run(name, func(t *testing.T) {
			s := serveRaw(t, func(conn *net.TCPConn) {
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = conn.Write([]byte(strings.ReplaceAll(response, "KEY", acceptFor(r))))
					_ = conn.CloseWrite()
					_, _ = io.Copy(io.Discard, conn)
				}
			})
			var tally dialTally
			cfg := chatConfig(e)
			cfg.NetDial = tally.dial
			c, err := engine.Dial(dialContext(t), "ws://"+s.addr, cfg)
			require.Error(t, err)
			require.Nil(t, c)
			require.ErrorIs(t, err, engine.ErrResponse)
			require.Zero(t, tally.open.Load(), "the socket is open")
			if strings.Contains(name, "long") {
				require.ErrorIs(t, err, engine.ErrLongResponse)
			}
		})
	}
}

func TestDialGoodResponse(t *testing.T) {
	e := newEngine(t, engine.Config{})
	for name, response := range goodResponses {
		t.Run(name, func(t *testing.T) {
			s := serveResponse(t, response)
			c, err := engine.Dial(dialContext(t), "ws://"+s.addr, chatConfig(e))
			require.NoError(t, err)
			require.Equal(t, strings.Contains(name, "subprotocol"), c.Scope().Subprotocol() == "chat")
		})
	}
}

// The extension's answers, good and bad.
func TestDialDeflateAnswer(t *testing.T) {
	e := newEngine(t, engine.Config{Compress: true, CompressMinBytes: 1})
	for answer, good := range map[string]bool{
		"": true,
		"permessage-deflate; server_no_context_takeover":                                                       true,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=9": true,
		"permessage-deflate; server_no_context_takeover; client_max_window_bits=8":                             true,
		"permessage-deflate":                                                                             false,
		"permessage-deflate; client_no_context_takeover":                                                 false,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover":                     false,
		"permessage-deflate; server_no_context_takeover; client_max_window_bits":                         false,
		"permessage-deflate; server_no_context_takeover; client_max_window_bits=7":                       false,
		"permessage-deflate; server_no_context_takeover; client_max_window_bits=16":                      false,
		"permessage-deflate; server_no_context_takeover; unknown":                                        false,
		"permessage-deflate; server_no_context_takeover=1":                                               false,
		"permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover": false,
		"x-webkit-deflate-frame":                                                                         false,
		"permessage-deflate;;":                                                                           false,
		"\"":                                                                                             false,
	} {
		t.Run(answer, func(t *testing.T) {
			s := serveResponse(t, accepted+"Sec-WebSocket-Extensions: "+answer+"\r\n\r\n")
			_, err := engine.Dial(dialContext(t), "ws://"+s.addr, chatConfig(e))
			if good {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, engine.ErrResponse)
			}
		})
	}
}

// A refusal comes at once, whatever becomes of its body.
func TestDialRefused(t *testing.T) {
	e := newEngine(t, engine.Config{HandshakeTimeout: time.Hour})
	const slow = "Content-Length: 1000000\r\n\r\n"
	for name, row := range map[string]struct {
		response string
		status   int
		reason   string
	}{
		"301":               {"HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/?token=canary\r\nContent-Length: 6\r\n\r\ncanary", 301, "Moved Permanently"},
		"307":               {"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 307, "Temporary Redirect"},
		"200":               {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"204":               {"HTTP/1.1 204 No Content\r\n\r\n", 204, "No Content"},
		"401":               {"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 9\r\n\r\nwho?\nmore", 401, "who?"},
		"403 chunked":       {"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno!\n\r\n", 403, "no!"},
		"429":               {"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429, "Too Many Requests"},
		"503, empty lines":  {"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\n\r\n \nbusy\n\n", 503, "busy"},
		"first line, slow":  {"HTTP/1.1 503 No\r\n" + slow + "busy\n", 503, "busy"},
		"large":             {"HTTP/1.1 403 No\r\n" + slow + strings.Repeat("x", 70_000), 403, strings.Repeat("x", 512)},
		"until the end":     {"HTTP/1.1 403 No\r\nConnection: close\r\n\r\nbye\n", 403, "bye"},
		"binary":            {"HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\n\xff\xfe\x00\x1b[31m\x07\x80\n", 403, "[31m"},
		"unknown status":    {"HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n", 799, ""},
		"HTTP/1.0":          {"HTTP/1.0 404 No\r\nContent-Length: 5\r\n\r\nnone\n", 404, "none"},
		"quotes the path":   {"HTTP/1.1 404 No\r\nContent-Length: 21\r\n\r\nno /canary-path here\n", 404, "Not Found"},
		"quotes the query":  {"HTTP/1.1 404 No\r\nContent-Length: 18\r\n\r\n?a=1&amp;token=x y\n", 404, "Not Found"},
		"quotes a value":    {"HTTP/1.1 404 No\r\nContent-Length: 14\r\n\r\nno x y, sorry\n", 404, "Not Found"},
		"quotes a password": {"HTTP/1.1 404 No\r\nContent-Length: 15\r\n\r\nnot s3cret, no\n", 404, "Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveResponse(t, row.response)
			var tally dialTally
			cfg := chatConfig(e)
			cfg.NetDial = tally.dial
			_, err := engine.Dial(dialContext(t), "ws://user:s3cret@"+s.addr+"/canary-path?a=1&token=x%20y", cfg)
			h := refusedBy(t, err)
			require.Equal(t, row.status, h.Status)
			require.Equal(t, row.reason, h.Reason)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.Zero(t, tally.open.Load(), "the socket is open")
			require.NotContains(t, err.Error(), "canary")
			switch row.status {
			case 401:
				require.Equal(t, "Basic", h.Header.Get("WWW-Authenticate"))
			case 429:
				require.Equal(t, "7", h.Header.Get("Retry-After"))
			}
		})
	}
}

// At every stage Dial gives up when its context or HandshakeTimeout says so.
func TestDialGivesUp(t *testing.T) {
	reading := make(chan struct{}, 100)
	silent := serveRaw(t, func(conn *net.TCPConn) { reading <- struct{}{}; waitEnd(bufio.NewReader(conn)) })
	slowly := func(prefix string) *rawServer {
		return serveRaw(t, func(conn *net.TCPConn) {
			br := bufio.NewReader(conn)
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			reading <- struct{}{}
			_, err := conn.Write([]byte(prefix))
			for err == nil {
				_, err = conn.Write([]byte("x"))
				time.Sleep(time.Millisecond)
			}
		})
	}
	through := func(scheme, addr string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: scheme, Host: addr}, nil }
	}
	stuck := func(ctx context.Context, _, _ string) (net.Conn, error) {
		reading <- struct{}{}
		<-ctx.Done()
		return nil, errors.New("stuck")
	}
	for name, row := range map[string]struct {
		target string
		cfg    engine.DialConfig
	}{
		"connect":         {"ws://penstock.invalid", engine.DialConfig{NetDial: stuck}},
		"TLS":             {"wss://" + silent.addr, engine.DialConfig{}},
		"response":        {"ws://" + silent.addr, engine.DialConfig{}},
		"slow header":     {"ws://" + slowly("HTTP/1.1 101 Switching Protocols\r\nX: ").addr, engine.DialConfig{}},
		"slow refusal":    {"ws://" + slowly("HTTP/1.1 403 No\r\n\r\n").addr, engine.DialConfig{}},
		"proxy":           {"ws://h", engine.DialConfig{Proxy: through("http", silent.addr)}},
		"slow proxy":      {"ws://h", engine.DialConfig{Proxy: through("http", slowly("HTTP/1.1 200 ").addr)}},
		"proxy under TLS": {"ws://h", engine.DialConfig{Proxy: through("https", silent.addr)}},
	} {
		for _, way := range []string{"cancel", "deadline", "HandshakeTimeout"} {
			t.Run(name+", "+way, func(t *testing.T) {
				timeout := time.Hour
				if way == "HandshakeTimeout" {
					timeout = 50 * time.Millisecond
				}
				cfg := row.cfg
				cfg.Engine = newEngine(t, engine.Config{HandshakeTimeout: timeout})
				var tally dialTally
				if cfg.NetDial == nil {
					cfg.NetDial = tally.dial
				}
				if cfg.Proxy == nil {
					cfg.Proxy = direct
				}
				ctx, cancel := context.WithCancel(t.Context())
				want := context.DeadlineExceeded
				switch way {
				case "cancel":
					want = context.Canceled
				case "deadline":
					ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				}
				defer cancel()
				done := make(chan error, 1)
				go func() { _, err := engine.Dial(ctx, row.target, cfg); done <- err }()
				var err error
				select {
				case <-reading:
					if way == "cancel" {
						cancel()
					}
					err = <-done
				case err = <-done: // it had no time to connect
				}
				require.ErrorIs(t, err, want)
				require.Zero(t, tally.open.Load())
			})
		}
	}
}

// Frames right behind the response, however all is cut.
func TestDialEarly(t *testing.T) {
	e := newEngine(t, engine.Config{})
	frames, _ := turn(wire(fText("one"), fPing("p"), fStart(confText, "tw"), fLast("o"), fBinary(strings.Repeat("x", 5000)), fClose(4000, "done")))
	var at atomic.Int64
	s := serveRaw(t, func(conn *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		b := append(acceptance(r, nil), frames...)
		cut := at.Load()
		_, _ = conn.Write(b[:cut])
		if cut > 0 {
			time.Sleep(500 * time.Microsecond) // lets the parts come apart; nothing depends on it
		}
		_, _ = conn.Write(b[cut:])
		_, _ = io.Copy(io.Discard, conn)
	})
	for cut := range 200 {
		at.Store(int64(cut))
		c, err := engine.Dial(dialContext(t), "ws://"+s.addr, chatConfig(e))
		require.NoError(t, err)
		var got []string
		for {
			m, err := c.Receive(dialContext(t))
			if err != nil {
				var closed *engine.CloseError
				require.ErrorAs(t, err, &closed)
				require.Equal(t, engine.CloseError{Code: 4000, Reason: "done", Remote: true, Cause: closed.Cause}, *closed)
				break
			}
			got = append(got, string(m.Data[:min(3, len(m.Data))]))
		}
		require.Equal(t, []string{"one", "two", "xxx"}, got, "cut %d", cut)
	}
}

// What a server may do to an open connection, and with what it ends.
func TestDialHostileFrames(t *testing.T) {
	unmasked := func(b []byte) []byte { out, _ := turn(b); return out }
	type row struct {
		send []byte
		code frame.CloseCode
	}
	rows := map[string]row{
		"masked":            {fText("x"), 1002},
		"masked empty":      {fText(""), 1002},
		"masked close":      {fClose(1000, ""), 1002},
		"too large":         {unmasked(fHead(confKey, 0x82, 8, 1<<21)), 1009},
		"huge":              {unmasked(fHead(confKey, 0x82, 8, 1<<62)), 1009},
		"top bit":           {unmasked(fHead(confKey, 0x82, 8, 1<<63)), 1002},
		"not UTF-8":         {unmasked(fText("\xff")), 1007},
		"ping flood":        {bytes.Repeat(unmasked(fPing("")), 200), 1008},
		"end without close": {nil, 1006},
		"end in a frame":    {unmasked(fText("late"))[:3], 1006},
	}
	for name, row := range rows {
		modes(t, func(t *testing.T, inline bool) {
			e := newEngine(t, engine.Config{})
			s := serveFrames(t, nil, func(conn *net.TCPConn, r *bufio.Reader) {
				_, _ = conn.Write(row.send)
				_ = conn.CloseWrite()
				waitEnd(r)
			})
			var end ending
			_, err := engine.Dial(dialContext(t), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct,
				Endpoint: engine.Endpoint{Inline: inline, Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}})
			require.NoError(t, err)
			closed := end.await(t)
			require.Equal(t, row.code, closed.Code, name)
			require.Equal(t, row.code == 1006, closed.Remote, name)
		})
	}
}

// A server that resets, at every stage.
func TestDialReset(t *testing.T) {
	e := newEngine(t, engine.Config{})
	stages := map[string]func(conn *net.TCPConn, r *bufio.Reader){
		"at once":         func(*net.TCPConn, *bufio.Reader) {},
		"after a request": func(_ *net.TCPConn, r *bufio.Reader) { _, _ = http.ReadRequest(r) },
		"in the response": func(conn *net.TCPConn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = conn.Write([]byte("HTTP/1.1 101 "))
		},
	}
	for name, stage := range stages {
		for _, scheme := range []string{"ws", "wss"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				s := serveRaw(t, func(conn *net.TCPConn) {
					stage(conn, bufio.NewReader(conn))
					_ = conn.SetLinger(0)
				})
				var tally dialTally
				_, err := engine.Dial(dialContext(t), scheme+"://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct, NetDial: tally.dial})
				require.Error(t, err)
				require.Zero(t, tally.open.Load())
			})
		}
	}
	t.Run("open", func(t *testing.T) {
		s := serveFrames(t, nil, func(conn *net.TCPConn, _ *bufio.Reader) { _ = conn.SetLinger(0) })
		var end ending
		_, err := engine.Dial(dialContext(t), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct, Endpoint: engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}})
		require.NoError(t, err)
		closed := end.await(t)
		require.EqualValues(t, 1006, closed.Code)
		require.True(t, closed.Remote)
	})
}

// A server that never reads is noticed.
func TestDialStall(t *testing.T) {
	e := newEngine(t, engine.Config{WriteStallTimeout: 100 * time.Millisecond, HighWaterBytes: 64 << 20})
	release := make(chan struct{})
	s := serveFrames(t, nil, func(*net.TCPConn, *bufio.Reader) { <-release })
	defer close(release)
	var end ending
	c, err := engine.Dial(dialContext(t), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct, Endpoint: engine.Endpoint{Handler: engine.Handler{OnMessage: echo, OnClose: end.OnClose}}})
	require.NoError(t, err)
	for range 32 {
		_ = c.Send(frame.Binary, pattern(1<<20))
	}
	require.EqualValues(t, 1006, end.await(t).Code)
	require.EqualValues(t, 1, e.Stats().Stalled)
}

// No error and no line of the log shows what the target, its header or its proxy keep
// secret, whatever fails.
func TestDialKeepsSecrets(t *testing.T) {
	const canary = "CANARY"
	var log bytes.Buffer
	e := newEngine(t, engine.Config{HandshakeTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	echoing := serveRaw(t, func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	headless := serveRaw(t, func(conn *net.TCPConn) { // sends the request line back as a header line
		br := bufio.NewReader(conn)
		if line, err := br.ReadString('\n'); err == nil {
			_, _ = conn.Write([]byte("HTTP/1.1 101 X\r\n" + line + "\r\n"))
			waitEnd(br)
		}
	})
	quoting := serveRaw(t, func(conn *net.TCPConn) {
		var all bytes.Buffer
		br := bufio.NewReader(io.TeeReader(conn, &all))
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = conn.Write(append([]byte("HTTP/1.1 404 No\r\n\r\n"), strings.ReplaceAll(all.String(), "\r\n", " ")...))
			_, _ = conn.Write([]byte("\n"))
			waitEnd(br)
		}
	})
	refusing := serveResponse(t, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
	wrong := serveResponse(t, "HTTP/1.1 101 Yes\r\n\r\n")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := ln.Addr().String()
	require.NoError(t, ln.Close())

	proxies := map[string]func(*http.Request) (*url.URL, error){"direct": direct}
	for name, p := range map[string]string{"echoing": "http://CANARYu:CANARYp@" + echoing.addr, "refusing": "http://CANARYu:CANARYp@" + refusing.addr, "closed": "http://CANARYu:CANARYp@" + closed,
		"under TLS": "https://CANARYu:CANARYp@" + echoing.addr, "socks": "socks5://CANARYu:CANARYp@" + echoing.addr, "hostless": "http://CANARYu:CANARYp@"} {
		u, err := url.Parse(p)
		require.NoError(t, err)
		proxies[name] = func(*http.Request) (*url.URL, error) { return u, nil }
	}
	proxies["no URL"] = func(*http.Request) (*url.URL, error) {
		_, err := url.Parse("http://CANARYu:CANARYp@" + "h:" + noPort)
		return nil, err
	}

	const secret = "CANARYu:CANARYp@"
	for _, scheme := range []string{"ws://", "wss://"} {
		for proxyName, proxy := range proxies {
			for name, addr := range map[string]string{"echoing": echoing.addr, "headless": headless.addr, "quoting": quoting.addr, "wrong": wrong.addr, "closed": closed} {
				for rest, header := range map[string]http.Header{"/CANARY?CANARYk=CANARYv": nil, "/CANARY/CANARY%2Fx": {"Authorization": {"Bearer CANARYb"}, "Cookie": {"CANARYc"}}} {
					_, err := engine.Dial(dialContext(t), scheme+secret+addr+rest, engine.DialConfig{Engine: e, Proxy: proxy, Header: header})
					require.Error(t, err)
					assert.NotContains(t, err.Error(), canary, "%s%s through %s", scheme, name, proxyName)
				}
			}
		}
	}
	for _, target := range []string{
		"http://CANARY/", "ws://CANARY:CANARY@/CANARY", "ws://h/CANARY#CANARY", "ws://CANARY:CANARY@h:CANARY/", "ws://h/%CANARY", "CANARY", "ws://[CANARY", "://CANARY", "ws://h/\x7fCANARY",
		"ws:CANARY", "ws://CANARY CANARY/", "ws:///CANARY", "ws://:80/CANARY",
	} {
		_, err := engine.Dial(dialContext(t), target, engine.DialConfig{Engine: e, Proxy: direct})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), canary, target)
	}
	for _, header := range []http.Header{{"X-Y": {"CANARY\r\n"}}, {"X-Y": {"CANARY\x00"}}, {"Upgrade": {"CANARY"}}} {
		_, err := engine.Dial(dialContext(t), "ws://"+wrong.addr, engine.DialConfig{Engine: e, Proxy: direct, Header: header})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), canary)
	}
	assert.NotContains(t, log.String(), canary)
}

// What a caller may get wrong is said before anything is connected.
func TestDialBadInput(t *testing.T) {
	e := newEngine(t, engine.Config{})
	var dialled atomic.Int64
	dial := func(context.Context, string, string) (net.Conn, error) {
		dialled.Add(1)
		return nil, errors.New("no")
	}
	for _, target := range []string{"", "h", "http://h", "https://h", "//h/", "ws:", "ws://", "ws:///x", "ws:x", "ws://:80", "ws://h/#f", "ws://h/x#f", "ws://a b/", "ws://h:x/", "ws://h:-1/", "ws://[::1", "ws://h/%zz", "ws://h\r\n/", " ws://h/"} {
		_, err := engine.Dial(t.Context(), target, engine.DialConfig{Engine: e, Proxy: direct, NetDial: dial})
		require.Error(t, err, "%q", target)
	}
	for name := range map[string]bool{"Connection": true, "upgrade": true, "sec-websocket-key": true, "Sec-WebSocket-Version": true, "Sec-WebSocket-Extensions": true, "Sec-WebSocket-Protocol": true,
		"Sec-WebSocket-Accept": true, "content-length": true, "Transfer-Encoding": true, "a b": true, "": true, "ä": true, "a:": true} {
		_, err := engine.Dial(t.Context(), "ws://h", engine.DialConfig{Engine: e, Proxy: direct, NetDial: dial, Header: http.Header{name: {"x"}}})
		require.Error(t, err, "%q", name)
	}
	for _, list := range [][]string{{""}, {"a b"}, {"a,b"}, {"ä"}, {"a\n"}, {"a", "a"}, {"ok", "a/b"}} {
		_, err := engine.Dial(t.Context(), "ws://h", engine.DialConfig{Engine: e, Proxy: direct, NetDial: dial, Endpoint: engine.Endpoint{Subprotocols: list}})
		require.Error(t, err, "%q", list)
	}
	require.Zero(t, dialled.Load())
	for target, want := range map[string]string{"ws://h": "h:80", "wss://h": "h:443", "WS://h:81": "h:81", "ws://[::1]": "[::1]:80", "wss://[fe80::1%25eth0]:9": "[fe80::1%eth0]:9", "ws://h:": "h:80", "ws://h?q": "h:80"} {
		_, err := engine.Dial(t.Context(), target, engine.DialConfig{Engine: e, Proxy: direct, NetDial: func(_ context.Context, network, address string) (net.Conn, error) {
			require.Equal(t, "tcp "+want, network+" "+address)
			dialled.Add(1)
			return (*net.TCPConn)(nil), errNoDial
		}})
		require.ErrorIs(t, err, errNoDial)
	}
	require.EqualValues(t, 7, dialled.Load())
}

// noPort is a variable, because staticcheck knows that it is none.
var noPort = "x"

var errNoDial = errors.New("not dialled")

// A panic of the caller's functions leaves nothing behind.
func TestDialPanics(t *testing.T) {
	e := newEngine(t, engine.Config{})
	s := serveResponse(t, accepted+"\r\n")
	before := e.Stats().BudgetUsed
	require.Panics(t, func() {
		_, _ = engine.Dial(t.Context(), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: direct, NetDial: func(context.Context, string, string) (net.Conn, error) { panic("no") }})
	})
	require.Panics(t, func() {
		_, _ = engine.Dial(t.Context(), "ws://"+s.addr, engine.DialConfig{Engine: e, Proxy: func(*http.Request) (*url.URL, error) { panic("no") }})
	})
	require.Equal(t, before, e.Stats().BudgetUsed)
}

// A connection that reads nothing, without an error, is not at its end, unless it does
// nothing else.
func TestDialEmptyReads(t *testing.T) {
	e := newEngine(t, engine.Config{CloseTimeout: time.Hour})
	stream, _ := turn(wire(fText("x"), fClose(4000, "")))
	for name, row := range map[string]struct {
		empty int
		code  frame.CloseCode
	}{"some": {2, 4000}, "nothing else": {1 << 10, 1006}} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			go func() { // ends with the connection
				defer server.Close()
				r, err := http.ReadRequest(bufio.NewReader(server))
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(io.Discard, server) }() // ends with the connection
				b := append(acceptance(r, nil), 0x82, 0x7e, 0x00, 0xff)
				b = append(append(b, make([]byte, 255)...), stream...)
				for _, piece := range [][]byte{b[:len(b)-20], b[len(b)-20 : len(b)-4], b[len(b)-4:]} {
					_, _ = server.Write(piece)
					for range row.empty {
						if _, err := server.Write(nil); err != nil {
							return
						}
					}
				}
			}()
			var end ending
			_, err := engine.Dial(dialContext(t), "ws://h", engine.DialConfig{Engine: e, Proxy: direct, NetDial: func(context.Context, string, string) (net.Conn, error) { return client, nil },
				Endpoint: engine.Endpoint{Handler: engine.Handler{OnMessage: func(context.Context, *engine.Conn, engine.Message) error { return nil }, OnClose: end.OnClose}}})
			require.NoError(t, err)
			require.Equal(t, row.code, end.await(t).Code)
		})
	}
}

// FuzzDialResponse: whatever a server answers, Dial returns, an error or a connection.
func FuzzDialResponse(f *testing.F) {
	for _, table := range []map[string]string{badResponses, goodResponses} {
		for _, response := range table {
			f.Add([]byte(response), uint16(len(response)/2))
		}
	}
	f.Add([]byte(accepted+"\r\nl"), uint16(1<<15)) // a violation, and then empty reads
	f.Add([]byte("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), uint16(9))
	e := newEngine(f, engine.Config{CloseTimeout: time.Second})
	f.Fuzz(func(t *testing.T, response []byte, cut uint16) {
		cfg := chatConfig(e)
		var tally dialTally
		cfg.NetDial = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { // ends with the connection
				defer server.Close()
				if r, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
					b := bytes.ReplaceAll(response, []byte("KEY"), []byte(acceptFor(r)))
					n := min(int(cut), len(b))
					_, _ = server.Write(b[:n])
					_, _ = server.Write(b[n:])
				}
			}()
			tally.open.Add(1)
			return &talliedConn{Conn: client, open: &tally.open}, nil
		}
		c, err := engine.Dial(dialContext(t), "ws://h/", cfg)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("hangs: %q", response)
		}
		if err == nil {
			for {
				if _, err := c.Receive(dialContext(t)); err != nil {
					break
				}
			}
		}
		enginetest.Await(t, func() bool { return tally.open.Load() == 0 }, "the connection should be closed")
	})
}
