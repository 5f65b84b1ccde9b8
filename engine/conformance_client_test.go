package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// turn makes of a client's stream a server's: what is masked no longer is, and what is
// not, which a client must not send, is. It returns where the places at have come to.
func turn(stream []byte, at ...int) (out []byte, to []int) {
	to = slices.Clone(at)
	put := func(from, n int, b ...byte) { // of n bytes from there on b has become
		for i, place := range at {
			if place > from {
				to[i] = len(out) + min(len(b), place-from)
				if place >= from+n {
					to[i] = len(out) + len(b)
				}
			}
		}
		out = append(out, b...)
	}
	for pos := 0; pos < len(stream); {
		b := stream[pos:]
		size, masked := 2, len(b) > 1 && b[1]&0x80 != 0
		if len(b) < 2 || b[0] == 0 && b[1] == 0 || b[0] == 0xff { // nothing that a mask would change
			put(pos, len(b), b...)
			return out, to
		}
		length := uint64(b[1] & 0x7f)
		switch length {
		case 126:
			size = 4
		case 127:
			size = 10
		}
		if len(b) < size {
			put(pos, len(b), append([]byte{b[0], b[1] ^ 0x80}, b[2:]...)...)
			return out, to
		}
		if size > 2 {
			length = binary.BigEndian.Uint64(append(make([]byte, 8-(size-2)), b[2:size]...))
		}
		put(pos, size, append([]byte{b[0], b[1] ^ 0x80}, b[2:size]...)...)
		pos += size
		key := confKey
		if masked {
			n := copy(key[:], b[size:])
			put(pos, n)
			pos += n
		} else {
			put(pos, 0, key[:]...)
		}
		payload := slices.Clone(stream[pos:])
		if uint64(len(payload)) > length {
			payload = payload[:length]
		}
		for i := range payload {
			payload[i] ^= key[i%4]
		}
		put(pos, len(payload), payload...)
		pos += len(payload)
	}
	return out, to
}

func TestConformanceTurn(t *testing.T) {
	stream := wire(fText("Hello"), fPing("p"), fUnmasked(0x81, "x"), fLong(0x82, 2, "abc"), fText("late")[:4])
	want := "\x81\x05Hello\x89\x01p\x81\x81\x37\xfa\x21\x3d" + string(rune('x'^0x37)) + "\x82\x7e\x00\x03abc\x81\x04"
	out, to := turn(stream, 0, 1, 4, 6, 7, 11, len(stream))
	assert.Equal(t, want, string(out))
	assert.Equal(t, []int{0, 1, 2, 2, 3, 7, len(out)}, to)
}

// turned is p for a server that tests a client, with what is sent before it; nil if it
// is about what a server does.
func (p *probe) turned(before []byte) *probe {
	section, _, _ := strings.Cut(strings.TrimPrefix(p.clause, "7692-"), "-")
	switch {
	case strings.HasPrefix(p.clause, "6455-9."), strings.HasPrefix(p.clause, "7692-") && (section == "5" || strings.HasPrefix(section, "7.1")):
		return nil // negotiation
	case p.refused, p.clause == "7692-6-unasked" && !p.plain:
		return nil // likewise
	}
	own := *p
	stream := wire(before, p.send, p.later, p.rest)
	send := len(before) + len(p.send)
	out, at := turn(stream, send, send+len(p.later))
	own.send = out[:at[0]]
	if p.later != nil {
		own.later = out[at[0]:at[1]]
	}
	if p.rest != nil {
		own.rest = out[at[1]:]
	}
	return &own
}

// A confClient is the engine in the client's role, and the server that tests it.
type confClient struct {
	ln    net.Listener
	ep    engine.Endpoint
	plain *engine.Engine
	packs *engine.Engine
	pair  sync.Mutex // one connection is made at a time
}

func startConfClient(t *testing.T, inline bool) *confClient {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	cfg := engine.Config{MaxMessageBytes: confLimit, ControlFramesPerSecond: -1, CloseTimeout: time.Minute, HandshakeTimeout: enginetest.Patience, Logger: quiet}
	c := &confClient{ln: ln, ep: engine.Endpoint{Inline: inline, Handler: engine.Handler{OnMessage: confEcho}}}
	c.plain = newEngine(t, cfg)
	cfg.Compress, cfg.CompressMinBytes, cfg.CompressLevel, cfg.MaxInflateRatio = true, 1, 9, -1
	c.packs = newEngine(t, cfg)
	return c
}

// newEngine makes one that only dials; the test's end shuts it down.
func newEngine(t testing.TB, cfg engine.Config) *engine.Engine {
	t.Helper()
	cfg.CountBuffers = true
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), enginetest.Patience)
		defer cancel()
		if err := e.Shutdown(ctx); !errors.Is(err, engine.ErrShutdown) { // the test may have shut it down
			assert.NoError(t, err)
		}
		st := e.Stats()
		assert.Zero(t, st.Connections)
		assert.Zero(t, st.Buffers, "buffers")
		assert.Zero(t, st.Pending, "pending")
		assert.Zero(t, st.Panics, "panics")
	})
	return e
}

// session has the engine dial, and is the server at the other end.
func (c *confClient) session(packs bool) (*session, error) {
	c.pair.Lock()
	defer c.pair.Unlock()
	e, answer := c.plain, http.Header{}
	if packs {
		e, answer = c.packs, http.Header{"Sec-Websocket-Extensions": {"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}}
	}
	dialled := make(chan error, 1)
	go func() { // ends with HandshakeTimeout at the latest
		_, err := engine.Dial(context.Background(), "ws://"+c.ln.Addr().String()+"/", engine.DialConfig{Engine: e, Endpoint: c.ep, Proxy: direct})
		dialled <- err
	}()
	conn, err := c.ln.Accept()
	if err != nil {
		return nil, err
	}
	s := newSession(conn, *confPatience)
	s.turned, s.agreed, s.fresh = true, packs, true
	_ = conn.SetDeadline(time.Now().Add(s.patience))
	r, err := http.ReadRequest(s.r)
	if err == nil {
		_, err = conn.Write(acceptance(r, answer))
	}
	if err == nil {
		err = <-dialled
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func (c *confClient) try(p *probe, v variation) confResult {
	packs := v.agreed || p.offer != nil && !p.plain
	echo := p.echo
	var before []byte
	if v.before {
		before = fText("before")
		echo = append(texts("before"), echo...)
	}
	p = p.turned(before)
	if v.before && p.later != nil {
		p.after++
	}
	send := p.send
	if len(p.fails) == 0 && !p.closing && !p.hangup {
		end, _ := turn(fClose(1000, ""))
		if p.later != nil {
			p.later = wire(p.later, end)
		} else {
			send = wire(send, end)
		}
	}
	s, err := c.session(packs)
	if err != nil {
		return confResult{confFailed, err.Error()}
	}
	defer func() { _ = s.conn.Close() }()
	s.run(p, send, len(echo), v.pieces)
	r := p.judge(s, echo, true)
	if r.verdict == confOK && len(s.keys) > 2 {
		for key, n := range s.keys {
			if n > 1+len(s.keys)/100 {
				return confResult{confFailed, fmt.Sprintf("masks with %x for the %d. time", key, n)}
			}
		}
	}
	if r.seen != "" {
		r.seen = v.name + ": " + r.seen
	}
	return r
}

// The same clauses with the roles turned: the engine dials, and a server sends what
// TestConformance has a client send, not masked. What is about negotiation has tests
// of its own. Each case comes in one variation, as its turn is.
func TestConformanceClient(t *testing.T) {
	clients := []*confClient{startConfClient(t, false), startConfClient(t, true)}
	clauses := map[string]bool{}
	t.Run("cases", func(t *testing.T) {
		for i, p := range confProbes() {
			if p.turned(nil) == nil {
				continue
			}
			clauses[p.clause] = true
			v := variations[i%len(variations)]
			if !p.in(v) {
				v = variations[0]
			}
			t.Run(p.clause+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				if r := clients[i/len(variations)%2].try(p, v); r.verdict != confOK {
					t.Errorf("%v: %s", r.verdict, r.seen)
				}
			})
		}
	})
	for _, c := range confClauses {
		if !clauses[c.key] && !strings.HasPrefix(c.key, "7692-7.1") {
			assert.Contains(t, []string{"6455-9.1-grammar", "6455-9.1-unasked", "7692-5-offers"}, c.key, "a clause without a case")
		}
	}
}
