package backpressure_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// unlimited is the room of a wire that never fills up.
const unlimited = int(^uint(0) >> 1)

// A fakeWire is a socket that takes as much as a test lets it, fails when a test
// wants it to, and checks that the queue keeps to the contract of Wire.
type fakeWire struct {
	tb     testing.TB
	inside atomic.Bool

	mu      sync.Mutex
	got     []byte        // all that was taken
	room    int           // bytes that it will still take
	atMost  func(int) int // how much of an offer one Write takes, nil: all
	fault   error         // the failure to come
	faultAt int           // the failure comes once this many bytes are in got
	failed  bool
	full    bool // said so: no Write before Resume
	awaits  int  // Awaits that have not been answered by Resume
	awaited int  // Awaits, ever
	writes  int  // Writes, ever
	blocked bool // a Write waits for room
	wake    chan struct{}
	scanner frame.Scanner
	closing bool // the close frame's header has been taken
	ended   bool // all of it

	// during runs inside each Write, before anything is taken: what it does to
	// the queue is what another goroutine could do. landed runs at its end.
	during func(offer []byte, wait bool)
	landed func(n int, err error)
}

func newFakeWire(tb testing.TB, cfg *backpressure.Config) *fakeWire {
	return &fakeWire{tb: tb, room: unlimited, wake: make(chan struct{}, 1), scanner: frame.NewScanner(rules(cfg))}
}

// rules are those of the peer of a queue.
func rules(cfg *backpressure.Config) *frame.Rules {
	return &frame.Rules{ExpectMask: cfg.Mask, AllowRSV: frame.RSV1}
}

func (w *fakeWire) Write(bufs [][]byte, wait bool) (int, error) {
	if !w.inside.CompareAndSwap(false, true) {
		w.tb.Error("two goroutines inside Write")
	}
	defer w.inside.Store(false)
	offer := bytes.Join(bufs, nil)
	w.checkOffer(bufs, offer)
	if w.during != nil {
		w.during(offer, wait)
	}
	n, err := w.take(offer, wait)
	if !bytes.Equal(offer, bytes.Join(bufs, nil)) {
		w.tb.Error("the offered bytes changed during Write")
	}
	clear(bufs) // the contract allows it
	if w.landed != nil {
		w.landed(n, err)
	}
	return n, err
}

func (w *fakeWire) checkOffer(bufs [][]byte, offer []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	switch {
	case w.failed:
		w.tb.Error("Write after an error")
	case w.ended:
		w.tb.Error("Write after the close frame")
	case w.full:
		w.tb.Error("Write to a full socket before Resume")
	case w.awaits > 0:
		w.tb.Error("Write while an Await is open")
	case len(offer) == 0:
		w.tb.Error("Write of nothing")
	case len(bufs) > 1024:
		w.tb.Error("more parts than writev takes")
	}
}

func (w *fakeWire) take(offer []byte, wait bool) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wait && w.room == 0 && w.fault == nil {
		w.blocked = true
		w.mu.Unlock()
		<-w.wake
		w.mu.Lock()
	}
	w.blocked = false
	n = min(len(offer), w.room)
	if w.atMost != nil {
		n = min(n, w.atMost(len(offer)))
	}
	if wait {
		n = max(n, min(1, w.room))
	}
	if w.fault != nil && len(w.got)+n >= w.faultAt {
		n, err = max(0, w.faultAt-len(w.got)), w.fault
		w.failed = true
	}
	w.room -= n
	w.full = n < len(offer) && !wait && err == nil
	w.record(offer[:n])
	return n, err
}

// record follows the frames up to the close frame.
func (w *fakeWire) record(b []byte) {
	w.got = append(w.got, b...)
	for len(b) > 0 {
		h, n, ok, err := w.scanner.Next(b)
		if err != nil {
			w.tb.Errorf("what was written violates RFC 6455: %v", err)
			return
		}
		if ok && w.closing {
			w.tb.Error("a frame behind the close frame")
		}
		w.closing = w.closing || ok && h.Opcode == frame.Close
		b = b[n:]
	}
	w.ended = w.closing && w.scanner.Remaining() == 0 && w.scanner.AtBoundary()
}

func (w *fakeWire) Await(*backpressure.Queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inside.Load() {
		w.tb.Error("Await during Write")
	}
	w.awaits++
	w.awaited++
	if w.awaits > 1 {
		w.tb.Error("a second Await before Resume")
	}
}

// resume answers the Await that must be open.
func (w *fakeWire) resume(q *backpressure.Queue, wait bool) {
	w.mu.Lock()
	open := w.awaits
	w.awaits, w.full = 0, false
	w.mu.Unlock()
	require.Equal(w.tb, 1, open, "open Awaits")
	q.Resume(wait)
}

// setRoom says how much is taken from now on and lets a blocked Write go on.
func (w *fakeWire) setRoom(n int) {
	w.mu.Lock()
	w.room = n
	w.mu.Unlock()
	w.poke()
}

// failAt makes the wire fail as soon as n bytes have been taken.
func (w *fakeWire) failAt(n int, err error) {
	w.mu.Lock()
	w.fault, w.faultAt = err, n
	w.mu.Unlock()
	w.poke()
}

func (w *fakeWire) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *fakeWire) state() (awaiting, blocked, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.awaits > 0, w.blocked, w.full
}

func (w *fakeWire) taken() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.got)
}

// fakeEvents counts what a queue reports.
type fakeEvents struct {
	mu        sync.Mutex
	drained   int
	dropped   int
	finished  int
	err       error
	onDrained func()
	done      chan struct{} // closed by the first Finished
}

func newFakeEvents() *fakeEvents { return &fakeEvents{done: make(chan struct{})} }

func (e *fakeEvents) Notice(n backpressure.Notice) {
	e.mu.Lock()
	var then func()
	if n&backpressure.NoticeDropped != 0 {
		e.dropped++
	}
	if n&backpressure.NoticeDrained != 0 {
		e.drained++
		then = e.onDrained
	}
	e.mu.Unlock()
	if then != nil {
		then()
	}
}

func (e *fakeEvents) Gap(lost backpressure.Lost) (frame.Opcode, []byte) {
	return lost.Class.Gap(lost)
}

func (e *fakeEvents) Finished(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.finished++; e.finished == 1 {
		e.err = err
		close(e.done)
	}
}

func (e *fakeEvents) counts() (drained, finished int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drained, e.finished, e.err
}

// A rig is a queue on a fakeWire.
type rig struct {
	backpressure.Queue
	tb     testing.TB
	cfg    backpressure.Config
	wire   *fakeWire
	events *fakeEvents
}

// newRig makes one; the zero fields of cfg get values that suit small tests.
func newRig(tb testing.TB, cfg backpressure.Config) *rig {
	tb.Helper()
	or := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	or(&cfg.HighWater, 64<<10)
	or(&cfg.LowWater, cfg.HighWater/4)
	or(&cfg.ChunkSize, 4<<10)
	or(&cfg.CorkSize, 4<<10)
	if cfg.Class == nil {
		cfg.Class = new(backpressure.Class)
	}
	cfg.Drops = new(backpressure.Drops)
	cfg.Pool = &frame.Pool{Count: true}
	r := &rig{tb: tb, cfg: cfg, wire: newFakeWire(tb, &cfg), events: newFakeEvents()}
	r.Init(&r.cfg, r.wire, r.events)
	return r
}

func data(op frame.Opcode, p []byte) backpressure.Message {
	return backpressure.Message{Opcode: op, Payload: p}
}

func prep(p *backpressure.Prepared, hold bool) backpressure.Message {
	return backpressure.Message{Prepared: p, Hold: hold}
}

func prepare(op frame.Opcode, p []byte) *backpressure.Prepared {
	return backpressure.Prepare(op, 0, p, nil)
}

// sendWait returns nil only if the message was taken.
func sendWait(q *backpressure.Queue, ctx context.Context, m backpressure.Message) error {
	v, err := q.SendWait(ctx, m)
	if err == nil && v != backpressure.Queued {
		return backpressure.ErrClosed
	}
	return err
}

func progress(q *backpressure.Queue) (written uint64, blocked bool) {
	s := q.Status()
	return s.Written, s.Blocked
}

// send sends payload from memory that is overwritten as soon as Send returns.
func (r *rig) send(payload []byte) backpressure.Verdict {
	lent := bytes.Clone(payload)
	v := r.Send(data(frame.Binary, lent))
	poison(lent)
	return v
}

func (r *rig) mustSend(payload []byte) {
	r.tb.Helper()
	require.Equal(r.tb, backpressure.Queued, r.send(payload))
}

// allow makes room for n bytes, and resumes if the queue has asked for it.
func (r *rig) allow(n int, wait bool) {
	r.wire.setRoom(n)
	if awaiting, _, _ := r.wire.state(); awaiting {
		r.wire.resume(&r.Queue, wait)
	}
}

// wantFinished checks the end: reported once, with err, and nothing kept.
func (r *rig) wantFinished(err error) {
	r.tb.Helper()
	_, finished, got := r.events.counts()
	require.Equal(r.tb, 1, finished, "Finished")
	require.Equal(r.tb, err, got)
	assert.Zero(r.tb, r.Pending())
	assert.False(r.tb, r.Congested())
	assert.Zero(r.tb, r.cfg.Pool.Out(), "pooled buffers not put back")
	assert.Equal(r.tb, backpressure.Closed, r.send([]byte("late")))
	assert.Equal(r.tb, backpressure.Closed, r.SendControl(frame.Ping, nil))
	assert.Equal(r.tb, backpressure.Closed, r.Send(prep(prepare(frame.Text, nil), true)))
	_, v := r.OpenStream(frame.Text, 0)
	assert.Equal(r.tb, backpressure.Closed, v)
	assert.False(r.tb, r.Close(frame.CloseNormal, "", true))
}

func (r *rig) transcript() transcript {
	r.tb.Helper()
	return read(r.tb, r.wire.taken(), &r.cfg)
}

func poison(b []byte) {
	for i := range b {
		b[i] = 0xDD
	}
}

// pattern returns n bytes that differ from place to place and from seed to seed.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + seed*31)
	}
	return b
}

// A transcript is what a peer would have made of the bytes on the wire.
type transcript struct {
	messages []message
	controls []control
	keys     [][4]byte       // of every frame, if they are masked
	order    []string        // every frame: "binary", "continuation", "binary fin", "ping", …
	open     []byte          // of a message that lacks its final frame; nil: there is none
	partial  bool            // the bytes end inside a frame
	closed   bool            // the close frame is there
	code     frame.CloseCode // its code
	reason   string          // its reason
}

type message struct {
	op      frame.Opcode
	rsv     byte
	payload []byte
	frames  int
}

type control struct {
	op      frame.Opcode
	payload string
	after   int // data frames before it
}

// read checks that b is a valid sequence of frames of a server, or of a client if
// they are to be masked, of at most ChunkSize payload bytes each, with the close
// frame last, and unmasks them.
func read(tb testing.TB, b []byte, cfg *backpressure.Config) transcript {
	tb.Helper()
	var t transcript
	var current message
	dataFrames := 0
	scanner := frame.NewScanner(rules(cfg))
	for len(b) > 0 {
		h, n, ok, err := scanner.Next(b)
		require.NoError(tb, err)
		if !ok || int64(len(b)-n) < h.Length {
			t.partial = true
			break
		}
		payload := t.unmask(h, b[n:n+int(h.Length)])
		b = b[n+int(h.Length):]
		scanner.Skip(h.Length)
		require.False(tb, t.closed, "a frame behind the close frame")
		require.LessOrEqual(tb, len(payload), cfg.ChunkSize, "a fragment above ChunkSize")
		t.order = append(t.order, label(h))
		switch {
		case h.Opcode == frame.Close:
			t.closed = true
			t.code, t.reason, err = frame.ParseClose(payload)
			require.NoError(tb, err)
			continue
		case h.Opcode.IsControl():
			t.controls = append(t.controls, control{h.Opcode, string(payload), dataFrames})
			continue
		case h.Opcode != frame.Continuation:
			current = message{op: h.Opcode, rsv: h.RSV, payload: []byte{}}
		}
		dataFrames++
		current.frames++
		current.payload = append(current.payload, payload...)
		t.open = current.payload
		if h.Fin {
			t.messages = append(t.messages, current)
			t.open = nil
		} else if !scanner.InMessage() {
			tb.Error("a fragment outside a message")
		}
	}
	return t
}

func (t *transcript) unmask(h frame.Header, payload []byte) []byte {
	if !h.Masked {
		return payload
	}
	t.keys = append(t.keys, h.Mask)
	payload = bytes.Clone(payload)
	frame.Mask(payload, h.Mask, 0)
	return payload
}

func label(h frame.Header) string {
	if h.Fin && h.Opcode.IsData() {
		return h.Opcode.String() + " fin"
	}
	return h.Opcode.String()
}

// want checks the messages byte by byte and in order.
func (t transcript) want(tb testing.TB, payloads ...[]byte) {
	tb.Helper()
	require.Equal(tb, len(payloads), len(t.messages), "messages")
	for i, p := range payloads {
		require.True(tb, bytes.Equal(p, t.messages[i].payload), "message %d: %s", i, difference(p, t.messages[i].payload))
	}
}

func difference(want, got []byte) string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Sprintf("byte %d is %#x, not %#x", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d bytes, not %d", len(got), len(want))
}

var errBroken = fmt.Errorf("wire broken: %w", io.ErrClosedPipe)
