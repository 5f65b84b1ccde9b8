package brokertest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy passes TCP connections on, and can drop what they say without a word, as a network
// does that is cut.
type Proxy struct {
	to string // immutable
	ln net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// NewProxy returns a proxy to an address, until the test ends.
func NewProxy(t testing.TB, to string) *Proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{to: to, ln: ln, conns: make(map[net.Conn]bool)}
	var all sync.WaitGroup
	all.Go(func() { p.accept(&all) }) // until the listener is closed
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		all.Wait()
	})
	return p
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.ln.Addr().String() }

// Cut drops everything from here on, in both directions, also of new connections.
func (p *Proxy) Cut() { p.set(true) }

// Heal lets new connections pass. Those that were cut stay so: what is missing in the
// middle of a stream cannot be made good.
func (p *Proxy) Heal() { p.set(false) }

func (p *Proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			p.conns[c] = true
		}
	}
}

func (p *Proxy) accept(all *sync.WaitGroup) {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = p.cut, p.cut
		p.mu.Unlock()
		all.Go(func() { p.pass(in, out) }) // until one of them is closed
		all.Go(func() { p.pass(out, in) }) // until one of them is closed
	}
}

func (p *Proxy) pass(from, to net.Conn) {
	defer p.end(from, to)
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil && err != io.EOF || n == 0 && err != nil {
			return
		}
		if p.drops(from) {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) drops(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[c]
}

// end closes both; of a connection that is cut the other side does not hear it.
func (p *Proxy) end(from, to net.Conn) {
	_ = from.Close()
	_ = to.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
}
