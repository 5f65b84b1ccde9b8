package hub

import (
	"context"
	"hash/maphash"
	"iter"
	"log/slog"
	"sync/atomic"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/interceptors"
)

// Config says whom a hub tells what. Its zero value tells nobody, and keeps no
// history.
//
// OnRoom, OnUser and OnMember are called one after the other, in the order of what
// they tell, by a goroutine that has changed something: it may be another one than
// that whose change is told, and by the time of the call more may have changed. They
// must not wait; they may call the hub. A panic of theirs, or of Envelope or Gap, is
// logged.
type Config struct {
	// User returns the user of a connection that has opened, "" for none. Default: the
	// one that interceptors.SetUser has set. Hub.Identify sets it later.
	User func(c *engine.Conn) string

	// OnRoom is called when a room has got its first member, and when its last has
	// left.
	OnRoom func(room string, occupied bool)

	// OnUser is called when a user's first connection has opened, and when the last
	// has ended.
	OnUser func(user string, online bool)

	// OnMember is called when a connection has joined a room, and when it has left,
	// by ending or otherwise.
	OnMember func(room string, c *engine.Conn, joined bool)

	// History returns how much of a room is kept; its answer when a room is made
	// counts, which is when somebody joins or publishes in one that is not there. It is
	// asked each time, and must not wait. Default: nothing is. See Room.Publish.
	History func(room string) History

	// HistoryBytes is how much the histories of all rooms may take together, as
	// History.Bytes counts, with 600 and the name for each room in which something is
	// kept. When they take more, what is oldest of all rooms is forgotten, until about an
	// eighth of it is free; then a room's latest message may go, too, and a shared
	// history tells of a gap for what is still kept elsewhere. By a quarter and 16 MiB
	// more Publish refuses messages meanwhile. Default 256 MiB; negative: any amount.
	HistoryBytes int

	// Envelope appends to dst what is sent of a published message, so that a client
	// can tell where it is: the position belongs in it. It must return the same for
	// the same message. If it panics, or its result is no message, there is a gap in the
	// place of that one. Required where there is a history.
	Envelope func(dst []byte, m Published) []byte

	// Gap appends to dst the message, of the returned type, that tells a client that
	// it has missed what is lost: those after from, up to and with to. It comes in the
	// place of the messages. A client that cannot be told, because it panics or its
	// result is no message, is closed with 1011. Required where there is a history.
	Gap func(dst []byte, room string, from, to Position) ([]byte, Opcode)

	// Logger is told of panics, and of messages and gaps that could not be sent.
	// Default: slog.Default().
	Logger *slog.Logger
}

// Hub is an index of connections. Any goroutine may call any method at any time.
//
// What one call has done, every later call sees: a broadcast reaches everyone who
// joined before it began and nobody who left before it began, exactly once each.
// Whoever joins or leaves while it runs may or may not get it.
type Hub struct {
	// immutable
	e   *engine.Engine
	cfg Config

	// each locks itself
	all     group
	rooms   index
	users   index
	members members
	notices errands[func()]
	sweeper sweeper
	kept    keeping
	totals  totals
}

// New returns an empty hub for connections of e. It panics if there is a History
// without an Envelope or a Gap.
func New(e *engine.Engine, cfg Config) *Hub {
	if cfg.History != nil && (cfg.Envelope == nil || cfg.Gap == nil) {
		panic("hub: a Config with History needs Envelope and Gap, too: without them no client can know what it has missed")
	}
	if cfg.User == nil {
		cfg.User = func(c *engine.Conn) string { return interceptors.User(c.Context()) }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.HistoryBytes == 0 {
		cfg.HistoryBytes = defaultHistoryBytes
	}
	h := &Hub{e: e, cfg: cfg}
	seed := maphash.MakeSeed()
	h.rooms.seed, h.users.seed = seed, seed
	return h
}

// Handler returns next with its connections in the hub: each enters before
// next.OnOpen, and has left it, its user and all its rooms before next.OnClose,
// however it ended. All handlers of a hub's connections must have gone through here.
func (h *Hub) Handler(next engine.Handler) engine.Handler {
	wrapped := next
	wrapped.OnOpen = func(ctx context.Context, c *engine.Conn) error {
		h.enter(c)
		if next.OnOpen == nil {
			return nil
		}
		return next.OnOpen(ctx, c)
	}
	if h.cfg.History != nil {
		wrapped.OnDrain = func(c *engine.Conn) {
			h.drained(c)
			if next.OnDrain != nil {
				next.OnDrain(c)
			}
		}
	}
	wrapped.OnClose = func(c *engine.Conn, err *engine.CloseError) {
		h.exit(c)
		if next.OnClose != nil {
			next.OnClose(c, err)
		}
	}
	return wrapped
}

// All returns all connections.
func (h *Hub) All() Group { return Group{h: h} }

// User returns the connections of a user.
func (h *Hub) User(user string) Group { return Group{h: h, in: &h.users, name: user} }

// Room returns a room, which need not have members.
func (h *Hub) Room(name string) Room { return Room{Group{h: h, in: &h.rooms, name: name}} }

// Rooms yields the rooms that have members or a history, in no order. No lock is held
// meanwhile.
func (h *Hub) Rooms() iter.Seq[string] { return h.rooms.names() }

// Users yields the users that have connections, in no order. No lock is held
// meanwhile.
func (h *Hub) Users() iter.Seq[string] { return h.users.names() }

// RoomsOf yields the rooms that c is in, in the order in which it joined them. No
// lock is held meanwhile.
func (h *Hub) RoomsOf(c *engine.Conn) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, g := range h.members.rooms(c) {
			if !yield(g.name) {
				return
			}
		}
	}
}

// UserOf returns the user of c, or "".
func (h *Hub) UserOf(c *engine.Conn) string {
	if g := h.members.user(c); g != nil {
		return g.name
	}
	return ""
}

// Totals returns the sum of the tallies of all broadcasts: its Congested
// and Dropped are how many deliveries slow members have missed or, if it was published
// in a room with a history, got later.
func (h *Hub) Totals() Totals { return h.totals.load() }

// Totals counts deliveries as engine.Tally does, over a hub's life. What rooms with a
// history send is in it when it has been sent.
type Totals struct {
	Broadcasts, Queued, Congested, Dropped, Closed, Refused uint64
}

type totals struct {
	broadcasts, queued, congested, dropped, closed, refused atomic.Uint64
}

func (s *totals) add(t engine.Tally) {
	s.broadcasts.Add(1)
	s.queued.Add(uint64(t.Queued))
	s.congested.Add(uint64(t.Congested))
	s.dropped.Add(uint64(t.Dropped))
	s.closed.Add(uint64(t.Closed))
	s.refused.Add(uint64(t.Refused))
}

func (s *totals) load() Totals {
	return Totals{
		Broadcasts: s.broadcasts.Load(),
		Queued:     s.queued.Load(),
		Congested:  s.congested.Load(),
		Dropped:    s.dropped.Load(),
		Closed:     s.closed.Load(),
		Refused:    s.refused.Load(),
	}
}
