package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

var (
	soakConns = flag.Int("loop.soak.conns", 300, "how many connections TestLoopSoak has at a time")
	soakTime  = flag.Duration("loop.soak.time", 2*time.Second, "how long TestLoopSoak opens new ones")
	soakSeed  = flag.Uint64("loop.soak.seed", 0, "the seed of TestLoopSoak's first connection")
)

// A soak is an echo server whose clients check all that comes back.
type soak struct {
	addr string
	over atomic.Bool // no more connections are opened
	out  atomic.Int64
	in   atomic.Int64 // data messages that must have been received
	wild atomic.Int64 // that may have been
	cut  atomic.Int64 // connections whose echo a broadcast made congested
	ways [soakEnds]atomic.Int64

	mu   sync.Mutex
	open map[*engine.Conn]bool
}

// The ways in which a client ends.
const (
	soakHangup    = iota // close frame
	soakHalfClose        // EOF
	soakAsk              // has the server close
	soakReset            // when all has come back
	soakWild             // at once
	soakEnds
)

// soakBytes is what the payloads are cut from.
var soakBytes = pattern(1<<20 + 256)

// soakMessage is a payload that says its place among the connection's, and its length.
func soakMessage(kind byte, seq uint32, size int) []byte {
	b := append(make([]byte, 0, size+9), kind)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	return append(b, soakBytes[seq%256:][:size]...)
}

func (k *soak) endpoint(inline bool) engine.Endpoint {
	return engine.Endpoint{Inline: inline, Handler: engine.Handler{
		OnOpen: func(_ context.Context, c *engine.Conn) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.open[c] = true
			return nil
		},
		OnMessage: func(_ context.Context, c *engine.Conn, m engine.Message) error {
			if m.Data[0] == 'c' {
				return c.Close(4000, "")
			}
			err := c.Send(m.Type, m.Data)
			if err == nil {
				k.out.Add(1)
			}
			return err
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.open, c)
		},
	}}
}

// broadcast sends to all until the last client has ended.
func (k *soak) broadcast(t *testing.T, e *engine.Engine, ended <-chan struct{}) {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for seq := uint32(1); ; seq++ {
		select {
		case <-ended:
			return
		case <-every.C:
		}
		p, err := e.Prepare(frame.Binary, soakMessage('b', seq, 50))
		require.NoError(t, err)
		k.mu.Lock()
		all := slices.Collect(maps.Keys(k.open))
		k.mu.Unlock()
		k.out.Add(int64(engine.Broadcast(t.Context(), slices.Values(all), p).Queued))
	}
}

// A soaker is one connection.
type soaker struct {
	*session
	rnd    *rand.Rand
	sent   uint32       // messages
	pings  uint32       // likewise
	paused atomic.Int64 // until when its reader waits, in Unix nanoseconds
	came   atomic.Uint32
	ended  error
	code   frame.CloseCode
	done   chan struct{}
}

// life opens a connection, does what the seed says, and ends it.
func (k *soak) life(seed uint64) (err error) {
	rnd := rand.New(rand.NewPCG(seed, 10))
	base, err := openSession(k.addr, []string{"/", "/inline"}[rnd.IntN(2)], nil, soakPatience())
	if err != nil {
		return err
	}
	c := &soaker{session: base, rnd: rnd, done: make(chan struct{})}
	defer func() {
		_ = c.conn.Close()
		<-c.done
	}()
	go c.readAll() // ends with the connection
	for range rnd.IntN(12) {
		if err = c.act(); err != nil {
			break
		}
	}
	end := rnd.IntN(soakEnds)
	k.ways[end].Add(1)
	if err == nil {
		err = c.end(end)
	}
	if end != soakWild {
		<-c.done
	}
	return k.judge(c, end, err)
}

// judge holds what came back against what was sent.
func (k *soak) judge(c *soaker, end int, err error) error {
	if end == soakWild {
		_ = c.conn.Close()
		<-c.done
	}
	switch {
	case end == soakWild && (c.ended == nil || !errors.Is(c.ended, errSoak)), c.code == frame.CloseTryAgainLater:
		k.wild.Add(int64(c.sent))
		if c.code == frame.CloseTryAgainLater {
			k.cut.Add(1)
		}
		return nil
	}
	k.in.Add(int64(c.sent))
	echoes, code := c.sent, frame.CloseNormal
	switch end {
	case soakHalfClose, soakReset:
		code = 0
	case soakAsk:
		echoes, code = c.sent-1, 4000
	}
	if err != nil || c.ended != nil || c.came.Load() != echoes || c.code != code {
		return fmt.Errorf("end %d: %d of %d echoes, code %d; writing: %v; reading: %w", end, c.came.Load(), echoes, c.code, err, c.ended)
	}
	return nil
}

func (c *soaker) write(b []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(soakPatience()))
	for cuts := c.rnd.IntN(3); cuts > 0 && len(b) > 1; cuts-- {
		n := 1 + c.rnd.IntN(len(b)-1)
		if _, err := c.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	_, err := c.conn.Write(b)
	return err
}

func (c *soaker) frame(dst []byte, h frame.Header, payload []byte) []byte {
	h.Masked, h.Length = true, int64(len(payload))
	binary.BigEndian.PutUint32(h.Mask[:], c.rnd.Uint32())
	dst = frame.AppendHeader(dst, h)
	dst = append(dst, payload...)
	frame.Mask(dst[len(dst)-len(payload):], h.Mask, 0)
	return dst
}

func (c *soaker) message(dst []byte, kind byte, size int) []byte {
	m := soakMessage(kind, c.sent, size)
	c.sent++
	return c.frame(dst, frame.Header{Fin: true, Opcode: frame.Binary}, m)
}

func (c *soaker) ping(dst []byte) []byte {
	c.pings++
	return c.frame(dst, frame.Header{Fin: true, Opcode: frame.Ping}, binary.BigEndian.AppendUint32(nil, c.pings))
}

// act is one thing that a client may do.
func (c *soaker) act() error {
	var b []byte
	switch n := c.rnd.IntN(100); {
	case n < 30:
		b = c.message(b, 'e', c.rnd.IntN(300))
	case n < 50: // a batch
		for range 1 + c.rnd.IntN(80) {
			b = c.message(b, 'e', c.rnd.IntN(200))
		}
	case n < 60:
		b = c.ping(b)
	case n < 75: // in fragments, with pings between
		m := soakMessage('e', c.sent, c.rnd.IntN(10_000))
		c.sent++
		f := frame.NewFragmenter(frame.Binary, m, 1+len(m)/(1+c.rnd.IntN(5)))
		for h, body, ok := f.Next(); ok; h, body, ok = f.Next() {
			b = c.frame(b, h, body)
			if !h.Fin && c.rnd.IntN(3) == 0 {
				b = c.ping(b)
			}
		}
	case n < 85:
		b = c.message(b, 'e', c.rnd.IntN(60_000))
	case n < 88:
		b = c.message(b, 'e', c.rnd.IntN(1<<20-9))
	case n < 92: // not reading for a while
		c.paused.Store(time.Now().Add(time.Duration(c.rnd.IntN(100)) * time.Millisecond).UnixNano())
		for range 20 {
			b = c.message(b, 'e', c.rnd.IntN(20_000))
		}
	default: // wait for all
		return c.await()
	}
	return c.write(b)
}

// await waits until all has come back.
func (c *soaker) await() error {
	for late := time.Now().Add(soakPatience()); c.came.Load() != c.sent; {
		select {
		case <-c.done:
			return nil // its end says why
		case <-time.After(100 * time.Microsecond):
		}
		if time.Now().After(late) {
			return fmt.Errorf("%w: %d of %d echoes have come", errSoak, c.came.Load(), c.sent)
		}
	}
	return nil
}

func (c *soaker) end(how int) error {
	switch how {
	case soakHangup:
		return c.write(c.frame(nil, frame.Header{Fin: true, Opcode: frame.Close}, frame.AppendClose(nil, frame.CloseNormal, "")))
	case soakHalfClose:
		return c.conn.CloseWrite()
	case soakAsk:
		return c.write(c.message(nil, 'c', 0))
	case soakReset:
		if err := c.await(); err != nil {
			return err
		}
	}
	return errors.Join(c.conn.SetLinger(0), c.conn.Close())
}

// soakPatience grows with the number of clients: thousands of them with a megabyte each
// wait for each other for longer than a minute on two processors.
func soakPatience() time.Duration {
	return enginetest.Patience * time.Duration(1+*soakConns/500)
}

// errSoak is what must not happen to any client.
var errSoak = errors.New("not as it should be")

// readAll checks what comes, to the end.
func (c *soaker) readAll() {
	defer close(c.done)
	var broadcast, pongs uint32
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(soakPatience()))
		op, payload, err := c.readData()
		switch {
		case errors.Is(err, io.EOF):
			_ = c.conn.CloseWrite()
			return
		case errors.Is(err, errSoak):
			c.ended = err
			return
		case err != nil && (c.code != 0 || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)):
			return // judge knows what may be missing
		case err != nil:
			c.ended = fmt.Errorf("%w: %w behind %d echoes", errSoak, err, c.came.Load())
			return
		}
		wrong := ""
		switch op {
		case frame.Close:
			c.code, _, err = frame.ParseClose(payload)
			_ = c.conn.CloseWrite()
		case frame.Pong:
			n := binary.BigEndian.Uint32(payload)
			if n <= pongs {
				wrong = "a pong twice, or out of order"
			}
			pongs = n
		default:
			wrong = c.check(payload, &broadcast)
		}
		if wrong != "" || err != nil {
			c.ended = fmt.Errorf("%w: %s %w", errSoak, wrong, err)
			return
		}
	}
}

func (c *soaker) check(m []byte, broadcast *uint32) string {
	if len(m) < 9 {
		return "a short message"
	}
	seq, size := binary.BigEndian.Uint32(m[1:]), int(binary.BigEndian.Uint32(m[5:]))
	switch {
	case size != len(m)-9 || !bytes.Equal(m[9:], soakBytes[seq%256:][:size]):
		return fmt.Sprintf("message %d of %d bytes differs", seq, size)
	case m[0] == 'b' && seq > *broadcast:
		*broadcast = seq
	case m[0] == 'e' && seq == c.came.Load():
		c.came.Add(1)
	default:
		return fmt.Sprintf("message %c%d behind %d echoes and broadcast %d", m[0], seq, c.came.Load(), *broadcast)
	}
	return ""
}

// readData reads a whole message, or a control frame that stands before or in it.
func (c *soaker) readData() (op frame.Opcode, payload []byte, err error) {
	for {
		for wait := time.Until(time.Unix(0, c.paused.Load())); wait > 0 && wait < time.Second; wait = 0 {
			time.Sleep(wait)
		}
		b0, part, err := c.readFrame()
		c.raw = c.raw[:0]
		if err != nil || c.wrong != "" {
			return 0, nil, errors.Join(err, c.objection())
		}
		if op := frame.Opcode(b0 & 0xf); !op.IsData() {
			return op, part, nil
		}
		c.open = append(c.open, part...)
		if b0&confFin != 0 {
			m := c.open
			c.open = nil
			return frame.Binary, m, nil
		}
	}
}

func (c *soaker) objection() error {
	if c.wrong == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", errSoak, c.wrong)
}

// Whatever clients do, in whatever order, on loops: every message comes back once, in
// order and with the right bytes, none hangs, and nothing is left of any of them. The
// kit looks for what is left.
func TestLoopSoak(t *testing.T) {
	first := *soakSeed
	if first == 0 {
		first = rand.Uint64() >> 1
	}
	t.Logf("seed %d", first)
	cfg := engine.Config{
		IO: engine.IOLoops, Loops: 2, PingInterval: -1, IdleTimeout: -1, MinReceiveRate: -1, HighWaterBytes: 64 << 10, MemoryBudgetBytes: 1 << 36, ControlFramesPerSecond: -1,
		CloseTimeout: soakPatience(), WriteStallTimeout: soakPatience(),
	}
	k := &soak{open: make(map[*engine.Conn]bool)}
	s := enginetest.Start(t, cfg, k.endpoint(false))
	s.Handle("/inline", k.endpoint(true))
	k.addr = s.Addr()
	began := time.Now()
	var next atomic.Uint64
	var all sync.WaitGroup
	for range *soakConns {
		all.Go(func() {
			for !k.over.Load() && time.Since(began) < *soakTime {
				seed := first + next.Add(1) - 1
				if err := k.life(seed); err != nil {
					k.over.Store(true)
					t.Errorf("%v\nrepeat with -run TestLoopSoak -args -loop.soak.conns=1 -loop.soak.time=1ns -loop.soak.seed=%d, if it does not take others", err, seed)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { // ends with the last client
		all.Wait()
		close(ended)
	}()
	k.broadcast(t, s.Engine, ended)
	s.AwaitOpen(0)
	st := s.Engine.Stats()
	t.Logf("%d connections, %d messages in, %d out; ends: %v; %d cut", st.Opened, st.MessagesIn, st.MessagesOut, st.Closed, k.cut.Load())
	if t.Failed() {
		return
	}
	require.GreaterOrEqual(t, int64(st.MessagesIn), k.in.Load())
	require.LessOrEqual(t, int64(st.MessagesIn), k.in.Load()+k.wild.Load())
	require.EqualValues(t, k.out.Load(), st.MessagesOut)
	require.Zero(t, st.Violations)
	require.Zero(t, st.Panics)
	require.Zero(t, st.Shed)
	require.LessOrEqual(t, uint64(k.cut.Load()), 3+st.Opened/100, "a message on the mark is rare")
}
