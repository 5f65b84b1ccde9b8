package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// room is a fan-out server that may be told to misbehave.
type room struct {
	mu      sync.Mutex
	members []*websocket.Conn
	n       int // messages broadcast
	sender  *websocket.Conn

	// deliver writes message n to the member that joined as the i-th; nil: as it should be.
	deliver func(c *websocket.Conn, i, n, kind int, message []byte) error
}

func (r *room) serve(conn *websocket.Conn) {
	r.mu.Lock()
	r.members = append(r.members, conn)
	r.mu.Unlock()
	echoWith(conn, func(_, kind int, message []byte) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sender = conn
		for i, c := range r.members {
			if r.deliver == nil {
				_ = c.WriteMessage(kind, message)
			} else if r.deliver(c, i, r.n, kind, message) == errOver {
				c.Close()
			}
		}
		r.n++
		return nil
	})
}

func shortFanout(f Fanout) Fanout {
	setDefault(&f.Duration, 60*time.Millisecond)
	f.Settle = 5 * time.Second
	return f
}

// Every delivery of a good server is taken for one, on both drivers, and every
// connection has got every message.
func TestFanoutAgainstGorilla(t *testing.T) {
	for _, tls := range transports() {
		for _, f := range []Fanout{
			{Connections: 1},
			{Connections: 1, InFlight: 7},
			{Connections: 20, PayloadBytes: 1},
			{Connections: 20, InFlight: 16, PayloadBytes: 128, Warmup: 50 * time.Millisecond},
			{Connections: 5, InFlight: 3, PayloadBytes: 7, Text: true},
			{Connections: 3, InFlight: 3, PayloadBytes: 70_000},
		} {
			t.Run(fmt.Sprintf("tls=%v/%dx%dx%d", tls, f.Connections, f.InFlight, f.PayloadBytes), func(t *testing.T) {
				var r *room
				f := shortFanout(f)
				var last Progress
				got, err := lively(func(window time.Duration) (*Result, error) {
					r, f.Duration = new(room), max(f.Duration, window)
					return f.Run(t.Context(), serve(t, tls, r.serve), func(p Progress) { last = p })
				})
				require.NoError(t, err)
				require.Empty(t, got.Failures)
				require.False(t, got.Partial)
				require.Equal(t, "fanout", got.Scenario)
				require.Equal(t, tls || runtime.GOOS != "linux", got.CPU.Driver == "goroutines")
				require.Positive(t, got.Messages)
				require.LessOrEqual(t, got.Messages, int64(r.n))
				require.LessOrEqual(t, last.Messages, uint64(r.n))
				// At each end of the window, what is in flight may count in part.
				d := f.withDefaults()
				require.InDelta(t, got.Messages*int64(d.Connections), got.Deliveries, float64(2*d.Connections*d.InFlight))
				require.InEpsilon(t, float64(got.Deliveries)/time.Duration(got.WindowNS).Seconds(), got.DeliveriesPerSecond, 1e-9)
				require.Positive(t, *got.ClientCPUPerDelivery)
				require.Nil(t, got.ServerCPUPerDelivery) // no PID was given
				l := got.Latency
				require.Positive(t, l.P50)
				require.IsNonDecreasing(t, []int64{l.P50, l.P90, l.P99, l.P999, l.Max})
				require.Equal(t, 0, got.Settings["stalled"])
			})
		}
	}
}

// badRoom misbehaves once, at the fifth message, towards one connection.
type badRoom struct {
	name     string
	inFlight int
	want     []FailureKind // any of them
	deliver  func(c *websocket.Conn, kind int, message []byte) error
}

var badRooms = []badRoom{
	{"loses", 4, []FailureKind{FailureSequence}, func(*websocket.Conn, int, []byte) error { return nil }},
	{"loses the only one", 1, []FailureKind{FailureUnanswered}, func(*websocket.Conn, int, []byte) error { return nil }},
	// When no other is under way, the second is one too many; else out of order.
	{"doubles", 4, []FailureKind{FailureUnasked, FailureSequence}, func(c *websocket.Conn, kind int, m []byte) error {
		return errors.Join(c.WriteMessage(kind, m), c.WriteMessage(kind, m))
	}},
	{"doubles the only one", 1, []FailureKind{FailureUnasked, FailureSequence}, func(c *websocket.Conn, kind int, m []byte) error {
		return errors.Join(c.WriteMessage(kind, m), c.WriteMessage(kind, m))
	}},
	{"corrupts", 4, []FailureKind{FailureContent}, func(c *websocket.Conn, kind int, m []byte) error {
		bad := append([]byte(nil), m...)
		bad[len(m)-1] ^= 1
		return c.WriteMessage(kind, bad)
	}},
	{"changes the type", 4, []FailureKind{FailureOpcode}, func(c *websocket.Conn, _ int, m []byte) error {
		return c.WriteMessage(websocket.TextMessage, m)
	}},
	// The one that was waited for goes when there is nothing else to read.
	{"hangs up late", 1, []FailureKind{FailureClosed, FailureNetwork}, func(c *websocket.Conn, _ int, _ []byte) error {
		time.AfterFunc(20*time.Millisecond, func() { c.Close() })
		return nil
	}},
	{"hangs up", 4, []FailureKind{FailureClosed, FailureNetwork}, func(*websocket.Conn, int, []byte) error { return errOver }},
}

// A delivery that is lost, doubled or altered fails the connection that it was
// for, and says what it was; the others go on without it.
func TestFanoutCatchesBadServers(t *testing.T) {
	for _, bad := range badRooms {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			for _, tls := range transports() {
				checkBadRoom(t, tls, bad.inFlight, bad.want, func(c *websocket.Conn, _, n, kind int, m []byte) error {
					if n == 4 {
						return bad.deliver(c, kind, m)
					}
					return c.WriteMessage(kind, m)
				})
			}
		})
	}
}

// So does one that is out of order.
func TestFanoutCatchesReordering(t *testing.T) {
	for _, tls := range transports() {
		var held []byte
		checkBadRoom(t, tls, 4, []FailureKind{FailureSequence}, func(c *websocket.Conn, _, n, kind int, m []byte) error {
			switch n {
			case 4:
				held = m
				return nil
			case 5:
				return errors.Join(c.WriteMessage(kind, m), c.WriteMessage(kind, held))
			}
			return c.WriteMessage(kind, m)
		})
	}
}

// checkBadRoom runs a fan-out against a server that delivers to one connection
// other than the sender's as told.
func checkBadRoom(t *testing.T, tls bool, inFlight int, want []FailureKind, deliver func(*websocket.Conn, int, int, int, []byte) error) {
	t.Helper()
	var victim *websocket.Conn
	r := room{}
	r.deliver = func(c *websocket.Conn, i, n, kind int, m []byte) error {
		if victim == nil && c != r.sender {
			victim = c
		}
		if c == victim {
			return deliver(c, i, n, kind, m)
		}
		return c.WriteMessage(kind, m)
	}
	target := serve(t, tls, r.serve)
	f := shortFanout(Fanout{Connections: 4, InFlight: inFlight, Duration: time.Second})
	if want[0] == FailureUnanswered {
		f.Settle = 300 * time.Millisecond
	}
	got, err := f.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Equal(t, 1, got.Errors, "%v", got.Failures)
	require.Contains(t, want, got.Failures[0].Kind, got.Failures[0].First)
	require.False(t, got.Partial)
	if want[0] != FailureUnanswered {
		require.Greater(t, got.Messages, int64(5), "the others have gone on")
	}
}

// A fan-out whose sender fails is over, long before its time, with one failure.
func TestFanoutEndsWithoutSender(t *testing.T) {
	for _, tls := range transports() {
		target := serve(t, tls, func(conn *websocket.Conn) {
			// The sender's connection ends at its first message; the others' handlers wait.
			_, _, _ = conn.ReadMessage()
		})
		begin := time.Now()
		got, err := Fanout{Connections: 4, Duration: time.Hour}.Run(t.Context(), target, nil)
		require.NoError(t, err)
		require.Equal(t, 1, got.Errors, "%v", got.Failures)
		require.Contains(t, got.Failures[0].First, "connection 0:")
		require.True(t, got.Partial)
		require.Less(t, time.Since(begin), time.Minute)
	}
}

// When time is up, every connection that misses something says so.
func TestFanoutUnanswered(t *testing.T) {
	for _, tls := range transports() {
		r := room{deliver: func(c *websocket.Conn, _, n, kind int, m []byte) error {
			if n == 0 {
				return nil
			}
			return c.WriteMessage(kind, m)
		}}
		f := shortFanout(Fanout{Connections: 4})
		f.Settle = 100 * time.Millisecond
		got, err := f.Run(t.Context(), serve(t, tls, r.serve), nil)
		require.NoError(t, err)
		require.Equal(t, 4, got.Errors)
		require.Equal(t, FailureUnanswered, got.Failures[0].Kind)
	}
}

// Stalled connections are opened with small buffers, never read, never waited
// for, and what the server does to them is no failure.
func TestFanoutStalled(t *testing.T) {
	const stalled, healthy = 2, 3
	var blocked sync.Map // connections whose writes time out: at which message
	r := room{deliver: func(c *websocket.Conn, i, n, kind int, m []byte) error {
		patience := 10 * time.Second
		if i < stalled { // they come first
			patience = 100 * time.Millisecond
		}
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if err := c.WriteMessage(kind, m); err != nil {
			blocked.LoadOrStore(c, n)
			return errOver
		}
		return nil
	}}
	target := serve(t, false, func(conn *websocket.Conn) {
		if tcp, ok := conn.NetConn().(interface{ SetWriteBuffer(int) error }); ok {
			_ = tcp.SetWriteBuffer(1)
		}
		r.serve(conn)
	})
	f := shortFanout(Fanout{Connections: healthy, Stalled: stalled, PayloadBytes: 16 << 10})
	f.Duration = 2 * time.Second
	got, err := f.Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Empty(t, got.Failures)
	require.False(t, got.Partial)
	n := 0
	blocked.Range(func(_, at any) bool {
		n++
		if runtime.GOOS == "linux" {
			require.LessOrEqual(t, at, 1, "a buffer of the usual size takes several messages")
		}
		return true
	})
	if runtime.GOOS == "linux" {
		require.Equal(t, stalled, n)
	}
	require.InDelta(t, got.Messages*healthy, got.Deliveries, 2*healthy)
	require.Greater(t, got.Messages, int64(10))
	require.Equal(t, stalled, got.Settings["stalled"])
}

// A connection without an answer to its ping is not established.
func TestFanoutAwaitsPong(t *testing.T) {
	target := serve(t, false, func(conn *websocket.Conn) {
		conn.SetPingHandler(func(string) error { return errOver })
		_, _, _ = conn.ReadMessage()
	})
	_, err := Fanout{Connections: 2}.Run(t.Context(), target, nil)
	require.Error(t, err)
	_, err = Fanout{Connections: 2, Stalled: 1}.Run(t.Context(), target, nil)
	require.Error(t, err)
}

// What came before the pong is not lost: a greeting is a message too many.
func TestFanoutCatchesGreeting(t *testing.T) {
	var r room
	target := serve(t, false, func(conn *websocket.Conn) {
		_ = conn.WriteMessage(websocket.BinaryMessage, make([]byte, 128))
		r.serve(conn)
	})
	got, err := shortFanout(Fanout{Connections: 3}).Run(t.Context(), target, nil)
	require.NoError(t, err)
	require.Equal(t, 3, got.Errors)
	require.Equal(t, FailureUnasked, got.Failures[0].Kind)
}

// Latency is that of every delivery: half of the connections are slow, and so is
// half of the latencies.
func TestFanoutLatency(t *testing.T) {
	const delay = 20 * time.Millisecond
	r := room{deliver: func(c *websocket.Conn, i, _, kind int, m []byte) error {
		if i == 2 {
			time.Sleep(delay)
		}
		return c.WriteMessage(kind, m)
	}}
	f := shortFanout(Fanout{Connections: 5})
	f.Duration = 400 * time.Millisecond
	got, err := f.Run(t.Context(), serve(t, false, r.serve), nil)
	require.NoError(t, err)
	require.Empty(t, got.Failures)
	require.GreaterOrEqual(t, got.Latency.P90, int64(delay))
	h := float64(time.Second/delay) * 1.2
	require.LessOrEqual(t, got.MessagesPerSecond, h)
	require.LessOrEqual(t, got.DeliveriesPerSecond, 5*h)
}

func TestFanoutConfig(t *testing.T) {
	require.NoError(t, Fanout{}.Validate())
	err := Fanout{Connections: -1, InFlight: MaxInFlight + 1, PayloadBytes: -5, Stalled: -1, Warmup: -1, Duration: 1, Settle: -1}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 7)
	var config *ConfigError
	for _, e := range joined.Unwrap() {
		require.ErrorAs(t, e, &config)
	}
	require.Equal(t, "Stalled", config.Field)
	// The messages are the sender's alone, whatever the number of connections.
	require.NoError(t, Fanout{Connections: MaxConnections, InFlight: 1000, PayloadBytes: 1 << 20}.Validate())
	require.ErrorAs(t, Fanout{InFlight: 1000, PayloadBytes: 4 << 20}.Validate(), &config)
	require.Equal(t, FieldSenderMemory, config.Field)
	_, err = Fanout{}.Run(t.Context(), Target{URL: "http://127.0.0.1/"}, nil)
	require.ErrorAs(t, err, &config)
	require.Equal(t, "URL", config.Field)
}

// The sender says goodbye last, when all have got its messages: a server might drop
// those of a connection that has gone.
func TestFanoutSenderStays(t *testing.T) {
	g := Group{}.withDefaults()
	src := newSource(g, 2, g.pattern())
	sender, other := newFlow(src, true, &frame.Rules{}), newFlow(src, false, &frame.Rules{})
	sender.refill(1)
	for _, f := range []*flow{sender, other} {
		sender.drain(newRecorder(newWindow(), time.Second, 1))
		require.Equal(t, stageDraining, sender.stage)
		f.arrived(f.done)
		f.done++
	}
	sender.refill(2)
	require.Equal(t, stageClosing, sender.stage)
	require.Equal(t, uint64(1), src.next)
}

// Whatever receivers leave and in which order the rest receives, messages are
// complete when those that are left have them, and in order.
func TestSourceReckoning(t *testing.T) {
	for range 200 {
		g := Group{InFlight: 1 + rand.IntN(5)}.withDefaults()
		src := newSource(g, 4, g.pattern())
		flows := make([]*flow, 4)
		for i := range flows {
			flows[i] = newFlow(src, i == 0, &frame.Rules{})
		}
		for range 200 {
			flows[0].refill(1)
			i := rand.IntN(len(flows))
			if len(flows) > 1 && i > 0 && rand.IntN(40) == 0 {
				flows[i].leave(failf(FailureClosed, ""))
				flows = append(flows[:i], flows[i+1:]...)
			} else if f := flows[i]; f.done < f.next {
				f.arrived(f.done)
				f.done++
			}
			least := src.next
			for _, f := range flows {
				least = min(least, f.done)
			}
			require.Equal(t, least, src.complete)
			require.Len(t, flows, src.receivers)
		}
	}
}

// Rooms have senders of their own, whose messages stay in them: what comes from another
// room is a failure.
func TestFanoutRooms(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		var mu sync.Mutex
		rooms := make(map[string]*room)
		upgrader := websocket.Upgrader{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			name := req.URL.Query().Get("token")
			if name == "" {
				http.Error(w, "no room", http.StatusBadRequest)
				return
			}
			if mixed {
				name = "all"
			}
			mu.Lock()
			r := rooms[name]
			if r == nil {
				r = new(room)
				rooms[name] = r
			}
			mu.Unlock()
			conn, err := upgrader.Upgrade(w, req, nil)
			if err != nil {
				return
			}
			defer conn.Close()
			r.serve(conn)
		}))
		t.Cleanup(srv.Close)
		f := shortFanout(Fanout{Connections: 11, Rooms: 3, InFlight: 2})
		got, err := f.Run(t.Context(), Target{URL: "ws" + strings.TrimPrefix(srv.URL, "http") + "/?other=1"}, nil)
		require.NoError(t, err)
		if mixed {
			require.NotEmpty(t, got.Failures)
			continue
		}
		require.Empty(t, got.Failures)
		require.Len(t, rooms, 3)
		for name, members := range map[string]int{"room-0": 4, "room-1": 4, "room-2": 3} {
			require.Len(t, rooms[name].members, members)
			require.Positive(t, rooms[name].n)
		}
		require.Equal(t, 3, got.Settings["rooms"])
		require.Contains(t, got.Name, "11 connections in 3 rooms, 2 in flight from one of each room")
		require.InDelta(t, got.Messages*11/3, got.Deliveries, float64(got.Messages)*0.4+60)
	}
	_, err := Fanout{Connections: 2, Rooms: 3}.Run(t.Context(), Target{URL: "ws://127.0.0.1:1/"}, nil)
	var wrong *ConfigError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "Rooms", wrong.Field)
}
