package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-ws/penstock/engine"
)

// History is how much of a room is kept: the latest messages that all of its bounds
// leave; by Bytes, not less than one. The zero value keeps nothing.
type History struct {
	// Messages is how many are kept at the most. 0: there is no history.
	Messages int

	// Bytes is how much they may take: payloads with envelopes, and 200 for each. Where
	// members have agreed on compression, what it makes of them comes on top. Default
	// 1 MiB; negative: any amount.
	Bytes int

	// Age is for how long a message is kept. A room without members is forgotten when
	// its last message is. Default 5 min; negative: for ever.
	Age time.Duration

	// Shared: the history is kept elsewhere, for several hubs, and this one has a copy of
	// its end, of which Room.Put and Room.Ready tell it. Room.Publish is ErrShared there.
	Shared bool
}

// WithDefaults returns what l means.
func (l History) WithDefaults() History {
	if l.Bytes == 0 {
		l.Bytes = 1 << 20
	}
	if l.Age == 0 {
		l.Age = 5 * time.Minute
	}
	return l
}

// Position is a place in the messages of a room: that behind the message with this
// number.
type Position struct {
	// Epoch tells one life of a room's history from the next: it is another after a
	// restart, or when the room has been forgotten meanwhile.
	Epoch uint64

	// Seq is the number of the last message, which counts from 1. 0: none.
	Seq uint64
}

// String returns "epoch-seq", the epoch in hexadecimal. ParsePosition reads it.
func (p Position) String() string { return fmt.Sprintf("%x-%d", p.Epoch, p.Seq) }

// ParsePosition reads what Position.String has written.
func ParsePosition(s string) (Position, error) {
	epoch, seq, _ := strings.Cut(s, "-")
	var p Position
	var wrong [2]error
	p.Epoch, wrong[0] = strconv.ParseUint(epoch, 16, 64)
	p.Seq, wrong[1] = strconv.ParseUint(seq, 10, 64)
	if wrong != [2]error{} || p.String() != s {
		return Position{}, fmt.Errorf("hub: %.40q is no position: \"1f-7\" would be one, epoch in hexadecimal and number", s)
	}
	return p, nil
}

// Published is a message of a room with a history.
type Published struct {
	Room    string
	At      Position // its own
	Type    Opcode
	Payload []byte // valid until Envelope returns
}

// ErrShared: a message was published in a room whose history is kept elsewhere.
var ErrShared = errors.New("hub: the room's history is kept elsewhere; publish there")

// ErrNoHistory: a message was published in a room whose history keeps nothing.
var ErrNoHistory = errors.New("hub: the room has no history; use Broadcast")

// Publish sends a message to the members of a room with a history, and keeps it. What
// is sent is what Config.Envelope makes of it. Each member gets what is published while
// it is one, in the order of the positions, each once: one that is too slow gets it
// when it can take more, from the history; if that does not reach back far enough, it
// gets Config.Gap's message in the place of what it has missed. A connection's
// SendClass has no say in it.
//
// The message has its position when Publish returns, but another goroutine that
// publishes in the room may be about to send it. If 16 MiB wait for that, because more
// is published than can be sent, or in all rooms more than can be forgotten (see
// Config.HistoryBytes), the error is engine.ErrCongested. Else it is that of
// Engine.Prepare, or ErrNoHistory; in any case nothing has been published then. The
// caller keeps payload.
func (r Room) Publish(ctx context.Context, op Opcode, payload []byte) (Position, error) {
	if _, err := r.h.e.Prepare(op, payload); err != nil { // before it has a number
		return Position{}, err
	}
	if r.h.history(r.name).Shared {
		return Position{}, ErrShared
	}
	if r.h.full() { // before there is a room for it
		r.h.relieve() // if nobody is at it
		return Position{}, engine.ErrCongested
	}
	payload = bytes.Clone(payload)
	g, err := r.h.takeLogged(r.name)
	if err != nil {
		return Position{}, err
	}
	at, err := g.log.publishLocked(op, payload)
	g.mu.Unlock()
	g.log.goOn(ctx)
	return at, err
}

// Resume is Join for a client that has been a member before and knows its position:
// it first gets what has been published since, as far as the history has it, and
// Config.Gap's message in the place of the rest. The zero Position stands for the
// beginning: all of the history, and no gap before it unless some of it is forgotten in that
// moment.
func (r Room) Resume(c *engine.Conn, after Position) bool { return r.h.join(r.name, c, &after) }

// Miss notes that messages may be missing in a room with a history, as after an outage of
// what carries them between servers: its members, and whoever resumes from before, get
// Config.Gap's message. In a room without a history, or a shared one, it does nothing.
func (r Room) Miss() {
	r.note(false, func(_ *group, l *log) { l.missLocked() })
}

// Position returns the position of the last message that was published in the room,
// with the number 0 before the first; its zero value, if the room has no history or is
// not there.
func (r Room) Position() Position {
	g := r.find()
	if g == nil || g.log == nil {
		return Position{}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return Position{g.log.notedEpoch, g.log.noted}
}

// history returns how much of a room is kept, if it has to be made.
func (h *Hub) history(room string) History {
	if h.cfg.History == nil {
		return History{}
	}
	return h.cfg.History(room).WithDefaults()
}

// takeLogged returns a room that has a history, locked.
func (h *Hub) takeLogged(room string) (*group, error) {
	var create func() *group
	if limits := h.history(room); limits.Messages > 0 {
		create = h.creation(room, limits)
	}
	g := h.rooms.take(room, create)
	if g == nil {
		return nil, ErrNoHistory
	}
	if g.log == nil {
		g.mu.Unlock()
		return nil, ErrNoHistory
	}
	return g, nil
}

func newEpoch() uint64 { return rand.Uint64() | 1 } // never that of the zero Position
