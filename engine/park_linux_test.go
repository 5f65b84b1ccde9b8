package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/frame"
)

// A parkRig is an engine whose connections the test parks.
type parkRig struct {
	*testing.T
	e    *Engine
	addr string

	mu     sync.Mutex
	closed map[*Conn][]*CloseError
}

// newParkRig starts an engine that echoes; at "goexit" and "panic" the handler crashes,
// with "pull" messages are received by a goroutine of their own.
func newParkRig(t *testing.T, mode string, cfg Config) *parkRig {
	r := &parkRig{T: t, closed: map[*Conn][]*CloseError{}}
	cfg.IO, cfg.CountBuffers, cfg.MinReceiveRate = IOGoroutines, true, -1
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := Handler{
		OnMessage: func(_ context.Context, c *Conn, m Message) error {
			switch string(m.Data) {
			case "goexit":
				runtime.Goexit()
			case "panic":
				panic("as the test wants it")
			}
			return c.Send(m.Type, m.Data)
		},
		OnClose: func(c *Conn, err *CloseError) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.closed[c] = append(r.closed[c], err)
		},
	}
	if mode == "pull" {
		h.OnMessage = nil
		h.OnOpen = func(_ context.Context, c *Conn) error {
			return c.Go(func(ctx context.Context) {
				for {
					m, err := c.Receive(ctx)
					if err != nil || c.Send(m.Type, m.Data) != nil {
						return
					}
				}
			})
		}
	}
	var err error
	r.e, err = New(cfg, Endpoint{Inline: mode == "inline", Handler: h})
	require.NoError(t, err)
	srv := httptest.NewServer(r.e)
	t.Cleanup(srv.Close)
	r.addr = srv.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.e.Shutdown(ctx); err != ErrShutdown {
			require.NoError(t, err)
		}
		require.Zero(t, r.e.pool.Out())
		require.Zero(t, r.e.goroutines.n)
		for _, c := range r.closed {
			require.Len(t, c, 1, "OnClose is called once")
		}
	})
	return r
}

// parkModes runs a test for all ways to handle messages.
func parkModes(t *testing.T, run func(*testing.T, string)) {
	for _, mode := range []string{"pool", "inline", "pull"} {
		t.Run(mode, func(t *testing.T) { run(t, mode) })
	}
}

// A parkPeer is the other end of a connection.
type parkPeer struct {
	*parkRig
	net.Conn
	r *bufio.Reader
	c *Conn
}

// dial opens a connection and has a message echoed.
func (r *parkRig) dial() *parkPeer {
	conn, err := net.Dial("tcp", r.addr)
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })
	last := r.e.registry.lastID.Load()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	require.NoError(r, err)
	p := &parkPeer{parkRig: r, Conn: conn, r: bufio.NewReader(conn)}
	for line := make([]byte, 3); len(line) > 2; {
		line, err = p.r.ReadBytes('\n')
		require.NoError(r, err)
	}
	p.echo("hello")
	for _, c := range r.e.registry.all() {
		if c.id > last {
			p.c = c
		}
	}
	return p
}

func (p *parkPeer) send(b []byte) {
	p.Helper()
	_, err := p.Write(b)
	require.NoError(p, err)
}

// frame reads a frame.
func (p *parkPeer) frame() (frame.Opcode, []byte) {
	p.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	head := make([]byte, 2)
	_, err := io.ReadFull(p.r, head)
	require.NoError(p, err)
	n := uint64(head[1])
	if ext := map[uint64]int{126: 2, 127: 8}[n]; ext > 0 {
		b := make([]byte, 8)
		_, err = io.ReadFull(p.r, b[8-ext:])
		require.NoError(p, err)
		n = binary.BigEndian.Uint64(b)
	}
	payload := make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	require.NoError(p, err)
	return frame.Opcode(head[0] & 0xf), payload
}

// message reads a whole message.
func (p *parkPeer) message() (all []byte) {
	p.Helper()
	for fin := false; !fin; {
		head, err := p.r.Peek(1)
		require.NoError(p, err)
		last := head[0]&0x80 != 0
		if op, b := p.frame(); op.IsData() { // a ping may come first
			all, fin = append(all, b...), last
		}
	}
	return all
}

func (p *parkPeer) echo(text string) {
	p.Helper()
	p.send(wire{}.frame(true, 0, frame.Text, []byte(text)))
	require.Equal(p, text, string(p.message()))
}

// eof reads to the end, and closes.
func (p *parkPeer) eof() {
	p.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := io.Copy(io.Discard, p.r)
	require.NoError(p, err)
	require.NoError(p, p.Close())
}

func (p *parkPeer) state() readerState {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.c.reader
}

// park has the connection parked, without waiting for the sweeper.
func (p *parkPeer) park() {
	p.Helper()
	p.eventually(func() bool { p.c.nudge(); return p.isParked() }, "it is not parked")
}

func (p *parkPeer) isParked() bool {
	p.e.lot.mu.Lock()
	defer p.e.lot.mu.Unlock()
	parked := p.c.sock.(*tcpSocket).parked != nil
	if parked && p.c.transport.buf != nil { // whoever reads next takes the lock before
		p.Error("memory is held while parked")
	}
	return parked
}

func (r *parkRig) eventually(f func() bool, what string) {
	r.Helper()
	require.Eventually(r, f, 20*time.Second, time.Millisecond, what)
}

// ended waits for OnClose.
func (p *parkPeer) ended() (err *CloseError) {
	p.Helper()
	p.eventually(func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if list := p.closed[p.c]; len(list) > 0 {
			err = list[0]
		}
		return err != nil
	}, "OnClose is not called")
	return err
}

// parkedThen is what may happen to a parked connection that goes on.
var parkedThen = map[string]func(*parkPeer){
	"a message": func(p *parkPeer) { p.echo("x") },
	"a ping": func(p *parkPeer) {
		p.send(wire{}.frame(true, 0, frame.Ping, []byte("p")))
		op, b := p.frame()
		require.Equal(p, frame.Pong, op)
		require.Equal(p, "p", string(b))
	},
	"half a header": func(p *parkPeer) {
		m := wire{}.frame(true, 0, frame.Text, []byte("two halves"))
		p.send(m[:3])
		p.eventually(func() bool { return p.state() == readerReads && p.unread() == 0 && !p.c.busy.Load() }, "nobody reads")
		p.c.nudge() // in vain
		p.send(m[3:])
		require.Equal(p, "two halves", string(p.message()))
	},
	"a large message": func(p *parkPeer) {
		b := make([]byte, 300_000)
		go func() { _, _ = p.Write(wire{}.frame(true, 0, frame.Binary, b)) }()
		require.Equal(p, b, p.message())
	},
	"fragments": func(p *parkPeer) {
		p.send(wire{}.frame(false, 0, frame.Text, []byte("a")))
		p.eventually(func() bool { return p.state() == readerReads && p.unread() == 0 }, "nobody reads")
		p.send(wire{}.frame(true, 0, frame.Continuation, []byte("b")))
		require.Equal(p, "ab", string(p.message()))
	},
	"many messages": func(p *parkPeer) {
		var all wire
		for range 200 {
			all = all.frame(true, 0, frame.Text, []byte("x"))
		}
		p.send(all)
		for range 200 {
			require.Equal(p, "x", string(p.message()))
		}
	},
	"what is sent": func(p *parkPeer) { // does not concern the reader
		require.NoError(p, p.c.SendText("from here"))
		require.Equal(p, "from here", string(p.message()))
		require.True(p, p.isParked())
	},
}

func (p *parkPeer) unread() (n int) {
	_ = p.c.sock.(*tcpSocket).raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

// A parked connection holds nothing, wakes for what comes, and is parked again.
func TestParkThen(t *testing.T) {
	parkModes(t, func(t *testing.T, mode string) {
		for name, then := range parkedThen {
			t.Run(name, func(t *testing.T) {
				r := newParkRig(t, mode, Config{MaxMessageBytes: 1 << 20, HighWaterBytes: 1 << 20})
				p := r.dial()
				p.T = t
				for range 3 {
					p.park()
					require.Equal(t, readerGone, p.state())
					then(p)
				}
				p.park()
				p.echo("still here")
			})
		}
	})
}

// endsParked are the ways in which a parked connection ends.
var endsParked = map[string]struct {
	cfg  Config
	end  func(*parkPeer)
	code frame.CloseCode
}{
	"EOF":   {end: func(p *parkPeer) { require.NoError(p, p.Close()) }, code: frame.CloseAbnormal},
	"reset": {end: func(p *parkPeer) { _ = p.Conn.(*net.TCPConn).SetLinger(0); require.NoError(p, p.Close()) }, code: frame.CloseAbnormal},
	"the peer's close frame": {end: func(p *parkPeer) {
		p.send(wire{}.close())
		op, _ := p.frame()
		require.Equal(p, frame.Close, op)
		p.eof()
	}, code: 4000},
	"a violation": {end: func(p *parkPeer) { p.send([]byte{0xff, 0xff}); p.frame(); p.eof() }, code: frame.CloseProtocolError},
	"Close": {end: func(p *parkPeer) {
		require.NoError(p, p.c.Close(frame.CloseNormal, ""))
		p.frame()
		p.send(wire{}.frame(true, 0, frame.Close, frame.AppendClose(nil, frame.CloseNormal, "")))
		p.eof()
	}, code: frame.CloseNormal},
	"Close, and the peer says nothing": {cfg: Config{CloseTimeout: 100 * time.Millisecond}, end: func(p *parkPeer) {
		require.NoError(p, p.c.Close(frame.CloseNormal, ""))
	}, code: frame.CloseNormal},
	"abort": {end: func(p *parkPeer) { p.c.abort(internalError()) }, code: frame.CloseInternalError},
	"shed":  {end: func(p *parkPeer) { p.c.shed(); p.frame(); require.NoError(p, p.Close()) }, code: frame.CloseTryAgainLater},
	"Shutdown": {end: func(p *parkPeer) {
		done := make(chan error)
		go func() { done <- p.e.Shutdown(context.Background()) }()
		p.frame()
		p.send(wire{}.frame(true, 0, frame.Close, frame.AppendClose(nil, frame.CloseGoingAway, "")))
		p.eof()
		require.NoError(p, <-done)
	}, code: frame.CloseGoingAway},
	"Shutdown's deadline": {end: func(p *parkPeer) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(p, p.e.Shutdown(ctx), context.DeadlineExceeded)
	}, code: frame.CloseGoingAway},
	"idle timeout": {cfg: Config{IdleTimeout: 2 * time.Second, PingInterval: -1}, end: func(p *parkPeer) { p.frame(); p.eof() }, code: frame.CloseGoingAway},
	"no answer to pings": {cfg: Config{IdleTimeout: 3 * time.Second, PingInterval: time.Second}, end: func(p *parkPeer) {
		op, _ := p.frame()
		require.Equal(p, frame.Ping, op)
		for op != frame.Close {
			op, _ = p.frame()
		}
		p.eof()
	}, code: frame.CloseGoingAway},
}

// However a parked connection ends, it ends once, and leaves nothing.
func TestParkEnds(t *testing.T) {
	parkModes(t, func(t *testing.T, mode string) {
		for name, row := range endsParked {
			t.Run(name, func(t *testing.T) {
				r := newParkRig(t, mode, row.cfg)
				p := r.dial()
				p.T = t
				p.park()
				row.end(p)
				require.Equal(t, row.code, p.ended().Code)
			})
		}
	})
}

// A message that comes at the moment of the nudge, of the parking or of the wake is
// neither lost nor late nor out of order.
func TestParkRace(t *testing.T) {
	parkModes(t, func(t *testing.T, mode string) {
		r := newParkRig(t, mode, Config{})
		const peers, each = 4, 1500
		var work, nudges sync.WaitGroup
		stop := make(chan struct{})
		for i := range peers {
			p := r.dial()
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			nudges.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rand.IntN(150)) * time.Microsecond): // not all the time: Go's poller needs a processor
						p.c.nudge()
					}
				}
			})
			work.Go(func() {
				for n := uint32(0); n < each; {
					var out wire
					burst := 1 + rnd.Uint32N(3)
					for k := range burst {
						out = out.frame(true, 0, frame.Binary, binary.BigEndian.AppendUint32(nil, n+k))
					}
					cut := max(0, rnd.IntN(2*len(out))-len(out))
					_, _ = p.Write(out[:cut])
					spin(rnd.IntN(20))
					_, _ = p.Write(out[cut:])
					for range burst {
						_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
						b := make([]byte, 6)
						if _, err := io.ReadFull(p.r, b); err != nil || binary.BigEndian.Uint32(b[2:]) != n {
							t.Errorf("message %d: got %x, %v", n, b, err)
							return
						}
						n++
					}
					time.Sleep(time.Duration(rnd.IntN(200)) * time.Microsecond) // or it would rarely be parked
				}
			})
		}
		work.Wait()
		close(stop)
		nudges.Wait()
	})
}

// spin takes some time without waiting for the clock.
func spin(n int) {
	for range n {
		runtime.Gosched()
	}
}

// A connection that is closed while it is nudged, parked or woken ends once.
func TestParkRaceClose(t *testing.T) {
	parkModes(t, func(t *testing.T, mode string) {
		r := newParkRig(t, mode, Config{CloseTimeout: 200 * time.Millisecond})
		for i := range 150 {
			p := r.dial()
			var done sync.WaitGroup
			done.Go(func() {
				for range i % 7 {
					p.c.nudge()
					runtime.Gosched()
				}
			})
			done.Go(func() {
				spin(i * 3 % 50)
				switch i % 5 {
				case 0:
					_ = p.c.Close(frame.CloseNormal, "")
				case 1:
					p.c.abort(internalError())
				case 2:
					p.c.shed()
				case 3:
					_ = p.Close()
				default:
					_, _ = p.Write(wire{}.close())
				}
			})
			done.Wait()
			_ = p.Close()
			p.ended()
		}
	})
}

// The sweeper parks who is silent, whether or not it has ever spoken, and nobody else;
// however many there are, few goroutines are left.
func TestParkBySweeper(t *testing.T) {
	r := newParkRig(t, "pool", Config{})
	before := runtime.NumGoroutine()
	talker := r.dial()
	var list []*parkPeer
	for range 3 * idleLanes {
		list = append(list, r.dial())
	}
	for silent := 0; silent < len(list); {
		talker.echo("x")
		require.False(t, talker.isParked())
		silent = 0
		for _, p := range list {
			if p.isParked() {
				silent++
			}
		}
	}
	for range 3 { // they wake all at once
		for _, p := range list {
			p.send(wire{}.frame(true, 0, frame.Text, []byte("x")))
		}
		for _, p := range list {
			require.Equal(t, "x", string(p.message()))
			p.park()
		}
		r.eventually(func() bool { return runtime.NumGoroutine() < before+idleLanes+20 }, "goroutines are left")
	}
	r.e.lanes.mu.Lock()
	defer r.e.lanes.mu.Unlock()
	require.Len(t, r.e.lanes.idle, idleLanes)
}

// A handler that ends the goroutine, or panics, on a lane that others have used before
// ends its own connection.
func TestParkCrash(t *testing.T) {
	for _, crash := range []string{"goexit", "panic"} {
		t.Run(crash, func(t *testing.T) {
			r := newParkRig(t, "inline", Config{})
			a, b, c := r.dial(), r.dial(), r.dial()
			a.park()
			b.park()
			c.park()
			a.echo("on the lane that was c's")
			b.send(wire{}.frame(true, 0, frame.Text, []byte(crash)))
			op, _ := b.frame()
			require.Equal(t, frame.Close, op)
			b.eof()
			require.Equal(t, frame.CloseInternalError, b.ended().Code)
			a.park()
			a.echo("x")
			c.echo("x")
		})
	}
}

// What has come of a message keeps its reader: neither the sweeper's look nor, when it
// has been too late, the reader's own lets go.
func TestParkNotInMessage(t *testing.T) {
	large := wire{}.frame(true, 0, frame.Binary, make([]byte, 100_000))
	for name, row := range map[string]struct{ first, rest wire }{
		"a part of a header":      {large[:5], large[5:]},
		"a byte":                  {large[:1], large[1:]},
		"a header":                {large[:14], large[14:]},
		"a part of a frame":       {large[:20_000], large[20_000:]},
		"a fragment":              {wire{}.frame(false, 0, frame.Binary, []byte("x")), wire{}.frame(true, 0, frame.Continuation, make([]byte, 99_999))},
		"the last one's header":   {wire{}.frame(false, 0, frame.Binary, []byte("x")).frame(true, 0, frame.Continuation, make([]byte, 99_999))[:20], nil},
		"a ping between them too": {wire{}.frame(false, 0, frame.Binary, []byte("x")).frame(true, 0, frame.Ping, nil), wire{}.frame(true, 0, frame.Continuation, make([]byte, 99_999))},
	} {
		t.Run(name, func(t *testing.T) {
			r := newParkRig(t, "pool", Config{MaxMessageBytes: 1 << 20, HighWaterBytes: 1 << 20})
			p := r.dial()
			if row.rest == nil {
				row.rest = wire{}.frame(false, 0, frame.Binary, []byte("x")).frame(true, 0, frame.Continuation, make([]byte, 99_999))[20:]
			}
			p.park()
			p.send(row.first)
			p.eventually(func() bool {
				p.c.mu.Lock()
				defer p.c.mu.Unlock()
				return p.c.reader == readerReads && p.c.slow != nil && p.c.slow.since != 0 && !p.c.busy.Load() && p.unread() == 0
			}, "it is not read")
			p.c.mu.Lock()
			rests := p.c.restsLocked()
			p.c.reader = readerNudged
			err := p.c.sock.setReadDeadline(longAgo)
			p.c.mu.Unlock()
			require.False(t, rests)
			require.NoError(t, err)
			p.eventually(func() bool { return p.state() == readerReads }, "the nudge is not taken back")
			require.False(t, p.isParked())
			p.send(row.rest)
			for {
				if head, err := p.r.Peek(1); err != nil || head[0]&0xf != byte(frame.Pong) {
					break
				}
				p.frame()
			}
			require.Len(t, p.message(), 100_000)
		})
	}
}

// An interrupt counts even if the reader has not noticed a nudge yet: what the
// connection has of a message is let go, not waited for.
func TestParkInterrupt(t *testing.T) {
	r := newParkRig(t, "inline", Config{CloseTimeout: time.Hour})
	p := r.dial()
	p.send(wire{}.frame(true, 0, frame.Binary, make([]byte, 30_000))[:20_000])
	p.eventually(func() bool { return p.unread() == 0 && !p.c.busy.Load() }, "it is not read")
	p.c.shut(internalError(), false)
	p.c.mu.Lock()
	p.c.reader = readerNudged
	p.c.mu.Unlock()
	p.c.interrupt()
	p.eventually(func() bool {
		p.c.mu.Lock()
		defer p.c.mu.Unlock()
		return p.c.discarding
	}, "it is not interrupted")
	require.NoError(t, p.Close())
}

// What epoll has told of a socket that has been closed since does not wake the
// connection that has its number now.
func TestParkStaleEvent(t *testing.T) {
	r := newParkRig(t, "pool", Config{})
	p := r.dial()
	p.park()
	s := p.c.sock.(*tcpSocket)
	require.Nil(t, r.e.lot.woken(unix.EpollEvent{Fd: s.fd, Pad: int32(p.c.id) + 1}))
	require.True(t, p.isParked())
	p.echo("x")
	require.Nil(t, r.e.lot.woken(unix.EpollEvent{Fd: s.fd, Pad: int32(p.c.id)}), "nor one that is awake")
}

// A socket that has been closed cannot be parked any more: nobody would be told.
func TestParkClosedSocket(t *testing.T) {
	r := newParkRig(t, "pool", Config{})
	p := r.dial()
	s := p.c.sock.(*tcpSocket)
	require.Nil(t, r.e.lot.release(s))
	require.False(t, s.park(p.c))
	p.c.abort(internalError())
	p.ended()
}

// Where the system does not let connections be parked they keep their goroutines, and
// that is logged once.
func TestParkRefused(t *testing.T) {
	for name, spoil := range map[string]func(*lot){
		"no room for another socket": func(w *lot) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.opened, w.fd = true, -1
		},
		"no descriptor": func(w *lot) { w.giveUp(unix.EMFILE) },
	} {
		t.Run(name, func(t *testing.T) {
			logged := &warnings{}
			r := newParkRig(t, "pool", Config{Logger: slog.New(logged)})
			a, b := r.dial(), r.dial()
			spoil(r.e.lot)
			logged.during = func() { // a program's own code, which may close the connection
				if r.e.lot.mu.TryLock() {
					r.e.lot.mu.Unlock()
					return
				}
				t.Error("a lock is held while the logger runs")
			}
			for _, p := range []*parkPeer{a, b} {
				p.c.nudge()
				r.eventually(func() bool { return p.state() == readerStays }, "it does not stay")
				p.echo("x")
			}
			logged.mu.Lock()
			defer logged.mu.Unlock()
			require.Equal(t, 1, logged.n)
			r.e.lot.mu.Lock()
			defer r.e.lot.mu.Unlock()
			r.e.lot.opened = false
		})
	}
}

// warnings counts what is logged.
type warnings struct {
	slog.Handler
	during func()
	mu     sync.Mutex
	n      int
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(context.Context, slog.Record) error {
	if w.during != nil {
		w.during()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return nil
}

// A connection that this side has dialled keeps its goroutine: the lanes that go from one
// connection to the next are servers'.
func TestParkNotDialled(t *testing.T) {
	r := newParkRig(t, "pool", Config{})
	c, err := r.e.dial(t.Context(), "ws://"+r.addr, DialConfig{Endpoint: Endpoint{Handler: Handler{OnMessage: func(context.Context, *Conn, Message) error { return nil }}}})
	require.NoError(t, err)
	c.mu.Lock()
	require.Equal(t, readerStays, c.reader)
	c.mu.Unlock()
	require.NoError(t, c.Close(frame.CloseNormal, ""))
}

// BenchmarkPark is an echo by a connection that is parked between its messages, and by
// one that is not.
func BenchmarkPark(b *testing.B) {
	for _, name := range []string{"stays", "parked"} {
		b.Run(name, func(b *testing.B) {
			e, err := New(Config{IO: IOGoroutines}, Endpoint{Inline: true, Handler: Handler{OnMessage: func(_ context.Context, c *Conn, m Message) error {
				return c.Send(m.Type, m.Data)
			}}})
			require.NoError(b, err)
			srv := httptest.NewServer(e)
			defer srv.Close()
			defer func() { _ = e.Shutdown(context.Background()) }()
			peer, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(b, err)
			defer peer.Close()
			_, err = io.WriteString(peer, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			require.NoError(b, err)
			in := bufio.NewReader(peer)
			for line := make([]byte, 3); len(line) > 2; {
				line, err = in.ReadBytes('\n')
				require.NoError(b, err)
			}
			message := wire{}.frame(true, 0, frame.Binary, make([]byte, 100))
			answer := make([]byte, 102)
			c := e.registry.all()[0]
			var before, after unix.Rusage
			require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &before))
			for b.Loop() {
				_, _ = peer.Write(message)
				if _, err := io.ReadFull(in, answer); err != nil {
					b.Fatal(err)
				}
				for name == "parked" {
					c.nudge()
					e.lot.mu.Lock()
					done := c.sock.(*tcpSocket).parked != nil
					e.lot.mu.Unlock()
					if done {
						break
					}
					runtime.Gosched()
				}
			}
			require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &after))
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}
