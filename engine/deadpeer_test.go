//go:build linux

package engine_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
	"github.com/penstock-ws/penstock/frame"
)

// acceptedConns hands over duplicates of the sockets that it has accepted: the engine
// may close the originals.
type acceptedConns struct {
	net.Listener
	conns chan *os.File
}

func (l acceptedConns) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	f, err := c.(*net.TCPConn).File()
	l.conns <- f
	return c, err
}

func socketOption(t *testing.T, c *os.File, option int) (value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option) }))
	require.NoError(t, err)
	return value
}

// The kernel is told how much it may hide, and when a peer that acknowledges
// nothing is dead: three times the write-stall timeout.
func TestDeadPeerSocketOptions(t *testing.T) {
	for timeout, want := range map[time.Duration]int{
		0:                      30_000,
		700 * time.Millisecond: 2_100,
		-1:                     0,
		1000 * time.Hour:       1<<31 - 1,
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		accepted := acceptedConns{ln, make(chan *os.File, 1)}
		open := make(conns, 1)
		e, err := engine.New(engine.Config{WriteStallTimeout: timeout}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- e.Serve(ctx, accepted) }()
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
		require.NoError(t, err)
		<-open
		socket := <-accepted.conns
		require.Equal(t, want, socketOption(t, socket, unix.TCP_USER_TIMEOUT), "WriteStallTimeout %v", timeout)
		require.Equal(t, 128<<10, socketOption(t, socket, unix.TCP_NOTSENT_LOWAT))
		require.NoError(t, socket.Close())
		require.NoError(t, c.Close())
		cancel()
		require.NoError(t, <-served)
	}
}

// Closing ends within CloseTimeout against a peer that never reads, whether it is
// congested, in the middle of a stream, or has been sent nothing; so does a stall
// within WriteStallTimeout.
func TestDeadPeerEnds(t *testing.T) {
	const timeout = time.Second
	for name, start := range map[string]func(testing.TB, engine.Config, engine.Endpoint) *enginetest.Server{"TCP": enginetest.Start, "TLS": enginetest.StartTLS} {
		for kind, row := range map[string]struct {
			begin func(t *testing.T, c *engine.Conn)
			code  frame.CloseCode
		}{
			"close, idle": {func(*testing.T, *engine.Conn) {}, frame.CloseNormal},
			"close, congested": {func(t *testing.T, c *engine.Conn) {
				enginetest.Await(t, func() bool { return c.SendBytes(pattern(100_000)) == engine.ErrCongested }, "it should be congested")
			}, frame.CloseNormal},
			"close, streaming": {func(t *testing.T, c *engine.Conn) {
				require.NoError(t, c.Go(func(context.Context) { _ = c.SendStream(context.Background(), frame.Binary, new(endless)) }))
				enginetest.Await(t, func() bool { return c.PendingBytes() > 0 }, "the stream should begin")
			}, frame.CloseNormal},
			"stall": {func(t *testing.T, c *engine.Conn) {
				require.NoError(t, c.SendBytes(pattern(900_000)))
			}, frame.CloseAbnormal},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				cfg := engine.Config{MaxMessageBytes: 1 << 30, MemoryBudgetBytes: 12 << 30, CloseTimeout: timeout, WriteStallTimeout: time.Hour}
				if row.code == frame.CloseAbnormal {
					cfg.CloseTimeout, cfg.WriteStallTimeout = time.Hour, timeout
				}
				var end ending
				open := make(conns, 1)
				s := start(t, cfg, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo, OnClose: end.OnClose}})
				s.DialWith(enginetest.Handshake{ReceiveBuffer: 4 << 10})
				conn := <-open
				before := time.Now()
				row.begin(t, conn)
				began := time.Now()
				if row.code == frame.CloseAbnormal {
					began = before // it stalls while it is sent to
				} else {
					require.NoError(t, conn.Close(row.code, "bye"))
				}
				require.Equal(t, row.code, end.await(t).Code)
				took := time.Since(began)
				require.Greater(t, took, timeout*3/4)
				require.Less(t, took, timeout+2*time.Second)
			})
		}
	}
}
