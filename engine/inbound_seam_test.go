package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
	"github.com/penstock-ws/penstock/interceptors"
)

// A cutSocket is a peer in memory whose bytes come in pieces, and then the end. It
// takes everything that it is sent, and keeps it.
type cutSocket struct {
	neverParks
	tasks *group // for what a writer leaves to another goroutine
	mu    sync.Mutex
	in    []byte
	cuts  []int // lengths of the pieces; what is left is one
	out   []byte
	end   bool
}

func (s *cutSocket) read(m memory) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.end:
		m.giveBack()
		return 0, net.ErrClosed
	case len(s.in) == 0:
		m.giveBack()
		return 0, io.EOF
	}
	n := len(s.in)
	if len(s.cuts) > 0 {
		n = min(n, s.cuts[0])
	}
	n = copy(m.lend(n), s.in[:n])
	s.in = s.in[n:]
	if len(s.cuts) > 0 {
		if s.cuts[0] -= n; s.cuts[0] == 0 {
			s.cuts = s.cuts[1:]
		}
	}
	return n, nil
}

func (s *cutSocket) Write(bufs [][]byte, _ bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end {
		return 0, net.ErrClosed
	}
	for _, b := range bufs {
		s.out = append(s.out, b...)
		n += len(b)
	}
	return n, nil
}

// Await is asked for when a writer has written its share.
func (s *cutSocket) Await(q *backpressure.Queue) { s.tasks.spawn(func() { q.Resume(true) }) }

func (s *cutSocket) unsent() (n, lost int)           { return 0, 0 }
func (s *cutSocket) setReadDeadline(time.Time) error { return nil }
func (s *cutSocket) closeWrite() error               { return nil }

func (s *cutSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = true
	return nil
}

// An event is what a handler or an interceptor is shown: a message, a ping or a pong.
type event struct {
	op   frame.Opcode
	data string
}

// String is the event on one line.
func (e event) String() string { return fmt.Sprintf("%v %d %q", e.op, len(e.data), e.data) }

// sightings are what came of one stream.
type sightings struct {
	events   []event
	close    CloseError
	messages uint64 // as the connection counts them
	out      []byte
	done     chan struct{}
}

// A seam runs byte streams through an engine in memory: everything of the inbound
// path but the system calls. Handlers send every message back.
type seam struct {
	e      *Engine
	eps    map[string]*endpoint
	client bool // the connections are dialled
}

type seamKey struct{}

// seamWays are the endpoints of a seam. Those called direct have no interceptors,
// which would otherwise note pings and pongs.
var seamWays = []string{"inline", "inline, direct", "pool", "pool, direct", "Receive"}

// newSeam holds messages to a limit, and has so many announced bytes outstanding.
func newSeam(t testing.TB, limit int, granted int64) *seam {
	e, err := New(Config{
		Compress: true, CompressMinBytes: 64, MaxMessageBytes: limit, MaxFragments: InboundFragments, ControlFramesPerSecond: -1, CloseTimeout: time.Minute,
		InboxMessages: 8, ReadBufferBytes: smallestBuffer, CountBuffers: true, Logger: slog.New(slog.DiscardHandler),
	}, Endpoint{})
	require.NoError(t, err)
	e.discardPause = 0 // a source here gives a piece at a time
	e.granted.Add(granted)
	s := &seam{e: e, eps: map[string]*endpoint{}}
	push := Handler{OnMessage: s.onMessage, OnClose: s.onClose}
	pull := Handler{OnOpen: s.receive, OnClose: s.onClose}
	note := []interceptors.Interceptor{seamEvents{}}
	s.eps["inline"] = e.newEndpoint(Endpoint{Handler: push, Inline: true, Interceptors: note})
	s.eps["inline, direct"] = e.newEndpoint(Endpoint{Handler: push, Inline: true})
	s.eps["pool"] = e.newEndpoint(Endpoint{Handler: push, Interceptors: note})
	s.eps["pool, direct"] = e.newEndpoint(Endpoint{Handler: push})
	s.eps["Receive"] = e.newEndpoint(Endpoint{Handler: pull, Interceptors: note})
	t.Cleanup(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		st := e.Stats()
		require.Zero(t, st.Buffers, "buffers")
		require.Zero(t, st.BudgetUsed, "budget")
		require.Zero(t, st.Panics, "panics")
		require.Zero(t, st.Pending, "pending")
		require.Zero(t, st.Connections)
		require.Zero(t, st.Background)
		require.Zero(t, st.Shed)
		require.Equal(t, granted, e.granted.Load(), "announced bytes that are not taken back")
		var ends uint64
		for code, n := range st.Closed {
			require.True(t, code.Sendable() || code == frame.CloseNoStatus || code == frame.CloseAbnormal, "%v", code)
			ends += n
		}
		require.Equal(t, st.Opened, ends)
	})
	return s
}

// seamEvents notes pings and pongs.
type seamEvents struct{ interceptors.Passthrough }

func (i seamEvents) InterceptInbound(ctx context.Context, in Message, next *interceptors.InboundNext) error {
	if in.Type == frame.Ping || in.Type == frame.Pong {
		noted(FromContext(ctx), in)
	}
	return next.Run(ctx, in)
}

func noted(c *Conn, m Message) {
	r := c.Get(seamKey{}).(*sightings)
	r.events = append(r.events, event{m.Type, string(m.Data)})
}

func (s *seam) onMessage(_ context.Context, c *Conn, m Message) error {
	noted(c, m)
	return c.Send(m.Type, m.Data)
}

func (s *seam) receive(_ context.Context, c *Conn) error {
	return c.Go(func(ctx context.Context) {
		for m, err := range c.Messages(context.WithoutCancel(ctx)) {
			if err == nil {
				_ = s.onMessage(ctx, c, m)
			}
		}
	})
}

func (s *seam) onClose(c *Conn, err *CloseError) {
	r := c.Get(seamKey{}).(*sightings)
	r.close = *err
	c.mu.Lock()
	r.messages = c.receivedN
	c.mu.Unlock()
	close(r.done)
}

// see gives what comes of stream, the first early bytes of which come with the
// handshake.
func (s *seam) see(t testing.TB, way string, bits int, stream []byte, early int, cuts ...int) *sightings {
	r := &sightings{done: make(chan struct{})}
	ep := *s.eps[way]
	open := ep.handler.OnOpen
	ep.handler.OnOpen = func(ctx context.Context, c *Conn) error {
		c.Set(seamKey{}, r)
		if open != nil {
			return open(ctx, c)
		}
		return nil
	}
	o := beginning{deflateBits: bits, early: stream[:early], response: []byte(preface), scope: scopeOf("Cut\n\n")}
	if s.client {
		s.e.admission.enterDialled()
		o.scope.dialled, o.response = true, nil
	} else {
		_ = s.e.admission.enter(&Scope{})
	}
	sock := &cutSocket{tasks: &s.e.goroutines, in: stream[early:], cuts: slices.Clone(cuts)}
	o.sock = sock
	s.e.start(&ep, o)
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case <-r.done:
	case <-late.C:
		t.Errorf("no end, %s, bits %d, early %d, cuts %v: %x", way, bits, early, cuts, stream)
		return nil
	}
	sock.mu.Lock()
	r.out = sock.out
	sock.mu.Unlock()
	if s.client {
		out, err := unmasked(r.out)
		require.NoError(t, err)
		r.out = append([]byte(preface), out...)
	}
	return r
}

// run is see for tests that want all in one string: what the handlers were shown,
// and the code at the end.
func (s *seam) run(t testing.TB, way string, bits int, stream []byte, cuts ...int) string {
	r := s.see(t, way, bits, stream, 0, cuts...)
	var lines []string
	for _, e := range r.events {
		lines = append(lines, e.String())
	}
	return strings.Join(append(lines, fmt.Sprint(uint16(r.close.Code))), "\n")
}

// answers are what a peer makes of the bytes it is sent.
type answers struct {
	messages []event
	pongs    []string
	closed   bool
	code     frame.CloseCode
}

// readAnswers reads what a server may send (RFC 6455 §5, RFC 7692 §6), in one go.
// Only the end may be missing: cut allows that.
func readAnswers(b []byte, deflates, cut bool) (a answers, err error) {
	var message []byte
	var op frame.Opcode
	var packed bool
	for len(b) > 0 {
		if a.closed {
			return a, fmt.Errorf("%d bytes behind the close frame", len(b))
		}
		var head [10]byte
		copy(head[:], b)
		size, n := 2, uint64(head[1])
		switch n {
		case 126:
			size, n = 4, uint64(binary.BigEndian.Uint16(head[2:]))
		case 127:
			size, n = 10, binary.BigEndian.Uint64(head[2:])
		}
		if uint64(len(b)) < uint64(size)+n {
			if cut {
				return a, nil
			}
			return a, errors.New("half a frame")
		}
		payload := b[size : size+int(n)]
		b = b[size+int(n):]
		fin, rsv, code := head[0]&0x80 != 0, head[0]&0x70, frame.Opcode(head[0]&15)
		switch {
		case head[1] > 127:
			return a, errors.New("a masked frame")
		case rsv != 0 && (rsv != 0x40 || !deflates || code != 1 && code != 2):
			return a, fmt.Errorf("reserved bits %x in %v", rsv, code)
		case code >= 8 && (!fin || n > 125):
			return a, fmt.Errorf("a control frame of %d bytes, FIN %v", n, fin)
		case size == 4 && n < 126 || size == 10 && n < 65536:
			return a, errors.New("a length that is not minimal")
		case code <= 2 && (code == 0) != (op != 0):
			return a, fmt.Errorf("%v inside %v", code, op)
		}
		switch code {
		case frame.Close:
			a.closed, a.code = true, frame.CloseNoStatus
			if n == 0 {
				continue
			}
			if a.code, _, err = frame.ParseClose(payload); err != nil {
				return a, fmt.Errorf("close frame %x: %w", payload, err)
			}
		case frame.Pong:
			a.pongs = append(a.pongs, string(payload))
		case frame.Text, frame.Binary, frame.Continuation:
			if code != 0 {
				op, packed, message = code, rsv != 0, nil
			}
			message = append(message, payload...)
			if !fin {
				continue
			}
			if packed {
				if message, err = deflate.Inflate(nil, message, 1<<30, 0, nil); err != nil {
					return a, err
				}
			}
			a.messages = append(a.messages, event{op, string(message)})
			op = 0
		default:
			return a, fmt.Errorf("%v of a server that was not asked for it", code)
		}
	}
	if op != 0 && !cut {
		return a, errors.New("half a message")
	}
	return a, nil
}

// answers reads what a seam's socket has been sent.
func (r *sightings) answers(bits int) (answers, error) {
	out, ok := bytes.CutPrefix(r.out, []byte(preface))
	if !ok {
		return answers{}, errors.New("the response does not come first")
	}
	return readAnswers(out, bits > 0, false)
}
