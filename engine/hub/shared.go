package hub

import (
	"bytes"
	"context"
	"time"
)

// Put adds a message to a room whose history is shared, at its position there, and sends
// it to the members. It was published at when. It returns false, and does nothing, unless
// the message is the next one: then those between are to be had where the history is kept,
// and to be given to Restore. A message that is there already, and a room that nobody is
// in, need nothing. The caller keeps payload.
func (r Room) Put(at Position, when time.Time, op Opcode, payload []byte) (ok bool) {
	ok = true
	r.note(true, func(g *group, l *log) {
		switch first := l.notedEpoch == 0 && at.Seq == 1; {
		case len(g.set.members) == 0:
		case l.hasLocked(at):
		case first || at.Epoch == l.notedEpoch && at.Seq == l.noted+1:
			l.putLocked(at, when, op, payload)
		default:
			ok = false
		}
	})
	return ok
}

// Restore is Put for what comes from where the history is kept, in order: what lies
// between the last message and this one is lost, and members are told of that gap.
func (r Room) Restore(at Position, when time.Time, op Opcode, payload []byte) {
	r.note(true, func(_ *group, l *log) {
		if !l.hasLocked(at) {
			l.putLocked(at, when, op, payload)
		}
	})
}

// Ready says that all that there is of a shared history has been restored, up to at.
// Members that have joined before are let in now: until then they get nothing. When the
// last member has left a shared room, it must be made ready again for the next.
func (r Room) Ready(at Position) {
	r.note(true, func(_ *group, l *log) {
		if !l.hasLocked(at) {
			l.noted, l.notedEpoch = at.Seq, at.Epoch
		}
		l.events.add(event{kind: readied, at: at})
	})
}

// hasLocked needs the group's lock.
func (l *log) hasLocked(at Position) bool { return at.Epoch == l.notedEpoch && at.Seq <= l.noted }

// putLocked needs the group's lock.
func (l *log) putLocked(at Position, when time.Time, op Opcode, payload []byte) {
	l.waiting.Add(int64(cost + len(payload)))
	l.noted, l.notedEpoch = at.Seq, at.Epoch
	l.events.add(event{kind: placed, at: at, when: when, op: op, payload: bytes.Clone(payload)})
}

// note has something noted, with the group locked, in a room that has such a history.
func (r Room) note(shared bool, what func(g *group, l *log)) {
	g := r.h.rooms.take(r.name, nil)
	if g == nil {
		return
	}
	if g.log == nil || g.log.limits.Shared != shared {
		g.mu.Unlock()
		return
	}
	what(g, g.log)
	g.mu.Unlock()
	g.log.goOn(background)
}

// goOn carries out what has been noted, and sees to it that it ages.
func (l *log) goOn(ctx context.Context) {
	if l.limits.Age > 0 {
		l.h.sweeper.start(l.h)
	}
	l.run(ctx)
}

// place is send for a message that has its position.
func (l *log) place(ctx context.Context, e event) int {
	l.moveTo(Position{e.at.Epoch, e.at.Seq - 1})
	return l.send(ctx, e) + l.letIn()
}

func (l *log) makeReady(at Position) int {
	if at.Epoch != l.epoch || at.Seq > l.last {
		l.moveTo(at)
		l.trim()
	}
	l.ready = true
	return l.letIn()
}

// moveTo makes to the position of the last message. What is between is lost, and so is,
// for who comes back, what was before it.
func (l *log) moveTo(to Position) {
	was := Position{l.epoch, l.last}
	if to == was {
		return
	}
	l.clear(to.Seq)
	l.epoch = to.Epoch
	for c, f := range l.followers {
		if f.waits || l.aside[c] != nil && to.Epoch == was.Epoch {
			continue
		}
		if !f.behind && l.aside[c] == nil {
			f.next = was.Seq + 1
		}
		if f.lost == nil && (was != Position{} || to.Seq > 0) {
			f.lost = &Position{was.Epoch, f.next - 1}
		}
		f.next, f.behind = to.Seq+1, true
		delete(l.aside, c)
		l.live.remove(c)
		l.events.add(event{kind: drained, c: c})
	}
}

// letIn lets those go on who had to wait, and have to no more.
func (l *log) letIn() (sends int) {
	if !l.ready {
		return 0
	}
	for c, f := range l.aside {
		switch {
		case f.waits:
			delete(l.aside, c)
			sends += l.follow(c, f.after)
		case f.next <= l.last+1:
			delete(l.aside, c)
			f.behind = true
			sends += l.catchUp(c, f)
		}
	}
	return sends
}
