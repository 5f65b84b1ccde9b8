package engine

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A loopRig is a loop that the test itself is the goroutine of, and a connection on it.
type loopRig struct {
	*testing.T
	l    *loop
	s    *loopSocket
	c    *Conn
	peer *net.TCPConn

	beforeWrite func() // once
	beforeAwait func() // once, between the write that found no room and Await
}

// Await implements backpressure.Wire in front of the socket's.
func (r *loopRig) Await(q *backpressure.Queue) {
	if f := r.beforeAwait; f != nil {
		r.beforeAwait = nil
		f()
	}
	r.s.Await(q)
}

func (r *loopRig) Write(bufs [][]byte, wait bool) (int, error) {
	if f := r.beforeWrite; f != nil {
		r.beforeWrite = nil
		f()
	}
	return r.s.Write(bufs, wait)
}

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t *testing.T) (here, there *net.TCPConn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return accepted.(*net.TCPConn), c.(*net.TCPConn)
}

func loopEngine(t *testing.T, logger *slog.Logger) *Engine {
	e, err := New(Config{IO: IOLoops, Loops: 1, MaxMessageBytes: 64 << 20, HighWaterBytes: 64 << 20, MemoryBudgetBytes: 1 << 36, Logger: logger}, Endpoint{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.NoError(t, e.Shutdown(ctx))
	})
	return e
}

func newLoopRig(t *testing.T) *loopRig {
	e := loopEngine(t, slog.New(slog.DiscardHandler))
	l, err := newLoop(e)
	require.NoError(t, err)
	t.Cleanup(func() {
		if !l.gone {
			l.letGo()
		}
	})
	r := &loopRig{T: t, l: l}
	r.s, r.c, r.peer = r.connect(1)
	r.c.queue.Init(e.server.outbound, r, r.c)
	return r
}

// connect puts a connection on the loop.
func (r *loopRig) connect(id uint64) (*loopSocket, *Conn, *net.TCPConn) {
	tcp, peer := tcpPair(r.T)
	k := kernelOf(tcp)
	k.tune(0)
	s, err := newLoopSocket(r.l, tcp, k)
	require.NoError(r, err)
	c := &Conn{e: r.l.e, ep: r.l.e.endpoint, id: id, sock: s, home: s, scope: &Scope{}}
	s.conn = c
	r.Cleanup(func() {
		if s.users.Load() > 0 {
			s.leave()
		}
	})
	c.queue.Init(r.l.e.server.outbound, s, c)
	r.l.begin(s)
	require.NoError(r, c.transport.err)
	return s, c, peer
}

// poll passes on what epoll tells.
func (r *loopRig) poll() (told bool) {
	told = r.l.pollOnce()
	for _, ev := range r.l.events[:r.l.n] {
		if ev.Fd != wakeSlot {
			r.l.event(r.l.slots[ev.Fd], ev.Events)
		}
	}
	return told
}

// events passes on what epoll tells, and does what is posted, until all is as wanted.
func (r *loopRig) events(until func() bool) {
	r.Helper()
	for late := time.Now().Add(20 * time.Second); !until(); {
		require.True(r, time.Now().Before(late), "epoll does not tell")
		r.poll()
		r.l.collect()
		for _, s := range r.l.work {
			r.l.serve(s)
		}
	}
}

// settled passes on what epoll tells of a new socket.
func (r *loopRig) settled() {
	for !r.poll() {
	}
}

// fill sends more than the kernel takes, and returns it.
func (r *loopRig) fill() []byte {
	payload := bytes.Repeat([]byte("payload "), 2<<20)
	require.Equal(r, backpressure.Queued, r.c.queue.Send(backpressure.Message{Opcode: frame.Binary, Payload: payload}))
	require.Positive(r, r.c.queue.Pending())
	return payload
}

// readAll has the peer read for good, and returns how to wait for so many bytes.
func (r *loopRig) readAll() (await func(payload []byte)) {
	var mu sync.Mutex
	var got []byte
	go func() { // ends with the peer
		b := make([]byte, 1<<20)
		for {
			n, err := r.peer.Read(b)
			mu.Lock()
			got = append(got, b[:n]...)
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return func(payload []byte) {
		r.Helper()
		r.events(func() bool {
			mu.Lock()
			defer mu.Unlock()
			return r.c.queue.Pending() == 0 && len(got) > len(payload)
		})
		// Frames of at most 64 KiB, whose headers take some bytes each.
		mu.Lock()
		defer mu.Unlock()
		require.LessOrEqual(r, len(got), len(payload)+10*(1+len(payload)/(64<<10)))
	}
}

// posted takes what has been posted.
func (r *loopRig) posted() (todo []uint32) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	for _, s := range r.l.posted {
		todo = append(todo, s.todo.Load())
	}
	return todo
}

// Whoever awaits room before epoll tells of it is resumed by that.
func TestAwaitBeforeEvent(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	payload := r.fill()
	require.Equal(t, awaited, r.s.room.Load())
	await := r.readAll()
	before := r.c.queue.Totals().Written
	for r.c.queue.Totals().Written == before {
		require.Empty(t, r.posted())
		r.poll()
	}
	await(payload)
}

// If epoll has told of room before it is awaited, between the write that found none
// and Await, the loop is posted to: it will not tell again.
func TestAwaitAfterEvent(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	var await func([]byte)
	r.beforeAwait = func() {
		require.Zero(t, r.s.room.Load())
		await = r.readAll()
		r.events(func() bool { return r.s.room.Load() == kernelRoom })
	}
	payload := r.fill()
	require.NotNil(t, await)
	require.Equal(t, []uint32{todoWrite}, r.posted())
	before := r.c.queue.Totals().Written
	r.l.collect()
	r.l.serve(r.l.work[0])
	require.Greater(t, r.c.queue.Totals().Written, before)
	await(payload)
}

// A queue that gives up the writing because its turn is over, not for want of room, is
// resumed by a post: epoll has nothing to tell.
func TestAwaitWithRoom(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	await := r.readAll()
	message := backpressure.Message{Opcode: frame.Binary, Payload: bytes.Repeat([]byte("x"), 40_000)}
	const n = 4 // more than a turn's 64 KiB, less than the kernel takes
	r.beforeWrite = func() {
		for range n - 1 {
			r.c.queue.Send(message)
		}
	}
	r.c.queue.Send(message)
	require.Positive(t, r.c.queue.Pending())
	require.Equal(t, kernelRoom, r.s.room.Load())
	require.Equal(t, []uint32{todoWrite}, r.posted())
	r.l.collect()
	r.l.serve(r.s)
	await(bytes.Repeat(message.Payload, n))
}

// Room that is told of while nobody waits is remembered, and a write that the kernel
// takes whole at its second attempt leaves it as it was.
func TestRoomRemembered(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	require.Equal(t, kernelRoom, r.s.room.Load())
	r.s.roomInKernel()
	require.Equal(t, kernelRoom, r.s.room.Load())
	n, err := r.s.Write([][]byte{[]byte("taken")}, false)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	require.Equal(t, kernelRoom, r.s.room.Load())
	for r.s.room.Load() == kernelRoom {
		_, err = r.s.Write([][]byte{make([]byte, 1<<20)}, false)
		require.NoError(t, err)
	}
	require.Zero(t, r.s.room.Load())
	r.s.roomInKernel()
	require.Equal(t, kernelRoom, r.s.room.Load())
	require.Empty(t, r.posted())
}

// A socket's descriptor is closed when the last of its users has left, and used by
// nobody after that, although another socket may have its number by then.
func TestLoopSocketUsers(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	require.True(t, r.s.enter())
	require.NoError(t, r.s.close())
	r.l.collect()
	r.l.serve(r.s)
	require.Equal(t, released, r.s.state)
	require.Zero(t, r.l.live)
	_, err := unix.Write(r.s.fd, []byte("still ours"))
	require.NoError(t, err)
	require.True(t, r.s.enter(), "as long as somebody uses it")
	r.s.leave()
	r.s.leave()
	require.False(t, r.s.enter())
	n, err := r.s.Write([][]byte{[]byte("not ours")}, false)
	require.Zero(t, n)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorIs(t, r.s.closeWrite(), net.ErrClosed)
	sent, lost := r.s.unsent()
	require.Zero(t, sent)
	require.Zero(t, lost)
	got, err := io.ReadAll(r.peer)
	require.NoError(t, err)
	require.Equal(t, "still ours", string(got))
}

// An event of a connection that has gone, found together with the event that ended it,
// is not taken for the next one's, which has its place.
func TestStaleEvent(t *testing.T) {
	r := newLoopRig(t)
	r.settled()
	slot, generation := r.s.slot, r.s.generation
	require.NoError(t, r.s.close())
	r.l.collect()
	r.l.serve(r.s)
	next, _, _ := r.connect(2)
	require.Equal(t, slot, next.slot)
	r.l.events[0] = unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLHUP, Fd: slot, Pad: generation}
	r.l.n, r.l.at, r.l.work = 1, 0, nil
	r.l.collected, r.l.stopping, r.l.live = true, true, 0 // so that the loop ends behind the event
	require.False(t, r.l.awaitLane())
	require.False(t, next.hup.Load())
	require.False(t, next.readable)
}

// A connection that cannot be duplicated does without a loop, and the log says why,
// once.
func TestLoopSocketRefused(t *testing.T) {
	var log strings.Builder
	e := loopEngine(t, slog.New(slog.NewTextHandler(&log, nil)))
	for range 2 {
		tcp, _ := tcpPair(t)
		k := kernelOf(tcp)
		require.NoError(t, tcp.Close())
		require.Nil(t, e.newLoopSocket(tcp, k))
	}
	require.Equal(t, 1, strings.Count(log.String(), "place on an event loop"), log.String())
	require.Contains(t, log.String(), net.ErrClosed.Error())
}

// A socket that comes to a loop which has ended, because Shutdown overtook its
// handshake, is closed.
func TestPostAfterLoopEnded(t *testing.T) {
	r := newLoopRig(t)
	tcp, peer := tcpPair(t)
	s, err := newLoopSocket(r.l, tcp, kernelOf(tcp))
	require.NoError(t, err)
	r.l.stopping, r.l.live = true, 0
	require.False(t, r.l.awaitLane())
	require.NoError(t, s.close())
	require.Equal(t, released, s.state)
	require.False(t, s.enter())
	_, err = io.ReadAll(peer)
	require.NoError(t, err)
}

// interruptions are the ways in which a loop may have a part of a message.
var interruptions = map[string][]byte{
	"a part of a frame, by the loop":       {0x81, 0x80 | 100, 0, 0, 0, 0, 'x', 'x'},
	"a fragment, by a side lane":           {0x01, 0x80 | 1, 0, 0, 0, 0, 'x'},
	"a part of a large frame, by the loop": append([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, make([]byte, 30_000)...),
}

// What a connection has of a message is let go when its reading is interrupted,
// although the peer says nothing more.
func TestLoopInterrupt(t *testing.T) {
	for name, part := range interruptions {
		t.Run(name, func(t *testing.T) {
			e, err := New(Config{IO: IOLoops, Loops: 1, CountBuffers: true, CloseTimeout: time.Hour}, Endpoint{Handler: Handler{
				OnMessage: func(context.Context, *Conn, Message) error { return nil },
			}})
			require.NoError(t, err)
			srv := httptest.NewServer(e)
			defer srv.Close()
			peer, err := net.Dial("tcp", srv.Listener.Addr().String())
			require.NoError(t, err)
			_, err = io.WriteString(peer, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			require.NoError(t, err)
			_, err = peer.Write(part)
			require.NoError(t, err)
			var c *Conn
			require.Eventually(t, func() bool {
				all := e.registry.all()
				if len(all) == 0 {
					return false
				}
				c = all[0]
				unread, err := unix.IoctlGetInt(c.home.fd, unix.TIOCINQ)
				return err == nil && unread == 0 && !c.busy.Load()
			}, 20*time.Second, time.Millisecond)
			c.shut(&CloseError{Code: frame.ClosePolicyViolation}, false)
			c.interrupt()
			require.Eventually(t, func() bool { return e.pool.Out() == 0 && !c.home.interrupted.Load() }, 20*time.Second, time.Millisecond, "it should have let go")
			require.Len(t, e.registry.all(), 1, "the handshake goes on")
			require.NoError(t, peer.Close())
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

// A shutdown may cut a connection off before it is watched. Its descriptor is closed by
// then, and its number perhaps another's: it must not come to be watched, nor read.
func TestLoopClosedBeforeItIsWatched(t *testing.T) {
	r := newLoopRig(t)
	live := r.l.live
	tcp, _ := tcpPair(t)
	s, err := newLoopSocket(r.l, tcp, kernelOf(tcp))
	require.NoError(t, err)
	c := &Conn{e: r.l.e, ep: r.l.e.endpoint, id: 2, sock: s, home: s, scope: &Scope{}}
	s.conn = c
	c.queue.Init(r.l.e.server.outbound, s, c)
	for _, what := range []func(){
		func() { c.abort(&CloseError{Code: frame.CloseAbnormal, Cause: CauseShutdown}) },
		s.watch,
		s.start,
	} {
		what()
		r.l.collect()
		for _, s := range r.l.work {
			r.l.serve(s)
		}
		require.Equal(t, released, s.state)
		require.Equal(t, live, r.l.live)
	}
	require.True(t, c.readDone)
}

// A handler that ends the loop's goroutine, when it is given what came behind the handshake,
// does not make it forget that there is room for what OnOpen has sent.
func TestLoopGoexitBeforeResume(t *testing.T) {
	e, err := New(Config{Logger: slog.New(slog.DiscardHandler)}, Endpoint{Inline: true, Handler: Handler{
		OnMessage: func(context.Context, *Conn, Message) error { runtime.Goexit(); return nil },
	}})
	require.NoError(t, err)
	r := newLoopRig(t)
	r.settled()
	r.fill()
	r.readAll()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.s.fd), Events: unix.POLLOUT}}, 20_000)
	require.NoError(t, err)
	require.Equal(t, 1, n, "there should be room")
	r.c.ep, r.c.call.conn = e.endpoint, r.c
	r.c.transport.init(r.c, &frame.Rules{ExpectMask: true, MaxMessage: 1 << 20}, wire{}.frame(true, 0, frame.Text, nil).frame(true, 0, frame.Text, nil))
	r.s.todo.Store(todoStart | todoWrite)
	before := r.c.queue.Totals().Written
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.l.serve(r.s)
		t.Error("the handler has not been called")
	}()
	<-over
	require.Greater(t, r.c.queue.Totals().Written, before)
	require.NoError(t, e.Shutdown(context.Background()))
}

// A large message is handled as soon as it has been read. A small one that has come alone
// waits until the others of the loop's turn have been read, and so does what comes behind one
// that waits.
func TestLoopHandlesLargeAtOnce(t *testing.T) {
	handled := 0
	e, err := New(Config{Logger: slog.New(slog.DiscardHandler)}, Endpoint{Inline: true, Handler: Handler{
		OnMessage: func(context.Context, *Conn, Message) error { handled++; return nil },
	}})
	require.NoError(t, err)
	r := newLoopRig(t)
	r.settled()
	r.c.ep, r.c.call.conn = e.endpoint, r.c
	r.c.transport.init(r.c, &frame.Rules{ExpectMask: true, MaxMessage: 1 << 20}, nil)
	r.s.state = reading
	send := func(size int) (want int) {
		b := frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Masked: true, Length: int64(size)})
		b = append(b, make([]byte, size)...)
		_, err := r.peer.Write(b)
		require.NoError(t, err)
		return int(r.c.transport.total) + len(b)
	}
	read := func(until int) {
		for int(r.c.transport.total) < until {
			if !r.poll() {
				r.l.goOn(r.s)
			}
		}
	}

	read(send(100))
	require.Equal(t, 0, handled)
	require.Len(t, r.l.alone, 1)
	r.l.handleAlone()
	require.Equal(t, 1, handled)

	read(send(100_000))
	require.Equal(t, 2, handled)
	require.Empty(t, r.l.alone)

	r.c.messages++ // one that waits
	read(send(100_000))
	require.Equal(t, 2, handled)
	require.Equal(t, 2, r.c.messages)
	require.NoError(t, e.Shutdown(context.Background()))
}

// One read takes no more of a large message than others can wait for.
func TestLoopReadsLargeInParts(t *testing.T) {
	r := newLoopRig(t)
	tr := &r.c.transport
	tr.init(r.c, &frame.Rules{}, frame.AppendHeader(nil, frame.Header{Fin: true, Opcode: frame.Binary, Length: 3 << 20}))
	require.Len(t, tr.lend(math.MaxInt), bulkRead)
	tr.dropBulk()
}
