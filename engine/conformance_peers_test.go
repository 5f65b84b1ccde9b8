package engine_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
)

// Foreign servers, as a careful user of the library would write them.

// confForeign starts one server for each configuration. serve runs a connection
// to its end. What it panics with is kept under the client's address.
func confForeign(t *testing.T, name string, serve func(packing bool) http.HandlerFunc) *confTarget {
	target := &confTarget{name: name, patience: confPeerPatience, path: "/"}
	var crashes sync.Map
	target.crashed = func(client string) string {
		p, _ := crashes.LoadAndDelete(client) // the port may come again
		s, _ := p.(string)
		return s
	}
	for conf := range confConfs {
		h := serve(conf == confPacking)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k := &hijackKeeper{ResponseWriter: w}
			defer func() {
				if p := recover(); p != nil {
					crashes.Store(r.RemoteAddr, fmt.Sprint(p))
				}
				if k.conn != nil {
					_ = k.conn.Close() // nothing if the server has done it
				}
			}()
			h(k, r)
		}))
		t.Cleanup(s.Close)
		target.addr[conf] = s.Listener.Addr().String()
	}
	return target
}

// A hijackKeeper remembers the connection that is taken over.
type hijackKeeper struct {
	http.ResponseWriter
	conn net.Conn
}

func (k *hijackKeeper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(k.ResponseWriter).Hijack()
	k.conn = conn
	return conn, rw, err
}

// gwsEcho runs on the goroutine of net/http: on one of its own, what gws panics
// with would end the tests.
type gwsEcho struct{ gws.BuiltinEventHandler }

func confGws(t *testing.T) *confTarget {
	return confForeign(t, "gws", func(packing bool) http.HandlerFunc {
		up := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{
			CheckUtf8Enabled: true, ReadMaxPayloadSize: confLimit, WriteMaxPayloadSize: confLimit,
			PermessageDeflate: gws.PermessageDeflate{Enabled: packing, Threshold: 1},
		})
		return func(w http.ResponseWriter, r *http.Request) {
			if c, err := up.Upgrade(w, r); err == nil {
				c.ReadLoop()
			}
		}
	})
}

// OnPing answers with the ping's payload, which gws's own does not.
func (gwsEcho) OnPing(c *gws.Conn, payload []byte) { _ = c.WritePong(payload) }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	if n, ok := confCount(m.Bytes()); ok {
		_ = c.WriteMessage(m.Opcode, n)
		return
	}
	switch string(m.Bytes()) {
	case confCloseCommand:
		c.WriteClose(4001, []byte("enough"))
		_ = c.WriteString("after the close")
	case confReasonCommand:
		c.WriteClose(4001, []byte(confReason))
	case confLongCommand:
		c.WriteClose(4001, []byte(confReason+confReason))
	case confPingCommand:
		_ = c.WritePing(letters(125))
	default:
		_ = c.WriteMessage(m.Opcode, m.Bytes())
	}
}

func confGorilla(t *testing.T) *confTarget {
	return confForeign(t, "gorilla", func(packing bool) http.HandlerFunc {
		up := gorilla.Upgrader{EnableCompression: packing}
		return func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			c.SetReadLimit(confLimit)
			for gorillaEcho(c) {
			}
		}
	})
}

// gorillaEcho handles one message, and returns false after the last. The library
// leaves it to its user to look at text.
func gorillaEcho(c *gorilla.Conn) bool {
	kind, data, err := c.ReadMessage()
	if err != nil {
		return false
	}
	finish := func(code int, reason string) error {
		return c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
	}
	switch {
	case string(data) == confCloseCommand:
		_ = finish(4001, "enough")
		_ = c.WriteMessage(kind, []byte("after the close"))
	case string(data) == confReasonCommand:
		_ = finish(4001, confReason)
	case string(data) == confLongCommand:
		if finish(4001, confReason+confReason) != nil {
			_ = finish(1011, "")
		}
		return false
	case string(data) == confPingCommand:
		_ = c.WriteControl(gorilla.PingMessage, letters(125), time.Now().Add(time.Second))
	case kind == gorilla.TextMessage && !utf8.Valid(data):
		_ = finish(1007, "not UTF-8")
		return false
	default:
		if n, ok := confCount(data); ok {
			data = n
		}
		err = c.WriteMessage(kind, data)
	}
	return err == nil
}
