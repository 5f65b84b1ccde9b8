package engine_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/engine/enginetest"
)

// delaying is a listener whose sockets wait for more before they send a small segment.
type delaying struct{ net.Listener }

func (l delaying) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetNoDelay(false)
	}
	return c, err
}

// A small frame does not wait in the kernel for the peer's acknowledgement
// (TCP_NODELAY), whatever the listener has set, on the socket under TLS, too.
func TestNoDelay(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){
		"TCP": (*httptest.Server).Start,
		"TLS": (*httptest.Server).StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			open := make(conns, 1)
			e, err := engine.New(engine.Config{}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
			require.NoError(t, err)
			s := httptest.NewUnstartedServer(e)
			accepted := acceptedConns{delaying{s.Listener}, make(chan *os.File, 1)}
			s.Listener = accepted
			start(s)
			defer s.Close()
			c, err := net.Dial("tcp", accepted.Addr().String())
			require.NoError(t, err)
			defer func() { _ = c.Close() }()
			socket := <-accepted.conns
			require.Zero(t, socketOption(t, socket, unix.TCP_NODELAY), "the listener's choice")
			if name == "TLS" {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test's certificate
			}
			_, err = io.WriteString(c, upgradeRequest)
			require.NoError(t, err)
			<-open
			require.Equal(t, 1, socketOption(t, socket, unix.TCP_NODELAY))
			require.NoError(t, socket.Close())
			require.NoError(t, c.Close())
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

// A process that is out of descriptors in earnest serves those whom it has, and the one
// who waits when there is a descriptor for him.
func TestOutOfDescriptors(t *testing.T) {
	ln := &failingListener{Listener: listen(t)}
	ctx, cancel := context.WithCancel(t.Context())
	open := make(conns, 2)
	_, served := serveOn(t, ctx, ln, engine.Config{Logger: quiet}, engine.Endpoint{Handler: engine.Handler{OnOpen: open.OnOpen, OnMessage: echo}})
	ask := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(c, upgradeRequest)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(enginetest.Patience)))
		return c
	}
	before := ask()
	conn := <-open
	fromBefore := bufio.NewReader(before)
	r, err := http.ReadResponse(fromBefore, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	restore := lastDescriptor(t)
	defer restore()
	asked := len(ln.calls())
	waits := ask()
	enginetest.Await(t, func() bool { return len(ln.calls()) > asked+2 }, "it should be asked again")
	require.Empty(t, open)
	require.NoError(t, conn.SendText("served"))
	got, err := fromBefore.ReadString('d')
	require.NoError(t, err)
	require.Equal(t, "\x81\x06served", got)
	restore()
	r, err = http.ReadResponse(bufio.NewReader(waits), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, r.StatusCode)
	require.NoError(t, waits.Close())
	require.NoError(t, before.Close())
	cancel()
	require.NoError(t, <-served)
}

// lastDescriptor leaves the process one more descriptor, until restore is called.
func lastDescriptor(t *testing.T) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	free, err := os.Open(os.DevNull)
	require.NoError(t, err)
	fewer := limit
	fewer.Cur = uint64(free.Fd()) + 1 // the lowest that was free
	require.NoError(t, free.Close())
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &fewer))
	return func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }
}
