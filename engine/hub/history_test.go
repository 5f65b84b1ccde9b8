package hub_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
)

// withHistory is a protocol of an application: "position text", and "gap from to".
func withHistory(limits hub.History) hub.Config {
	return hub.Config{
		History: func(string) hub.History { return limits },
		Envelope: func(dst []byte, m hub.Published) []byte {
			return fmt.Appendf(dst, "%v %s", m.At, m.Payload)
		},
		Gap: func(dst []byte, _ string, from, to hub.Position) ([]byte, hub.Opcode) {
			return fmt.Appendf(dst, "gap %v %v", from, to), frame.Text
		},
	}
}

// An archive is a server of one room with a history. A client says where it was, by a
// text message, before it is a member.
type archive struct {
	t    testing.TB
	hub  *hub.Hub
	room hub.Room
	url  string
}

func startArchive(t testing.TB, cfg engine.Config, hubConfig hub.Config) *archive {
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	a := &archive{t: t, hub: hub.New(e, hubConfig)}
	a.room = a.hub.Room("room")
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: a.hub.Handler(engine.Handler{
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			if string(m.Data) == "join" {
				a.room.Join(c)
				return c.SendText("joined")
			}
			after, err := hub.ParsePosition(string(m.Data))
			if err != nil {
				return err
			}
			a.room.Resume(c, after)
			return nil
		},
	})}))
	a.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	t.Cleanup(func() {
		require.NoError(t, e.Shutdown(context.Background()))
		require.Zero(t, a.room.Len())
		srv.Close()
	})
	return a
}

// A reader is a client that keeps its position.
type reader struct {
	ws  *websocket.Conn
	t   testing.TB
	got []string // without positions
	at  hub.Position
	gap bool // the last read was a gap
}

func (a *archive) client(say string) *reader {
	ws, _, err := websocket.DefaultDialer.Dial(a.url, nil)
	require.NoError(a.t, err)
	require.NoError(a.t, ws.WriteMessage(websocket.TextMessage, []byte(say)))
	r := &reader{ws: ws, t: a.t}
	a.t.Cleanup(func() { _ = ws.Close() })
	if say == "join" {
		_, m, err := ws.ReadMessage()
		require.NoError(a.t, err)
		require.Equal(a.t, "joined", string(m))
	}
	return r
}

// read takes the next message. It fails the test if it is not the next by number.
func (r *reader) read() error {
	_ = r.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, m, err := r.ws.ReadMessage()
	if err != nil {
		return err
	}
	first, rest, _ := strings.Cut(string(m), " ")
	if r.gap = first == "gap"; r.gap {
		from, to, _ := strings.Cut(rest, " ")
		f, err := hub.ParsePosition(from)
		require.NoError(r.t, err)
		require.Equal(r.t, r.at, f, "a gap begins where the client was")
		r.at, err = hub.ParsePosition(to)
		require.NoError(r.t, err)
		return nil
	}
	at, err := hub.ParsePosition(first)
	require.NoError(r.t, err)
	if r.at.Epoch != 0 {
		require.Equal(r.t, hub.Position{Epoch: r.at.Epoch, Seq: r.at.Seq + 1}, at, "lost, doubled or out of order")
	}
	r.at = at
	r.got = append(r.got, rest)
	return nil
}

func (a *archive) publish(text string) hub.Position {
	at, err := a.room.Publish(context.Background(), frame.Text, []byte(text))
	require.NoError(a.t, err)
	return at
}

// Who comes back gets what it has missed, each message once, and then what is new.
func TestResume(t *testing.T) {
	a := startArchive(t, engine.Config{}, withHistory(hub.History{Messages: 100}))
	r := a.client("join")
	a.publish("one")
	require.NoError(t, r.read())
	_ = r.ws.Close()
	a.publish("two")
	last := a.publish("three")
	back := a.client(r.at.String())
	back.at = r.at
	a.publish("four")
	for range 3 {
		require.NoError(t, back.read())
	}
	require.Equal(t, []string{"two", "three", "four"}, back.got)
	require.Equal(t, last.Seq+1, a.room.Position().Seq)
	all := a.client("0-0")
	for range 4 {
		require.NoError(t, all.read())
	}
	require.Equal(t, []string{"one", "two", "three", "four"}, all.got)
}

// What the history does not have any more is told as a gap; so is another epoch.
func TestResumeGap(t *testing.T) {
	a := startArchive(t, engine.Config{}, withHistory(hub.History{Messages: 3}))
	first := a.publish("0")
	for i := range 5 {
		a.publish(fmt.Sprint(i + 1))
	}
	r := a.client(first.String())
	r.at = first
	require.NoError(t, r.read())
	require.True(t, r.gap)
	require.Equal(t, hub.Position{Epoch: first.Epoch, Seq: 3}, r.at)
	for range 3 {
		require.NoError(t, r.read())
	}
	require.Equal(t, []string{"3", "4", "5"}, r.got)

	other := hub.Position{Epoch: first.Epoch + 1, Seq: 6}
	r = a.client(other.String())
	r.at = other
	require.NoError(t, r.read())
	require.True(t, r.gap)
	require.Equal(t, hub.Position{Epoch: first.Epoch, Seq: 3}, r.at)
	require.NoError(t, r.read())
	require.Equal(t, []string{"3"}, r.got)
}

// A member that is too slow gets everything all the same, while the history reaches,
// whatever becomes of other messages to it; others do not wait for it.
func TestSlowFollower(t *testing.T) {
	class := &backpressure.Class{Overflow: backpressure.DropNewest}
	a := startArchive(t, engine.Config{HighWaterBytes: 32 << 10, SendClass: class}, withHistory(hub.History{Messages: 5000, Bytes: -1}))
	slow, quick := a.client("join"), a.client("join")
	text := strings.Repeat("x", 8<<10)
	const n = 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			if quick.read() != nil {
				return
			}
		}
	}()
	for range n {
		a.publish(text)
	}
	<-done
	require.Len(t, quick.got, n)
	require.Positive(t, a.hub.Totals().Congested)
	for range n {
		require.NoError(t, slow.read())
	}
	require.Len(t, slow.got, n)
}

// The issue's: clients that are cut off again and again in the middle of 10,000
// messages at full rate get each of them once and in order, or are told of a gap.
func TestResumeAtFullRate(t *testing.T) {
	for name, limits := range map[string]hub.History{
		"all kept": {Messages: 20_000, Bytes: -1},
		"few kept": {Messages: 50},
	} {
		t.Run(name, func(t *testing.T) {
			a := startArchive(t, engine.Config{HighWaterBytes: 16 << 10}, withHistory(limits))
			const messages, clients = 10_000, 8
			begin := a.publish("begin")
			var wg sync.WaitGroup
			results := make([]*reader, clients)
			for i := range clients {
				wg.Go(func() { results[i] = a.follow(begin, messages+1, 100+37*i) })
			}
			for i := range messages {
				a.publish(fmt.Sprint(i))
			}
			wg.Wait()
			for _, r := range results {
				require.Equal(t, uint64(messages+1), r.at.Seq)
				if name == "all kept" {
					require.Len(t, r.got, messages)
				}
			}
		})
	}
}

// follow reads from a position up to the message with the given number, on a new
// connection after every so many messages.
func (a *archive) follow(from hub.Position, to uint64, every int) *reader {
	state := &reader{at: from}
	for {
		r := a.client(state.at.String())
		r.at, r.got = state.at, state.got
		state = r
		for range every {
			if err := r.read(); err != nil {
				a.t.Error(err)
				return r
			}
			if r.at.Seq == to {
				return r
			}
		}
		_ = r.ws.NetConn().Close()
	}
}

// A member that does not read at all delays nobody: Publish returns, others get every
// message when it is published. When it reads again, it is told what it has missed.
func TestStalledFollower(t *testing.T) {
	a := startArchive(t, engine.Config{HighWaterBytes: 32 << 10, WriteStallTimeout: -1}, withHistory(hub.History{Messages: 10, Bytes: -1}))
	stalled, quick := a.client("join"), a.client("join")
	text := strings.Repeat("x", 32<<10)
	const n = 500
	for range n {
		a.publish(text)
		require.NoError(t, quick.read())
		require.False(t, quick.gap)
	}
	require.Positive(t, a.hub.Totals().Congested)
	gaps := 0
	for stalled.at.Seq < n {
		require.NoError(t, stalled.read())
		if stalled.gap {
			gaps++
		}
	}
	require.Positive(t, gaps)
	require.Less(t, gaps, 5, "one for each time that the system took something, not for each message")
	require.Less(t, len(stalled.got), n)
}
