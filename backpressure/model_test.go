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
	"time"

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
	keyed    bool // rest is masked with the key that it was first offered with
}

// A modelMessage is one message, the close frame included.
type modelMessage struct {
	op      frame.Opcode
	rsv     byte
	payload []byte
	class   *backpressure.Class // nil: a stream, a filled gap or the close frame
	key     string
	until   time.Time          // zero: it does not expire
	begun   bool               // the socket has taken some of it
	gap     *backpressure.Lost // it is what stands for these
	units   []*unit            // not yet written
	open    bool               // a stream without its final fragment
	final   bool               // the close frame
	cut     bool               // will never be whole
}

type modelWaiter struct {
	level    int // -1: Room
	cancel   context.CancelFunc
	done     chan error
	released bool
}

type modelStream struct {
	s   *backpressure.Stream
	msg *modelMessage
	op  frame.Opcode
	rsv byte
}

// A modelPrepared is a prepared message and what must stay in it.
type modelPrepared struct {
	p       *backpressure.Prepared
	payload []byte
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
	waiters  []*modelWaiter
	streams  []*modelStream

	corked     bool
	held       bool // bytes wait for a Flush
	prefaced   bool // all wait for Release
	over       bool
	closing    bool
	code       frame.CloseCode
	dead       bool
	starved    bool
	wanted     int
	class      *backpressure.Class
	classes    []*backpressure.Class
	budget     *backpressure.Budget
	shared     *backpressure.Budget // of prepared messages: it always bears them; TestPreparedInBudget has one that does not
	outside    backpressure.Account
	members    int
	filling    bool // Gap is being asked
	unfilled   bool // and a discard came meanwhile
	gone       map[*backpressure.Class]backpressure.Lost
	drops      [3]uint64
	oldest     uint64  // of drops[0], under DropOldest
	dropsTold  uint64  // at the last check
	noticed    int     // likewise
	key        [4]byte // of the last frame that was offered for the first time
	prepared   []*modelPrepared
	whole      []*modelMessage
	hooked     int // operations that came with a notice
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
	cfg.Mask = seed%2 == 0
	cfg.LowWater = pick(1, cfg.HighWater/4, cfg.HighWater-1)
	m := &model{t: t, rnd: rnd, seed: seed, gone: make(map[*backpressure.Class]backpressure.Lost)}
	plain := rnd.IntN(4) == 0 // as it was before there were classes
	for range rnd.IntN(4) {
		m.classes = append(m.classes, m.newClass())
	}
	m.class = new(backpressure.Class)
	if rnd.IntN(3) == 0 {
		m.class = &backpressure.Class{Overflow: backpressure.Disconnect}
	} else if !plain && rnd.IntN(2) == 0 {
		m.class = m.newClass()
	}
	if plain {
		m.classes = nil
	}
	m.classes = append(m.classes, m.class)
	cfg.Class = m.class
	if rnd.IntN(2) == 0 {
		m.budget = backpressure.NewBudget(pick(40<<10, 150<<10, 400<<10))
		for range rnd.IntN(3) {
			if m.budget.Join() {
				m.members++
			}
		}
	}
	cfg.Budget = m.budget
	m.shared = backpressure.NewBudget(1 << 30)
	m.outside = backpressure.NewAccount(m.budget)
	m.rig = newRig(t, cfg)
	m.wire.room = rnd.IntN(5000)
	m.wire.atMost = m.atMost
	m.wire.during = m.duringWrite
	m.wire.landed = m.landed
	if rnd.IntN(3) == 0 {
		m.preface()
	}
	m.events.onDrained = func() { // the queue's lock is free here, between two writes
		// check is what sees the end without a close frame: too late for here.
		if m.code != frame.CloseAbnormal && !m.expires() && rnd.IntN(2) == 0 {
			m.hooked++
			m.operate()
		}
	}
	return m
}

// newClass makes a random one.
func (m *model) newClass() *backpressure.Class {
	c := &backpressure.Class{Overflow: backpressure.Policy(m.rnd.IntN(4))}
	if c.Overflow == backpressure.Disconnect && m.rnd.IntN(3) > 0 {
		c.Overflow = backpressure.DropOldest
	}
	if m.rnd.IntN(3) == 0 {
		c.TTL = time.Duration(1+m.rnd.IntN(50)) * time.Millisecond
	}
	if m.rnd.IntN(2) == 0 {
		c.Gap = m.fillGap
	}
	return c
}

// expires reports whether any message may.
func (m *model) expires() bool {
	return slices.ContainsFunc(m.classes, func(c *backpressure.Class) bool { return c.TTL > 0 })
}

// preface puts first what no discard drops and no control frame passes. It looks
// like a message, so that the wire's checks need not know of it.
func (m *model) preface() {
	msg := &modelMessage{op: frame.Text, payload: m.payload(120), begun: true}
	m.encode(msg, len(msg.payload))
	msg.units[0].begun, msg.units[0].keyed = true, true
	m.data = append(m.data, msg)
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
	case k < 89:
		m.drain()
	case k < 93:
		m.note("sleep")
		time.Sleep(time.Duration(m.rnd.IntN(40)) * time.Millisecond)
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
	switch k := m.rnd.IntN(220); {
	case k >= 215:
		m.shed()
	case k >= 210:
		m.takeLost()
	case k >= 206:
		m.relieve()
	case k >= 203:
		m.class = m.classes[m.rnd.IntN(len(m.classes))]
		m.note("set class %p", m.class)
		m.SetClass(m.class)
	case k >= 197:
		m.holdOutside()
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

// sizeOf returns the bytes on the wire that are left of a message.
func sizeOf(msg *modelMessage) (n int) {
	for _, u := range msg.units {
		n += len(u.rest)
	}
	return n
}

func tracked(msg *modelMessage) bool {
	return msg.class != nil && (msg.key != "" || msg.class.Overflow == backpressure.DropOldest || msg.class.TTL > 0)
}

// waits reports whether a message may still be dropped or replaced.
func (m *model) waits(msg *modelMessage) bool {
	if !tracked(msg) || msg.begun || len(msg.units) == 0 {
		return false
	}
	return !slices.ContainsFunc(msg.units, func(u *unit) bool { return slices.Contains(m.offer, u) })
}

func (m *model) expired(msg *modelMessage) bool {
	return m.waits(msg) && !msg.until.IsZero() && time.Now().After(msg.until)
}

// waiting returns the newest waiting message with this one's class and key.
func (m *model) waiting(msg *modelMessage) (old *modelMessage) {
	for _, o := range m.data {
		if msg.key != "" && o.class == msg.class && o.key == msg.key && m.waits(o) {
			old = o
		}
	}
	return old
}

// lose counts a message that is dropped, for a reason of Lost.
func (m *model) lose(msg *modelMessage, why int) backpressure.Lost {
	l := backpressure.Lost{Class: msg.class, Bytes: len(msg.payload)}
	*[]*int{&l.Overflowed, &l.Expired, &l.Replaced}[why] = 1
	m.drops[why]++
	if why == 0 && msg.class.Overflow == backpressure.DropOldest {
		m.oldest++
	}
	m.gone[msg.class] = sum(m.gone[msg.class], l)
	return l
}

func sum(a, b backpressure.Lost) backpressure.Lost {
	return backpressure.Lost{
		Class: b.Class, Overflowed: a.Overflowed + b.Overflowed, Expired: a.Expired + b.Expired,
		Replaced: a.Replaced + b.Replaced, Bytes: a.Bytes + b.Bytes,
	}
}

// drop takes a waiting message away; a gap stays.
func (m *model) drop(msg *modelMessage, why int) {
	l := m.lose(msg, why)
	if msg.class.Gap != nil {
		*msg = modelMessage{gap: &l}
	} else {
		m.data = slices.DeleteFunc(m.data, func(o *modelMessage) bool { return o == msg })
	}
	m.mergeGaps()
	m.fell()
}

// mergeGaps makes one of those of a class that have only gaps between them.
func (m *model) mergeGaps() {
	var kept []*modelMessage
	for _, msg := range m.data {
		merged := false
		for i := len(kept) - 1; msg.gap != nil && i >= 0 && kept[i].gap != nil; i-- {
			if kept[i].gap.Class == msg.gap.Class {
				both := sum(*kept[i].gap, *msg.gap)
				kept[i].gap, merged = &both, true
				break
			}
		}
		if !merged {
			kept = append(kept, msg)
		}
	}
	m.data = kept
}

// expire drops all that has waited too long.
func (m *model) expire() (any bool) {
	for _, msg := range slices.Clone(m.data) {
		if m.expired(msg) {
			m.drop(msg, 1)
			any = true
		}
	}
	return any
}

// expireFirst does it for what comes next, gaps apart, as a writer does.
func (m *model) expireFirst() {
	for {
		i := slices.IndexFunc(m.data, func(msg *modelMessage) bool { return msg.gap == nil })
		if i < 0 || !m.expired(m.data[i]) {
			return
		}
		m.drop(m.data[i], 1)
	}
}

// fillGap is called by the queue when a gap's turn has come.
func (m *model) fillGap(l backpressure.Lost) (frame.Opcode, []byte) {
	m.note("gap %p %+v", l.Class, l)
	m.expireFirst()
	if !assert.NotEmpty(m.t, m.data) || !assert.NotNil(m.t, m.data[0].gap, "a gap that is not next") {
		return 0, nil
	}
	assert.Equal(m.t, *m.data[0].gap, l)
	assert.Nil(m.t, m.offer)
	m.data = m.data[1:]
	m.filling, m.unfilled = true, false
	if !m.expires() && m.rnd.IntN(2) == 0 {
		m.operate()
	}
	m.filling = false
	if m.rnd.IntN(5) == 0 {
		return []frame.Opcode{frame.Continuation, frame.Ping, frame.Close, 3, 11}[m.rnd.IntN(5)], []byte("never")
	}
	p := fmt.Appendf(nil, "gap %d %d %d %d", l.Overflowed, l.Expired, l.Replaced, l.Bytes)
	if m.rnd.IntN(8) == 0 {
		p = m.payload(m.size())
	}
	if !m.dead && !m.unfilled {
		msg := &modelMessage{op: m.op(), payload: p}
		m.encode(msg, m.cfg.ChunkSize)
		m.data = append([]*modelMessage{msg}, m.data...)
		return msg.op, p
	}
	return frame.Text, p
}

// makePlace reports whether there is room for a message, and for which it may take
// the place of.
func (m *model) makePlace(msg *modelMessage, cost func() int) (old *modelMessage, ok bool) {
	fits := func(more int) bool {
		p := m.pending()
		if msg.class.Overflow == backpressure.Congest && !m.over {
			return true
		}
		return msg.class.Overflow != backpressure.Congest && (p == 0 || p+more <= m.cfg.HighWater)
	}
	if old = m.waiting(msg); old != nil {
		more := sizeOf(msg) - sizeOf(old)
		if (more <= 0 || m.pending()+more <= m.cfg.HighWater || fits(more)) && m.fitsInstead(msg, cost()) {
			return old, true
		}
	}
	return nil, fits(sizeOf(msg)) && m.Fits(cost())
}

// fitsInstead: what the budget says to a replacement is the one thing that the
// model asks the queue, which knows the old one's charge.
func (m *model) fitsInstead(msg *modelMessage, cost int) bool {
	return m.Fits(cost - m.Charge(msg.class, msg.key))
}

// admit is what the queue must answer, and does what comes with it.
func (m *model) admit(msg *modelMessage, cost func() int, direct bool) backpressure.Verdict {
	if m.closing || m.dead {
		return backpressure.Closed
	}
	if direct && len(m.data) == 0 && len(m.controls) == 0 && !m.corked && !m.prefaced && !m.starved && !m.Status().Blocked {
		m.push(msg)
		return backpressure.Queued
	}
	old, ok := m.makePlace(msg, cost)
	if !ok && m.expire() {
		if m.budget != nil {
			m.Expire() // what the budget says depends on it
		}
		old, ok = m.makePlace(msg, cost)
	}
	switch {
	case ok && old != nil:
		m.replace(old, msg)
		return backpressure.Queued
	case ok:
		m.push(msg)
		return backpressure.Queued
	}
	switch msg.class.Overflow {
	case backpressure.Congest:
		if !m.over {
			m.over, m.starved, m.wanted = true, true, cost()
		}
		return backpressure.Congested
	case backpressure.Disconnect:
		m.overflow(msg.class)
		return backpressure.Overflowed
	case backpressure.DropOldest:
		if m.Fits(cost()) && m.dropOldest(msg) {
			m.push(msg)
			return backpressure.Queued
		}
	}
	if l := m.lose(msg, 0); msg.class.Gap != nil {
		m.data = append(m.data, &modelMessage{gap: &l})
		m.mergeGaps()
	}
	return backpressure.Dropped
}

// dropOldest drops no more than it must, and nothing in vain.
func (m *model) dropOldest(msg *modelMessage) bool {
	var victims []*modelMessage
	pending := m.pending()
	enough := func() bool { return pending == 0 || pending+sizeOf(msg) <= m.cfg.HighWater }
	for _, o := range m.data {
		if !enough() && o.class == msg.class && m.waits(o) {
			victims = append(victims, o)
			pending -= sizeOf(o)
		}
	}
	if !enough() {
		return false
	}
	for _, o := range victims {
		m.drop(o, 0)
	}
	if old := m.waiting(msg); old != nil {
		m.lose(old, 2)
		m.data = slices.DeleteFunc(m.data, func(o *modelMessage) bool { return o == old })
		m.fell()
	}
	return true
}

func (m *model) replace(old, msg *modelMessage) {
	m.lose(old, 2)
	*old = *msg
	for _, u := range old.units {
		u.msg = old
	}
	m.messages++
	m.rose()
	m.fell()
}

func (m *model) overflow(c *backpressure.Class) {
	m.discard()
	code := c.Code
	if code == 0 {
		code = frame.CloseTryAgainLater
	}
	m.pushClose(code, "outbound queue overflow")
	m.flushed()
}

// send offers a random message in a random way.
func (m *model) send() { m.offerMessage(false) }

func (m *model) sendPrepared() { m.offerMessage(true) }

func (m *model) offerMessage(prepared bool) {
	msg := &modelMessage{op: m.op(), payload: m.payload(m.size()), class: m.class}
	var given *backpressure.Class
	hold := m.rnd.IntN(4) == 0 || prepared && m.rnd.IntN(2) == 0
	if m.rnd.IntN(3) > 0 {
		given = m.classes[m.rnd.IntN(len(m.classes))]
		msg.class = given
	}
	if m.rnd.IntN(3) == 0 {
		msg.rsv = frame.RSV1
	}
	if len(m.classes) > 1 && m.rnd.IntN(3) == 0 {
		msg.key = string(rune('a' + m.rnd.IntN(3)))
	}
	if msg.class.TTL > 0 {
		msg.until = time.Now().Add(msg.class.TTL)
	}
	m.encode(msg, m.cfg.ChunkSize)
	payload := msg.payload // msg becomes a gap when it is dropped
	lent := bytes.Clone(payload)
	out := backpressure.Message{Opcode: msg.op, RSV: msg.rsv, Payload: lent, Class: given, Key: msg.key, Hold: hold}
	direct := !hold && len(lent) <= min(backpressure.SmallMessage, m.cfg.ChunkSize)
	if prepared {
		p := backpressure.Prepare(msg.op, msg.rsv, lent, m.shared)
		m.prepared = append(m.prepared, &modelPrepared{p, payload})
		out = backpressure.Message{Prepared: p, Class: given, Key: msg.key, Hold: hold}
		poison(lent)
		direct = direct || !hold && len(lent) <= m.cfg.ChunkSize && !m.cfg.Mask
	}
	asked, expired := m.CostOf(out), m.drops[1]
	want := m.admit(msg, func() int { return m.CostOf(out) }, direct)
	m.note("send %d prepared %v hold %v class %p %v ttl %v key %q: %v", len(lent), prepared, hold, msg.class, msg.class.Overflow, msg.class.TTL, msg.key, want)
	writes, held, hooked := m.wire.writes, m.Held(), m.hooked
	got := m.maybeHeld(want, m.corked || hold, hold, func() backpressure.Verdict { return m.Send(out) })
	assert.True(m.t, prepared || bytes.Equal(payload, lent), "the sender's memory has been written to")
	poison(lent)
	assert.Equal(m.t, want, got)
	if m.wire.writes == writes && got == backpressure.Queued && m.drops[1] == expired && m.hooked == hooked {
		assert.LessOrEqual(m.t, m.Held()-held, asked, "the budget was asked for less than was charged")
	}
}

func (m *model) shed() {
	m.note("shed")
	for _, msg := range slices.Clone(m.data) {
		if m.waits(msg) && msg.class.Overflow == backpressure.DropOldest {
			m.drop(msg, 0)
		}
	}
	held := m.Held()
	freed := m.Shed()
	assert.GreaterOrEqual(m.t, freed, 0)
	assert.LessOrEqual(m.t, freed, held)
}

func (m *model) takeLost() {
	m.note("take lost")
	got := make(map[*backpressure.Class]backpressure.Lost)
	for _, l := range m.TakeLost() {
		assert.Zero(m.t, got[l.Class].Messages(), "twice")
		assert.Positive(m.t, l.Messages())
		got[l.Class] = l
	}
	assert.Equal(m.t, m.gone, got)
	clear(m.gone)
}

func (m *model) relieve() {
	m.note("relieve")
	if m.starved && m.Fits(m.wanted) {
		m.starved = false
		m.fell()
	}
	m.Relieve()
}

// holdOutside makes the budget tight, or less so.
func (m *model) holdOutside() {
	if m.budget == nil {
		return
	}
	n := -m.outside.Held()
	if m.rnd.IntN(2) == 0 {
		n = m.rnd.IntN(m.budget.Limit())
	}
	if n < 0 || m.outside.Fits(n) {
		m.note("outside %d", n)
		m.outside.Add(n)
	}
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
	got := m.maybeHeld(want, m.corked, false, func() backpressure.Verdict { return m.SendControl(op, lent) })
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
	m.data, m.controls, m.over, m.starved = nil, nil, false, false
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
	s := &modelStream{op: op, msg: &modelMessage{op: op, open: true}}
	if m.rnd.IntN(2) == 0 {
		s.rsv, s.msg.rsv = frame.RSV1, frame.RSV1
	}
	if want == backpressure.Queued {
		m.messages++
		m.data = append(m.data, s.msg)
		m.streams = append(m.streams, s)
		m.rose()
	}
	var got backpressure.Verdict
	s.s, got = m.OpenStream(op, s.rsv)
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
	if m.rnd.IntN(3) == 0 {
		level = -1
	}
	m.note("drain %d", level)
	ctx, cancel := context.WithCancel(context.Background())
	w := &modelWaiter{level: level, cancel: cancel, done: make(chan error, 1)}
	m.waiters = append(m.waiters, w)
	if m.reached(w) {
		w.released = true
	} else {
		m.prefaced = false
		m.held = false
	}
	go func() {
		if level < 0 {
			w.done <- m.Room(ctx)
			return
		}
		w.done <- m.Drain(ctx, level)
	}()
}

func (m *model) reached(w *modelWaiter) bool {
	return m.dead || w.level >= 0 && m.pending() <= w.level || w.level < 0 && !m.over
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

// encode cuts a message into frames of at most chunk bytes (RFC 6455 §5.4), the
// first of which has the reserved bits (RFC 7692 §6.1).
func (m *model) encode(msg *modelMessage, chunk int) {
	op, rsv, p := msg.op, msg.rsv, msg.payload
	for {
		n := min(len(p), chunk)
		h := frame.Header{Fin: n == len(p), RSV: rsv, Opcode: op}
		msg.units = append(msg.units, m.unit(msg, h, p[:n]))
		if p = p[n:]; len(p) == 0 {
			return
		}
		op, rsv = frame.Continuation, 0
	}
}

// unit encodes a frame. If it is to be masked its key is zero as yet.
func (m *model) unit(msg *modelMessage, h frame.Header, p []byte) *unit {
	h.Masked, h.Length = m.cfg.Mask, int64(len(p))
	return &unit{rest: append(frame.AppendHeader(nil, h), p...), msg: msg}
}

// adopt masks the frame with the key with which it has been offered.
func (m *model) adopt(u *unit, offer []byte) {
	if !m.cfg.Mask || u.keyed {
		return
	}
	h, n, err := frame.ParseHeader(offer)
	require.NoError(m.t, err)
	require.True(m.t, h.Masked, "an unmasked frame")
	require.NotEqual(m.t, m.key, h.Mask, "two frames with one key: by chance once in 2^32")
	m.key, u.keyed = h.Mask, true
	_, own, _ := frame.ParseHeader(u.rest)
	require.Equal(m.t, own, n, "not the frame that was sent")
	copy(u.rest[n-4:], h.Mask[:])
	frame.Mask(u.rest[n:], h.Mask, 0)
}

func (m *model) push(msg *modelMessage) {
	m.data = append(m.data, msg)
	m.messages++
	m.rose()
}

func (m *model) pushFragment(s *modelStream, p []byte, fin bool) {
	s.msg.units = append(s.msg.units, m.unit(s.msg, frame.Header{Fin: fin, RSV: s.rsv, Opcode: s.op}, p))
	s.msg.payload = append(s.msg.payload, p...)
	s.op, s.rsv = frame.Continuation, 0
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
	msg.units = []*unit{m.unit(msg, frame.Header{Fin: true, Opcode: frame.Close}, p)}
	m.data = append(m.data, msg)
	m.rose()
}

// pushControl: those that have not been offered yet give way if they are too many.
func (m *model) pushControl(op frame.Opcode, p []byte) {
	u := m.unit(nil, frame.Header{Fin: true, Opcode: op}, p)
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
	m.unfilled = true
	m.data = slices.DeleteFunc(m.data, func(msg *modelMessage) bool {
		if msg.final {
			return false
		}
		if msg.gap != nil {
			return true
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
	if m.over && pending <= m.cfg.LowWater && !m.starved {
		m.over = false
		m.drained++
	}
	for _, w := range m.waiters {
		if m.reached(w) {
			w.released = true
		}
	}
}

// maybeHeld makes a send that writes nothing if it may be held back, unless
// CorkSize has been reached.
func (m *model) maybeHeld(want backpressure.Verdict, held, hold bool, send func() backpressure.Verdict) backpressure.Verdict {
	full := m.pending() >= m.cfg.CorkSize
	writes := want == backpressure.Queued && !(held && !full) || want == backpressure.Dropped && !hold && !(m.corked && !full)
	held = m.prefaced && !m.dead || (want == backpressure.Queued || want == backpressure.Dropped) && !writes
	if held && m.idle() {
		m.held = true
	} else if !held && writes {
		m.flushed()
	}
	before, hooked := m.wire.writes, m.hooked
	got := send()
	if held && m.hooked == hooked {
		assert.Equal(m.t, before, m.wire.writes, "a send that is held back wrote")
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
	m.expireFirst()
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
			for len(data) > 0 && frames == len(data[0].units) && !data[0].open && data[0].gap == nil {
				data, frames = data[1:], 0
			}
			require.NotEmpty(m.t, data, "a data frame that nobody sent")
			require.Nil(m.t, data[0].gap, "a gap is passed over")
			require.False(m.t, m.expired(data[0]), "an expired message is offered")
			require.Less(m.t, frames, len(data[0].units), "data overtakes a stream")
			u = data[0].units[frames]
			frames++
			last = frames < len(data[0].units) || data[0].open
			if data[0].final {
				require.Empty(m.t, controls, "control frames behind the close frame")
			}
		}
		m.adopt(u, offer)
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
		if u.msg != nil {
			u.msg.begun = u.msg.begun || k > 0
		}
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
		if !u.msg.cut && !u.msg.final {
			m.whole = append(m.whole, u.msg)
		}
		m.data = slices.DeleteFunc(m.data, func(o *modelMessage) bool { return o == u.msg })
	}
}

func (m *model) finish() {
	m.dead = true
	if m.starved {
		m.starved, m.over = false, false
	}
	m.finished++
	m.fell()
}

// check compares all that can be observed.
func (m *model) check() {
	awaiting, blocked, full := m.wire.state()
	idle := !awaiting && !m.inflight
	if idle && !m.held && !m.dead {
		m.expireFirst()
	}
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
	m.checkDrops()
	drained, finished, err := m.events.counts()
	assert.Equal(m.t, m.drained, drained, "Drained")
	assert.Equal(m.t, m.finished, finished, "Finished")
	assert.Equal(m.t, m.err, err)
	if idle && !m.held && !m.dead {
		stuck := len(m.controls) > 0 || m.closing && len(m.data) == 0 || len(m.data) > 0 && (len(m.data[0].units) > 0 || m.data[0].gap != nil)
		assert.False(m.t, stuck, "nobody writes what is pending")
	}
	m.checkWaiters()
	if m.t.Failed() {
		m.t.Logf("seed %d, config %+v, log %v", m.seed, m.cfg, m.log)
	}
}

func (m *model) checkDrops() {
	d := m.cfg.Drops
	assert.Equal(m.t, m.drops, [3]uint64{d.Newest.Load() + d.Oldest.Load(), d.Expired.Load(), d.Replaced.Load()}, "Drops")
	assert.Equal(m.t, m.oldest, d.Oldest.Load(), "Drops.Oldest")
	total := m.drops[0] + m.drops[1] + m.drops[2]
	assert.Equal(m.t, total > m.dropsTold, m.events.dropped > m.noticed, "NoticeDropped")
	m.dropsTold, m.noticed = total, m.events.dropped
	assert.Equal(m.t, m.starved, m.Status().Starved, "Starved")
	assert.Same(m.t, m.class, m.ClassNow())
	gaps := 0
	for _, msg := range m.data {
		if msg.gap != nil {
			gaps++
		}
	}
	if !m.dead {
		assert.Equal(m.t, gaps, m.Gaps(), "gaps")
		if len(m.data) == 0 && !m.inflight {
			assert.Zero(m.t, m.Held(), "nothing waits")
		}
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
			m.check()
		}
	}
	m.settle()
	m.check()
	m.close(true)
	m.settle()
	m.note("end")
	m.check()
	if m.t.Failed() {
		return
	}
	m.wantFinished(m.err)
	assert.Empty(m.t, m.waiters)
	m.takeLost()
	assert.False(m.t, m.Backlog(), "the backlog outlives its messages")
	assert.Zero(m.t, m.Held())
	m.outside.Add(-m.outside.Held())
	assert.Equal(m.t, m.members*footprint(m.budget), m.budget.Used(), "the budget leaks")
	assert.Zero(m.t, m.shared.Used(), "prepared messages are still referred to")
	for _, p := range m.prepared {
		assert.True(m.t, bytes.Equal(p.payload, p.p.Payload()), "a prepared message has been written to")
	}
	tr := m.transcript()
	payloads := make([][]byte, len(m.whole))
	for i, msg := range m.whole {
		payloads[i] = msg.payload
	}
	tr.want(m.t, payloads...)
	for i, msg := range m.whole {
		assert.Equal(m.t, msg.op, tr.messages[i].op)
		assert.Equal(m.t, msg.rsv, tr.messages[i].rsv)
	}
	if m.err == nil {
		assert.Equal(m.t, m.code != frame.CloseAbnormal, tr.closed)
		assert.False(m.t, tr.partial)
	}
}

func footprint(b *backpressure.Budget) int {
	if b == nil {
		return 0
	}
	return backpressure.Footprint
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
