package engine

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// gwsBuffer is the size of the bufio.Reader under gws, the least that bufio
// allows: the transport buffers, so that an idle connection holds nothing.
const gwsBuffer = 16

// errLaneOver ends gws's read loop when its lane has no more connections.
var errLaneOver = errors.New("engine: the lane has ended")

// A lane is the net.Conn that gws sees: what its read loop reads from. It gives
// gws the bytes that a connection's transport has passed, and reads what gws writes
// for its meaning only, because the engine encodes all frames itself.
//
// Between two messages gws knows nothing of the connection that the last one came
// from, so the next may come from another. An event loop has one lane for all its
// connections. A reader goroutine has a lane of its own, and goes on with another
// connection when it has parked one.
type lane struct {
	e      *Engine
	conn   *Conn                       // whose bytes gws gets
	source func(p []byte) (int, error) // instead of conn's transport, for a lane that is shared
	direct direct
	jobs   chan *Conn // a reader that has parked a connection waits here for the next
	ready  bool       // gws's handshake is over
	shake  *gwsShake
}

// run runs gws's read loop over the lane, on the caller's stack, until the
// connection of the moment has ended, and keeps a panic in it from ending the
// process.
func (l *lane) run() {
	defer func() {
		if p := recover(); p != nil {
			l.panicked(p)
		}
	}()
	l.ready = false
	socket, err := l.shakeHands()
	if err != nil { // gws refuses nothing of what it is asked here
		panic(err)
	}
	l.ready = true
	socket.ReadLoop()
}

// shakeHands makes gws read frames from the lane. It takes the other end of a
// handshake, because the connection's own is over.
func (l *lane) shakeHands() (*gws.Conn, error) {
	if l.conn == nil || !l.conn.scope.dialled {
		return l.e.upgrader.UpgradeFromConn(l, bufio.NewReaderSize(l, gwsBuffer), gwsRequest)
	}
	l.shake = new(gwsShake)
	defer func() { l.shake = nil }()
	socket, _, err := gws.NewClientFromConn(new(events), &gws.ClientOption{
		ReadMaxPayloadSize: gwsMaxPayload(l.e.cfg),
		ReadBufferSize:     gwsBuffer,
		CheckUtf8Enabled:   gwsChecksText(&l.e.cfg),
		ParallelGolimit:    1,
		NewSession:         noSession,
		Logger:             gwsLogger{},
		Addr:               "ws://penstock/",
	}, l)
	return socket, err
}

// A gwsShake answers gws's handshake where gws is the client.
type gwsShake struct{ request, response []byte }

func (s *gwsShake) write(p []byte) {
	s.request = append(s.request, p...)
	if !bytes.HasSuffix(s.request, []byte("\r\n\r\n")) {
		return
	}
	if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(s.request))); err == nil {
		s.response = switchingProtocols(r.Header.Get("Sec-WebSocket-Key"), "", "", http.Header{})
	}
}

func (s *gwsShake) read(p []byte) (int, error) {
	if len(s.response) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.response)
	s.response = s.response[n:]
	return n, nil
}

func (l *lane) panicked(p any) {
	l.e.counters.panics.Add(1)
	stack := string(debug.Stack())
	if l.conn == nil {
		l.e.cfg.Logger.Error("penstock: an event loop panicked", "panic", p, "stack", stack)
		return
	}
	l.e.cfg.Logger.Error("penstock: the read loop panicked", "conn", l.conn.id, "panic", p, "stack", stack)
	l.conn.shut(internalError(), false)
}

// gwsRequest is a handshake that always passes: the connection's own has been
// answered already.
var gwsRequest = &http.Request{
	Method: http.MethodGet,
	Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"cGVuc3RvY2sgZW5naW5lLg=="},
	},
}

// Read gives gws bytes that the scanner has passed.
func (l *lane) Read(p []byte) (int, error) {
	if l.shake != nil {
		return l.shake.read(p)
	}
	if l.source != nil {
		return l.source(p)
	}
	n, err := l.conn.transport.Read(p, &l.direct)
	if err == errAtRest {
		return l.next(p)
	}
	return n, err
}

// Write takes what gws writes: after the handshake only close frames, one for
// each call. Their code tells what gws found.
func (l *lane) Write(p []byte) (int, error) {
	if l.shake != nil {
		l.shake.write(p)
	}
	if l.ready {
		h, n, err := frame.ParseHeader(p)
		if err == nil && h.Opcode == frame.Close && len(p) >= n+2 && l.conn != nil {
			l.conn.transport.gwsCode = frame.CloseCode(p[n]^h.Mask[0])<<8 | frame.CloseCode(p[n+1]^h.Mask[1])
		}
	}
	return len(p), nil
}

// Close does nothing: gws calls it right after its close frame, but the closing
// handshake is the engine's.
func (l *lane) Close() error { return nil }

// LocalAddr and the rest complete net.Conn. Deadlines are the engine's.
func (l *lane) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (l *lane) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (l *lane) SetDeadline(time.Time) error      { return nil }
func (l *lane) SetReadDeadline(time.Time) error  { return nil }
func (l *lane) SetWriteDeadline(time.Time) error { return nil }
