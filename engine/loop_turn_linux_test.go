package engine

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// dialLoop opens a connection to the engine that s serves.
func dialLoop(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	return c
}

// A connection of which there is always more to read has one turn among the others',
// however often epoll tells of it.
func TestLoopFlooderHasOneTurn(t *testing.T) {
	const turns = 200
	over := make(chan int, 1)
	most, handled := 0, 0 // the loop's
	e, err := New(Config{IO: IOLoops, Loops: 1, ReadBufferBytes: smallestBuffer, Logger: slog.New(slog.DiscardHandler)}, Endpoint{Inline: true, Handler: Handler{
		OnMessage: func(_ context.Context, c *Conn, _ Message) error {
			if handled++; handled%64 == 0 {
				time.Sleep(20 * time.Microsecond) // the flood is faster
			}
			most = max(most, len(c.home.loop.again))
			if handled == turns*100 {
				over <- most
			}
			return nil
		},
	}})
	require.NoError(t, err)
	s := httptest.NewServer(e)
	defer s.Close()
	c := dialLoop(t, s)
	flood := bytes.Repeat(wire{}.frame(true, 0, frame.Binary, make([]byte, 32)), 2000)
	done := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(done)
		for err := error(nil); err == nil; {
			_, err = c.Write(flood)
		}
	}()
	require.LessOrEqual(t, <-over, 1)
	require.NoError(t, c.Close())
	<-done
	require.NoError(t, e.Shutdown(context.Background()))
}

// A connection that has ended is not held by a loop that has nothing to do.
func TestLoopForgets(t *testing.T) {
	gone := make(chan struct{})
	e, err := New(Config{IO: IOLoops, Loops: 1, Logger: slog.New(slog.DiscardHandler)}, Endpoint{Handler: Handler{
		OnOpen: func(_ context.Context, c *Conn) error {
			runtime.AddCleanup(c, func(int) { close(gone) }, 0)
			return nil
		},
		OnMessage: func(context.Context, *Conn, Message) error { return nil },
	}})
	require.NoError(t, err)
	s := httptest.NewServer(e)
	defer s.Close()
	require.NoError(t, dialLoop(t, s).Close())
	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-gone:
			return true
		default:
			return false
		}
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, e.Shutdown(context.Background()))
}

// Naps end with the turn that finds them over, whether or not the loop has anything else to
// do, the first to begin first; those that something else has ended meanwhile are forgotten.
func TestLoopNapsEndInTurn(t *testing.T) {
	l, err := newLoop(new(Engine))
	require.NoError(t, err)
	defer l.letGo()
	closed, first, second, later := new(loopSocket), new(loopSocket), new(loopSocket), new(loopSocket)
	l.nap(closed, 0)
	l.nap(first, 0)
	l.nap(second, 0)
	l.nap(later, time.Hour)
	closed.state = released
	busy := new(loopSocket)
	l.serveAgain(busy)
	l.collect()
	require.Equal(t, []*loopSocket{busy, first, second}, l.work)
	require.Equal(t, []loopState{released, dropping, dropping, napping}, []loopState{closed.state, first.state, second.state, later.state})
	require.Len(t, l.naps, 1)
}

// A wait ends when the first nap does, and asks epoll even if that was over before it began.
func TestLoopWaitsForNaps(t *testing.T) {
	l, err := newLoop(new(Engine))
	require.NoError(t, err)
	defer l.letGo()
	first, second := new(loopSocket), new(loopSocket)
	l.nap(first, time.Millisecond)
	l.nap(second, 2*time.Millisecond)
	for waits := 1; second.state == napping; waits++ {
		require.LessOrEqual(t, waits, 2)
		l.asleep = true
		l.wait()
		require.False(t, l.asleep)
		require.Zero(t, l.n)
		l.collect()
		require.Equal(t, dropping, first.state)
	}
	l.nap(first, 0)
	l.asleep = true
	l.stop() // writes the eventfd
	time.Sleep(time.Millisecond)
	l.wait()
	require.Equal(t, 1, l.n)
}
