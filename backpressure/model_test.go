package backpressure_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

var (
	modelSeed   = flag.Uint64("model.seed", 0, "run the model test with this seed only")
	modelRounds = flag.Int("model.rounds", 150, "runs of the model test, each with a seed of its own")
	modelSteps  = flag.Int("model.steps", 120, "operations of one run")
)

// The queue against a naive model under random operations. Some of them run
// inside Wire.Write, where another goroutine's would fall, and some while a
// writer is blocked there. After each step everything that can be observed must
// be what the model says; the seed of a failure is in its name.
func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		runModel(t, *modelSeed)
		return
	}
	first := rand.Uint64()
	for i := range *modelRounds {
		seed := first + uint64(i)
		if ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { runModel(t, seed) }); !ok {
			t.Fatalf("repeat with -run TestModel -args -model.seed=%d", seed)
		}
	}
}

func runModel(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, seed)
		for i := 0; i < *modelSteps && !t.Failed(); i++ {
			m.step()
			synctest.Wait()
			m.check()
		}
		m.end()
	})
}

// A unit is one frame, or what is left of it.
type unit struct {
	rest     []byte
	msg      *modelMessage // nil: a control frame
	begun    bool
	launched bool // a control frame that has been offered to the wire
}

// A modelMessage is one message, the close frame included.
type modelMessage struct {
	payload []byte
	units   []*unit // not yet written
	open    bool    // a stream without its final fragment
	final   bool    // the close frame
	cut     bool    // will never be whole
}

type modelWaiter struct {
	level    int
	cancel   context.CancelFunc
	done     chan error
	released bool
}

type modelStream struct {
	s   *backpressure.Stream
	msg *modelMessage
	op  frame.Opcode
}

// A model does all that a queue does in the simplest way: a list of frames.
type model struct {
	*rig
	t    *testing.T
	rnd  *rand.Rand
	seed uint64
	log  []string

	data     []*modelMessage
	controls []*unit
	offer    []*unit // what the Write under way was offered, in order
	inflight bool
	recut    bool // a discard during that Write goes on when it has returned
	sent     []*modelMessage
	waiters  []*modelWaiter
	streams  []*modelStream

	corked     bool
	held       bool // bytes wait for a Flush
	prefaced   bool // all wait for Release
	over       bool
	closing    bool
	code       frame.CloseCode
	dead       bool
	lost       bool
	lostBefore bool // at the last check
	awaited    int  // likewise
	messages   uint64
	drained    int
	finished   int
	err        error
	written    int
}

func newModel(t *testing.T, seed uint64) *model {
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(v ...int) int { return v[rnd.IntN(len(v))] }
	cfg := backpressure.Config{
		HighWater: pick(1000, 6000, 20000),
		ChunkSize: pick(125, 300, 1500, 2048, 4000, 1<<16+1),
		CorkSize:  pick(200, 3000, 9000),
	}
	cfg.LowWater = pick(1, cfg.HighWater/4, cfg.HighWater-1)
	if rnd.IntN(3) == 0 {
		cfg.Class = &backpressure.Class{Overflow: backpressure.Disconnect}
	}
	m := &model{rig: newRig(t, cfg), t: t, rnd: rnd, seed: seed}
	m.wire.room = rnd.IntN(5000)
	m.wire.atMost = m.atMost
	m.wire.during = m.duringWrite
	m.wire.landed = m.landed
	if rnd.IntN(3) == 0 {
		m.preface()
	}
	m.events.onDrained = func() { // the queue's lock is free here, between two writes
		// check is what sees the end without a close frame: too late for here.
		if m.code != frame.CloseAbnormal && rnd.IntN(2) == 0 {
			m.operate()
		}
	}
	return m
}

// preface puts first what no discard drops and no control frame passes. It looks
// like a message, so that the wire's checks need not know of it.
func (m *model) preface() {
	msg := &modelMessage{payload: m.payload(120)}
	encode(frame.Text, msg.payload, len(msg.payload), msg)
	msg.units[0].begun = true
	m.data, m.sent = append(m.data, msg), append(m.sent, msg)
	m.prefaced, m.held = true, true
	lent := bytes.Clone(msg.units[0].rest)
	m.Preface(lent)
	poison(lent)
}

// atMost is how much of total one Write takes.
func (m *model) atMost(total int) int {
	switch m.rnd.IntN(6) {
	case 0:
		return m.rnd.IntN(total + 1)
	case 1:
		return m.rnd.IntN(min(total, 20) + 1)
	case 2:
		return max(0, total-1-m.rnd.IntN(20))
	}
	return total
}

// step does one random operation from outside.
func (m *model) step() {
	switch k := m.rnd.IntN(100); {
	case k < 60:
		m.operate()
	case k < 85:
		m.makeRoom()
	case k < 93:
		m.drain()
	case k < 95:
		m.cancelDrain()
	case k >= 96 && m.prefaced:
		m.release()
	case k < 96 && m.rnd.IntN(3) == 0:
		m.note("fault")
		m.wire.failAt(m.written+m.rnd.IntN(3000), errBroken)
	}
}

func (m *model) release() {
	m.note("release")
	m.prefaced = false
	m.flushed()
	m.Release()
}

// operate does what may also happen while another goroutine is inside Write.
func (m *model) operate() {
	switch k := m.rnd.IntN(200); {
	case k < 80:
		m.send()
	case k < 105:
		m.sendPrepared()
	case k < 135:
		m.sendControl()
	case k < 145:
		m.setCorked(m.rnd.IntN(2) == 0)
	case k < 165:
		m.note("flush")
		m.flushed()
		m.Flush()
	case k < 170:
		m.openStream()
	case k < 193:
		m.writeStream()
	case k < 196:
		m.close(m.rnd.IntN(2) == 0)
	case k < 197:
		m.fail(errBroken, true)
	}
}

func (m *model) size() int {
	around := []int{0, 125, 126, backpressure.SmallMessage, m.cfg.ChunkSize, 2 * m.cfg.ChunkSize}
	switch m.rnd.IntN(8) {
	case 0, 1, 2:
		return m.rnd.IntN(130)
	case 3:
		if m.cfg.ChunkSize > 1<<16 {
			return 1<<16 + m.rnd.IntN(5) - 2
		}
		return m.rnd.IntN(4 * m.cfg.ChunkSize)
	case 4:
		return m.rnd.IntN(3000)
	}
	return max(0, around[m.rnd.IntN(len(around))]+m.rnd.IntN(3)-1)
}

func (m *model) payload(n int) []byte { return pattern(m.rnd.IntN(256), n) }

func (m *model) op() frame.Opcode {
	if m.rnd.IntN(2) == 0 {
		return frame.Text
	}
	return frame.Binary
}

// admit is what the queue must answer; it has the effects of an overflow.
func (m *model) admit(payload int) backpressure.Verdict {
	switch {
	case m.closing || m.dead:
		return backpressure.Closed
	case m.cfg.Class.Overflow == backpressure.Congest:
		if m.over {
			return backpressure.Congested
		}
		return backpressure.Queued
	}
	msg, size := new(modelMessage), 0
	encode(frame.Text, make([]byte, payload), m.cfg.ChunkSize, msg)
	for _, u := range msg.units {
		size += len(u.rest)
	}
	if pending := m.pending(); pending == 0 || pending+size <= m.cfg.HighWater {
		return backpressure.Queued
	}
	return backpressure.Overflowed
}

func (m *model) overflow() {
	m.discard()
	m.pushClose(frame.CloseTryAgainLater, "outbound queue overflow")
	m.flushed()
}

func (m *model) send() {
	op, p := m.op(), m.payload(m.size())
	m.note("send %d", len(p))
	want := m.admit(len(p))
	if want == backpressure.Queued {
		m.push(op, p)
	} else if want == backpressure.Overflowed {
		m.overflow()
	}
	lent := bytes.Clone(p)
	got := m.maybeHeld(want, m.corked, func() backpressure.Verdict { return m.Send(data(op, lent)) })
	poison(lent)
	assert.Equal(m.t, want, got)
}

func (m *model) sendPrepared() {
	op, p, hold := m.op(), m.payload(m.size()), m.rnd.IntN(2) == 0
	m.note("prepared %d %v", len(p), hold)
	want := m.admit(len(p))
	if want == backpressure.Queued {
		m.push(op, p)
	} else if want == backpressure.Overflowed {
		m.overflow()
	}
	lent := bytes.Clone(p)
	prepared := prepare(op, lent)
	poison(lent)
	got := m.maybeHeld(want, m.corked || hold, func() backpressure.Verdict { return m.Send(prep(prepared, hold)) })
	assert.Equal(m.t, want, got)
}

func (m *model) sendControl() {
	op, p := frame.Ping, m.payload(m.rnd.IntN(126))
	if m.rnd.IntN(2) == 0 {
		op = frame.Pong
	}
	m.note("%v %d", op, len(p))
	want := backpressure.Queued
	if m.closing || m.dead {
		want = backpressure.Closed
	} else {
		m.pushControl(op, p)
	}
	lent := bytes.Clone(p)
	got := m.maybeHeld(want, m.corked, func() backpressure.Verdict { return m.SendControl(op, lent) })
	poison(lent)
	assert.Equal(m.t, want, got)
}

func (m *model) setCorked(on bool) {
	m.note("cork %v", on)
	if m.corked == on {
		return
	}
	m.corked = on
	if on {
		m.Cork()
	} else {
		m.Uncork()
	}
}

func (m *model) close(discard bool) {
	code := frame.CloseNormal
	if m.rnd.IntN(4) == 0 {
		code = frame.CloseAbnormal
	}
	m.note("close %d %v", code, discard)
	first := !m.closing && !m.dead
	if !m.dead {
		if discard {
			m.discard()
		}
		if first {
			m.pushClose(code, "bye")
		}
	}
	m.flushed()
	got := m.Close(code, "bye", discard)
	assert.Equal(m.t, first, got)
}

// fail ends the model, and the queue unless that has done so by itself.
func (m *model) fail(err error, tell bool) {
	m.note("fail")
	if tell {
		defer m.Fail(err)
	}
	if m.dead {
		return
	}
	m.dead, m.closing, m.lost, m.err = true, true, true, err
	m.finished++
	m.data, m.controls, m.over = nil, nil, false
	m.fell()
}

func (m *model) openStream() {
	if len(m.streams) == 2 {
		return
	}
	op := m.op()
	m.note("open stream")
	want := backpressure.Queued
	if m.closing || m.dead {
		want = backpressure.Closed
	} else if m.over {
		want = backpressure.Congested
	}
	s := &modelStream{op: op, msg: &modelMessage{open: true}}
	if want == backpressure.Queued {
		m.messages++
		m.data = append(m.data, s.msg)
		m.sent = append(m.sent, s.msg)
		m.streams = append(m.streams, s)
		m.rose()
	}
	var got backpressure.Verdict
	s.s, got = m.OpenStream(op, 0)
	assert.Equal(m.t, want, got)
	assert.Equal(m.t, want == backpressure.Queued, s.s != nil)
}

func (m *model) writeStream() {
	if len(m.streams) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.streams))
	s := m.streams[i]
	fin := m.rnd.IntN(4) == 0
	p := m.payload(m.rnd.IntN(m.cfg.ChunkSize%5000 + 1))
	ctx, cancel := context.WithCancel(context.Background())
	var want error
	switch {
	case m.dead || !s.msg.open:
		want = backpressure.ErrClosed
	case len(s.msg.units) > 0:
		want = context.Canceled
		cancel()
	}
	m.note("stream %d %v %v", len(p), fin, want)
	if want == nil {
		m.pushFragment(s, p, fin)
		m.flushed()
	}
	lent := bytes.Clone(p)
	got := s.s.Write(ctx, lent, fin)
	poison(lent)
	cancel()
	assert.Equal(m.t, want, got)
	if want == backpressure.ErrClosed || want == nil && fin {
		m.streams = slices.DeleteFunc(m.streams, func(o *modelStream) bool { return o == s })
	}
}

// makeRoom lets the wire take more and, if the queue has asked for it, resumes.
func (m *model) makeRoom() {
	room := m.rnd.IntN(400)
	switch m.rnd.IntN(4) {
	case 0:
		room = m.rnd.IntN(20000)
	case 1:
		room = 100000
	}
	m.note("room %d", room)
	m.wire.setRoom(room)
	if awaiting, _, _ := m.wire.state(); !awaiting || m.rnd.IntN(4) == 0 {
		return
	}
	wait := m.rnd.IntN(2) == 0
	m.note("resume %v", wait)
	if !wait {
		m.wire.resume(&m.Queue, false)
		return
	}
	go m.wire.resume(&m.Queue, true)
}

// drain starts a goroutine that waits.
func (m *model) drain() {
	level := m.rnd.IntN(m.cfg.HighWater * 2)
	if m.rnd.IntN(3) == 0 {
		level = m.rnd.IntN(2) * m.cfg.LowWater
	}
	m.note("drain %d", level)
	ctx, cancel := context.WithCancel(context.Background())
	w := &modelWaiter{level: level, cancel: cancel, done: make(chan error, 1)}
	m.waiters = append(m.waiters, w)
	if m.dead || m.pending() <= level {
		w.released = true
	} else {
		m.prefaced = false
		m.held = false
	}
	go func() { w.done <- m.Drain(ctx, level) }()
}

func (m *model) cancelDrain() {
	if len(m.waiters) == 0 {
		return
	}
	w := m.waiters[m.rnd.IntN(len(m.waiters))]
	m.note("cancel drain %d", w.level)
	w.cancel()
	synctest.Wait()
	assert.ErrorIs(m.t, <-w.done, context.Canceled)
	m.waiters = slices.DeleteFunc(m.waiters, func(o *modelWaiter) bool { return o == w })
}

// encode cuts a message into frames of at most chunk bytes (RFC 6455 §5.4).
func encode(op frame.Opcode, p []byte, chunk int, m *modelMessage) {
	for {
		n := min(len(p), chunk)
		h := frame.Header{Fin: n == len(p), Opcode: op, Length: int64(n)}
		m.units = append(m.units, &unit{rest: append(frame.AppendHeader(nil, h), p[:n]...), msg: m})
		if p = p[n:]; len(p) == 0 {
			return
		}
		op = frame.Continuation
	}
}

func (m *model) push(op frame.Opcode, p []byte) {
	msg := &modelMessage{payload: p}
	encode(op, p, m.cfg.ChunkSize, msg)
	m.data = append(m.data, msg)
	m.sent = append(m.sent, msg)
	m.messages++
	m.rose()
}

func (m *model) pushFragment(s *modelStream, p []byte, fin bool) {
	h := frame.Header{Fin: fin, Opcode: s.op, Length: int64(len(p))}
	s.msg.units = append(s.msg.units, &unit{rest: append(frame.AppendHeader(nil, h), p...), msg: s.msg})
	s.msg.payload = append(s.msg.payload, p...)
	s.op = frame.Continuation
	s.msg.open = !fin
	m.rose()
}

func (m *model) pushClose(code frame.CloseCode, reason string) {
	m.closing, m.code = true, code
	if code == frame.CloseAbnormal {
		m.rose()
		return
	}
	p := frame.AppendClose(nil, code, reason)
	msg := &modelMessage{final: true}
	h := frame.Header{Fin: true, Opcode: frame.Close, Length: int64(len(p))}
	msg.units = []*unit{{rest: append(frame.AppendHeader(nil, h), p...), msg: msg}}
	m.data = append(m.data, msg)
	m.rose()
}

// pushControl: those that have not been offered yet give way if they are too many.
func (m *model) pushControl(op frame.Opcode, p []byte) {
	u := &unit{rest: append(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: op, Length: int64(len(p))}), p...)}
	waiting := len(u.rest)
	for _, c := range m.controls {
		if !c.launched {
			waiting += len(c.rest)
		}
	}
	if waiting > backpressure.ControlLimit {
		m.controls = slices.DeleteFunc(m.controls, func(c *unit) bool { return !c.launched })
	}
	m.controls = append(m.controls, u)
	m.fell()
}

// discard drops every frame of which nothing has been written, except those in
// a Write that has not returned.
func (m *model) discard() {
	m.recut = m.inflight
	m.data = slices.DeleteFunc(m.data, func(msg *modelMessage) bool {
		if msg.final {
			return false
		}
		msg.cut = msg.cut || msg.open
		msg.open = false
		msg.units = slices.DeleteFunc(msg.units, func(u *unit) bool {
			drop := !u.begun && !slices.Contains(m.offer, u)
			m.lost = m.lost || drop
			msg.cut = msg.cut || drop
			return drop
		})
		return len(msg.units) == 0
	})
	m.fell()
}

func (m *model) pending() int {
	n := 0
	for _, c := range m.controls {
		n += len(c.rest)
	}
	for _, msg := range m.data {
		for _, u := range msg.units {
			n += len(u.rest)
		}
	}
	return n
}

// rose is called when something joins the data lane: control frames, which are
// exempt, may have crossed the mark before.
func (m *model) rose() {
	if m.pending() > m.cfg.HighWater {
		m.over = true
	}
}

// fell is called whenever pending may have become less.
func (m *model) fell() {
	pending := m.pending()
	if m.over && pending <= m.cfg.LowWater {
		m.over = false
		m.drained++
	}
	for _, w := range m.waiters {
		if pending <= w.level || m.dead {
			w.released = true
		}
	}
}

// maybeHeld makes a send that writes nothing if it may be held back, unless
// CorkSize has been reached.
func (m *model) maybeHeld(want backpressure.Verdict, held bool, send func() backpressure.Verdict) backpressure.Verdict {
	held = m.prefaced && !m.dead || held && want == backpressure.Queued && m.pending() < m.cfg.CorkSize
	if held && m.idle() {
		m.held = true
	} else if !held && want == backpressure.Queued {
		m.flushed()
	}
	writes := m.wire.writes
	got := send()
	if held {
		assert.Equal(m.t, writes, m.wire.writes, "a send that is held back wrote")
	}
	return got
}

// flushed is called before what makes the queue write all that is pending.
func (m *model) flushed() {
	if !m.inflight && !m.prefaced {
		m.held = false
	}
}

func (m *model) idle() bool {
	awaiting, _, _ := m.wire.state()
	return !awaiting && !m.inflight
}

// duringWrite checks what is offered and does what other goroutines might.
func (m *model) duringWrite(offer []byte, wait bool) {
	m.note("{ %d %v", len(offer), wait)
	m.offer, m.inflight = m.match(offer), true
	for range max(0, m.rnd.IntN(5)-2) {
		m.operate()
	}
}

// match finds the frames in an offer: first the one under way, then the others
// in order, control frames before any data frame, all of them before the close
// frame, and nothing behind a fragment that others of its message follow.
func (m *model) match(offer []byte) (units []*unit) {
	controls, data := m.controls, m.data
	frames := 0 // of data[0]
	begun := m.dataBegun()
	for len(offer) > 0 {
		var u *unit
		last := false
		switch op := frame.Opcode(offer[0] & 0xf); {
		case len(controls) > 0 && controls[0].begun,
			len(units) > 0 && op.IsControl() && op != frame.Close,
			!begun && op.IsControl() && op != frame.Close:
			require.NotEmpty(m.t, controls, "a control frame that nobody sent")
			u, controls = controls[0], controls[1:]
			u.launched = true
		default:
			for len(data) > 0 && frames == len(data[0].units) && !data[0].open {
				data, frames = data[1:], 0
			}
			require.NotEmpty(m.t, data, "a data frame that nobody sent")
			require.Less(m.t, frames, len(data[0].units), "data overtakes a stream")
			u = data[0].units[frames]
			frames++
			last = frames < len(data[0].units) || data[0].open
			if data[0].final {
				require.Empty(m.t, controls, "control frames behind the close frame")
			}
		}
		require.True(m.t, bytes.HasPrefix(offer, u.rest), "the next frame is not the one that was sent: %x, not %x; %+v", head(offer), head(u.rest), m.log)
		offer = offer[len(u.rest):]
		units = append(units, u)
		require.False(m.t, last && len(offer) > 0, "more than one fragment in a write")
	}
	return units
}

func (m *model) dataBegun() bool {
	return len(m.data) > 0 && len(m.data[0].units) > 0 && m.data[0].units[0].begun
}

// landed takes what was written off the lists.
func (m *model) landed(n int, err error) {
	m.note("%d %v }", n, err)
	m.written += n
	offer := m.offer
	m.offer, m.inflight = nil, false
	closed := false
	for _, u := range offer {
		k := min(n, len(u.rest))
		u.begun = u.begun || k > 0
		u.rest = u.rest[k:]
		n -= k
		if len(u.rest) > 0 {
			break
		}
		closed = closed || u.msg != nil && u.msg.final
		m.remove(u)
	}
	if m.dead {
		return
	}
	m.fell()
	if m.recut {
		m.discard()
	}
	if closed {
		m.finish()
	} else if err != nil {
		m.fail(err, false)
	}
}

func (m *model) remove(u *unit) {
	is := func(o *unit) bool { return o == u }
	if u.msg == nil {
		m.controls = slices.DeleteFunc(m.controls, is)
		return
	}
	u.msg.units = slices.DeleteFunc(u.msg.units, is)
	if len(u.msg.units) == 0 && !u.msg.open {
		m.data = slices.DeleteFunc(m.data, func(o *modelMessage) bool { return o == u.msg })
	}
}

func (m *model) finish() {
	m.dead = true
	m.finished++
	m.fell()
}

// check compares all that can be observed.
func (m *model) check() {
	awaiting, blocked, full := m.wire.state()
	idle := !awaiting && !m.inflight
	if m.closing && !m.dead && m.code == frame.CloseAbnormal && idle && m.pending() == 0 && len(m.data) == 0 {
		m.finish()
	}
	if m.wire.awaited != m.awaited && !full {
		for _, c := range m.controls { // the queue was about to write them when it handed over
			c.launched = true
		}
	}
	m.awaited = m.wire.awaited
	assert.Equal(m.t, m.inflight, blocked, "only a blocked Write may be under way")
	assert.Equal(m.t, m.pending(), m.Pending(), "Pending")
	assert.Equal(m.t, m.over, m.Congested(), "Congested")
	assert.Equal(m.t, backpressure.Totals{Messages: m.messages, Written: uint64(m.written), Pending: m.pending()}, m.Totals())
	assert.Equal(m.t, len(m.wire.got), m.written)
	written, waits := progress(&m.Queue)
	assert.Equal(m.t, uint64(m.written), written)
	assert.Equal(m.t, !idle && !m.dead, waits, "Progress")
	drained, finished, err := m.events.counts()
	assert.Equal(m.t, m.drained, drained, "Drained")
	assert.Equal(m.t, m.finished, finished, "Finished")
	assert.Equal(m.t, m.err, err)
	if idle && !m.held && !m.dead {
		stuck := len(m.controls) > 0 || m.closing && len(m.data) == 0 || len(m.data) > 0 && len(m.data[0].units) > 0
		assert.False(m.t, stuck, "nobody writes what is pending")
	}
	m.checkWaiters()
	if m.t.Failed() {
		m.t.Logf("seed %d, config %+v, log %v", m.seed, m.cfg, m.log)
	}
}

func (m *model) checkWaiters() {
	kept := m.waiters[:0]
	for _, w := range m.waiters {
		select {
		case err := <-w.done:
			assert.True(m.t, w.released, "Drain(%d) returned too early", w.level)
			switch {
			case m.lostBefore:
				assert.ErrorIs(m.t, err, backpressure.ErrClosed)
			case !m.lost:
				assert.NoError(m.t, err)
			}
			w.cancel()
		default:
			assert.False(m.t, w.released, "Drain(%d) still waits", w.level)
			kept = append(kept, w)
		}
	}
	m.waiters = kept
	m.lostBefore = m.lost
}

// end closes the queue and checks that nothing has been left or lost.
func (m *model) end() {
	m.wire.failAt(0, nil)
	if m.t.Failed() { // only let go of everything
		m.Fail(errBroken)
		m.wire.setRoom(unlimited)
		return
	}
	if m.prefaced {
		m.release()
	}
	m.allow(unlimited, m.rnd.IntN(2) == 0)
	synctest.Wait()
	m.check()
	if m.rnd.IntN(2) == 0 {
		m.close(false)
		for len(m.streams) > 0 {
			m.writeStream()
			m.settle()
		}
	}
	m.close(true)
	m.settle()
	m.note("end")
	m.check()
	if m.t.Failed() {
		return
	}
	m.wantFinished(m.err)
	assert.Empty(m.t, m.waiters)
	var whole []*modelMessage
	for _, msg := range m.sent {
		if len(msg.units) == 0 && !msg.open && !msg.cut {
			whole = append(whole, msg)
		}
	}
	tr := m.transcript()
	payloads := make([][]byte, len(whole))
	for i, msg := range whole {
		payloads[i] = msg.payload
	}
	tr.want(m.t, payloads...)
	if m.err == nil {
		assert.Equal(m.t, m.code != frame.CloseAbnormal, tr.closed)
		assert.False(m.t, tr.partial)
	}
}

// settle lets the wire take all that is there.
func (m *model) settle() {
	for range 10000 {
		synctest.Wait()
		awaiting, _, _ := m.wire.state()
		if !awaiting {
			return
		}
		m.wire.resume(&m.Queue, false)
	}
	m.t.Fatal("the queue makes no progress")
}

// note keeps the last operations for the report of a failure.
func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
	m.log = m.log[max(0, len(m.log)-40):]
}

func head(b []byte) []byte { return b[:min(len(b), 16)] }
