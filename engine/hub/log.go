package hub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A log is the history of a room, and how its members follow it. What happens in the
// room (a message, a join, a leave, space in a member's queue) is noted in one order,
// under the group's lock, and carried out in that order by one goroutine at a time,
// with no lock held.
type log struct {
	// immutable
	h      *Hub
	room   string
	limits History

	// guarded by the group's mu: where the last message was published
	noted      uint64
	notedEpoch uint64

	// any goroutine
	events  errands[event]
	waiting atomic.Int64  // bytes of messages published and not yet sent
	gone    atomic.Uint64 // number of the last message that is not kept any more

	// whoever is at the events adds to the entries, anybody may have some forgotten
	mu      sync.Mutex // held for moments, and while no other lock is taken
	last    uint64     // number of the last message of the entries; written by who is at the events
	entries []entry    // the oldest first, their numbers without gaps
	unused  int        // entries before the first, in the same memory
	bytes   int
	counted int // what of the hub's bytes is this one's

	// owned by whoever is at the events
	epoch     uint64
	followers map[*engine.Conn]*follower
	live      set // those of the followers that have everything

	// of a shared one
	ready bool                       // the entries are the end of what is kept elsewhere
	aside map[*engine.Conn]*follower // followers that have to wait for that, or are ahead
}

// An event is something that has happened in a room.
type event struct {
	kind    kind
	c       *engine.Conn
	after   *Position // joined: where it was
	m       *member   // joined, left
	op      Opcode
	payload []byte
	at      Position  // placed, readied
	when    time.Time // published, placed
}

type kind uint8

const (
	published kind = iota
	placed
	readied
	missed
	joined
	left
	drained
)

// An entry is a message of the history.
type entry struct {
	p  engine.Prepared
	at time.Time
	ok bool // false: it could not be sent to anybody
}

const (
	cost    = 200      // what an entry or an event takes beside its payload, in bytes
	backlog = 16 << 20 // bytes of messages that may wait to be sent
	portion = 256      // how many messages one member gets that catches up, before it is others' turn
)

// A follower is a member.
type follower struct {
	next   uint64    // behind: number of the message that it is to get next
	behind bool      // there are some, and it could not take them yet
	lost   *Position // not nil: it is to be told that it has missed what is behind this

	waits bool      // for a shared history to be ready, to follow then
	after *Position // waits: where it was
}

var background = context.Background()

// patient is the class of what is published: what a member cannot take it gets later.
var patient = new(backpressure.Class)

func newLog(h *Hub, room string, limits History) *log {
	l := &log{h: h, room: room, limits: limits, followers: make(map[*engine.Conn]*follower)}
	if limits.Shared {
		l.aside = make(map[*engine.Conn]*follower)
	} else {
		l.epoch = newEpoch()
		l.notedEpoch = l.epoch
	}
	return l
}

// publishLocked notes a message, whose payload it keeps. It needs the group's lock.
func (l *log) publishLocked(op Opcode, payload []byte) (Position, error) {
	if l.waiting.Load() >= backlog {
		return Position{}, engine.ErrCongested
	}
	l.waiting.Add(int64(cost + len(payload)))
	l.noted++
	l.events.add(event{kind: published, op: op, payload: payload, when: time.Now()})
	return Position{l.notedEpoch, l.noted}, nil
}

// missLocked notes a message of which nothing is known but its number. It needs the
// group's lock.
func (l *log) missLocked() {
	l.noted++
	l.events.add(event{kind: missed})
}

// noteMember notes that m has joined or left.
func (l *log) noteMember(e event, m *member) {
	m.undone.Add(1)
	e.m = m
	l.events.add(e)
}

// emptyLocked reports whether there is no message, not even one to be sent yet. It
// needs the group's lock.
func (l *log) emptyLocked() bool { return l.noted == l.gone.Load() }

// run carries out what has been noted, unless somebody is at it.
func (l *log) run(ctx context.Context) {
	l.events.run(l.h.cfg.Logger, func(e event) int { return l.carryOut(ctx, e) })
}

// carryOut returns about how many sends it has cost.
func (l *log) carryOut(ctx context.Context, e event) int {
	if e.m != nil {
		e.m.undone.Add(-1)
	}
	switch e.kind {
	case published:
		return l.send(ctx, e)
	case placed:
		return l.place(ctx, e)
	case readied:
		return l.makeReady(e.at)
	case missed:
		return l.miss()
	case joined:
		if l.limits.Shared && !l.ready {
			l.followers[e.c] = &follower{waits: true, after: e.after}
			l.aside[e.c] = l.followers[e.c]
			return 1
		}
		return l.follow(e.c, e.after)
	case left:
		delete(l.followers, e.c)
		delete(l.aside, e.c)
		l.live.remove(e.c)
		l.ready = l.ready && len(l.followers) > 0 // nobody tells it of more
	case drained:
		if f := l.followers[e.c]; f != nil && f.behind {
			return l.catchUp(e.c, f)
		}
	}
	return 1
}

// send gives a message its place in the history, and to whoever has all before it. If
// it cannot be sent, or not to all, because the program panics, those who have not got
// it are behind.
func (l *log) send(ctx context.Context, e event) int {
	l.waiting.Add(-int64(cost + len(e.payload)))
	l.add(e.when)
	live, reached := l.live.freeze(), 0
	defer func() {
		for _, c := range live[reached:] {
			l.fallBehind(c)
			l.events.add(event{kind: drained, c: c})
		}
	}()
	p, ok := l.encode(e)
	if !ok {
		return 1
	}
	each := func(yield func(*engine.Conn) bool) {
		for reached < len(live) {
			reached++
			if !yield(live[reached-1]) {
				return
			}
		}
	}
	l.h.totals.add(engine.BroadcastFunc(ctx, each, p, func(c *engine.Conn, err error) {
		if engine.VerdictOf(err) == engine.Congested {
			l.fallBehind(c)
		}
	}))
	return 1 + len(live)
}

// miss gives what is missing a number, and tells whoever has all before it.
func (l *log) miss() int {
	l.add(time.Now())
	live := l.live.freeze()
	for _, c := range live {
		l.fallBehind(c)
		l.events.add(event{kind: drained, c: c})
	}
	l.trim()
	return 1 + len(live)
}

// encode makes the last entry of a message.
func (l *log) encode(e event) (engine.Prepared, bool) {
	defer l.trim() // also after a panic: holes take room, too
	m := Published{Room: l.room, At: Position{l.epoch, l.last}, Type: e.op, Payload: e.payload}
	p, err := l.h.e.Prepare(e.op, l.h.cfg.Envelope(nil, m))
	if err != nil {
		l.h.cfg.Logger.Error("penstock: a published message cannot be sent", "room", l.room, "number", l.last, "error", err)
		return p, false
	}
	p = p.With(engine.SendOptions{Class: patient})
	l.fill(p)
	return p, true
}

// fallBehind: c has everything but the last message.
func (l *log) fallBehind(c *engine.Conn) {
	f := l.followers[c]
	f.next, f.behind = l.last, true
	l.live.remove(c)
}

// follow makes c a follower, from after on or from here on.
func (l *log) follow(c *engine.Conn, after *Position) (sends int) {
	f := &follower{next: l.last + 1, behind: true}
	l.followers[c] = f
	switch {
	case after == nil:
	case *after == Position{}:
		f.next = l.first()
	case l.limits.Shared && after.Epoch == l.epoch && after.Seq > l.last: // it knows more than this hub
		f.next, f.behind = after.Seq+1, false
		l.aside[c] = f
		return 1
	case after.Epoch != l.epoch || after.Seq > l.last: // the latter is forged
		f.lost, f.next = after, l.first()
	default:
		f.next = after.Seq + 1
	}
	return l.catchUp(c, f)
}

// first returns the number of the oldest message in the history, last+1 without any.
func (l *log) first() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstLocked()
}

// catchUp sends c what it has not got, as far as it can take it. It returns how many
// messages it has looked at.
func (l *log) catchUp(c *engine.Conn, f *follower) (n int) {
	again := true // after a panic, too
	defer func() {
		if again {
			l.events.add(event{kind: drained, c: c})
		}
	}()
	for ; n < portion; n++ {
		l.skip(f)
		if f.lost == nil && f.next > l.last {
			f.behind, again = false, false
			l.live.add(c)
			return n + 1
		}
		if v := l.sendNext(c, f); v == engine.Congested || v == engine.Closed { // it drains, or it leaves
			again = false
			return n + 1
		}
	}
	return n
}

// skip passes over what is not to be had, and remembers where that began.
func (l *log) skip(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.firstLocked()
	for f.next < first || f.next <= l.last && !l.entries[f.next-first].ok {
		if f.lost == nil {
			f.lost = &Position{l.epoch, f.next - 1}
		}
		f.next = max(f.next+1, first)
	}
}

// sendNext sends c what is next: what it is to know of a gap, or a message.
func (l *log) sendNext(c *engine.Conn, f *follower) engine.Verdict {
	if f.lost != nil {
		return l.tellGap(c, f)
	}
	p, ok := l.get(f.next)
	if !ok { // forgotten just now: skip will see
		return engine.Dropped
	}
	v := l.sendOne(c, p)
	if v != engine.Congested {
		f.next++
	}
	return v
}

// tellGap sends Config.Gap's message. Whoever cannot be told is disconnected: it would
// not know that it has missed anything.
func (l *log) tellGap(c *engine.Conn, f *follower) (v engine.Verdict) {
	from, told := f.lost, false
	f.lost = nil // it is tried once
	defer func() {
		if !told {
			_ = c.Close(frame.CloseInternalError, "internal error") // fails if it is closing, which will do
		}
	}()
	message, op := l.h.cfg.Gap(nil, l.room, *from, Position{l.epoch, f.next - 1})
	p, err := l.h.e.Prepare(op, message)
	if err != nil {
		l.h.cfg.Logger.Error("penstock: a gap cannot be told", "room", l.room, "conn", c.ID(), "error", err)
		return engine.Closed
	}
	told = true
	if v = l.sendOne(c, p.With(engine.SendOptions{Class: patient})); v == engine.Congested {
		f.lost = from
	}
	return v
}

// sendOne sends c a message. A panic of an interceptor of c's ends c.
func (l *log) sendOne(c *engine.Conn, p engine.Prepared) engine.Verdict {
	v := engine.Queued
	engine.BroadcastFunc(background, slices.Values([]*engine.Conn{c}), p, func(_ *engine.Conn, err error) {
		v = engine.VerdictOf(err)
	})
	if v == engine.Queued {
		l.h.totals.queued.Add(1)
	}
	return v
}

// drained has the rooms of c send on.
func (h *Hub) drained(c *engine.Conn) {
	for _, g := range h.members.rooms(c) {
		if g.log != nil {
			g.log.events.add(event{kind: drained, c: c})
			g.log.run(background)
		}
	}
}
