package hub_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

var silent = slog.New(slog.DiscardHandler)

// A mailbox is a client in a crowd: what it has got.
type mailbox struct {
	t         testing.TB
	near, far *engine.Conn
	closed    chan *engine.CloseError

	mu  sync.Mutex
	got []string
}

func (w *crowd) mailbox() *mailbox {
	b := &mailbox{t: w.t, closed: make(chan *engine.CloseError, 1)}
	b.near, b.far = w.connect(fmt.Sprint(now()), engine.Handler{
		OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got = append(b.got, string(m.Data))
			return nil
		},
		OnClose: func(_ *engine.Conn, err *engine.CloseError) { b.closed <- err },
	})
	return b
}

func (b *mailbox) texts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.got...)
}

// gets waits until exactly this has come, and nothing else.
func (b *mailbox) gets(want ...string) {
	b.t.Helper()
	enginetest.Await(b.t, func() bool { return len(b.texts()) >= len(want) }, "of %q only %q has come", want, b.texts())
	require.Equal(b.t, want, b.texts())
}

// numbered is a protocol that shows numbers without epochs.
func numbered(limits hub.History) hub.Config {
	return hub.Config{
		Logger:  silent,
		History: func(string) hub.History { return limits },
		Envelope: func(dst []byte, m hub.Published) []byte {
			return fmt.Appendf(dst, "%d %s", m.At.Seq, m.Payload)
		},
		Gap: func(dst []byte, _ string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, "gap %d-%d", from.Seq, to.Seq), frame.Text
		},
	}
}

func publish(t testing.TB, r hub.Room, text string) hub.Position {
	payload := []byte(text)
	at, err := r.Publish(context.Background(), frame.Text, payload)
	clear(payload) // the caller's again
	require.NoError(t, err)
	return at
}

// The numbers of the others stay right, and who was there is told of a gap.
func TestPanicInEnvelope(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panic":  func() { panic("the program's") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := numbered(hub.History{Messages: 10})
			good := cfg.Envelope
			cfg.Envelope = func(dst []byte, m hub.Published) []byte {
				if string(m.Payload) == "bad" {
					misbehave()
				}
				return good(dst, m)
			}
			w := gather(t, engine.Config{Logger: silent}, cfg, engine.Handler{})
			room, b := w.hub.Room("room"), w.mailbox()
			room.Join(b.far)
			publish(t, room, "one")
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = room.Publish(context.Background(), frame.Text, []byte("bad")) })
			wg.Wait()
			publish(t, room, "three")
			b.gets("1 one", "gap 1-2", "3 three")
			late := w.mailbox()
			room.Resume(late.far, hub.Position{})
			late.gets("1 one", "gap 1-2", "3 three")
		})
	}
}

// What is no message when it has its envelope is a gap, too.
func TestEnvelopeTooBig(t *testing.T) {
	cfg := numbered(hub.History{Messages: 10})
	w := gather(t, engine.Config{MaxMessageBytes: 10}, cfg, engine.Handler{})
	room, b := w.hub.Room("room"), w.mailbox()
	room.Join(b.far)
	publish(t, room, strings.Repeat("x", 9))
	publish(t, room, "two")
	b.gets("gap 0-1", "2 two")
	_, err := room.Publish(context.Background(), frame.Text, make([]byte, 11))
	require.ErrorIs(t, err, engine.ErrMessageTooBig)
	require.Equal(t, uint64(2), room.Position().Seq, "what is refused has no number")
}

// A client that cannot be told of a gap must not go on as if there were none.
func TestGapThatCannotBeTold(t *testing.T) {
	for name, gap := range map[string]func(dst []byte) ([]byte, hub.Opcode){
		"panic":    func([]byte) ([]byte, hub.Opcode) { panic("the program's") },
		"not text": func(dst []byte) ([]byte, hub.Opcode) { return append(dst, 0xff), frame.Text },
		"a ping":   func(dst []byte) ([]byte, hub.Opcode) { return dst, frame.Ping },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := numbered(hub.History{Messages: 1})
			var asked atomic.Int32
			cfg.Gap = func(dst []byte, _ string, _, _ hub.Position) ([]byte, hub.Opcode) {
				asked.Add(1)
				return gap(dst)
			}
			w := gather(t, engine.Config{Logger: silent}, cfg, engine.Handler{})
			room, b, other := w.hub.Room("room"), w.mailbox(), w.mailbox()
			room.Join(other.far)
			first := publish(t, room, "one")
			publish(t, room, "two")
			publish(t, room, "three")
			room.Resume(b.far, first)
			require.Equal(t, frame.CloseInternalError, (<-b.closed).Code)
			require.Empty(t, b.texts())
			publish(t, room, "four")
			other.gets("1 one", "2 two", "3 three", "4 four")
			require.Equal(t, int32(1), asked.Load())
		})
	}
}

// A gap that the member cannot take yet is told later.
func TestGapWhileCongested(t *testing.T) {
	w := gather(t, engine.Config{HighWaterBytes: 4096, Logger: silent}, numbered(hub.History{Messages: 1}), engine.Handler{})
	room := w.hub.Room("room")
	first := publish(t, room, "one")
	publish(t, room, "two")
	publish(t, room, "three")
	read := make(chan struct{})
	var mu sync.Mutex
	var got []string
	_, far := w.connect("slow", engine.Handler{OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error {
		<-read
		mu.Lock()
		defer mu.Unlock()
		if len(m.Data) < 100 {
			got = append(got, string(m.Data))
		}
		return nil
	}})
	text := strings.Repeat("x", 1000)
	enginetest.Await(t, func() bool { return far.SendText(text) == engine.ErrCongested }, "it takes any number of bytes")
	require.True(t, room.Resume(far, first))
	close(read)
	enginetest.Await(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 2
	}, "it has not come")
	require.Equal(t, []string{"gap 1-2", "3 three"}, got)
}

// A panic in a presence callback hits nobody, and what comes after it is told.
func TestPanicInPresence(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panic":  func() { panic("the program's") },
		"Goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int32
			cfg := hub.Config{Logger: silent, OnMember: func(string, *engine.Conn, bool) {
				if told.Add(1) == 1 {
					misbehave()
				}
			}}
			w := gather(t, engine.Config{}, cfg, engine.Handler{})
			b := w.mailbox()
			var wg sync.WaitGroup
			wg.Go(func() { w.hub.Room("one").Join(b.far) })
			wg.Wait()
			require.True(t, w.hub.Room("one").Has(b.far))
			w.hub.Room("two").Join(b.far)
			enginetest.Await(t, func() bool { return told.Load() == 2 }, "the second join is not told")
			_ = b.near.Close(frame.CloseNormal, "")
			enginetest.Await(t, func() bool { return told.Load() == 4 }, "the end is not told")
		})
	}
}

// The panic of one member's interceptor ends that member. All others get the message.
func TestPanicInInterceptor(t *testing.T) {
	var victim atomic.Uint64
	bad := outbound(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		if engine.FromContext(ctx).ID() == victim.Load() {
			panic("the program's")
		}
		return next.Run(ctx, out)
	})
	w := gather(t, engine.Config{Logger: silent, Interceptors: []interceptors.Interceptor{bad}}, numbered(hub.History{Messages: 5}), engine.Handler{})
	room := w.hub.Room("room")
	var boxes []*mailbox
	for range 5 {
		boxes = append(boxes, w.mailbox())
		room.Join(boxes[len(boxes)-1].far)
	}
	victim.Store(boxes[2].far.ID())
	publish(t, room, "one")
	_, err := room.Broadcast(context.Background(), frame.Text, []byte("two"))
	require.NoError(t, err)
	for i, b := range boxes {
		if i != 2 {
			b.gets("1 one", "two")
		}
	}
	require.Equal(t, frame.CloseInternalError, (<-boxes[2].closed).Code)
	late := w.mailbox()
	victim.Store(late.far.ID())
	room.Resume(late.far, hub.Position{})
	require.Equal(t, frame.CloseInternalError, (<-late.closed).Code)
}

// A room that is forgotten and made anew all the time always has its history.
func TestRoomIsNeverWithoutItsHistory(t *testing.T) {
	w := gather(t, engine.Config{}, numbered(hub.History{Messages: 1, Age: 1}), engine.Handler{})
	room, b := w.hub.Room("room"), w.mailbox()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := room.Publish(context.Background(), frame.Text, []byte("x")); err != nil && err != engine.ErrCongested {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5000 {
		room.Join(b.far)
		room.Leave(b.far)
	}
	close(stop)
	wg.Wait()
	enginetest.Await(t, func() bool { return len(names(w.hub.Rooms())) == 0 }, "an empty room without messages is kept")
}

func names(seq func(func(string) bool)) (list []string) {
	for name := range seq {
		list = append(list, name)
	}
	return list
}

// holdFirst has the first message be held up while it is encoded: inside is closed then,
// and resume is to be.
func holdFirst(cfg *hub.Config) (inside, resume chan struct{}) {
	inside, resume = make(chan struct{}), make(chan struct{})
	good := cfg.Envelope
	cfg.Envelope = func(dst []byte, m hub.Published) []byte {
		if m.At.Seq == 1 {
			close(inside)
			<-resume
		}
		return good(dst, m)
	}
	return inside, resume
}

// A history is not forgotten because the last member leaves while its first message
// is on the way.
func TestLeaveWhileTheFirstMessageIsSent(t *testing.T) {
	cfg := numbered(hub.History{Messages: 10})
	inside, resume := holdFirst(&cfg)
	w := gather(t, engine.Config{}, cfg, engine.Handler{})
	room, b := w.hub.Room("room"), w.mailbox()
	room.Join(b.far)
	var at hub.Position
	var wg sync.WaitGroup
	wg.Go(func() { at = publish(t, room, "one") })
	<-inside
	room.Leave(b.far)
	close(resume)
	wg.Wait()
	require.Equal(t, at, room.Position())
}

// Who leaves and comes back while its first membership is still being carried out gets
// each message once.
func TestRejoinWhileEventsWait(t *testing.T) {
	cfg := numbered(hub.History{Messages: 10})
	inside, resume := holdFirst(&cfg)
	w := gather(t, engine.Config{}, cfg, engine.Handler{})
	room, b := w.hub.Room("room"), w.mailbox()
	room.Join(b.far)
	var wg sync.WaitGroup
	wg.Go(func() { publish(t, room, "one") })
	<-inside
	two := publish(t, room, "two")
	room.Leave(b.far)
	publish(t, room, "three")
	require.True(t, room.Resume(b.far, two))
	require.False(t, room.Resume(b.far, hub.Position{}), "it is a member already")
	publish(t, room, "four")
	room.Leave(b.far)
	publish(t, room, "five")
	room.Join(b.far)
	publish(t, room, "six")
	close(resume)
	wg.Wait()
	b.gets("1 one", "2 two", "3 three", "4 four", "6 six")
}

// What waits to be sent is bounded.
func TestPublishRefusesABacklog(t *testing.T) {
	cfg := numbered(hub.History{Messages: 1000, Bytes: -1})
	inside, resume := holdFirst(&cfg)
	w := gather(t, engine.Config{}, cfg, engine.Handler{})
	room := w.hub.Room("room")
	var wg sync.WaitGroup
	wg.Go(func() { publish(t, room, "one") })
	<-inside
	text := []byte(strings.Repeat("x", 1<<20-100))
	n := uint64(0)
	for {
		_, err := room.Publish(context.Background(), frame.Text, text)
		if err != nil {
			require.Equal(t, engine.ErrCongested, err)
			break
		}
		n++
	}
	require.Equal(t, uint64(16), n)
	require.Equal(t, n+1, room.Position().Seq)
	close(resume)
	wg.Wait()
	require.Equal(t, n+2, publish(t, room, "last").Seq)
}

// So is what waits of a member that joins and leaves all the time, while a room is busy.
func TestJoinRefusesABacklog(t *testing.T) {
	cfg := numbered(hub.History{Messages: 10})
	inside, resume := holdFirst(&cfg)
	w := gather(t, engine.Config{}, cfg, engine.Handler{})
	room, b, other := w.hub.Room("room"), w.mailbox(), w.mailbox()
	var wg sync.WaitGroup
	wg.Go(func() { publish(t, room, "one") })
	<-inside
	n := 0
	for ; n < 100_000 && room.Join(b.far); n++ {
		require.True(t, room.Leave(b.far))
	}
	require.False(t, room.Has(b.far))
	require.True(t, room.Join(other.far), "it is nobody else's")
	close(resume)
	wg.Wait()
	require.Less(t, n, 1100)
	require.Greater(t, n, 100)
	enginetest.Await(t, func() bool { return room.Join(b.far) }, "it may join again")
	publish(t, room, "two")
	b.gets("2 two")
	other.gets("2 two")
}

// A client that comes back to a long history takes turns with the others.
func TestCatchingUpDelaysNobody(t *testing.T) {
	var patient atomic.Pointer[engine.Conn]
	begun, noted, otherHas := make(chan struct{}), make(chan struct{}), make(chan struct{})
	seen := 0
	slow := outbound(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		if engine.FromContext(ctx) == patient.Load() {
			switch seen++; seen {
			case 100:
				close(begun)
				<-noted
			case 500:
				<-otherHas
			}
		}
		return next.Run(ctx, out)
	})
	w := gather(t, engine.Config{Interceptors: []interceptors.Interceptor{slow}, HighWaterBytes: 8 << 20},
		numbered(hub.History{Messages: 2000, Bytes: -1}), engine.Handler{})
	room := w.hub.Room("room")
	for range 1000 {
		publish(t, room, "x")
	}
	other, b := w.mailbox(), w.mailbox()
	room.Join(other.far)
	patient.Store(b.far)
	var wg sync.WaitGroup
	wg.Go(func() { room.Resume(b.far, hub.Position{}) })
	<-begun
	publish(t, room, "new")
	close(noted)
	other.gets("1001 new")
	close(otherHas)
	wg.Wait()
	enginetest.Await(t, func() bool { return len(b.texts()) == 1001 }, "%d have come", len(b.texts()))
}

// Callbacks may do everything.
func TestCallbacksCallTheHub(t *testing.T) {
	var h *hub.Hub
	cfg := numbered(hub.History{Messages: 10})
	cfg.OnRoom = func(room string, occupied bool) {
		if room == "room" && occupied {
			_, _ = h.Room(room).Publish(context.Background(), frame.Text, []byte("occupied"))
		}
	}
	cfg.OnMember = func(room string, c *engine.Conn, joined bool) {
		switch {
		case room == "room" && joined:
			h.Room("second").Join(c)
			h.Identify(c, "somebody")
		case room == "second" && joined:
			h.Room("room").Leave(c)
			h.Room("room").Has(c)
		case room == "room":
			_, _ = h.All().Broadcast(context.Background(), frame.Text, []byte("left"))
			_ = c.Close(frame.CloseNormal, "")
		}
	}
	cfg.OnUser = func(user string, online bool) {
		for c := range h.User(user).Conns() {
			h.Room("second").Leave(c)
		}
	}
	w := gather(t, engine.Config{}, cfg, engine.Handler{})
	h = w.hub
	b := w.mailbox()
	h.Room("room").Join(b.far)
	<-b.closed
	require.Contains(t, b.texts(), "left")
	enginetest.Await(t, func() bool { return h.All().Len() == 0 }, "it is there")
	require.Zero(t, h.Room("second").Len())
	require.False(t, h.Room("room").Join(b.far), "it has ended")
	require.False(t, h.Identify(b.far, "somebody"), "it has ended")
}

// Clients say what they want about where they are.
func TestForgedPositions(t *testing.T) {
	w := gather(t, engine.Config{}, numbered(hub.History{Messages: 2}), engine.Handler{})
	room := w.hub.Room("room")
	for range 4 {
		publish(t, room, "x")
	}
	epoch := room.Position().Epoch
	for _, c := range []struct {
		after hub.Position
		want  []string
	}{
		{hub.Position{}, []string{"3 x", "4 x"}},
		{hub.Position{Epoch: epoch}, []string{"gap 0-2", "3 x", "4 x"}},
		{hub.Position{Epoch: epoch, Seq: 1}, []string{"gap 1-2", "3 x", "4 x"}},
		{hub.Position{Epoch: epoch, Seq: 2}, []string{"3 x", "4 x"}},
		{hub.Position{Epoch: epoch, Seq: 4}, nil},
		{hub.Position{Epoch: epoch, Seq: 5}, []string{"gap 5-2", "3 x", "4 x"}},
		{hub.Position{Epoch: epoch, Seq: math.MaxUint64}, []string{"gap 18446744073709551615-2", "3 x", "4 x"}},
		{hub.Position{Epoch: 0, Seq: 3}, []string{"gap 3-2", "3 x", "4 x"}},
		{hub.Position{Epoch: ^epoch, Seq: 4}, []string{"gap 4-2", "3 x", "4 x"}},
	} {
		b := w.mailbox()
		require.True(t, room.Resume(b.far, c.after))
		require.NoError(t, b.far.SendText("end"))
		b.gets(append(c.want, "end")...)
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []hub.Position{{}, {Epoch: 1, Seq: 2}, {Epoch: math.MaxUint64, Seq: math.MaxUint64}} {
		got, err := hub.ParsePosition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	for _, s := range []string{"", "-", "1", "1-", "-1", "01-1", "1-01", "+1-1", "0x1-1", "A-1", "1-1-1", "1-1 ", " 1-1", "1--1", "10000000000000000-1", "1-18446744073709551616", strings.Repeat("1", 1<<20)} {
		_, err := hub.ParsePosition(s)
		require.Error(t, err, s)
		require.Less(t, len(err.Error()), 300, "an error that quotes all that a client has sent")
	}
}

// Handlers on loops, on readers and on workers may publish; whoever is at it sends for
// the others.
func TestPublishByHandlers(t *testing.T) {
	for name, c := range map[string]struct {
		cfg    engine.Config
		inline bool
	}{
		"workers": {},
		"readers": {inline: true},
		"loops":   {engine.Config{IO: engine.IOLoops, Loops: 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			const clients, messages = 6, 100
			e, err := engine.New(c.cfg, engine.Endpoint{})
			require.NoError(t, err)
			h := hub.New(e, withHistory(hub.History{Messages: clients * messages}))
			a := &archive{t: t, hub: h, room: h.Room("room")}
			srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Inline: c.inline, Handler: h.Handler(engine.Handler{
				OnOpen: func(_ context.Context, c *engine.Conn) error { a.room.Join(c); return nil },
				OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
					_, err := a.room.Publish(ctx, m.Type, m.Data)
					return err
				},
			})}))
			defer srv.Close()
			defer func() { require.NoError(t, e.Shutdown(context.Background())) }()
			a.url = "ws" + strings.TrimPrefix(srv.URL, "http")
			var wg sync.WaitGroup
			var readers []*reader
			for range clients {
				ws, _, err := websocket.DefaultDialer.Dial(a.url, nil)
				require.NoError(t, err)
				defer func() { _ = ws.Close() }()
				readers = append(readers, &reader{ws: ws, t: t})
			}
			for _, r := range readers {
				wg.Go(func() {
					for range messages {
						assert.NoError(t, r.ws.WriteMessage(websocket.TextMessage, []byte("x")))
					}
					for len(r.got) < clients*messages {
						if !assert.NoError(t, r.read()) {
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
