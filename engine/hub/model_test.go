package hub_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

var seedFlag = flag.Uint64("seed", 0, "of TestHubAgainstModel; 0: a new one")

var clock atomic.Int64

// now is a clock of which every reading is later than the one before.
func now() int64 { return clock.Add(1) }

// A stay is how long somebody was in a group: it came between two times, and went
// between two others, 0 if it has not gone. cut: its connection went with it, and may
// have lost what was on its way.
type stay struct{ came, in, going, gone int64 }

// A sent message was sent between two times.
type sent struct {
	id        int
	published bool
	from, to  int64
}

// A person is a connection and what the model knows of it.
type person struct {
	w     *world
	id    int
	near  *engine.Conn
	far   *engine.Conn
	ended chan struct{} // OnClose has been called

	// its worker's, and the test's between two rounds
	alive  bool
	closed bool // not alive: what had been sent before has arrived
	user   string
	rooms  []string // in the order of joining
	stays  map[string][]stay

	mu    sync.Mutex
	got   map[int]bool
	last  map[string]hub.Position // of published messages, by room; zero: any
	all   bool
	wrong []string
}

// A world is the model.
type world struct {
	*crowd
	rooms, users int

	mu       sync.Mutex
	messages map[string][]sent // by group
	ids      int
	people   []*person

	events presence
}

// presence is what the callbacks have told, replayed.
type presence struct {
	mu    sync.Mutex
	rooms map[string]map[*engine.Conn]bool
	users map[string]bool
	wrong []string
}

func (p *presence) onRoom(room string, occupied bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	members, was := p.rooms[room]
	if was == occupied || len(members) > 0 {
		p.wrong = append(p.wrong, fmt.Sprintf("room %s: %v, with %d members", room, occupied, len(members)))
	}
	if delete(p.rooms, room); occupied {
		p.rooms[room] = map[*engine.Conn]bool{}
	}
}

func (p *presence) onMember(room string, c *engine.Conn, joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms[room] == nil || p.rooms[room][c] == joined {
		p.wrong = append(p.wrong, fmt.Sprintf("room %s: member %d %v", room, c.ID(), joined))
		return
	}
	if delete(p.rooms[room], c); joined {
		p.rooms[room][c] = true
	}
}

func (p *presence) onUser(user string, online bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users[user] == online {
		p.wrong = append(p.wrong, fmt.Sprintf("user %s: %v", user, online))
	}
	if delete(p.users, user); online {
		p.users[user] = true
	}
}

// TestHubAgainstModel: people join, leave, change their user and die at random beside
// broadcasts and publishes. After every round the hub is what the model is, and so is
// what the callbacks have told. In the end everybody has got what was sent while it was
// a member, and nothing else.
func TestHubAgainstModel(t *testing.T) {
	people, rooms, users, rounds, steps := 10_000, 1000, 3000, 4, 12_000
	if race {
		people, rooms, users, steps = 600, 100, 150, 3000
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (go test -run TestHubAgainstModel -args -seed=%d)", seed, seed)
	w := newWorld(t, rooms, users)
	const workers = 8
	crews := make([]*crew, workers)
	for i := range crews {
		crews[i] = &crew{w: w, random: rand.New(rand.NewPCG(seed, uint64(i))), size: people / workers}
	}
	all := func(do func(*crew)) {
		var wg sync.WaitGroup
		for _, c := range crews {
			wg.Go(func() { do(c) })
		}
		wg.Wait()
	}
	for range rounds {
		all((*crew).recruit)
		all(func(c *crew) {
			for range steps / workers {
				c.step()
			}
			c.bury()
		})
		w.compare()
	}
	w.finish()
}

func newWorld(t *testing.T, rooms, users int) *world {
	w := &world{rooms: rooms, users: users, messages: map[string][]sent{}}
	w.events = presence{rooms: map[string]map[*engine.Conn]bool{}, users: map[string]bool{}}
	w.crowd = gather(t, engine.Config{CloseTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler)}, hub.Config{
		OnRoom: w.events.onRoom, OnMember: w.events.onMember, OnUser: w.events.onUser,
		History: func(room string) hub.History {
			if strings.HasPrefix(room, "history") {
				return hub.History{Messages: 1 << 20, Bytes: -1, Age: -1}
			}
			return hub.History{}
		},
		Envelope: func(dst []byte, m hub.Published) []byte {
			return fmt.Appendf(dst, "%s %s %v", m.Payload, m.Room, m.At)
		},
		Gap: func(dst []byte, room string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, "gap %s %v %v", room, from, to), frame.Text
		},
	}, engine.Handler{
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { panic("a handler that panics") },
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			for range w.hub.RoomsOf(c) {
				w.t.Error("OnClose before the hub has let go")
			}
			if ended, ok := c.Get("ended").(chan struct{}); ok {
				close(ended)
			}
		},
	})
	return w
}

// A crew is one goroutine's people.
type crew struct {
	w      *world
	random *rand.Rand
	size   int
	people []*person
	dying  []*person
}

// recruit fills the crew up.
func (c *crew) recruit() {
	for len(c.people) < c.size {
		c.people = append(c.people, c.w.person())
	}
}

func (w *world) person() *person {
	p := &person{w: w, ended: make(chan struct{}), alive: true, stays: map[string][]stay{}, got: map[int]bool{}, last: map[string]hub.Position{}}
	w.mu.Lock()
	p.id = len(w.people)
	w.people = append(w.people, p)
	w.mu.Unlock()
	came := now()
	p.near, p.far = w.connect(fmt.Sprint(p.id), engine.Handler{OnMessage: p.receive})
	p.far.Set("ended", p.ended)
	p.stays["*"] = []stay{{came: came, in: now()}}
	return p
}

// receive is the client's.
func (p *person) receive(_ context.Context, _ *engine.Conn, m engine.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var id int
	var room, at string
	n, _ := fmt.Sscanf(string(m.Data), "%d %s %s", &id, &room, &at)
	switch {
	case string(m.Data) == "end":
		p.all = true
	case n == 0 || p.got[id]:
		p.wrong = append(p.wrong, fmt.Sprintf("%q: twice, or a gap", m.Data))
	case n == 3:
		position, err := hub.ParsePosition(at)
		last := p.last[room]
		if err != nil || last.Epoch == position.Epoch && position.Seq <= last.Seq {
			p.wrong = append(p.wrong, fmt.Sprintf("%q after %v", m.Data, last))
		}
		p.last[room] = position
	}
	p.got[id] = true
	return nil
}

// step does something at random with one of the crew.
func (c *crew) step() {
	p := c.people[c.random.IntN(len(c.people))]
	switch n := c.random.IntN(1000); {
	case n < 450:
		p.join(c.room())
	case n < 600 && len(p.rooms) > 0:
		p.leave(p.rooms[c.random.IntN(len(p.rooms))])
	case n < 615:
		c.kill(p)
	case n < 700:
		p.identify(c.user())
	case n < 850:
		room := c.room()
		c.w.send(room, false, func(payload []byte) {
			_, err := c.w.hub.Room(room).Broadcast(context.Background(), frame.Text, payload)
			assert.NoError(c.w.t, err)
		})
	case n < 960:
		room := c.room()
		if strings.HasPrefix(room, "history") {
			c.w.send(room, true, func(payload []byte) {
				_, err := c.w.hub.Room(room).Publish(context.Background(), frame.Text, payload)
				assert.NoError(c.w.t, err)
			})
		}
	case n < 999:
		if user := c.user(); user != "" {
			c.w.send("user "+user, false, func(payload []byte) {
				_, err := c.w.hub.User(user).Broadcast(context.Background(), frame.Text, payload)
				assert.NoError(c.w.t, err)
			})
		}
	default:
		c.w.send("*", false, func(payload []byte) {
			_, err := c.w.hub.All().Broadcast(context.Background(), frame.Text, payload)
			assert.NoError(c.w.t, err)
		})
	}
}

func (c *crew) room() string {
	n := c.random.IntN(c.w.rooms)
	return []string{"plain", "history"}[n%2] + fmt.Sprint(n)
}

func (c *crew) user() string {
	if n := c.random.IntN(c.w.users); n > 0 {
		return fmt.Sprint(n)
	}
	return ""
}

func (w *world) send(group string, published bool, do func(payload []byte)) {
	w.mu.Lock()
	w.ids++
	id := w.ids
	w.mu.Unlock()
	m := sent{id: id, published: published, from: now()}
	do([]byte(fmt.Sprint(id)))
	m.to = now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages[group] = append(w.messages[group], m)
}

func (p *person) join(room string) {
	came := now()
	joined := p.w.hub.Room(room).Join(p.far)
	if joined == slices.Contains(p.rooms, room) {
		p.w.t.Errorf("Join of %d in %s: %v", p.id, room, joined)
	}
	if joined {
		p.rooms = append(p.rooms, room)
		p.stays[room] = append(p.stays[room], stay{came: came, in: now()})
	}
}

func (p *person) leave(room string) {
	going := now()
	if !p.w.hub.Room(room).Leave(p.far) {
		p.w.t.Errorf("Leave of %d in %s: it was no member", p.id, room)
	}
	p.gone(room, going)
	p.rooms = slices.DeleteFunc(p.rooms, func(r string) bool { return r == room })
}

func (p *person) gone(group string, going int64) {
	s := &p.stays[group][len(p.stays[group])-1]
	s.going, s.gone = going, now()
}

func (p *person) identify(user string) {
	at := now()
	if !p.w.hub.Identify(p.far, user) {
		p.w.t.Errorf("Identify of %d: it has ended", p.id)
	}
	if p.user == user {
		return
	}
	if p.user != "" {
		p.gone("user "+p.user, at)
	}
	if p.user = user; user != "" {
		p.stays["user "+user] = append(p.stays["user "+user], stay{came: at, in: now()})
	}
}

// kill ends a connection in one of the ways in which connections end.
func (c *crew) kill(p *person) {
	going := now()
	switch c.random.IntN(4) {
	case 0:
		_ = p.far.Close(frame.CloseNormal, "")
		p.closed = true
	case 1:
		_ = p.near.Close(frame.CloseGoingAway, "")
	case 2:
		_ = p.near.SendText("panic")
	case 3:
		_ = p.near.Close(frame.CloseNormal, "")
		_ = p.far.Close(frame.CloseNormal, "")
	}
	p.alive = false
	for _, group := range p.groups() {
		p.stays[group][len(p.stays[group])-1].going = going
	}
	c.people = slices.DeleteFunc(c.people, func(o *person) bool { return o == p })
	c.dying = append(c.dying, p)
}

func (p *person) groups() []string {
	list := append(slices.Clone(p.rooms), "*")
	if p.user != "" {
		list = append(list, "user "+p.user)
	}
	return list
}

// bury waits for the ends of those that the crew has killed.
func (c *crew) bury() {
	for _, p := range c.dying {
		<-p.ended
		for _, group := range p.groups() {
			p.stays[group][len(p.stays[group])-1].gone = now()
		}
		p.rooms, p.user = nil, ""
	}
	c.dying = nil
}

// compare holds the hub against the model while nothing happens.
func (w *world) compare() {
	rooms, users := map[string][]*engine.Conn{}, map[string][]*engine.Conn{}
	var all []*engine.Conn
	for _, p := range w.people {
		if !p.alive {
			require.Empty(w.t, slices.Collect(w.hub.RoomsOf(p.far)))
			continue
		}
		all = append(all, p.far)
		require.True(w.t, slices.Equal(p.rooms, slices.Collect(w.hub.RoomsOf(p.far))))
		require.Equal(w.t, p.user, w.hub.UserOf(p.far))
		for _, room := range p.rooms {
			rooms[room] = append(rooms[room], p.far)
		}
		if p.user != "" {
			users[p.user] = append(users[p.user], p.far)
		}
	}
	w.same(all, w.hub.All())
	for i := range w.rooms {
		for _, kind := range []string{"plain", "history"} {
			room := kind + fmt.Sprint(i)
			w.same(rooms[room], w.hub.Room(room).Group)
		}
	}
	for i := range w.users {
		w.same(users[fmt.Sprint(i)], w.hub.User(fmt.Sprint(i)))
	}
	for room := range w.hub.Rooms() {
		require.True(w.t, rooms[room] != nil || w.hub.Room(room).Position().Seq > 0, "an empty room: %s", room)
	}
	require.ElementsMatch(w.t, slices.Collect(maps.Keys(users)), slices.Collect(w.hub.Users()))
	w.sameEvents(rooms, users)
}

func (w *world) same(want []*engine.Conn, g hub.Group) {
	require.Equal(w.t, len(want), g.Len())
	require.Equal(w.t, identities(want), identities(slices.Collect(g.Conns())))
}

// sameEvents waits for the callbacks: they may be some other goroutine's to make.
func (w *world) sameEvents(rooms, users map[string][]*engine.Conn) {
	equal := func() bool {
		w.events.mu.Lock()
		defer w.events.mu.Unlock()
		if len(rooms) != len(w.events.rooms) || len(users) != len(w.events.users) {
			return false
		}
		for room, members := range rooms {
			told := w.events.rooms[room]
			if len(told) != len(members) || slices.ContainsFunc(members, func(c *engine.Conn) bool { return !told[c] }) {
				return false
			}
		}
		for user := range users {
			if !w.events.users[user] {
				return false
			}
		}
		return true
	}
	enginetest.Await(w.t, equal, "what the callbacks have told is not what there is")
	require.Empty(w.t, w.events.wrong)
}

// finish waits until everything has arrived, and checks who has got what.
func (w *world) finish() {
	for _, p := range w.people {
		if p.alive {
			require.NoError(w.t, p.far.SendText("end"))
		}
	}
	for _, p := range w.people {
		enginetest.Await(w.t, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.all || !p.alive
		}, "the last message has not come")
	}
	must, mustNot := 0, 0
	for _, p := range w.people {
		p.mu.Lock()
		require.Empty(w.t, p.wrong)
		known := map[int]bool{}
		for group, stays := range p.stays {
			for _, m := range w.messages[group] {
				known[m.id] = true
				yes, no := due(stays, m)
				switch {
				case yes && (p.alive || p.closed && !m.published):
					must++
					require.True(w.t, p.got[m.id], "%d has not got message %d of %s: %+v, %+v", p.id, m.id, group, stays, m)
				case no:
					mustNot++
					require.False(w.t, p.got[m.id], "%d has got message %d of %s: %+v, %+v", p.id, m.id, group, stays, m)
				}
			}
		}
		delete(p.got, 0) // "end"
		for id := range p.got {
			require.True(w.t, known[id], "message %d of a group where %d has never been", id, p.id)
		}
		p.mu.Unlock()
	}
	w.t.Logf("%d connections, %d messages; %d deliveries that had to be, %d that had not to be", len(w.people), w.ids, must, mustNot)
	require.Greater(w.t, must, 1000)
	require.Greater(w.t, mustNot, 1000)
}

// due says whether somebody must have got a message, or must not.
func due(stays []stay, m sent) (must, mustNot bool) {
	mustNot = true
	for _, s := range stays {
		if s.in < m.from && (s.going == 0 || s.going > m.to) {
			return true, false
		}
		if s.came < m.to && (s.gone == 0 || s.gone > m.from) {
			mustNot = false
		}
	}
	return false, mustNot
}
