package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/interceptors"
)

// Losses keep what OnDrop has been told.
type losses struct {
	mu  sync.Mutex
	all map[*backpressure.Class]backpressure.Lost
}

func (l *losses) OnDrop(_ *engine.Conn, lost backpressure.Lost) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*backpressure.Class]backpressure.Lost)
	}
	sum := l.all[lost.Class]
	sum.Class = lost.Class
	sum.Overflowed += lost.Overflowed
	sum.Expired += lost.Expired
	sum.Replaced += lost.Replaced
	sum.Bytes += lost.Bytes
	l.all[lost.Class] = sum
}

func (l *losses) of(c *backpressure.Class) backpressure.Lost {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[c]
}

// require wants OnDrop to have told exactly this of a class, and nothing more to come.
func (l *losses) require(t *testing.T, want backpressure.Lost) {
	t.Helper()
	enginetest.Await(t, func() bool {
		got := l.of(want.Class)
		return got.Messages() >= want.Messages()
	}, "OnDrop should tell %d messages", want.Messages())
	if want.Messages() > 0 {
		require.Equal(t, want, l.of(want.Class))
	} else {
		require.Zero(t, l.of(want.Class).Messages())
	}
}

// numbered is a message of size bytes that tells its number.
func numbered(n, size int) []byte {
	b := pattern(size)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

func numberOf(t *testing.T, b []byte) int {
	t.Helper()
	n := int(binary.BigEndian.Uint32(b))
	requireSame(t, numbered(n, len(b)), b)
	return n
}

// settled waits until the kernels take no more for a peer that does not read, and
// returns what is queued for the only connection of s then.
func settled(s *enginetest.Server) int {
	last, since := s.Engine.Stats().Pending, time.Now()
	for time.Since(since) < 20*time.Millisecond {
		if now := s.Engine.Stats().Pending; now != last {
			last, since = now, time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	return last
}

// filler is what makes a peer slow without touching anything else.
var filler = &backpressure.Class{Name: "filler", Overflow: backpressure.DropNewest}

// fill queues for a peer that does not read until there is less than 10 KB of room.
func fill(t *testing.T, conn *engine.Conn) (taken int) {
	t.Helper()
	enginetest.Await(t, func() bool {
		switch err := conn.SendWith(engine.SendOptions{Class: filler}, frame.Binary, numbered(1<<20, 10_000)); err {
		case nil:
			taken++
			return false
		default:
			require.Equal(t, engine.ErrDropped, err)
		}
		time.Sleep(10 * time.Millisecond) // the kernels may take more
		if conn.SendWith(engine.SendOptions{Class: filler}, frame.Binary, numbered(1<<20, 10_000)) == nil {
			taken++
			return false
		}
		return true
	}, "the queue should be full")
	return taken
}

func gapText(lost backpressure.Lost) (frame.Opcode, []byte) {
	return frame.Text, fmt.Appendf(nil, "%d %d %d", lost.Overflowed, lost.Expired, lost.Bytes)
}

// policyRig is a connection whose peer reads when the test says so.
type policyRig struct {
	s    *enginetest.Server
	c    *enginetest.Client
	conn *engine.Conn
	lost losses
	end  ending
}

func newPolicyRig(t *testing.T, cfg engine.Config, ep engine.Endpoint) *policyRig {
	t.Helper()
	r := new(policyRig)
	open := make(conns, 2)
	ep.Handler.OnOpen, ep.Handler.OnDrop, ep.Handler.OnClose = open.OnOpen, r.lost.OnDrop, r.end.OnClose
	if ep.Handler.OnMessage == nil {
		ep.Handler.OnMessage = echo
	}
	r.s = enginetest.Start(t, cfg, ep)
	r.c = r.s.DialWith(enginetest.Handshake{ReceiveBuffer: 8 << 10})
	r.conn = <-open
	awaitOpened(t, r.conn)
	return r
}

// awaitOpened waits until whoever wrote the response to the handshake is no longer at it: what
// is sent meanwhile is queued, however much the kernels would take.
func awaitOpened(t *testing.T, conn *engine.Conn) {
	t.Helper()
	enginetest.Await(t, func() bool { return conn.PendingBytes() == 0 }, "the response should leave")
}

// Where the policy drops, each message is received, in order, or stands in the gap
// at exactly its place; the verdict tells which for the newest, OnDrop and Stats
// for all.
func TestPolicyDrops(t *testing.T) {
	const rounds, each, size = 4, 60, 10_000
	for _, policy := range []backpressure.Policy{backpressure.DropNewest, backpressure.DropOldest} {
		for name, send := range map[string]func(r *policyRig, class *backpressure.Class, p []byte) error{
			"plain": func(r *policyRig, class *backpressure.Class, p []byte) error {
				return r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, p)
			},
			"prepared": func(r *policyRig, class *backpressure.Class, p []byte) error {
				m, err := r.s.Engine.Prepare(frame.Binary, p)
				if err != nil {
					return err
				}
				return r.conn.SendPrepared(m.With(engine.SendOptions{Class: class}))
			},
		} {
			t.Run(policy.String()+"/"+name, func(t *testing.T) {
				class := &backpressure.Class{Name: "ticks", Overflow: policy, Gap: gapText}
				r := newPolicyRig(t, shallow, engine.Endpoint{})
				var verdicts []engine.Verdict
				received, markers, next := 0, 0, 0
				read := func() {
					m := r.c.ReadMessage()
					if m.Op == frame.Binary {
						n := numberOf(t, m.Data)
						require.Equal(t, next, n, "neither received nor in a gap")
						require.Equal(t, engine.Queued, verdicts[n])
						next++
						received++
						return
					}
					var over, expired, bytes int
					_, err := fmt.Sscan(string(m.Data), &over, &expired, &bytes)
					require.NoError(t, err)
					require.Zero(t, expired)
					require.Equal(t, over*size, bytes)
					markers++
					for range over {
						if policy == backpressure.DropNewest {
							require.Equal(t, engine.Dropped, verdicts[next], "message %d", next)
						} else {
							require.Equal(t, engine.Queued, verdicts[next], "message %d", next)
						}
						next++
					}
				}
				for range rounds {
					for range each {
						n := len(verdicts)
						err := send(r, class, numbered(n, size))
						v := engine.VerdictOf(err)
						verdicts = append(verdicts, v)
						pending := r.s.Engine.Stats().Pending
						require.LessOrEqual(t, pending, shallow.HighWaterBytes, "this policy never goes above")
						require.Contains(t, []engine.Verdict{engine.Queued, engine.Dropped}, v)
					}
					pending := settled(r.s)
					verdict := engine.VerdictOf(send(r, class, numbered(len(verdicts), size)))
					fits := pending+size+4 <= shallow.HighWaterBytes
					require.Equal(t, fits || policy == backpressure.DropOldest, verdict == engine.Queued, "%d pending: %v", pending, verdict)
					verdicts = append(verdicts, verdict)
					for next < len(verdicts) && r.s.Engine.Stats().Pending > 40_000 {
						read()
					}
				}
				require.NoError(t, r.conn.SendWait(t.Context(), frame.Binary, numbered(len(verdicts), size)))
				verdicts = append(verdicts, engine.Queued)
				for next < len(verdicts) {
					read()
				}
				dropped := len(verdicts) - received
				require.GreaterOrEqual(t, markers, 2, "too few gaps to show anything")
				require.Greater(t, dropped, each)
				r.lost.require(t, backpressure.Lost{Class: class, Overflowed: dropped, Bytes: dropped * size})
				st := r.s.Engine.Stats()
				require.EqualValues(t, dropped, st.DroppedOverflow)
				require.Zero(t, st.DroppedExpired+st.Replaced)
				r.c.Hangup()
			})
		}
	}
}

// With keys the peer gets, of each key, the latest value at the end, and never an
// older one after a newer; every send is taken.
func TestPolicyLatestPerKey(t *testing.T) {
	const keys, rounds = 5, 200
	for name, list := range map[string][]interceptors.Interceptor{"direct": nil, "through interceptors": {outFunc(passOut)}} {
		t.Run(name, func(t *testing.T) {
			class := &backpressure.Class{Name: "positions"}
			cfg := shallow
			cfg.Interceptors = list
			r := newPolicyRig(t, cfg, engine.Endpoint{})
			fillers := fill(t, r.conn)
			for n := range rounds {
				for k := range keys {
					p := numbered(n*keys+k, 20+n) // sizes change, and there is room for them
					o := engine.SendOptions{Class: class, Key: string(rune('a' + k))}
					if n%2 == 0 {
						require.NoError(t, r.conn.SendWith(o, frame.Binary, p))
						continue
					}
					m, err := r.s.Engine.Prepare(frame.Binary, p)
					require.NoError(t, err)
					require.NoError(t, r.conn.SendPrepared(m.With(o)))
				}
			}
			require.NoError(t, r.conn.SendWith(engine.SendOptions{Class: class}, frame.Text, []byte("end")))
			var latest [keys]int
			received := 0
			for {
				m := r.c.ReadMessage()
				if m.Op == frame.Text {
					break
				}
				n := numberOf(t, m.Data)
				if n == 1<<20 {
					fillers--
					continue
				}
				require.GreaterOrEqual(t, n/keys, latest[n%keys])
				latest[n%keys] = n / keys
				received++
			}
			require.Zero(t, fillers)
			require.Equal(t, [keys]int{rounds - 1, rounds - 1, rounds - 1, rounds - 1, rounds - 1}, latest)
			replaced := rounds*keys - received
			require.Greater(t, replaced, rounds)
			enginetest.Await(t, func() bool { return r.lost.of(class).Replaced == replaced }, "OnDrop should tell all that were replaced")
			require.Equal(t, replaced, r.lost.of(class).Messages())
			require.EqualValues(t, replaced, r.s.Engine.Stats().Replaced)
			r.c.Hangup()
		})
	}
}

func passOut(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
	return next.Run(ctx, out)
}

// A peer that keeps up gets every message, whatever the class says.
func TestPolicyFastPeerGetsAll(t *testing.T) {
	for _, o := range []engine.SendOptions{
		{Class: &backpressure.Class{Overflow: backpressure.DropNewest}},
		{Class: &backpressure.Class{Overflow: backpressure.DropOldest, TTL: time.Minute}, Key: "k"},
		{Class: &backpressure.Class{Overflow: backpressure.Disconnect}, Key: "k"},
	} {
		r := newPolicyRig(t, shallow, engine.Endpoint{})
		r.c.SendText("open") // before, everything waits for the response to the handshake
		require.Equal(t, "open", r.c.ReadText())
		for n := range 300 {
			require.NoError(t, r.conn.SendWith(o, frame.Binary, numbered(n, 200)))
			require.Equal(t, n, numberOf(t, r.c.ReadMessage().Data))
		}
		r.c.Hangup()
		require.Zero(t, r.lost.of(o.Class).Messages())
	}
}

// What has waited longer than its time to live never arrives; what has not, does.
func TestPolicyTimeToLive(t *testing.T) {
	short := &backpressure.Class{Name: "short", TTL: 20 * time.Millisecond, Gap: gapText}
	long := &backpressure.Class{Name: "long", TTL: time.Hour}
	r := newPolicyRig(t, shallow, engine.Endpoint{})
	fillers := fill(t, r.conn)
	for n := range 5 {
		require.NoError(t, r.conn.SendWith(engine.SendOptions{Class: short}, frame.Binary, numbered(n, 50)))
		require.NoError(t, r.conn.SendWith(engine.SendOptions{Class: long}, frame.Binary, numbered(100+n, 50)))
	}
	start := time.Now()
	require.NoError(t, r.conn.SendText("end"))
	enginetest.Await(t, func() bool { return time.Since(start) > 40*time.Millisecond }, "time should pass")
	for range fillers {
		require.Equal(t, 1<<20, numberOf(t, r.c.ReadMessage().Data))
	}
	for n := range 5 {
		require.Equal(t, "0 1 50", r.c.ReadText(), "a gap where message %d was", n)
		require.Equal(t, 100+n, numberOf(t, r.c.ReadMessage().Data))
	}
	require.Equal(t, "end", r.c.ReadText())
	r.lost.require(t, backpressure.Lost{Class: short, Expired: 5, Bytes: 250})
	r.lost.require(t, backpressure.Lost{Class: long})
	require.EqualValues(t, 5, r.s.Engine.Stats().DroppedExpired)
	r.c.Hangup()
}

// A class that disconnects does so by whichever way it came: the verdict is Closed
// with the class's code, that code is the last the peer gets, and what comes
// before it are whole messages that were taken.
func TestPolicyDisconnect(t *testing.T) {
	class := &backpressure.Class{Name: "all or nothing", Overflow: backpressure.Disconnect, Code: 4013}
	send := func(r *policyRig, p []byte) error { return r.conn.Send(frame.Binary, p) }
	sendAgain := func(r *policyRig, p []byte) error {
		r.conn.SetSendClass(filler)
		r.conn.SetSendClass(nil)
		return send(r, p)
	}
	for name, row := range map[string]struct {
		cfg  engine.Config
		ep   engine.Endpoint
		send func(r *policyRig, p []byte) error
	}{
		"Config":   {engine.Config{SendClass: class}, engine.Endpoint{}, send},
		"Endpoint": {engine.Config{SendClass: filler}, engine.Endpoint{SendClass: class}, send},
		"Conn": {engine.Config{SendClass: filler}, engine.Endpoint{SendClass: filler}, func(r *policyRig, p []byte) error {
			r.conn.SetSendClass(class)
			return send(r, p)
		}},
		"Config again":   {engine.Config{SendClass: class}, engine.Endpoint{}, sendAgain},
		"Endpoint again": {engine.Config{SendClass: filler}, engine.Endpoint{SendClass: class}, sendAgain},
		"SendWith": {engine.Config{SendClass: filler}, engine.Endpoint{}, func(r *policyRig, p []byte) error {
			return r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, p)
		}},
		"Prepared": {engine.Config{}, engine.Endpoint{Interceptors: []interceptors.Interceptor{outFunc(passOut)}}, func(r *policyRig, p []byte) error {
			m, err := r.s.Engine.Prepare(frame.Binary, p)
			require.NoError(t, err)
			return r.conn.SendPrepared(m.With(engine.SendOptions{Class: class}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := row.cfg
			cfg.HighWaterBytes, cfg.WriteStallTimeout = 100_000, -1
			r := newPolicyRig(t, cfg, row.ep)
			taken := 0
			var err error
			for ; taken < 1000; taken++ {
				if err = row.send(r, numbered(taken, 10_000)); err != nil {
					break
				}
			}
			require.Equal(t, engine.Closed, engine.VerdictOf(err))
			var closed *engine.CloseError
			require.ErrorAs(t, err, &closed)
			require.Equal(t, engine.CloseError{Code: 4013, Reason: "outbound queue overflow", Cause: engine.CauseOverflow}, *closed)
			require.ErrorIs(t, r.conn.SendText("later"), net.ErrClosed)
			require.ErrorIs(t, r.conn.SendWait(t.Context(), frame.Text, nil), net.ErrClosed)
			require.Error(t, r.conn.Ping(nil))
			got := 0
			for {
				h, payload := r.c.ReadFrame()
				if h.Opcode == frame.Close {
					code, _, err := frame.ParseClose(payload)
					require.NoError(t, err)
					require.EqualValues(t, 4013, code)
					break
				}
				require.True(t, h.Fin)
				require.Equal(t, got, numberOf(t, payload))
				got++
			}
			require.Less(t, got, taken)
			r.c.CloseWrite()
			r.c.ExpectEOF()
			require.EqualValues(t, 4013, r.end.await(t).Code)
		})
	}
}

// Two classes share a connection: each keeps its own promise, and what is received
// of both is in the order in which it was sent.
func TestPolicyTwoClasses(t *testing.T) {
	ticks := &backpressure.Class{Name: "ticks", Overflow: backpressure.DropOldest, Gap: gapText}
	audit := &backpressure.Class{Name: "audit"}
	r := newPolicyRig(t, shallow, engine.Endpoint{})
	kept := map[int]bool{} // of audit
	sent, refused := 0, 0
	for range 300 {
		class, size := ticks, 10_000
		if sent%4 == 0 {
			class, size = audit, 500
		}
		err := r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, numbered(sent, size))
		if class == audit {
			if err != nil {
				require.Equal(t, engine.ErrCongested, err)
				refused++
			} else {
				kept[sent] = true
			}
		} else {
			require.NoError(t, err)
		}
		sent++
	}
	require.Positive(t, refused)
	require.Greater(t, len(kept), 5)
	ended := make(chan error, 1)
	go func() { ended <- r.conn.SendWait(context.Background(), frame.Text, []byte("end")) }()
	last, received, lost := -1, 0, 0
	for {
		m := r.c.ReadMessage()
		if m.Op == frame.Text {
			if string(m.Data) == "end" {
				break
			}
			var n, e, b int
			_, err := fmt.Sscan(string(m.Data), &n, &e, &b)
			require.NoError(t, err)
			require.Equal(t, 10_000*n, b)
			lost += n
			continue
		}
		n := numberOf(t, m.Data)
		require.Greater(t, n, last)
		last = n
		if n%4 == 0 {
			require.True(t, kept[n])
			delete(kept, n)
			continue
		}
		received++
	}
	require.NoError(t, <-ended)
	require.Empty(t, kept, "of a class that refuses nothing is lost")
	require.Equal(t, 225, received+lost)
	require.Greater(t, lost, 100)
	r.lost.require(t, backpressure.Lost{Class: ticks, Overflowed: lost, Bytes: 10_000 * lost})
	r.lost.require(t, backpressure.Lost{Class: audit})
	r.c.Hangup()
}

// A connection with dropping classes goes on being handled while its peer is slow,
// and a handler that returns ErrDropped has done nothing wrong.
func TestPolicyDropsPauseNobody(t *testing.T) {
	modes(t, func(t *testing.T, inline bool) {
		handled := make(chan error, 100)
		r := newPolicyRig(t, engine.Config{HighWaterBytes: 100_000, WriteStallTimeout: -1, SendClass: filler},
			engine.Endpoint{Inline: inline, Handler: engine.Handler{OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
				err := c.Send(m.Type, m.Data)
				handled <- err
				if err != nil {
					err = fmt.Errorf("wrapped: %w", err)
				}
				return err
			}}})
		fillers := fill(t, r.conn)
		for range 50 {
			r.c.Send(frame.Binary, pattern(10_000))
			require.Equal(t, engine.ErrDropped, <-handled)
		}
		for range fillers {
			r.c.ReadMessage()
		}
		enginetest.Await(t, func() bool { return r.conn.PendingBytes() == 0 }, "it should drain")
		r.c.SendText("still here")
		require.NoError(t, <-handled)
		require.Equal(t, "still here", r.c.ReadText())
		r.c.Hangup()
		require.Equal(t, frame.CloseNormal, r.end.await(t).Code)
		require.GreaterOrEqual(t, r.lost.of(filler).Overflowed, 50)
	})
}

// A broadcast tells how many connections got which verdict, held back in a batch
// or not.
func TestPolicyTally(t *testing.T) {
	tallies := make(chan engine.Tally, 2)
	list := make(map[string]*engine.Conn)
	var message engine.Prepared
	cfg := shallow
	cfg.Logger = quiet
	open := make(conns, 10)
	s := enginetest.Start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: func(ctx context.Context, _ *engine.Conn, m engine.Message) error {
		tallies <- engine.Broadcast(ctx, maps.Values(list), message)
		return nil
	}}})
	s.Handle("/refuse", with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}, outFunc(func(context.Context, interceptors.Outbound, *interceptors.OutboundNext) error {
		return errors.New("not this one")
	})))
	s.Handle("/wrap", with(engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}, outFunc(func(ctx context.Context, out interceptors.Outbound, next *interceptors.OutboundNext) error {
		if err := next.Run(ctx, out); err != nil {
			return fmt.Errorf("wrapped: %w", err)
		}
		return nil
	})))
	var err error
	message, err = s.Engine.Prepare(frame.Binary, pattern(20_000))
	require.NoError(t, err)
	clients := make(map[string]*enginetest.Client)
	for _, name := range []string{"fast", "fast, too", "congested", "dropping", "disconnecting", "closed", "/refuse", "/wrap"} {
		h := enginetest.Handshake{ReceiveBuffer: 8 << 10}
		if name[0] == '/' {
			h.Target = name
		}
		if name[:4] == "fast" {
			h.ReceiveBuffer = 0
		}
		clients[name] = s.DialWith(h)
		list[name] = <-open
		awaitOpened(t, list[name])
	}
	// The mark is crossed by Congest messages, and stays so: nobody reads.
	for _, name := range []string{"congested", "/wrap"} {
		enginetest.Await(t, func() bool { return engine.VerdictOf(list[name].SendBytes(pattern(10_000))) == engine.Congested }, "it should be congested")
		time.Sleep(10 * time.Millisecond)
		enginetest.Await(t, func() bool { return engine.VerdictOf(list[name].SendBytes(pattern(10_000))) == engine.Congested }, "it should be congested")
	}
	fill(t, list["dropping"])
	list["dropping"].SetSendClass(filler)
	fill(t, list["disconnecting"])
	list["disconnecting"].SetSendClass(&backpressure.Class{Overflow: backpressure.Disconnect})
	require.NoError(t, list["closed"].Close(frame.CloseNormal, ""))

	want := engine.Tally{Queued: 2, Congested: 2, Dropped: 1, Closed: 2, Refused: 1}
	require.Equal(t, want, engine.Broadcast(t.Context(), maps.Values(list), message))
	burst := slices.Concat(clients["fast"].Frame(frame.Header{Fin: true, Opcode: frame.Text}, nil), clients["fast"].Frame(frame.Header{Fin: true, Opcode: frame.Text}, nil))
	clients["fast"].Write(burst)
	for range 2 {
		require.Equal(t, want, <-tallies)
	}
	for range 3 {
		for _, name := range []string{"fast", "fast, too"} {
			requireSame(t, pattern(20_000), clients[name].ReadMessage().Data)
		}
	}
	for _, c := range clients {
		c.Reset()
	}
}

// A Gap that panics ends its connection with 1011 and nothing else; one that makes
// what may not be sent is left out.
func TestPolicyBadGaps(t *testing.T) {
	for name, row := range map[string]struct {
		gap  func(backpressure.Lost) (frame.Opcode, []byte)
		ends bool
	}{
		"panics":        {func(backpressure.Lost) (frame.Opcode, []byte) { panic("as asked") }, true},
		"not UTF-8":     {func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Text, []byte("\xff") }, false},
		"too big":       {func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Binary, pattern(50_001) }, false},
		"no message":    {func(backpressure.Lost) (frame.Opcode, []byte) { return 0, []byte("x") }, false},
		"control frame": {func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Ping, nil }, false},
		"close frame":   {func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Close, nil }, false},
		"continuation":  {func(backpressure.Lost) (frame.Opcode, []byte) { return frame.Continuation, nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			class := &backpressure.Class{Name: "gappy", Overflow: backpressure.DropNewest, Gap: row.gap}
			cfg := shallow
			cfg.MaxMessageBytes, cfg.Logger = 50_000, quiet
			r := newPolicyRig(t, cfg, engine.Endpoint{})
			fillers := fill(t, r.conn)
			require.Equal(t, engine.ErrDropped, r.conn.SendWith(engine.SendOptions{Class: class}, frame.Binary, pattern(10_000)))
			require.NoError(t, r.conn.SendText("behind"))
			for range fillers {
				require.Equal(t, 1<<20, numberOf(t, r.c.ReadMessage().Data))
			}
			if row.ends {
				code, reason := r.c.ReadClose()
				require.Equal(t, frame.CloseInternalError, code)
				require.Equal(t, "internal error", reason)
				r.c.CloseWrite()
				r.c.ExpectEOF()
				require.Equal(t, frame.CloseInternalError, r.end.await(t).Code)
				require.EqualValues(t, 1, r.s.Engine.Stats().Panics)
				other := r.s.Dial()
				other.SendText("unharmed")
				require.Equal(t, "unharmed", other.ReadText())
				other.Hangup()
			} else {
				require.Equal(t, "behind", r.c.ReadText())
				r.c.Hangup()
				require.Zero(t, r.s.Engine.Stats().Panics)
			}
		})
	}
}
