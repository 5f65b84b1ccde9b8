package bench

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// dues returns when the messages of one of n connections are due in the first span.
func dues(p Pace, i, n int, span time.Duration) (list []int64) {
	pace := newPacer(p, timing{duration: span}, i, n, new(int64))
	for {
		at, ok := pace.take(int64(span))
		if !ok {
			return list
		}
		list = append(list, at)
	}
}

// Messages are due at the rate that was asked for, in turn on all connections.
func TestPace(t *testing.T) {
	const second = int64(time.Second)
	first, third := dues(Pace{Rate: 40, To: 40}, 0, 4, time.Second-1), dues(Pace{Rate: 40, To: 40}, 3, 4, time.Second-1)
	require.Len(t, first, 10)
	require.Len(t, third, 10)
	for i := range first {
		require.InDelta(t, int64(i)*second/10, first[i], 100)
		require.InDelta(t, int64(i)*second/10+second*3/40, third[i], 100)
	}

	ramp := dues(Pace{Rate: 100, To: 300}, 0, 1, 10*time.Second)
	require.InDelta(t, 2000, len(ramp), 20)
	early := 0
	for early < len(ramp) && ramp[early] < 5*second {
		early++
	}
	require.InDelta(t, 750, early, 20) // 100 to 200 a second

	for _, p := range []Pace{{Rate: 1, To: 999}, {Rate: 999, To: 1}, {Rate: 1, To: 999, Poisson: true}} {
		total, half := 0, 0
		for i := range 100 {
			for _, at := range dues(p, i, 100, 10*time.Second) {
				total++
				if at < 5*second {
					half++
				}
			}
		}
		slack := 3.0
		if p.Poisson {
			slack = 6 * math.Sqrt(5000)
		}
		require.InDelta(t, 5000, total, slack+100, "%+v", p)
		want := 1250.0
		if p.To < p.Rate {
			want = 3750
		}
		require.InDelta(t, want, half, slack+100, "%+v", p)
	}

	fast := dues(Pace{Rate: 7e6, To: 7e6}, 0, 1, time.Second/10)
	require.InDelta(t, 700_000, len(fast), 2, "gaps of 142.86 ns do not add up to those of 142")

	random := dues(Pace{Rate: 1000, To: 1000, Poisson: true}, 0, 1, 20*time.Second)
	require.InDelta(t, 20_000, len(random), 5*math.Sqrt(20_000))
	var squares float64
	for i := range random[1:] {
		gap := float64(random[i+1]-random[i]) / float64(time.Millisecond)
		squares += gap * gap
	}
	require.InDelta(t, 2, squares/float64(len(random)), 0.3, "gaps should be exponential: E[x²] = 2")
}

// Whoever comes to run late is behind, not later due: all have the run's beginning.
func TestPaceFromTheBeginning(t *testing.T) {
	began := int64(7000)
	late := newPacer(Pace{Rate: 10, To: 10}, timing{duration: time.Second}, 1, 2, &began)
	for i := range 3 {
		due, ok := late.take(int64(time.Minute))
		require.True(t, ok)
		require.InDelta(t, began+int64(100*time.Millisecond)+int64(i)*int64(200*time.Millisecond), due, 100)
	}
}

// What was due before the window's end and had not come is owed, also if it comes
// before the loop notices that end; what was due after it is not.
func TestOwedAtTheEnd(t *testing.T) {
	f, rec := newTestFlow(Echo{Connections: 1, InFlight: 4, Pace: Pace{Rate: 1e6}})
	f.pace = newPacer(Pace{Rate: 1e6, To: 1e6}, timing{duration: time.Second}, 0, 1, new(int64))
	server := newEchoServer(t)
	f.refill(0)
	a, _ := f.pending()
	replies := server.take(a, nil) // to the message due at 0
	f.wrote(len(a))
	f.refill(2500) // due at 1000 and 2000
	rec.window.shut(3001)
	rec.at(3500)
	require.Nil(t, f.input(replies, 3500, rec))
	f.refill(3500) // due at 3000
	rec.at(4500)
	f.drain(rec)
	require.EqualValues(t, 4, rec.groups[0].owed)
	require.EqualValues(t, 4, rec.groups[0].latency.TotalCount())
	require.EqualValues(t, 3001, rec.groups[0].longest)
	require.EqualValues(t, 3001, rec.ticks[0].slowest)
	require.Zero(t, rec.groups[0].messages)
}

// A run that is interrupted while the server stands still owes what was due until then.
func TestOpenLoopInterrupted(t *testing.T) {
	for _, tls := range transports() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		over := make(chan struct{})
		asleep := func(conn *websocket.Conn) {
			echoWith(conn, func(_, kind int, message []byte) error {
				<-over
				return errors.New("too late")
			})
		}
		r, err := Echo{Connections: 2, Pace: Pace{Rate: 500}}.Run(ctx, serve(t, tls, asleep), nil)
		close(over)
		require.NoError(t, err)
		require.True(t, r.Partial)
		require.Greater(t, r.Owed, int64(50))
		require.InDelta(t, r.WindowNS, r.Latency.Max, float64(50*time.Millisecond))
	}
}

// Nothing is owed of a window that never opened.
func TestOpenLoopInterruptedInWarmup(t *testing.T) {
	for _, tls := range transports() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		e := Echo{Connections: 2, Pace: Pace{Rate: 500}, Warmup: time.Minute}
		r, err := e.Run(ctx, serve(t, tls, echoAll), nil)
		require.NoError(t, err)
		require.True(t, r.Partial)
		require.Zero(t, r.Owed)
		require.Zero(t, r.Latency.Max)
	}
}

// The messages of a group are due from the beginning, whatever groups come before it.
func TestPaceOfLaterGroups(t *testing.T) {
	m := Mixed{
		Groups: []Group{
			{Name: "many", Connections: 60, Pace: Pace{Rate: 100}},
			{Name: "few", Connections: 2, Pace: Pace{Rate: 20}},
		},
		Duration: 400 * time.Millisecond, Settle: time.Second,
	}
	r, err := m.Run(t.Context(), serve(t, false, echoAll), nil)
	require.NoError(t, err)
	require.Empty(t, r.Failures)
	window := float64(r.WindowNS) / 1e9
	require.InDelta(t, 100*window, r.Groups[0].Messages+r.Groups[0].Owed, 5)
	require.InDelta(t, 20*window, r.Groups[1].Messages+r.Groups[1].Owed, 1)
}

// A rate's end, or its randomness, without the rate would be a closed loop in disguise.
func TestPaceWithoutRate(t *testing.T) {
	for _, p := range []Pace{{To: 100}, {Poisson: true}} {
		var config *ConfigError
		require.ErrorAs(t, Echo{Pace: p}.Validate(), &config)
		require.Equal(t, "Pace.Rate", config.Field)
	}
}

// A server that stands still is charged for every message that clients would have
// sent meanwhile; a closed loop lets it off.
func TestOpenLoopShowsStalls(t *testing.T) {
	for _, tls := range transports() {
		stalls := func(conn *websocket.Conn) {
			began, stalled := time.Now(), false
			echoWith(conn, func(_, kind int, message []byte) error {
				if !stalled && time.Since(began) > 300*time.Millisecond {
					stalled = true
					time.Sleep(300 * time.Millisecond)
				}
				return conn.WriteMessage(kind, message)
			})
		}
		e := Echo{Connections: 1, Duration: 1500 * time.Millisecond, Settle: time.Second}
		closed, err := e.Run(t.Context(), serve(t, tls, stalls), nil)
		require.NoError(t, err)
		require.Equal(t, ClosedLoop, closed.LatencyMode)
		require.Less(t, closed.Latency.P99, int64(100*time.Millisecond), "one message of thousands")
		require.Greater(t, closed.Latency.Max, int64(290*time.Millisecond))

		e.Pace = Pace{Rate: 500}
		open, err := e.Run(t.Context(), serve(t, tls, stalls), nil)
		require.NoError(t, err)
		require.Equal(t, OpenLoop, open.LatencyMode)
		require.Empty(t, open.Failures)
		require.Greater(t, open.Latency.P99, int64(250*time.Millisecond), "a fifth of all messages waited")
		require.Greater(t, open.Latency.P90, int64(50*time.Millisecond))
		require.InDelta(t, 500*float64(open.WindowNS)/1e9, open.Messages+open.Owed, 25, "each that was due counts, once: 150 were in the stall")
	}
}

// What a server cannot keep up with is owed at the end, and the longer it has
// waited the worse the latency.
func TestOpenLoopOwed(t *testing.T) {
	for _, tls := range transports() {
		slow := func(conn *websocket.Conn) {
			echoWith(conn, func(_, kind int, message []byte) error {
				time.Sleep(10 * time.Millisecond)
				return conn.WriteMessage(kind, message)
			})
		}
		e := Echo{Connections: 2, InFlight: 4, Pace: Pace{Rate: 1000}, Duration: 500 * time.Millisecond, Settle: time.Second}
		r, err := e.Run(t.Context(), serve(t, tls, slow), nil)
		require.NoError(t, err)
		require.Empty(t, r.Failures)
		require.InDelta(t, 1000*float64(r.WindowNS)/1e9, r.Owed+r.Messages, 3)
		require.Greater(t, r.Owed, int64(350))
		require.Greater(t, r.Latency.P50, int64(100*time.Millisecond))
		require.Greater(t, r.Latency.Max, int64(300*time.Millisecond))
	}
}
