package enginetest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
)

// StartMemory is Start without a port: clients are connected by a Link each, by Dial and
// its like, Server.Link, or engine.Dial with Server.NetDial. Nothing of the system's is
// used, so in a bubble of testing/synctest time is virtual: whatever waits for a timeout
// takes no time, and synctest.Wait returns when all that can happen has happened.
//
// Server, handlers and clients belong in the same bubble. The engine's connections
// have a reader goroutine each, whatever Config.IO says: event loops are for sockets.
// What a Link holds is no part of Conn.PendingBytes.
func StartMemory(t testing.TB, cfg engine.Config, ep engine.Endpoint) *Server {
	t.Helper()
	cfg.IO = engine.IOGoroutines
	m := newMemory()
	s := start(t, cfg, ep, m, nil)
	t.Cleanup(m.closeLinks) // before the engine is shut down: clients are gone by then
	return s
}

// Link connects to a server that StartMemory has started, and returns the client's end,
// which is closed when the test ends. It fails the test if the server has ended, or is
// not in memory.
func (s *Server) Link() *Link {
	s.t.Helper()
	require.NotNil(s.t, s.memory, "a Link needs StartMemory")
	l, err := s.memory.connect(context.Background())
	require.NoError(s.t, err)
	return l
}

// NetDial is for engine.DialConfig: it connects to the server, whatever the address.
// Its error, if the server has ended, is a socket's: syscall.ECONNREFUSED. Over memory
// it returns a *Link.
func (s *Server) NetDial(ctx context.Context, _, _ string) (net.Conn, error) {
	if s.memory == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	}
	l, err := s.memory.connect(ctx)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// A memory is a listener to which Links lead.
type memory struct {
	// immutable
	accepts chan net.Conn
	closed  chan struct{}

	// locks itself
	once sync.Once

	mu    sync.Mutex
	links []*Link
	ended bool // no more links
}

func newMemory() *memory {
	return &memory{accepts: make(chan net.Conn), closed: make(chan struct{})}
}

// memoryAddr is the server's. No socket can have port 0, so whoever dials it after all,
// without NetDial, is refused at once.
var memoryAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}

// firstPort is that of the first client's made-up address.
const firstPort = 1024

// Accept returns the server's end of the next Link.
func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.accepts:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Close has connecting refused.
func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

// Addr returns an address that nothing can have.
func (m *memory) Addr() net.Addr { return memoryAddr }

func (m *memory) connect(ctx context.Context) (*Link, error) {
	l, served, err := m.add()
	if err != nil {
		return nil, err
	}
	select {
	case m.accepts <- served:
		return l, nil
	case <-m.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *memory) add() (l, served *Link, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil, nil, syscall.ECONNREFUSED
	}
	client := &net.TCPAddr{IP: memoryAddr.IP, Port: firstPort + len(m.links)%(1<<16-firstPort)}
	l, served = newLink(client, memoryAddr)
	m.links = append(m.links, l)
	return l, served, nil
}

// closeLinks closes all clients' ends, and lets no more in.
func (m *memory) closeLinks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	for _, l := range m.links {
		_ = l.Close()
	}
}
