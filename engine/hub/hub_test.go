package hub_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/hub"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// A fixture is a hub on a server, and its connections from both sides.
type fixture struct {
	t       testing.TB
	engine  *engine.Engine
	hub     *hub.Hub
	room    hub.Room // everybody joins it
	url     string
	opened  chan *engine.Conn
	clients []*websocket.Conn
	conns   []*engine.Conn // the server's ends of clients
}

// start serves a hub whose connections join and leave by themselves.
func start(t testing.TB, cfg engine.Config, hubConfig ...hub.Config) *fixture {
	f := &fixture{t: t, opened: make(chan *engine.Conn, 1)}
	e, err := engine.New(cfg, engine.Endpoint{})
	require.NoError(t, err)
	f.engine, f.hub = e, hub.New(e, append(hubConfig, hub.Config{})[0])
	f.room = f.hub.Room("room")
	srv := httptest.NewServer(e.Endpoint(engine.Endpoint{Handler: f.hub.Handler(engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error { f.room.Join(c); f.opened <- c; return nil },
	})}))
	f.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	t.Cleanup(func() {
		for _, ws := range f.clients {
			_ = ws.Close()
		}
		require.NoError(t, e.Shutdown(context.Background()))
		require.Zero(t, f.room.Len()+f.hub.All().Len(), "members are left when every connection has ended")
		srv.Close()
	})
	return f
}

func (f *fixture) connect(n int) *fixture {
	for range n {
		ws, _, err := websocket.DefaultDialer.Dial(f.url, nil)
		require.NoError(f.t, err)
		f.clients = append(f.clients, ws)
		f.conns = append(f.conns, <-f.opened)
	}
	return f
}

// reading returns a client that is to be read from now, with a deadline.
func (f *fixture) reading(client int) *websocket.Conn {
	ws := f.clients[client]
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	return ws
}

// next is what a client gets next.
func (f *fixture) next(client int) string {
	_, m, err := f.reading(client).ReadMessage()
	require.NoError(f.t, err)
	return string(m)
}

// read collects what a client gets until it gets last.
func (f *fixture) read(client int, last string) []string {
	ws := f.reading(client)
	for got := []string(nil); ; {
		_, m, err := ws.ReadMessage()
		if err != nil {
			f.t.Errorf("client %d, after %d messages: %v", client, len(got), err)
			return got
		}
		if string(m) == last {
			return got
		}
		got = append(got, string(m))
	}
}

func (f *fixture) broadcast(text string) engine.Tally {
	tally, err := f.room.Broadcast(context.Background(), frame.Text, []byte(text))
	require.NoError(f.t, err)
	return tally
}

func TestMembership(t *testing.T) {
	f := start(t, engine.Config{}).connect(3)
	h := f.room
	require.Equal(t, 3, h.Len())
	require.Equal(t, identities(f.conns), identities(slices.Collect(h.Conns())))
	require.False(t, h.Join(f.conns[0]))
	require.True(t, h.Leave(f.conns[0]))
	require.False(t, h.Leave(f.conns[0]))
	require.Equal(t, identities(f.conns[1:]), identities(slices.Collect(h.Conns())))
	require.Equal(t, engine.Tally{Queued: 2}, f.broadcast("without the first"))
	require.True(t, h.Join(f.conns[0]))
	require.Equal(t, engine.Tally{Queued: 3}, f.broadcast("end"))
	require.Empty(t, f.read(0, "end"))
	require.Equal(t, []string{"without the first"}, f.read(1, "end"))
	require.Equal(t, hub.Totals{Broadcasts: 2, Queued: 5}, f.hub.Totals())
}

// identities counts connections by their numbers: they must not be looked into.
func identities(conns []*engine.Conn) map[uint64]int {
	count := map[uint64]int{}
	for _, c := range conns {
		count[c.ID()]++
	}
	return count
}

func TestBroadcastKeepsType(t *testing.T) {
	f := start(t, engine.Config{}).connect(1)
	for op, want := range map[frame.Opcode]int{frame.Text: websocket.TextMessage, frame.Binary: websocket.BinaryMessage} {
		payload := []byte("payload")
		_, err := f.room.Broadcast(context.Background(), op, payload)
		require.NoError(t, err)
		clear(payload) // the caller's again
		op, got, err := f.reading(0).ReadMessage()
		require.NoError(t, err)
		require.Equal(t, want, op)
		require.Equal(t, "payload", string(got))
	}
}

func TestBroadcastRefusedByPrepare(t *testing.T) {
	f := start(t, engine.Config{MaxMessageBytes: 10}).connect(1)
	_, err := f.room.Broadcast(context.Background(), frame.Text, []byte("eleven byte"))
	require.ErrorIs(t, err, engine.ErrMessageTooBig)
	_, err = f.room.Broadcast(context.Background(), frame.Text, []byte{0xff})
	require.ErrorIs(t, err, engine.ErrInvalidUTF8)
	require.Zero(t, f.hub.Totals())
	f.broadcast("ten  bytes") // the connection is unharmed
	require.Empty(t, f.read(0, "ten  bytes"))
}

// TestBroadcastHoldsNoLock: whatever runs meanwhile may change the hub.
func TestBroadcastHoldsNoLock(t *testing.T) {
	var f *fixture
	changing := outbound(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		c := engine.FromContext(ctx)
		f.room.Leave(c)
		f.room.Join(c)
		return next.Run(ctx, out)
	})
	f = start(t, engine.Config{Interceptors: []interceptors.Interceptor{changing}}).connect(3)
	require.Equal(t, engine.Tally{Queued: 3}, f.broadcast("one"))
	for c := range f.room.Conns() {
		f.room.Leave(c)
		require.Equal(t, engine.Tally{Queued: 2}, f.broadcast("two"))
		f.room.Join(c)
	}
}

type outbound func(context.Context, interceptors.Outbound, *interceptors.OutboundNext) error

func (outbound) Admit(*http.Request) error { return nil }

func (outbound) InterceptInbound(ctx context.Context, in interceptors.Inbound, next *interceptors.InboundNext) error {
	return next.Run(ctx, in)
}

func (o outbound) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return o(ctx, out, next)
}

// TestEveryMemberExactlyOnce: while half of the members come and go, the other
// half gets every broadcast exactly once, each broadcaster's in order, and
// nobody gets any twice.
func TestEveryMemberExactlyOnce(t *testing.T) {
	const members, broadcasters, broadcasts = 16, 4, 200
	f := start(t, engine.Config{HighWaterBytes: 8 << 20}).connect(members)
	stable := members / 2
	stop := make(chan struct{})
	var churn, work sync.WaitGroup
	for _, c := range f.conns[stable:] {
		churn.Go(func() {
			for {
				select {
				case <-stop:
					f.room.Join(c)
					return
				default:
					f.room.Leave(c)
					runtime.Gosched()
					f.room.Join(c)
				}
			}
		})
	}
	for who := range broadcasters {
		work.Go(func() {
			for i := range broadcasts {
				f.broadcast(fmt.Sprintf("%d:%06d", who, i))
			}
		})
	}
	received := make([][]string, members)
	var readers sync.WaitGroup
	for i := range members {
		readers.Go(func() { received[i] = f.read(i, "end") })
	}
	work.Wait()
	close(stop)
	churn.Wait()
	require.Equal(t, members, f.broadcast("end").Queued)
	readers.Wait()
	for i, got := range received {
		checkStream(t, got, i < stable, broadcasters, broadcasts)
	}
	require.Zero(t, f.hub.Totals().Congested)
}

// checkStream checks what one member has got of every broadcaster.
func checkStream(t *testing.T, got []string, complete bool, broadcasters, broadcasts int) {
	t.Helper()
	for who := range broadcasters {
		var mine []string
		for _, m := range got {
			if strings.HasPrefix(m, fmt.Sprintf("%d:", who)) {
				mine = append(mine, m)
			}
		}
		require.True(t, slices.IsSorted(mine), "out of order")
		require.Len(t, slices.Compact(slices.Clone(mine)), len(mine), "delivered twice")
		if complete {
			require.Len(t, mine, broadcasts, "lost")
		}
	}
}

// TestConnectionsComeAndGo: real connections, not only memberships.
func TestConnectionsComeAndGo(t *testing.T) {
	f := start(t, engine.Config{}).connect(2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			ws, _, err := websocket.DefaultDialer.Dial(f.url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			<-f.opened
			_ = ws.Close()
		}
	}()
	for n, running := 0, true; running; n++ {
		select {
		case <-done:
			running = false
		default:
		}
		text := strconv.Itoa(n)
		f.broadcast(text)
		for client := range f.clients {
			require.Equal(t, text, f.next(client))
		}
	}
}

// TestSlowMember: one that does not read misses messages, which are counted; the
// others miss nothing.
func TestSlowMember(t *testing.T) {
	f := start(t, engine.Config{HighWaterBytes: 64 << 10}).connect(2)
	const slow, quick = 0, 1
	text := strings.Repeat("x", 32<<10)
	sent, missed := 0, 0
	for ; missed < 3 && sent < 2000; sent++ {
		missed += f.broadcast(text).Congested
		require.True(t, text == f.next(quick))
		for f.conns[quick].PendingBytes() > 0 { // until its writer knows, too
			runtime.Gosched()
		}
	}
	require.Equal(t, 3, missed)
	require.Equal(t, hub.Totals{Broadcasts: uint64(sent), Queued: uint64(2*sent - 3), Congested: 3}, f.hub.Totals())
	for range sent - missed {
		require.True(t, text == f.next(slow))
	}
	require.NoError(t, f.conns[slow].Drain(context.Background(), 0))
	f.broadcast("end")
	require.Empty(t, f.read(slow, "end"))
}

// drain throws away what clients from one on get, without allocating.
func (f *fixture) drain(from int) {
	for _, ws := range f.clients[from:] {
		go func() { _, _ = io.Copy(io.Discard, ws.NetConn()) }() // ends when the fixture closes the client
	}
}
