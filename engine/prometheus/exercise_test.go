package penstockprometheus_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	penstockprometheus "github.com/penstock-ws/penstock/engine/prometheus"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../docs", name))
	require.NoError(t, err)
	return string(b)
}

// source counts how often it is asked.
type source struct {
	*engine.Engine
	asked atomic.Int32
}

func (s *source) Stats() engine.Stats { s.asked.Add(1); return s.Engine.Stats() }

// An exercise is an engine with traffic that is known to the last message.
type exercise struct {
	server *enginetest.Server
	source *source
	scrape func() metrics
	slow   chan *engine.Conn
	hold   chan struct{}
	held   chan struct{}
}

// classes of messages that are dropped.
var (
	newest = &backpressure.Class{Name: "newest", Overflow: backpressure.DropNewest}
	oldest = &backpressure.Class{Name: "oldest", Overflow: backpressure.DropOldest}
)

func newExercise(t *testing.T) *exercise {
	t.Helper()
	e := &exercise{slow: make(chan *engine.Conn, 1), hold: make(chan struct{}), held: make(chan struct{}, 1)}
	timings, err := penstockprometheus.NewTimings(penstockprometheus.TimingsConfig{})
	require.NoError(t, err)
	cfg := engine.Config{
		Workers: 2, HighWaterBytes: 100_000, LowWaterBytes: 20_000, WriteStallTimeout: -1,
		Interceptors: []interceptors.Interceptor{timings.Interceptor()},
	}
	e.server = enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnMessage: e.onMessage}})
	e.server.Handle("/slow", engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error { e.slow <- c; return nil },
		Admit: func(r *http.Request) error {
			if r.URL.Query().Has("no") {
				return errors.New("no")
			}
			return nil
		},
		OnMessage: e.onMessage,
	}})
	e.source = &source{Engine: e.server.Engine}
	collector, err := penstockprometheus.NewCollector(e.source, penstockprometheus.CollectorConfig{CloseCodes: []frame.CloseCode{4001}})
	require.NoError(t, err)
	problems, err := testutil.CollectAndLint(collector)
	require.NoError(t, err)
	require.Empty(t, problems)
	problems, err = testutil.CollectAndLint(timings)
	require.NoError(t, err)
	require.Empty(t, problems)
	e.scrape = serve(t, collector, timings)
	return e
}

// onMessage does what the message says.
func (e *exercise) onMessage(_ context.Context, c *engine.Conn, m engine.Message) error {
	switch string(m.Data) {
	case "refuse":
		return interceptors.Refuse(http.StatusTeapot, "no")
	case "fail":
		return errors.New("a failure")
	case "panic":
		panic("a panic")
	case "close":
		return &engine.CloseError{Code: 4001}
	case "congested":
		return engine.ErrDropped
	case "hold":
		e.held <- struct{}{}
		<-e.hold
		return nil
	}
	return c.Send(m.Type, m.Data)
}

// run leaves one connection that is slow, one whose handler holds a worker, and one
// that is quiet.
func (e *exercise) run(t *testing.T) {
	t.Helper()
	s := e.server
	quiet := s.Dial()
	for range 3 {
		quiet.SendText("12345")
		require.Equal(t, "12345", quiet.ReadText())
	}
	quiet.Send(frame.Binary, make([]byte, 1000))
	quiet.ReadMessage()
	quiet.SendText("congested")
	quiet.SendText("refuse")
	require.Contains(t, quiet.ReadText(), "418")

	for _, end := range []string{"fail", "panic", "close"} {
		c := s.Dial()
		c.SendText(end)
		code, _ := c.ReadClose()
		c.SendClose(code, "")
		c.Close()
	}
	for _, code := range []frame.CloseCode{1000, 3210, 4001, 4002, 4003} {
		c := s.Dial()
		c.SendClose(code, "")
		c.ReadClose()
		c.Close()
	}
	s.Dial().Reset()

	require.Equal(t, http.StatusForbidden, s.Request(enginetest.Handshake{Target: "/slow?no"}).StatusCode)
	require.Equal(t, http.StatusForbidden, s.Request(enginetest.Handshake{Header: map[string][]string{"Origin": {"https://evil.example"}}}).StatusCode)
	require.Equal(t, http.StatusBadRequest, s.Request(enginetest.Handshake{Header: map[string][]string{"Connection": {}}}).StatusCode)

	s.DialWith(enginetest.Handshake{Target: "/slow", ReceiveBuffer: 4 << 10})
	slow := <-e.slow
	big := make([]byte, 30_000)
	enginetest.Await(t, func() bool {
		return slow.SendWith(engine.SendOptions{Class: newest}, frame.Binary, big) == engine.ErrDropped
	}, "it should be full")
	for range 2 {
		require.ErrorIs(t, slow.SendWith(engine.SendOptions{Class: newest}, frame.Binary, big), engine.ErrDropped)
	}
	for range 2 {
		require.ErrorIs(t, slow.SendWith(engine.SendOptions{Class: oldest}, frame.Binary, big), engine.ErrDropped)
	}
	enginetest.Await(t, func() bool { return slow.SendBytes(big) == engine.ErrCongested }, "it should be congested")

	s.Dial().SendText("hold")
	<-e.held
	t.Cleanup(func() { close(e.hold) })
	enginetest.Await(t, func() bool { return e.server.Engine.Stats().Connections == 3 }, "three should be left")
	enginetest.Await(t, func() bool { return e.server.Engine.Stats().Workers == 1 }, "one should be held")
}

// The values are those of the traffic.
func TestScrapeValues(t *testing.T) {
	e := newExercise(t)
	empty := e.scrape()
	for name, f := range empty {
		if sum := empty.sum(name); sum != 0 && name != "penstock_budget_limit_bytes" && name != "penstock_pool_workers" {
			t.Errorf("%s is %v before there is a connection: %v", name, sum, f)
		}
	}
	require.Equal(t, 9.0, float64(len(empty["penstock_upgrades_refused_total"].Metric)), "every reason, though none has happened")
	e.run(t)
	asked := e.source.asked.Load()
	m := e.scrape()
	require.EqualValues(t, 1, e.source.asked.Load()-asked, "one call of Stats for a scrape")

	is := func(want float64, name string, labels ...string) {
		t.Helper()
		require.Equal(t, want, m.value(t, name, labels...), "%s %v", name, labels)
	}
	is(3, "penstock_connections")
	is(12, "penstock_connections_opened_total")
	is(10, "penstock_messages_received_total")
	is(3*5+1000+6+9+4+5+5+4, "penstock_received_bytes_total")
	is(1, "penstock_congested_connections")
	is(1, "penstock_pool_workers", "state", "running")
	is(1, "penstock_pool_workers", "state", "free")
	is(0, "penstock_pool_waiting_connections")
	is(1, "penstock_panics_total")

	is(1, "penstock_closes_total", "cause", "peer", "code", "1000")
	is(1, "penstock_closes_total", "cause", "peer", "code", "4001")
	is(1, "penstock_closes_total", "cause", "handler", "code", "4001")
	is(2, "penstock_closes_total", "cause", "peer", "code", "4xxx")
	is(1, "penstock_closes_total", "cause", "peer", "code", "3xxx")
	is(2, "penstock_closes_total", "cause", "error", "code", "1011")
	is(1, "penstock_closes_total", "cause", "lost", "code", "1006")
	require.Equal(t, 9.0, m.sum("penstock_closes_total"))

	is(1, "penstock_upgrades_refused_total", "reason", "handler")
	is(1, "penstock_upgrades_refused_total", "reason", "origin")
	is(1, "penstock_upgrades_refused_total", "reason", "request")
	require.Equal(t, 3.0, m.sum("penstock_upgrades_refused_total"))

	is(3, "penstock_dropped_messages_total", "policy", "drop_newest")
	is(2, "penstock_dropped_messages_total", "policy", "drop_oldest")
	is(0, "penstock_dropped_messages_total", "policy", "expire")
	is(0, "penstock_dropped_messages_total", "policy", "replace")

	st := e.server.Engine.Stats()
	is(float64(st.Pending), "penstock_pending_bytes")
	is(float64(st.MessagesOut), "penstock_messages_sent_total")
	is(float64(st.BytesOut), "penstock_sent_bytes_total")
	is(float64(st.BudgetUsed), "penstock_budget_used_bytes")
	is(float64(st.BudgetLimit), "penstock_budget_limit_bytes")
	require.Greater(t, st.Pending, 20_000)

	is(9, "penstock_queue_wait_seconds", "type", "text")
	is(1, "penstock_queue_wait_seconds", "type", "binary")
	is(3, "penstock_handler_duration_seconds", "outcome", "ok", "type", "text")
	is(1, "penstock_handler_duration_seconds", "outcome", "ok", "type", "binary")
	for _, outcome := range []string{"refused", "closed", "congested", "error", "panic"} {
		is(1, "penstock_handler_duration_seconds", "outcome", outcome, "type", "text")
	}
	require.Equal(t, 9.0, m.sum("penstock_handler_duration_seconds"), "one has not returned")
}

// A peer cannot make time series: with every code that it may send there is one for
// each that is known, and two for the rest.
func TestCloseCodesAreBounded(t *testing.T) {
	st := engine.Stats{EndedBy: map[engine.Cause]map[frame.CloseCode]uint64{engine.CausePeer: {}}}
	for code := frame.CloseCode(0); code <= 4999; code++ {
		if frame.ValidateClose(code, "") == nil {
			st.EndedBy[engine.CausePeer][code] = 1
		}
	}
	require.Greater(t, len(st.EndedBy[engine.CausePeer]), 2000)
	collector, err := penstockprometheus.NewCollector(fixed(st), penstockprometheus.CollectorConfig{CloseCodes: []frame.CloseCode{3001, 4999}})
	require.NoError(t, err)
	m := serve(t, collector)()
	require.LessOrEqual(t, len(m["penstock_closes_total"].Metric), 16)
	require.Equal(t, 999.0, m.value(t, "penstock_closes_total", "cause", "peer", "code", "3xxx"))
	require.Equal(t, 999.0, m.value(t, "penstock_closes_total", "cause", "peer", "code", "4xxx"))
	require.Equal(t, 1.0, m.value(t, "penstock_closes_total", "cause", "peer", "code", "4999"))
	for _, code := range []frame.CloseCode{0, 1000, 2999, 5000} {
		_, err := penstockprometheus.NewCollector(fixed(st), penstockprometheus.CollectorConfig{CloseCodes: []frame.CloseCode{code}})
		require.Error(t, err)
	}
	_, err = penstockprometheus.NewCollector(fixed(st), penstockprometheus.CollectorConfig{CloseCodes: make([]frame.CloseCode, 101)})
	require.ErrorContains(t, err, "at most 100")
}

type fixed engine.Stats

func (f fixed) Stats() engine.Stats { return engine.Stats(f) }

// Every cause and reason has a label, and the list of reasons is whole.
func TestLabelsAreWhole(t *testing.T) {
	require.Equal(t, "unknown refusal", (engine.RefusedServer + 1).String(), "there is a reason that is not shown")
	require.NotEqual(t, "unknown refusal", engine.RefusedServer.String())
	st := engine.Stats{EndedBy: map[engine.Cause]map[frame.CloseCode]uint64{engine.CauseWriteStall: {1006: 7}}}
	collector, err := penstockprometheus.NewCollector(fixed(st), penstockprometheus.CollectorConfig{})
	require.NoError(t, err)
	require.Equal(t, 7.0, serve(t, collector)().value(t, "penstock_closes_total", "cause", "write_stall", "code", "1006"))
}

// Scrapes and traffic at once.
func TestScrapesWhileMessagesCome(t *testing.T) {
	e := newExercise(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := e.server.Dial()
		for range 500 {
			c.SendText("x")
			c.ReadMessage()
		}
		c.Hangup()
	}()
	last := 0.0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		m := e.scrape()
		now := m.value(t, "penstock_messages_received_total")
		require.GreaterOrEqual(t, now, last, "a counter falls")
		last = now
	}
	enginetest.Await(t, func() bool {
		return e.scrape().value(t, "penstock_handler_duration_seconds", "outcome", "ok", "type", "text") == 500
	}, "all should be timed")
}

// The wait of what has waited is in the buckets above it.
func TestQueueWaitIsMeasured(t *testing.T) {
	e := newExercise(t)
	for range 2 {
		e.server.Dial().SendText("hold")
		<-e.held
	}
	waits := e.server.Dial()
	waits.Send(frame.Binary, []byte("x"))
	enginetest.Await(t, func() bool { return e.scrape().value(t, "penstock_pool_waiting_connections") == 1 }, "it should wait")
	waited := time.Now()
	for time.Since(waited) < 30*time.Millisecond {
		e.scrape()
	}
	close(e.hold)
	waits.ReadMessage()
	enginetest.Await(t, func() bool {
		return e.scrape().value(t, "penstock_handler_duration_seconds", "outcome", "ok", "type", "binary") == 1
	}, "it should be timed")
	h := e.scrape()["penstock_queue_wait_seconds"].Metric
	require.Greater(t, h[0].Histogram.GetSampleSum(), 0.03)
}
