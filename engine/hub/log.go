package hub

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
)

// A log is the history of a room, and how its members follow it. What happens in the
// room (a message, a join, a leave, room in a member's queue) is noted in one order,
// under the lock; whoever has noted something carries out what has been noted, unless
// somebody is at it. So everything is carried out in that order, by one goroutine at a
// time, with no lock held, and nobody waits for anybody.
type log struct {
	// immutable
	h      *Hub
	room   string
	limits History
	epoch  uint64

	// guarded by mu
	mu      sync.Mutex
	events  []event
	running bool
	noted   uint64 // number of the last message noted
	members int    // joined and not left
	last    uint64 // number of the last message of the entries
	entered int    // entries

	// owned by whoever runs
	entries   []entry // the last one has the number last, which only whoever runs changes
	bytes     int
	followers map[*engine.Conn]*follower
	live      []*engine.Conn // those of the followers that have everything, in any order
	broken    bool           // live has to be made anew
}

// An event is something that has happened in a room.
type event struct {
	kind    kind
	c       *engine.Conn
	after   *Position // joined: where it was
	op      Opcode
	payload []byte
}

type kind uint8

const (
	published kind = iota
	joined
	left
	drained
	aged
)

// An entry is a message of the history.
type entry struct {
	p  engine.Prepared
	at time.Time
	ok bool // false: it could not be sent to anybody
}

// cost is what an entry takes beside its payload.
const cost = 200

// A follower is a member.
type follower struct {
	next   uint64    // number of the message that it is to get next
	behind bool      // there are some, and it could not take them yet
	lost   *Position // not nil: it is to be told that it has missed what is behind this
}

var background = context.Background()

// patient is the class of what is published: what a member cannot take it gets later.
var patient = new(backpressure.Class)

func newLog(h *Hub, room string, limits History) *log {
	return &log{h: h, room: room, limits: limits, epoch: newEpoch(), followers: make(map[*engine.Conn]*follower)}
}

// note adds an event, which run carries out.
func (l *log) note(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.kind {
	case joined:
		l.members++
	case left:
		l.members--
	}
	l.events = append(l.events, e)
}

// publish notes a message and returns its position.
func (l *log) publish(op Opcode, payload []byte) Position {
	payload = bytes.Clone(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted++
	l.events = append(l.events, event{kind: published, op: op, payload: payload})
	return Position{l.epoch, l.noted}
}

func (l *log) position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Position{l.epoch, l.noted}
}

// forgotten reports whether nothing is left of a room without members.
func (l *log) forgotten() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.members == 0 && l.entered == 0 && l.noted == l.last
}

// turn is how many sends a goroutine carries out for others, or a few more, before it
// has a fresh one go on.
const turn = 4096

// run carries out what has been noted, unless somebody is at it.
func (l *log) run(ctx context.Context) {
	for done := 0; done < turn; {
		e, ok := l.begin()
		if !ok {
			return
		}
		done += l.carryOut(ctx, e)
	}
	go l.run(background) // ends when nothing is noted any more
}

// begin takes an event.
func (l *log) begin() (e event, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running || len(l.events) == 0 {
		return event{}, false
	}
	e = l.events[0]
	l.events[0] = event{}
	if l.events = l.events[1:]; len(l.events) == 0 {
		l.events = nil
	}
	l.running = true
	return e, true
}

// end lets others go on; also after a panic of the program's.
func (l *log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = false
	l.entered = len(l.entries)
}

// carryOut returns about how many sends it has cost.
func (l *log) carryOut(ctx context.Context, e event) int {
	defer l.end()
	switch e.kind {
	case published:
		l.send(ctx, e)
		return 1 + len(l.followers)
	case joined:
		return l.follow(e.c, e.after)
	case left:
		delete(l.followers, e.c)
		l.broken = true
	case drained:
		if f := l.followers[e.c]; f != nil && f.behind {
			return l.catchUp(e.c, f)
		}
	case aged:
		l.trim()
	}
	return 1
}

// send gives a message its place in the history, and to whoever has all before it.
func (l *log) send(ctx context.Context, e event) {
	l.mu.Lock()
	l.last++
	l.mu.Unlock()
	next := entry{at: time.Now()}
	m := Published{Room: l.room, At: Position{l.epoch, l.last}, Type: e.op, Payload: e.payload}
	p, err := l.h.e.Prepare(e.op, l.h.cfg.Envelope(nil, m))
	if err == nil {
		next.p, next.ok = p.With(engine.SendOptions{Class: patient}), true
		l.bytes += next.p.Len()
	} else {
		l.h.cfg.Logger.Error("penstock: a published message cannot be sent", "room", l.room, "number", l.last, "error", err)
	}
	l.entries = append(l.entries, next)
	l.trim()
	if !next.ok {
		l.catchUpAll()
		return
	}
	tally := engine.BroadcastFunc(ctx, slices.Values(l.liveOnes()), next.p, func(c *engine.Conn, err error) {
		if errors.Is(err, engine.ErrCongested) {
			f := l.followers[c]
			f.next, f.behind = l.last, true
			l.broken = true
		}
	})
	l.h.totals.add(tally)
}

// liveOnes are the followers that have everything but the last message.
func (l *log) liveOnes() []*engine.Conn {
	if l.broken {
		l.broken = false
		l.live = l.live[:0]
		for c, f := range l.followers {
			if !f.behind {
				l.live = append(l.live, c)
			}
		}
	}
	return l.live
}

// follow makes c a follower, from after on or from here on.
func (l *log) follow(c *engine.Conn, after *Position) (sends int) {
	f := &follower{next: l.last + 1}
	l.followers[c] = f
	l.broken = true
	switch {
	case after == nil:
		return 1
	case *after == Position{}:
		f.next = l.first()
	case after.Epoch != l.epoch || after.Seq > l.last: // after.Seq may be noted, but then it was not told
		f.lost, f.next = after, l.first()
	default:
		f.next = after.Seq + 1
	}
	return l.catchUp(c, f)
}

// first returns the number of the oldest message in the history, last+1 without any.
func (l *log) first() uint64 { return l.last + 1 - uint64(len(l.entries)) }

// catchUp sends c what it has not got, as far as it can take it. It returns how many
// messages it has looked at.
func (l *log) catchUp(c *engine.Conn, f *follower) (n int) {
	f.behind, l.broken = true, true
	for ; ; n++ {
		l.skip(f)
		var err error
		switch {
		case f.lost != nil:
			err = l.tellGap(c, f)
		case f.next > l.last:
			f.behind = false
			return n + 1
		default:
			err = c.SendPrepared(l.at(f.next).p)
		}
		switch engine.VerdictOf(err) {
		case engine.Congested, engine.Closed: // it drains, or it leaves
			return n + 1
		case engine.Queued:
			l.h.totals.queued.Add(1)
		}
		if f.lost != nil {
			f.lost = nil
		} else {
			f.next++
		}
	}
}

// skip passes over what is not to be had, and remembers where that began.
func (l *log) skip(f *follower) {
	first := l.first()
	for f.next < first || f.next <= l.last && !l.at(f.next).ok {
		if f.lost == nil {
			f.lost = &Position{l.epoch, f.next - 1}
		}
		f.next = max(f.next+1, first)
	}
}

func (l *log) at(number uint64) *entry { return &l.entries[number-l.first()] }

// tellGap sends Config.Gap's message.
func (l *log) tellGap(c *engine.Conn, f *follower) error {
	message, op := l.h.cfg.Gap(nil, l.room, *f.lost, Position{l.epoch, f.next - 1})
	return c.SendWith(engine.SendOptions{Class: patient}, op, message)
}

// catchUpAll is for a message that nobody can be sent.
func (l *log) catchUpAll() {
	for c, f := range l.followers {
		if !f.behind {
			f.next = l.last
			l.catchUp(c, f)
		}
	}
}

// trim forgets what the bounds do not leave.
func (l *log) trim() {
	oldest := time.Time{}
	if l.limits.Age > 0 {
		oldest = time.Now().Add(-l.limits.Age)
	}
	n := 0
	for n < len(l.entries) && l.exceeds(len(l.entries)-n, &l.entries[n], oldest) {
		if l.entries[n].ok {
			l.bytes -= l.entries[n].p.Len()
		}
		l.entries[n] = entry{}
		n++
	}
	l.entries = l.entries[n:]
}

func (l *log) exceeds(n int, first *entry, oldest time.Time) bool {
	return n > l.limits.Messages || l.limits.Bytes > 0 && l.bytes+cost*n > l.limits.Bytes && n > 1 || first.at.Before(oldest)
}

// drained has the rooms of c send on.
func (h *Hub) drained(c *engine.Conn) {
	for _, g := range h.members.rooms(c) {
		if g.log != nil {
			g.log.note(event{kind: drained, c: c})
			g.log.run(background)
		}
	}
}
