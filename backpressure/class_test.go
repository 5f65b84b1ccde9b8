package backpressure_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// gapText names what a gap stands for.
func gapText(l backpressure.Lost) (frame.Opcode, []byte) {
	return frame.Text, fmt.Appendf(nil, "[%s %d,%d,%d]", l.Class.Name, l.Overflowed, l.Expired, l.Replaced)
}

// A script is what is sent to a queue of 100 bytes whose socket is full, and what
// the peer gets.
type script struct {
	*rig
	classes map[byte]*backpressure.Class
}

func newScript(t *testing.T, classes map[byte]*backpressure.Class) *script {
	s := &script{rig: newRig(t, backpressure.Config{HighWater: 100, LowWater: 20}), classes: classes}
	s.wire.setRoom(0)
	s.SendControl(frame.Ping, nil) // 2 bytes; the socket is full from here on
	for name, c := range classes {
		c.Name = string(name)
	}
	return s
}

// send offers messages such as "a30" or "a30=key" (class a, 30 bytes on the wire)
// and returns the first letters of the verdicts, in lower case.
func (s *script) offer(messages string) string {
	var verdicts strings.Builder
	for i, m := range strings.Fields(messages) {
		m, key, _ := strings.Cut(m, "=")
		var size int
		_, err := fmt.Sscan(m[1:], &size)
		require.NoError(s.tb, err)
		p := []byte(strings.Repeat(string(rune('0'+i%10)), size-2))
		v := s.Send(backpressure.Message{Opcode: frame.Text, Payload: p, Class: s.classes[m[0]], Key: key})
		verdicts.WriteByte(v.String()[0])
	}
	return verdicts.String()
}

// got returns the first byte of each message, or a whole gap.
func (s *script) got() string {
	s.allow(unlimited, false)
	s.allowAll()
	var b strings.Builder
	for _, m := range s.transcript().messages {
		if p := string(m.payload); p == "" {
			b.WriteByte('_')
		} else if p[0] == '[' {
			b.WriteString(p)
		} else {
			b.WriteByte(p[0])
		}
	}
	assert.Zero(s.tb, s.Pending())
	assert.Zero(s.tb, s.Held())
	assert.Zero(s.tb, s.cfg.Pool.Out())
	return b.String()
}

func policies() map[byte]*backpressure.Class {
	return map[byte]*backpressure.Class{
		'c': {},
		'n': {Overflow: backpressure.DropNewest},
		'o': {Overflow: backpressure.DropOldest},
		'p': {Overflow: backpressure.DropOldest},
		'N': {Overflow: backpressure.DropNewest, Gap: gapText},
		'M': {Overflow: backpressure.DropNewest, Gap: gapText},
		'O': {Overflow: backpressure.DropOldest, Gap: gapText},
		'd': {Overflow: backpressure.Disconnect},
	}
}

// What each policy takes and drops, to the byte. The ping has 2 of the 100 bytes.
func TestPolicies(t *testing.T) {
	for _, row := range []struct{ name, offer, verdicts, got string }{
		{"congest takes what crosses", "c98 c50 c2", "qqc", "01"},
		{"congest is not taken below the high mark again", "c40 c59 c2", "qqc", "01"},
		{"newest: exactly full", "n98", "q", "0"},
		{"newest: one byte too much", "n99", "d", ""},
		{"newest: a smaller one still fits", "n90 n20 n8", "qdq", "02"},
		{"newest: an empty message has two bytes", "n97 n2", "qd", "0"},
		{"disconnect: exactly full", "d50 d48", "qq", "01"},
		{"disconnect: one byte too much", "d50 d49 d2", "qoc", ""},
		{"oldest: exactly full", "o50 o48", "qq", "01"},
		{"oldest: one byte too much", "o50 o49", "qq", "1"},
		{"oldest: as many as it takes", "o30 o30 o30 o60", "qqqq", "23"},
		{"oldest: no more than it takes", "o30 o30 o38 o30", "qqqq", "123"},
		{"oldest: in vain, so none", "n60 o30 o50", "qqd", "01"},
		{"oldest: only its own class", "o30 p30 p38 o20", "qqqq", "123"},
		{"oldest: never the others", "p30 o30 p38 p30", "qqqq", "123"},
		{"oldest: never a plain one", "c98 o20", "qd", "0"},
		{"a key takes the old one's place", "c20=a c20 c20=a", "qqq", "21"},
		{"a key of another class does not", "o20=a p20=a", "qq", "01"},
		{"another key does not", "c20=a c20=b", "qq", "01"},
		{"a key under congestion", "c20=a c90 c20=a c2", "qqqc", "21"},
		{"a key that needs more than there is", "n20=a n78 n22=a", "qqd", "01"},
		{"a key that needs all there is", "n20=a n70 n28=a", "qqq", "21"},
		{"a key that crosses", "c20=a c70 c40=a c2", "qqqc", "21"},
		{"a key, no policy of its own, thrice", "n20=a n20=a n20=a", "qqq", "2"},
		{"gap at the end", "N90 N20 N20", "qdd", "0[N 2,0,0]"},
		{"gap where it was", "c20 O30 c20 O30 O28", "qqqqq", "0[O 1,0,0]234"},
		{"gaps merge", "O30 O30 O38 O60", "qqqq", "[O 2,0,0]23"},
		{"gaps of two classes beside one another", "c96 N20 M20 N20 M20", "qdddd", "0[N 2,0,0][M 2,0,0]"},
		{"gaps merge when what was between them is dropped", "c40 N60 o30 N40 o58", "qdqdq", "0[N 2,0,0]4"},
		{"replaced messages leave no gap", "O30=a O30=a", "qq", "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t, policies())
			assert.Equal(t, row.verdicts, s.offer(row.offer))
			assert.Equal(t, row.got, s.got())
		})
	}
}

// Whatever is dropped, gaps do not grow without bound.
func TestGapsAreBounded(t *testing.T) {
	s := newScript(t, policies())
	s.offer("c60")
	for range 1000 {
		s.offer("O30 N40 M40")
		require.LessOrEqual(t, s.Gaps(), 6)
	}
	assert.Less(t, s.Held(), 20<<10)
	lost := map[string]int{}
	for _, l := range s.TakeLost() {
		lost[l.Class.Name] = l.Overflowed
	}
	assert.Equal(t, map[string]int{"O": 999, "N": 1000, "M": 1000}, lost)
}

// A gap is written although nobody sends any more, makes nobody congested, and is
// left out if it is no data message.
func TestGapAlone(t *testing.T) {
	budget := backpressure.NewBudget(1 << 20)
	other := backpressure.NewAccount(budget)
	other.Add(2 << 20)
	class := &backpressure.Class{Name: "x", Overflow: backpressure.DropNewest, Gap: gapText}
	r := newRig(t, backpressure.Config{Budget: budget, Class: class})
	assert.Equal(t, backpressure.Dropped, r.send(pattern(0, 20000)))
	assert.Equal(t, "[x 1,0,0]", string(r.transcript().messages[0].payload))
	assert.Equal(t, 1, r.events.dropped)
	for _, op := range []frame.Opcode{frame.Continuation, frame.Close, frame.Ping, 3, 11} {
		r := newRig(t, backpressure.Config{Budget: budget, Class: &backpressure.Class{
			Overflow: backpressure.DropNewest,
			Gap:      func(backpressure.Lost) (frame.Opcode, []byte) { return op, []byte("x") },
		}})
		assert.Equal(t, backpressure.Dropped, r.send(pattern(0, 20000)))
		assert.Empty(t, r.wire.taken())
		assert.Zero(t, r.Held())
	}
	r = newRig(t, backpressure.Config{HighWater: 100, Class: &backpressure.Class{
		Overflow: backpressure.DropNewest,
		Gap:      func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Text, pattern(0, 500) },
	}})
	r.wire.setRoom(0)
	r.mustSend(pattern(0, 90))
	for range 3 {
		r.SendControl(frame.Ping, pattern(0, 100)) // exempt
	}
	assert.Equal(t, backpressure.Dropped, r.send(pattern(0, 90)))
	assert.False(t, r.Congested())
	r.allow(92+3*102, false)
	assert.Equal(t, 504, r.Pending())
	assert.False(t, r.Congested())
	r.allow(unlimited, false)
	require.Len(t, r.transcript().messages, 2)
}

// A message that the socket has taken a byte of stays, and so does one that is
// inside Write; one that came back from there whole may go.
func TestDropOldestSparesWhatIsUnderWay(t *testing.T) {
	for _, row := range []struct {
		name string
		room int // that the first message meets
		want string
	}{{"whole", 0, "12"}, {"begun", 1, "02"}, {"no need", 59, "012"}} {
		for _, hold := range []bool{false, true} { // the first one is written directly, or through the lane
			t.Run(fmt.Sprint(row.name, hold), func(t *testing.T) {
				r := newRig(t, backpressure.Config{HighWater: 200, Class: &backpressure.Class{Overflow: backpressure.DropOldest}})
				r.wire.setRoom(row.room)
				for i, size := range []int{60, 41, 120} {
					p := []byte(strings.Repeat(string(rune('0'+i)), size-2))
					assert.Equal(t, backpressure.Queued, r.Send(backpressure.Message{Opcode: frame.Text, Payload: p, Hold: hold && i == 0}))
				}
				r.allow(unlimited, false)
				got := ""
				for _, m := range r.transcript().messages {
					got += string(m.payload[:1])
				}
				assert.Equal(t, row.want, got)
			})
		}
	}
	t.Run("inside Write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t, policies())
			s.offer("o30 o30 o38")
			go s.wire.resume(&s.Queue, true)
			synctest.Wait()
			assert.Equal(t, "d", s.offer("o20"))
			assert.Zero(t, s.Shed())
			s.wire.setRoom(unlimited)
			synctest.Wait()
			assert.Equal(t, "012", s.got())
		})
	})
}

// Of two values under one key the newer is the one that gives way, also when the
// older comes back from a direct write.
func TestKeyBehindDirectWrite(t *testing.T) {
	class := new(backpressure.Class)
	r := newRig(t, backpressure.Config{Class: class})
	send := func(p string) {
		require.Equal(t, backpressure.Queued, r.Send(backpressure.Message{Opcode: frame.Text, Payload: []byte(p), Key: "k"}))
	}
	r.wire.setRoom(0)
	r.wire.during = func([]byte, bool) {
		r.wire.during = nil
		send("second")
	}
	send("first")
	send("third")
	r.allow(unlimited, false)
	r.transcript().want(t, []byte("first"), []byte("third"))
}

// A message keeps the class that it had when it was sent.
func TestSetClass(t *testing.T) {
	a, b := &backpressure.Class{Overflow: backpressure.DropOldest}, new(backpressure.Class)
	r := newRig(t, backpressure.Config{Class: a})
	r.wire.setRoom(0)
	r.wire.during = func([]byte, bool) { r.SetClass(b) }
	r.mustSend([]byte("of class a"))
	r.mustSend([]byte("of class b"))
	assert.Positive(t, r.Shed())
	r.wire.during = nil
	r.allow(unlimited, false)
	r.transcript().want(t, []byte("of class b"))
}

// Without a class a queue has that of its Config again.
func TestSetClassNil(t *testing.T) {
	r := newRig(t, backpressure.Config{HighWater: 100, Class: &backpressure.Class{Overflow: backpressure.DropNewest}})
	r.SetClass(new(backpressure.Class))
	r.SetClass(nil)
	r.wire.setRoom(0)
	r.mustSend(pattern(0, 90))
	assert.Equal(t, backpressure.Dropped, r.send(pattern(0, 90)))
	assert.Equal(t, 92, r.Pending())
}

// Time to live: to the nanosecond, at the head, behind others, at admission, and
// renewed by a new value.
func TestTTL(t *testing.T) {
	const ttl = time.Second
	classes := func() map[byte]*backpressure.Class {
		return map[byte]*backpressure.Class{
			't': {TTL: ttl, Overflow: backpressure.DropNewest}, 'T': {TTL: ttl, Gap: gapText}, 'n': {Overflow: backpressure.DropNewest},
		}
	}
	for _, row := range []struct {
		name, first string
		sleep       time.Duration
		then        string
		verdicts    string
		got         string
	}{
		{"not yet", "t30 t30", ttl, "", "", "01"},
		{"head", "t30 t30", ttl + 1, "", "", ""},
		{"behind others", "n30 t30 n30", ttl + 1, "", "", "02"},
		{"gap", "n30 T30 T20 n10", ttl + 1, "", "", "0[T 0,2,0]3"},
		{"room at admission", "t50 t48", ttl + 1, "n98", "q", "0"},
		{"no room at admission", "t50 t48", ttl, "n98", "d", "01"},
		{"room where a new value keeps the first from expiring", "t30=a t68=b", ttl/2 + 1, "t30=a", "q", "01"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t, classes())
				s.offer(row.first)
				time.Sleep(row.sleep)
				assert.Equal(t, row.verdicts, s.offer(row.then))
				if strings.HasPrefix(row.name, "room where") {
					time.Sleep(ttl / 2)
					assert.Equal(t, "q", s.offer("n60"))
					row.got = "00"
				}
				assert.Equal(t, row.got, s.got())
				for _, l := range s.TakeLost() {
					assert.Zero(t, l.Overflowed-strings.Count(row.verdicts, "d"))
				}
			})
		})
	}
}

// A time to live beyond what a clock can count is as good as none.
func TestTTLForEver(t *testing.T) {
	r := newRig(t, backpressure.Config{Class: &backpressure.Class{TTL: math.MaxInt64}})
	r.wire.setRoom(0)
	r.mustSend([]byte("waits"))
	r.allow(unlimited, false)
	r.transcript().want(t, []byte("waits"))
}

// A notice does not wait for a write that blocks.
func TestNoticeBeforeBlockedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, map[byte]*backpressure.Class{'t': {TTL: time.Second}, 'c': {}})
		s.offer("t90 t50 c2")
		require.True(t, s.Congested())
		time.Sleep(2 * time.Second)
		go s.wire.resume(&s.Queue, true)
		synctest.Wait()
		_, blocked, _ := s.wire.state()
		require.True(t, blocked)
		drained, _, _ := s.events.counts()
		assert.Equal(t, 1, drained)
		assert.Equal(t, 1, s.events.dropped)
		s.wire.setRoom(2) // the ping
		synctest.Wait()
		assert.Zero(t, s.Pending())
	})
}

// A writer that finds its head about to expire must not stop: real time passes
// between two looks at the clock.
func TestExpiryLosesNoWakeUp(t *testing.T) {
	r := newRig(t, backpressure.Config{CorkSize: 1 << 20, HighWater: 1 << 30})
	r.wire.tb = t
	plain := new(backpressure.Class)
	for i := range 3000 {
		class := &backpressure.Class{TTL: time.Duration(i%1000) * 2}
		r.Cork()
		for range 3 {
			r.Send(backpressure.Message{Opcode: frame.Text, Class: class})
		}
		r.Send(backpressure.Message{Opcode: frame.Text, Class: plain})
		r.Uncork()
		r.Flush()
		require.Zero(t, r.Pending(), "nobody writes what is pending")
	}
}

// Shed drops what may be dropped, once, and nothing of a queue that has ended.
func TestShed(t *testing.T) {
	s := newScript(t, policies())
	s.offer("o20 c20 p20 n20")
	held := s.Held()
	freed := s.Shed()
	assert.Equal(t, held-s.Held(), freed)
	assert.Equal(t, 2*(backpressure.ItemCost+512), freed)
	assert.Equal(t, 42, s.Pending())
	assert.Zero(t, s.Shed())
	assert.Equal(t, uint64(2), s.cfg.Drops.Newest.Load()+s.cfg.Drops.Oldest.Load())
	assert.Equal(t, "13", s.got())

	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, policies())
		go s.wire.resume(&s.Queue, true)
		synctest.Wait()
		s.offer("o20")
		s.Fail(errBroken)
		assert.Zero(t, s.Shed())
		assert.Zero(t, s.Pending())
		assert.Zero(t, s.cfg.Drops.Newest.Load()+s.cfg.Drops.Oldest.Load())
		s.wire.setRoom(unlimited)
		synctest.Wait()
		s.wantFinished(errBroken)
		assert.Zero(t, s.Held())
	})
}

// A starved queue comes back by Relieve, once, and not before; Room waits for that
// and does not spin.
func TestRelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := backpressure.NewBudget(1 << 20)
		other := backpressure.NewAccount(budget)
		other.Add(1 << 20)
		r := newRig(t, backpressure.Config{Budget: budget})
		assert.Equal(t, backpressure.Congested, r.send(pattern(0, 30000)))
		assert.True(t, r.Congested())
		assert.True(t, r.Status().Starved)
		assert.Equal(t, backpressure.Congested, r.send(nil), "refused whatever its size")
		done := make(chan error, 1)
		go func() { done <- sendWait(&r.Queue, t.Context(), data(frame.Binary, pattern(0, 30000))) }()
		synctest.Wait()
		r.Relieve()
		synctest.Wait()
		require.Empty(t, done)
		other.Add(-1 << 20)
		synctest.Wait()
		require.Empty(t, done, "nobody has relieved it")
		r.Relieve()
		r.Relieve()
		synctest.Wait()
		require.NoError(t, <-done)
		drained, _, _ := r.events.counts()
		assert.Equal(t, 1, drained)
		r.transcript().want(t, pattern(0, 30000))

		other.Add(1 << 20)
		assert.Equal(t, backpressure.Congested, r.send(pattern(0, 30000)))
		r.Close(frame.CloseNormal, "", false)
		r.wantFinished(nil)
		assert.False(t, r.Status().Starved)
		other.Add(-1 << 20)
		r.Relieve()
		drained, _, _ = r.events.counts()
		assert.Equal(t, 1, drained, "Drained after Finished")
	})
}

// The budget lets nobody drop in vain, and a replacement needs only what it is
// larger by.
func TestBudgetAtAdmission(t *testing.T) {
	budget := backpressure.NewBudget(1 << 20)
	other := backpressure.NewAccount(budget)
	class := &backpressure.Class{Overflow: backpressure.DropOldest}
	r := newRig(t, backpressure.Config{Budget: budget, Class: class, HighWater: 25000})
	r.wire.setRoom(0)
	m := backpressure.Message{Opcode: frame.Binary, Payload: pattern(1, 20000), Key: "k"}
	require.Equal(t, backpressure.Queued, r.Send(m))
	other.Add(2 << 20)
	m.Payload = pattern(2, 20000)
	assert.Equal(t, backpressure.Queued, r.Send(m), "replaced")
	assert.Equal(t, backpressure.Dropped, r.send(pattern(3, 20000)), "the oldest would go for nothing")
	other.Add(-2 << 20)
	r.allowAll()
	r.allow(unlimited, false)
	r.allowAll()
	r.transcript().want(t, pattern(2, 20000))
	assert.Zero(t, budget.Used())
	assert.Zero(t, r.Held())
}

// A prepared message is charged to the budget once, while it waits anywhere.
func TestPreparedIsChargedOnce(t *testing.T) {
	budget := backpressure.NewBudget(1 << 30)
	p := backpressure.Prepare(frame.Text, frame.RSV1, pattern(0, 3000), budget)
	assert.Zero(t, budget.Used())
	rigs := make([]*rig, 5)
	for i := range rigs {
		rigs[i] = newRig(t, backpressure.Config{Budget: budget})
		rigs[i].wire.setRoom(0)
		rigs[i].Send(prep(p, false))
		rigs[i].Send(prep(p, true))
		assert.Equal(t, 3004, budget.Used())
		assert.Equal(t, 2*backpressure.ItemCost, rigs[i].Held())
	}
	for i, r := range rigs {
		assert.Equal(t, 3004, budget.Used())
		if i == 0 {
			r.Fail(errBroken)
		} else {
			r.allow(unlimited, false)
			assert.Equal(t, byte(frame.RSV1), r.transcript().messages[0].rsv)
		}
		assert.Zero(t, r.Held())
	}
	assert.Zero(t, budget.Used())
}

// The counters and TakeLost say the same, once.
func TestTakeLost(t *testing.T) {
	s := newScript(t, policies())
	assert.Nil(t, s.TakeLost())
	s.offer("o50 n40 o40 n40 o40 n5=a n5=a")
	got := map[string]backpressure.Lost{}
	for _, l := range s.TakeLost() {
		got[l.Class.Name] = l
	}
	o, n := s.classes['o'], s.classes['n']
	assert.Equal(t, map[string]backpressure.Lost{
		"o": {Class: o, Overflowed: 2, Bytes: 48 + 38}, "n": {Class: n, Overflowed: 1, Replaced: 1, Bytes: 38 + 3},
	}, got)
	assert.Equal(t, 3, got["o"].Messages()+got["n"].Overflowed)
	assert.Nil(t, s.TakeLost())
	assert.Equal(t, uint64(3), s.cfg.Drops.Newest.Load()+s.cfg.Drops.Oldest.Load())
	assert.Equal(t, uint64(1), s.cfg.Drops.Replaced.Load())
	s.got()
	assert.False(t, s.Backlog())
}

// The wire stops anywhere, for classed messages, and in every way: the peer gets
// whole messages, in order, and everything is given back.
func TestClassedShortWrites(t *testing.T) {
	for _, end := range []string{"full", "error", "error with data", "one byte"} {
		for k := range 260 {
			s := newScript(t, policies())
			s.SendControl(frame.Pong, nil)
			s.offer("O30=a c20 o20")
			s.allow(k, false)
			s.offer("O30 o40 N40 O30=a o30 N70 p98")
			taken := len(s.wire.taken())
			switch end {
			case "error":
				s.wire.failAt(taken, errBroken)
			case "error with data":
				s.wire.failAt(taken+10, errBroken)
			case "one byte":
				s.wire.atMost = func(int) int { return 1 }
			}
			s.allowAll()
			tr := s.transcript()
			for _, m := range tr.messages {
				if m.payload[0] != '[' {
					require.Equal(t, strings.Repeat(string(m.payload[0]), len(m.payload)), string(m.payload))
				}
			}
			if strings.HasPrefix(end, "error") && s.Send(data(frame.Text, nil)) == backpressure.Closed {
				s.wantFinished(errBroken)
			} else {
				s.Close(frame.CloseNormal, "", false)
				s.allowAll()
				if _, _, err := s.events.counts(); err == nil {
					require.False(t, tr.partial)
				}
			}
			require.Zero(t, s.Held())
			require.Zero(t, s.cfg.Pool.Out())
		}
	}
}

// Names for logs.
func TestNames(t *testing.T) {
	for p, want := range map[backpressure.Policy]string{0: "congest", 1: "drop newest", 2: "drop oldest", 3: "disconnect", 4: "unknown policy"} {
		assert.Equal(t, want, p.String())
	}
	assert.Equal(t, "dropped", backpressure.Dropped.String())
}

// A gap that waits is charged.
func TestGapIsCharged(t *testing.T) {
	s := newScript(t, policies())
	s.offer("c90")
	held := s.Held()
	s.offer("N20 N20")
	assert.Equal(t, held+backpressure.ItemCost, s.Held())
	assert.Equal(t, "0[N 2,0,0]", s.got())
}

// A discard that comes while a gap's message is being made drops that as well.
func TestDiscardDuringGap(t *testing.T) {
	for _, fail := range []bool{false, true} {
		s := newScript(t, policies())
		s.classes['N'].Gap = func(backpressure.Lost) (frame.Opcode, []byte) {
			if fail {
				s.Fail(errBroken)
			} else {
				s.Close(frame.CloseNormal, "", true)
			}
			return frame.Text, []byte("[late]")
		}
		s.offer("c90 N20")
		s.allow(unlimited, false)
		s.allowAll()
		assert.Len(t, s.transcript().messages, 1)
		if fail {
			s.wantFinished(errBroken)
		} else {
			s.wantFinished(nil)
		}
	}
}

// As many Uncorks as Corks.
func TestCorkCounts(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.Cork()
	r.Cork()
	r.Uncork()
	r.mustSend(nil)
	assert.Zero(t, r.wire.writes)
	r.Uncork()
	r.Flush()
	r.mustSend(nil)
	assert.Equal(t, 2, r.wire.writes)
}

// A stream behind a preface that is held back does not wait for ever.
func TestStreamReleasesPreface(t *testing.T) {
	r := newRig(t, backpressure.Config{})
	r.Preface(append(frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Text, Length: 1}), 'p'))
	s, _ := r.OpenStream(frame.Text, 0)
	done, err := s.TryWrite([]byte("a"), false)
	assert.True(t, done)
	require.NoError(t, err)
	done, err = s.TryWrite([]byte("b"), true)
	assert.False(t, done)
	require.NoError(t, err)
	<-s.Wake()
	done, err = s.TryWrite([]byte("b"), true)
	assert.True(t, done)
	require.NoError(t, err)
	r.transcript().want(t, []byte("p"), []byte("ab"))
}
