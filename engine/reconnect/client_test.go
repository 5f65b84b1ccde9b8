package reconnect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/engine/reconnect"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

func TestConfigMistakes(t *testing.T) {
	ok := reconnect.Config{Target: "ws://secret/path"}
	acked := ok
	acked.Delivery, acked.Ack, acked.Dial.Endpoint = reconnect.AtLeastOnce, readAck, ignoring
	require.NoError(t, ok.Validate())
	require.NoError(t, acked.Validate())
	for name, row := range map[string]struct {
		spoil func(c *reconnect.Config)
		from  reconnect.Config
		field string
	}{
		"no target":       {func(c *reconnect.Config) { c.Target = "" }, ok, "Target"},
		"scheme":          {func(c *reconnect.Config) { c.Target = "http://secret/" }, ok, "Target"},
		"no host":         {func(c *reconnect.Config) { c.Target = "ws:///secret" }, ok, "Target"},
		"fragment":        {func(c *reconnect.Config) { c.Target = "ws://secret/#a" }, ok, "Target"},
		"negative wait":   {func(c *reconnect.Config) { c.MinWait = -1 }, ok, "MinWait"},
		"waits":           {func(c *reconnect.Config) { c.MaxWait = 1 }, ok, "MaxWait"},
		"bytes":           {func(c *reconnect.Config) { c.OutboxBytes = -1 }, ok, "OutboxBytes"},
		"overflow":        {func(c *reconnect.Config) { c.Overflow = 9 }, ok, "Overflow"},
		"delivery":        {func(c *reconnect.Config) { c.Delivery = 9 }, acked, "Delivery"},
		"no outbox":       {func(c *reconnect.Config) { c.OutboxMessages = -1 }, acked, "OutboxMessages"},
		"no Ack":          {func(c *reconnect.Config) { c.Ack = nil }, acked, "Ack"},
		"useless Ack":     {func(c *reconnect.Config) { c.Delivery = reconnect.AtMostOnce }, acked, "Ack"},
		"Ack and Receive": {func(c *reconnect.Config) { c.Dial.Endpoint = engine.Endpoint{} }, acked, "Dial.Endpoint.Handler.OnMessage"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := row.from
			row.spoil(&cfg)
			_, err := reconnect.New(cfg)
			var mistake *engine.ConfigError
			require.ErrorAs(t, err, &mistake)
			require.Equal(t, row.field, mistake.Field)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// states keeps what OnState is told.
type states struct {
	mu   sync.Mutex
	list []reconnect.State
	errs []error
}

func (s *states) note(state reconnect.State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, state)
	s.errs = append(s.errs, err)
}

func (s *states) all() []reconnect.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

const (
	connecting = reconnect.Connecting
	connected  = reconnect.Connected
	away       = reconnect.Away
	closed     = reconnect.Closed
)

// The codes with which a server says that it is of no use to come back.
func TestGiveUpByCode(t *testing.T) {
	hopeless := map[frame.CloseCode]bool{
		1000: true, 1001: false, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true, 1010: true, 1011: false, 1012: false,
		1013: false, 1014: false, 3000: true, 3003: true, 3008: false, 3999: false, 4000: false, 4999: false,
	}
	codes := make(chan frame.CloseCode, 1)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			select {
			case code := <-codes:
				return c.Close(code, "said so")
			default:
				return nil
			}
		},
	}})
	e := newEngine(t, engine.Config{})
	for code, want := range hopeless {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			var seen states
			codes <- code
			c := start(t, reconnect.Config{Target: s.URL(), MinWait: 1, OnState: seen.note, Dial: engine.DialConfig{Engine: e, Endpoint: ignoring}})
			if !want {
				enginetest.Await(t, func() bool { return c.Status().State == connected && s.Open() == 1 }, "it should come back")
				require.NoError(t, c.Err())
				require.NoError(t, c.Close(patient(t)))
				require.Equal(t, closed, c.Status().State)
				return
			}
			<-c.Done()
			var why *engine.CloseError
			require.ErrorAs(t, c.Err(), &why)
			require.ErrorIs(t, c.Err(), reconnect.ErrClosed)
			require.Equal(t, code, why.Code)
			require.Equal(t, closed, seen.list[len(seen.list)-1])
			require.Equal(t, c.Err(), seen.errs[len(seen.errs)-1])
			require.ErrorIs(t, c.SendText("too late"), net.ErrClosed)
			require.Error(t, c.Close(patient(t)))
		})
	}
}

func TestGiveUpByStatus(t *testing.T) {
	hopeless := map[int]bool{
		200: true, 204: true, 301: true, 302: true, 307: true, 308: true, 400: true, 401: true, 403: true, 404: true, 405: true,
		408: false, 410: true, 421: false, 425: false, 426: true, 429: false, 451: true, 500: false, 501: true, 502: false,
		503: false, 504: false, 505: true, 511: false,
	}
	e := newEngine(t, engine.Config{})
	for status, want := range hopeless {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			defer srv.Close()
			var seen states
			c := start(t, reconnect.Config{Target: "ws" + strings.TrimPrefix(srv.URL, "http"), MinWait: 1, OnState: seen.note, Dial: engine.DialConfig{Engine: e}})
			if !want {
				enginetest.Await(t, func() bool { return len(seen.all()) > 4 }, "it should try again")
				require.NoError(t, c.Close(patient(t)))
				return
			}
			<-c.Done()
			var why *engine.HandshakeError
			require.ErrorAs(t, c.Err(), &why)
			require.Equal(t, status, why.Status)
			require.Equal(t, []reconnect.State{connecting, closed}, seen.all())
		})
	}
}

func TestHopelessRest(t *testing.T) {
	require.True(t, reconnect.Hopeless(fmt.Errorf("dial: %w", engine.ErrShutdown)))
	require.True(t, reconnect.Hopeless(&engine.CloseError{Code: 1001, Cause: engine.CauseShutdown}))
	require.True(t, reconnect.Hopeless(reconnect.ErrAck))
	require.False(t, reconnect.Hopeless(io.EOF))
	for _, code := range []frame.CloseCode{1000, 1002, 1007, 1008, 1009} {
		require.False(t, reconnect.Hopeless(&engine.CloseError{Code: code}), "%v by this side", code)
	}
	for _, code := range []frame.CloseCode{1005, 1006} {
		require.False(t, reconnect.Hopeless(&engine.CloseError{Code: code, Remote: true}), "%v", code)
	}
}

// A program's own GiveUp is asked with every failure.
func TestGiveUpOwn(t *testing.T) {
	asked := 0
	c := start(t, reconnect.Config{
		Target: "ws://127.0.0.1:1/", MinWait: 1,
		GiveUp: func(error) bool { asked++; return asked == 3 },
	})
	<-c.Done()
	require.Equal(t, 3, asked)
}

func TestStates(t *testing.T) {
	var seen states
	s := enginetest.Start(t, engine.Config{}, silent(new(tally)))
	c := create(t, reconnect.Config{Target: s.URL(), MinWait: 1, OnState: seen.note})
	require.Equal(t, reconnect.Idle, c.Status().State)
	c.Start()
	c.Start()
	awaitState(t, c, connected)
	require.NoError(t, c.Conn().Close(4321, "again"))
	enginetest.Await(t, func() bool { return c.Status().Connections == 2 && c.Status().State == connected }, "it should come back")
	require.NoError(t, c.Close(patient(t)))
	require.Equal(t, []reconnect.State{connecting, connected, away, connecting, connected, closed}, seen.all())
	var why *engine.CloseError
	require.ErrorAs(t, seen.errs[2], &why)
	require.Equal(t, frame.CloseCode(4321), why.Code)
	require.Equal(t, reconnect.ErrClosed, seen.errs[5])
	require.Nil(t, c.Conn())
	require.NoError(t, c.Close(patient(t)))
}

// Before names another target and header for each attempt, numbered from the last
// connection that has lasted.
func TestBefore(t *testing.T) {
	tokens := make(chan string, 10)
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
		Admit: func(r *http.Request) error {
			tokens <- r.Header.Get("Authorization") + r.URL.Path
			if r.Header.Get("Authorization") != "token 3" {
				return &engine.HandshakeError{Status: 503}
			}
			return nil
		},
	}})
	c := start(t, reconnect.Config{
		Target: "ws://nowhere.invalid/", MinWait: 1,
		Before: func(_ context.Context, a *reconnect.Attempt) error {
			if a.Number == 1 {
				return errors.New("no token")
			}
			a.Target = s.URL() + "here"
			a.Header.Set("Authorization", "token "+strconv.Itoa(a.Number))
			return nil
		},
	})
	awaitState(t, c, connected)
	require.Equal(t, "token 2/here", <-tokens)
	require.Equal(t, "token 3/here", <-tokens)
	require.NoError(t, c.Close(patient(t)))
}

// What OnConnect sends comes before what waits in the outbox, on each connection, and
// it may wait for an answer.
func TestOnConnectFirst(t *testing.T) {
	y := new(tally)
	ep := silent(y)
	take := ep.Handler.OnMessage
	ep.Handler.OnMessage = func(ctx context.Context, c *engine.Conn, m engine.Message) error {
		_ = take(ctx, c, m)
		if string(m.Data) == "subscribe" {
			return c.SendText("subscribed")
		}
		return nil
	}
	s := enginetest.Start(t, engine.Config{}, ep)
	answers := make(chan string)
	failed := false
	c := create(t, reconnect.Config{
		Target: s.URL(), MinWait: 1,
		Dial: engine.DialConfig{Endpoint: engine.Endpoint{Handler: engine.Handler{
			OnMessage: func(_ context.Context, _ *engine.Conn, m engine.Message) error { answers <- string(m.Data); return nil },
		}}},
		OnConnect: func(ctx context.Context, conn *engine.Conn) error {
			if err := conn.SendText("subscribe"); err != nil {
				return err
			}
			if answer := <-answers; answer != "subscribed" {
				return errors.New(answer)
			}
			if !failed { // an error makes it try again
				failed = true
				return errors.New("not yet")
			}
			return nil
		},
	})
	require.NoError(t, c.SendText("one"))
	require.NoError(t, c.SendText("two"))
	c.Start()
	require.NoError(t, c.Drain(patient(t)))
	require.NoError(t, c.Conn().Close(4000, ""))
	require.NoError(t, c.SendText("three"))
	require.NoError(t, c.Close(patient(t)))
	s.AwaitOpen(0)
	require.Equal(t, []string{"subscribe", "subscribe", "one", "two", "subscribe", "three"}, y.messages())
}

// lost keeps what OnLost is told.
type lost struct {
	mu   sync.Mutex
	list []string
}

func (l *lost) note(_ frame.Opcode, p []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, string(p)+": "+engine.VerdictOf(err).String())
}

func TestOutboxRefuses(t *testing.T) {
	var gone lost
	c := create(t, reconnect.Config{Target: "ws://127.0.0.1:1/", OutboxMessages: 3, OutboxBytes: 10, OnLost: gone.note})
	require.NoError(t, c.SendText("aaaa"))
	require.NoError(t, c.SendText("bbbb"))
	require.Equal(t, engine.ErrCongested, c.SendText("ccc"), "bytes")
	require.NoError(t, c.SendText("cc"))
	require.Equal(t, engine.ErrCongested, c.SendText(""), "messages")
	require.Equal(t, reconnect.Status{Messages: 3, Bytes: 10}, c.Status())
	require.Equal(t, engine.ErrMessageTooBig, c.SendText("12345678901"))
	require.Equal(t, engine.ErrInvalidUTF8, c.SendText("\xff"))
	require.Error(t, c.Send(frame.Ping, nil))
	require.Error(t, c.Send(frame.Continuation, nil))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.SendWait(ctx, frame.Text, nil), context.DeadlineExceeded)
	require.ErrorIs(t, c.Close(patient(t)), reconnect.ErrClosed)
	require.Equal(t, []string{"aaaa: closed", "bbbb: closed", "cc: closed"}, gone.list)
}

func TestOutboxDropsOldest(t *testing.T) {
	var gone lost
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y))
	c := create(t, reconnect.Config{Target: s.URL(), OutboxMessages: 3, OutboxBytes: 10, Overflow: reconnect.DropOldest, OnLost: gone.note})
	for _, m := range []string{"1-", "2-", "3-", "4-", "5-aaaaaa", "6-aa", "7-"} {
		require.NoError(t, c.SendText(m))
	}
	require.Equal(t, engine.ErrMessageTooBig, c.SendText("8-aaaaaaaaa"))
	require.Equal(t, []string{"1-: dropped", "2-: dropped", "3-: dropped", "4-: dropped", "5-aaaaaa: dropped"}, gone.list)
	c.Start()
	require.NoError(t, c.Drain(patient(t)))
	require.NoError(t, c.Close(patient(t)))
	s.AwaitOpen(0)
	require.Equal(t, []string{"6-aa", "7-"}, y.messages())
}

// What has been handed over and not been acknowledged is not dropped for others.
func TestOutboxKeepsUnacknowledged(t *testing.T) {
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y)) // which acknowledges nothing
	c := start(t, reconnect.Config{
		Target: s.URL(), OutboxMessages: 2, Overflow: reconnect.DropOldest, Delivery: reconnect.AtLeastOnce, Ack: readAck,
		Dial: engine.DialConfig{Endpoint: ignoring},
	})
	awaitState(t, c, connected)
	require.NoError(t, c.SendText("1-"))
	require.NoError(t, c.SendText("2-"))
	require.Equal(t, engine.ErrCongested, c.SendText("3-"))
	enginetest.Await(t, func() bool { return len(y.messages()) == 2 }, "both should come")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.Close(ctx), context.DeadlineExceeded)
}

// Without an outbox a message is taken by a connection or not at all.
func TestNoOutbox(t *testing.T) {
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y))
	c := create(t, reconnect.Config{Target: s.URL(), OutboxMessages: -1})
	require.Equal(t, engine.ErrCongested, c.SendText("1-"))
	c.Start()
	require.NoError(t, c.SendWait(patient(t), frame.Text, []byte("2-")))
	require.NoError(t, c.Close(patient(t)))
	s.AwaitOpen(0)
	require.Equal(t, []string{"2-"}, y.messages())
}

// A server that does not read fills the outbox, and gets everything when it does.
func TestCongestion(t *testing.T) {
	for _, delivery := range []reconnect.Delivery{reconnect.AtMostOnce, reconnect.ExactlyOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			release := make(chan struct{})
			y := new(tally)
			ep := counting(y)
			take := ep.Handler.OnMessage
			ep.Handler.OnMessage = func(ctx context.Context, c *engine.Conn, m engine.Message) error {
				<-release
				return take(ctx, c, m)
			}
			s := enginetest.Start(t, engine.Config{}, ep)
			cfg := reconnect.Config{Target: s.URL(), Delivery: delivery, OutboxMessages: 300, Dial: engine.DialConfig{Endpoint: ignoring}}
			if delivery != reconnect.AtMostOnce {
				cfg.Ack = readAck
			}
			c := start(t, cfg)
			awaitState(t, c, connected)
			n := 0
			for quiet := 0; quiet < 5; quiet++ { // kernels take some more a little later
				for err := error(nil); err == nil; {
					if err = c.Send(frame.Text, numbered(n, 10_000)); err == nil {
						n, quiet = n+1, 0
					} else {
						require.Equal(t, engine.ErrCongested, err)
					}
				}
				time.Sleep(50 * time.Millisecond)
			}
			require.Equal(t, 300, c.Status().Messages)
			close(release)
			require.NoError(t, c.Close(patient(t)))
			s.AwaitOpen(0)
			require.Equal(t, upTo(n), y.numbers(t))
		})
	}
}

// Many senders at once: each one's messages keep their order.
func TestConcurrentSenders(t *testing.T) {
	const senders, each = 8, 500
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y))
	c := start(t, reconnect.Config{Target: s.URL(), MinWait: 1, MaxWait: time.Millisecond, OutboxMessages: 100})
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for k := range each {
				if err := c.SendWait(patient(t), frame.Text, numbered(i*each+k, 0)); err != nil {
					t.Error(err)
				}
				if conn := c.Conn(); conn != nil && k%100 == 49 { // not at the end: Close would tell of it
					_ = conn.Close(4000, "")
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, c.Close(patient(t)))
	s.AwaitOpen(0)
	got := y.numbers(t)
	last := make([]int, senders)
	for i := range last {
		last[i] = i*each - 1
	}
	for _, n := range got {
		require.Equal(t, last[n/each]+1, n)
		last[n/each] = n
	}
	require.Len(t, got, senders*each)
}

// An interceptor's refusal is the sender's error, or OnLost's if the message had been
// accepted; the rest goes on.
func TestRefusedByInterceptor(t *testing.T) {
	var gone lost
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y))
	c := create(t, reconnect.Config{
		Target: s.URL(), OnLost: gone.note,
		Dial: engine.DialConfig{Endpoint: engine.Endpoint{Interceptors: []interceptors.Interceptor{refusing{}}}},
	})
	for _, m := range []string{"1-", "bad", "2-"} {
		require.NoError(t, c.SendText(m))
	}
	c.Start()
	require.NoError(t, c.Drain(patient(t)))
	require.Equal(t, []string{"bad: refused"}, gone.list)
	require.Equal(t, errBad, c.SendText("bad"))
	require.NoError(t, c.SendText("3-"))
	require.PanicsWithValue(t, "mad", func() { _ = c.SendText("mad") })
	require.NoError(t, c.SendText("4-"))
	require.NoError(t, c.Close(patient(t)))
	s.AwaitOpen(0)
	require.Equal(t, []string{"1-", "2-", "3-", "4-"}, y.messages())
}

var errBad = errors.New("bad")

type refusing struct{ interceptors.OutboundOnly }

func (refusing) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	switch string(out.Data) {
	case "bad":
		return errBad
	case "mad":
		panic("mad")
	}
	return next.Run(ctx, out)
}

// A server that forgets, or acknowledges what it cannot have, is not believed.
func TestAckMistakes(t *testing.T) {
	for name, greetings := range map[string][]string{
		"greets with more":  {"ack 1"},
		"has forgotten":     {"ack 0", "ack 0"},
		"has more than all": {"ack 0", "ack 7"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			left := greetings
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Handler: engine.Handler{
				OnOpen: func(_ context.Context, c *engine.Conn) error {
					mu.Lock()
					defer mu.Unlock()
					greeting := left[0]
					left = left[1:]
					return c.SendText(greeting)
				},
				OnMessage: func(_ context.Context, c *engine.Conn, _ engine.Message) error { return c.SendText("ack 1") },
			}})
			c := start(t, reconnect.Config{
				Target: s.URL(), MinWait: 1, Delivery: reconnect.ExactlyOnce, Ack: readAck, Dial: engine.DialConfig{Endpoint: ignoring},
			})
			if len(greetings) > 1 {
				require.NoError(t, c.SendText("hello"))
				require.NoError(t, c.Drain(patient(t)))
				require.NoError(t, c.Conn().Close(4000, ""))
			}
			<-c.Done()
			require.ErrorIs(t, c.Err(), reconnect.ErrAck)
		})
	}
}

// Nothing is sent to a server that does not greet.
func TestNoGreeting(t *testing.T) {
	y := new(tally)
	var seen states
	s := enginetest.Start(t, engine.Config{}, silent(y))
	c := start(t, reconnect.Config{
		Target: s.URL(), MinWait: 1, AttemptTimeout: 20 * time.Millisecond, Delivery: reconnect.ExactlyOnce, Ack: readAck,
		Dial: engine.DialConfig{Endpoint: ignoring}, OnState: seen.note,
	})
	require.NoError(t, c.SendText("hello"))
	enginetest.Await(t, func() bool { return len(seen.all()) > 4 }, "it should try again")
	require.NotContains(t, seen.all(), connected)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, c.Close(ctx), context.DeadlineExceeded)
	require.Empty(t, y.messages())
}

// Close comes to its end although the peer does not read, and tells what is left.
func TestCloseCongested(t *testing.T) {
	var gone lost
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	enginetest.Start(t, engine.Config{}, engine.Endpoint{})
	peer := make(chan net.Conn, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			respond(conn, accepting)
			peer <- conn
		}
	}()
	defer func() { _ = ln.Close() }()
	c := start(t, reconnect.Config{Target: "ws://" + ln.Addr().String() + "/", OnLost: gone.note, OutboxMessages: 10})
	awaitState(t, c, connected)
	defer func() { _ = (<-peer).Close() }()
	for quiet := 0; quiet < 5; quiet++ { // kernels take some more a little later
		for c.SendText(strings.Repeat("x", 100_000)) == nil {
			quiet = 0
		}
		time.Sleep(50 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	require.ErrorIs(t, c.Close(ctx), context.DeadlineExceeded)
	require.Less(t, time.Since(began), 3*time.Second)
	require.Len(t, gone.list, 10)
}

// Drain tells, once, that a connection has not written what it had taken.
func TestDrainTells(t *testing.T) {
	inside := make(chan struct{})
	s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: true, Handler: engine.Handler{
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { <-inside; return nil },
	}})
	e := newEngine(t, engine.Config{WriteStallTimeout: 100 * time.Millisecond})
	c := start(t, reconnect.Config{Target: s.URL(), MinWait: 1, OutboxMessages: 10, Dial: engine.DialConfig{Engine: e}})
	awaitState(t, c, connected)
	for c.SendBytes(make([]byte, 100_000)) == nil && c.Status().Messages == 0 {
	}
	enginetest.Await(t, func() bool { return c.Status().Connections == 2 }, "the stalled connection should end")
	close(inside)
	var why *engine.CloseError
	require.ErrorAs(t, c.Drain(patient(t)), &why)
	require.Equal(t, engine.CauseWriteStall, why.Cause)
	require.NoError(t, c.Drain(patient(t)))
	require.NoError(t, c.Close(patient(t)))
}

// So does one that is waiting when the connection ends; but not of what has been sent beside
// the client.
func TestDrainTellsWaiting(t *testing.T) {
	for name, own := range map[string]bool{"the client's": true, "beside it": false} {
		t.Run(name, func(t *testing.T) {
			inside := make(chan struct{})
			s := enginetest.Start(t, engine.Config{}, engine.Endpoint{Inline: true, Handler: engine.Handler{
				OnMessage: func(context.Context, *engine.Conn, engine.Message) error { <-inside; return nil },
			}})
			e := newEngine(t, engine.Config{WriteStallTimeout: 100 * time.Millisecond})
			c := start(t, reconnect.Config{Target: s.URL(), MinWait: 1, OutboxMessages: -1, Dial: engine.DialConfig{Engine: e}})
			awaitState(t, c, connected)
			send := c.SendBytes
			if !own {
				send = c.Conn().SendBytes
			}
			for send(make([]byte, 100_000)) == nil {
			}
			told := make(chan error, 2)
			for range cap(told) {
				go func() { told <- c.Drain(patient(t)) }()
			}
			first, second := <-told, <-told
			if first == nil {
				first, second = second, first
			}
			require.NoError(t, second, "once")
			if own {
				var why *engine.CloseError
				require.ErrorAs(t, first, &why)
				require.Equal(t, engine.CauseWriteStall, why.Cause)
			} else {
				require.NoError(t, first)
			}
			require.NoError(t, c.Drain(patient(t)), "also before the end has been told")
			enginetest.Await(t, func() bool { return c.Status().Connections == 2 }, "it should connect again")
			require.NoError(t, c.Drain(patient(t)))
			close(inside)
			require.NoError(t, c.Close(patient(t)))
		})
	}
}

// lingers keeps whoever sends a large message from hearing that it has been taken.
type lingers struct {
	interceptors.OutboundOnly
	taken, over chan struct{}
}

func (l lingers) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	err := next.Run(ctx, out)
	if len(out.Data) > 1 {
		close(l.taken)
		<-l.over
	}
	return err
}

// A Drain that knows of no message yet does not keep the next from telling of its loss.
func TestDrainTellsLate(t *testing.T) {
	begun, inside, ended := make(chan struct{}, 10), make(chan struct{}), make(chan struct{})
	s := enginetest.Start(t, engine.Config{MaxMessageBytes: 64 << 20}, engine.Endpoint{Inline: true, Handler: engine.Handler{
		OnMessage: func(context.Context, *engine.Conn, engine.Message) error { begun <- struct{}{}; <-inside; return nil },
	}})
	e := newEngine(t, engine.Config{WriteStallTimeout: 100 * time.Millisecond, MaxMessageBytes: 64 << 20, HighWaterBytes: 64 << 20})
	l := lingers{taken: make(chan struct{}), over: make(chan struct{})}
	c := start(t, reconnect.Config{Target: s.URL(), MinWait: 1, OutboxMessages: -1, Dial: engine.DialConfig{Engine: e, Endpoint: engine.Endpoint{
		Interceptors: []interceptors.Interceptor{l},
		Handler:      engine.Handler{OnClose: func(*engine.Conn, *engine.CloseError) { <-ended }},
	}}})
	awaitState(t, c, connected)
	require.NoError(t, c.Conn().SendBytes([]byte{0})) // with which the server is at work
	<-begun
	sent := make(chan error, 1)
	go func() { sent <- c.SendBytes(make([]byte, 32<<20)) }()
	<-l.taken
	require.NoError(t, c.Drain(patient(t)))
	close(l.over)
	require.NoError(t, <-sent)
	close(ended)
	enginetest.Await(t, func() bool { return c.Status().Connections == 2 }, "it should connect again")
	var why *engine.CloseError
	require.ErrorAs(t, c.Drain(patient(t)), &why)
	close(inside)
	require.NoError(t, c.Close(patient(t)))
}

// A connection is not replaced while somebody is still handing something to it, or what
// becomes of that would be noted against the next.
func TestNextWaitsForLast(t *testing.T) {
	y := new(tally)
	s := enginetest.Start(t, engine.Config{}, silent(y)) // which acknowledges nothing
	var seen states
	var calls, released atomic.Int32
	slow := slowly{inside: make(chan struct{}), release: make(chan struct{})}
	c := start(t, reconnect.Config{
		Target: s.URL(), MinWait: 1, Delivery: reconnect.AtLeastOnce, Ack: readAck, OnState: seen.note,
		Dial: engine.DialConfig{
			Endpoint: engine.Endpoint{Handler: ignoring.Handler, Interceptors: []interceptors.Interceptor{&slow}},
			NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if calls.Add(1) == 2 && released.Load() == 0 {
					t.Error("the next is dialled while the last is in use")
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		},
	})
	awaitState(t, c, connected)
	conn := c.Conn()
	var wg sync.WaitGroup
	require.NoError(t, c.Send(frame.Text, numbered(1, 0)))
	require.NoError(t, c.Send(frame.Text, numbered(2, 0)))
	enginetest.Await(t, func() bool { return len(y.messages()) == 2 }, "both should come")
	wg.Go(func() { _ = c.Send(frame.Text, numbered(3, 0)) })
	<-slow.inside
	_ = conn.Close(4000, "")
	enginetest.Await(t, func() bool { return len(seen.all()) == 4 }, "it should connect again")
	time.AfterFunc(50*time.Millisecond, func() { released.Store(1); close(slow.release) })
	enginetest.Await(t, func() bool { return len(y.messages()) == 5 }, "all three should come again")
	wg.Wait()
	require.Equal(t, []int{1, 2, 1, 2, 3}, y.numbers(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Close(ctx)
}

// slowly holds message 3 back, once.
type slowly struct {
	interceptors.OutboundOnly
	once            sync.Once
	inside, release chan struct{}
}

func (s *slowly) InterceptOutbound(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	if string(out.Data) == string(numbered(3, 0)) {
		s.once.Do(func() { close(s.inside); <-s.release })
	}
	return next.Run(ctx, out)
}
