package engine

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// A countedLoop is an engine with one loop, of which the wakes are counted.
type countedLoop struct {
	*httptest.Server
	woken, ended atomic.Int64 // calls of the poller's callback, and those that ended the wait
}

func newCountedLoop(t *testing.T, ep Endpoint) *countedLoop {
	e, err := New(Config{IO: IOLoops, Loops: 1, Logger: slog.New(slog.DiscardHandler)}, ep)
	require.NoError(t, err)
	e.loops.stop()
	l, err := newLoop(e)
	require.NoError(t, err)
	s := &countedLoop{Server: httptest.NewServer(e)}
	l.poll = func(fd uintptr) bool {
		s.woken.Add(1)
		ended := l.woken(fd)
		if ended {
			s.ended.Add(1)
		}
		return ended
	}
	e.loops.list[0] = l
	e.goroutines.spawn(l.run)
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, e.Shutdown(context.Background()))
	})
	return s
}

// exchange sends frames and returns the payload that is answered, which is so long.
func exchange(t *testing.T, c net.Conn, frames wire, answer int) string {
	t.Helper()
	_, err := c.Write(frames)
	require.NoError(t, err)
	b := make([]byte, 2+answer)
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	return string(b[2:])
}

// The loop's wait stays open while it serves messages, on the loop or for workers, and pings:
// there is no need to ask epoll once more. What gws must have ends it.
func TestLoopWaitStaysOpen(t *testing.T) {
	const messages = 200
	for name, inline := range map[string]bool{"pool": false, "inline": true} {
		t.Run(name, func(t *testing.T) {
			s := newCountedLoop(t, Endpoint{Inline: inline, Handler: Handler{
				OnMessage: func(_ context.Context, c *Conn, m Message) error { return c.Send(m.Type, m.Data) },
			}})
			c := dialLoop(t, s.Server)
			defer c.Close()
			message := wire{}.frame(true, 0, frame.Text, []byte("message"))
			require.Equal(t, "message", exchange(t, c, message, 7))
			woken, ended := s.woken.Load(), s.ended.Load()
			for i := range messages {
				require.Equal(t, "message", exchange(t, c, message, 7))
				if i%20 == 0 {
					require.Equal(t, "ping", exchange(t, c, wire{}.frame(true, 0, frame.Ping, []byte("ping")), 4))
				}
			}
			require.Equal(t, ended, s.ended.Load())
			require.GreaterOrEqual(t, s.woken.Load(), woken+messages)
			fragments := wire{}.frame(false, 0, frame.Text, []byte("two ")).frame(true, 0, frame.Continuation, []byte("parts"))
			require.Equal(t, "two parts", exchange(t, c, fragments, 9))
			require.Equal(t, ended+1, s.ended.Load())
		})
	}
}

// What epoll tells of while the loop serves in its open wait is not lost.
func TestLoopToldWhileItServes(t *testing.T) {
	const rounds = 200
	var peer net.Conn // of the other connection
	var other *Conn
	heard := make(chan string, 2)
	s := newCountedLoop(t, Endpoint{Inline: true, Handler: Handler{
		OnMessage: func(_ context.Context, c *Conn, m Message) error {
			switch string(m.Data) {
			case "other":
				other = c
			case "go":
				_, _ = peer.Write(wire{}.frame(true, 0, frame.Text, []byte("came")))
				for !other.sock.unread() { // so that epoll has told
				}
				return nil
			}
			heard <- string(m.Data)
			return nil
		},
	}})
	peer = dialLoop(t, s.Server)
	defer peer.Close()
	c := dialLoop(t, s.Server)
	defer c.Close()
	_, err := peer.Write(wire{}.frame(true, 0, frame.Text, []byte("other")))
	require.NoError(t, err)
	require.Equal(t, "other", <-heard)
	ended := s.ended.Load()
	for range rounds {
		_, err := c.Write(wire{}.frame(true, 0, frame.Text, []byte("go")))
		require.NoError(t, err)
		require.Equal(t, "came", <-heard)
	}
	require.Equal(t, ended, s.ended.Load())
}

// More connections than one answer of epoll has room for are all served, in one open wait.
func TestLoopManyAtOnce(t *testing.T) {
	const peers = 2*128 + 10
	held, open := make(chan struct{}, 3), make(chan struct{})
	s := newCountedLoop(t, Endpoint{Inline: true, Handler: Handler{
		OnMessage: func(_ context.Context, c *Conn, m Message) error {
			if string(m.Data) == "hold" {
				held <- struct{}{}
				<-open
				return nil
			}
			return c.Send(m.Type, m.Data)
		},
	}})
	t.Cleanup(func() { close(open) })
	list := make([]net.Conn, peers)
	for i := range list {
		list[i] = dialLoop(t, s.Server)
		defer list[i].Close()
	}
	send := func(c net.Conn, text string) {
		_, err := c.Write(wire{}.frame(true, 0, frame.Text, []byte(text)))
		require.NoError(t, err)
	}
	for range 3 {
		send(list[0], "hold")
		<-held
		for _, c := range list {
			send(c, "all")
		}
		open <- struct{}{}
		for _, c := range list {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
			b := make([]byte, 5)
			_, err := io.ReadFull(c, b)
			require.NoError(t, err)
			require.Equal(t, "all", string(b[2:]))
		}
	}
	require.Zero(t, s.ended.Load())
}
