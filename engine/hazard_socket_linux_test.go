package engine_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/penstock-ws/penstock/engine"
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
			accepted := acceptedConns{delaying{s.Listener}, make(chan *net.TCPConn, 1)}
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
			require.NoError(t, c.Close())
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}
