package engine

import (
	"net"
	"net/http"
	"sync"
)

// newcomers are connections that have not sent a request yet, as browsers open some in
// advance. http.Server.Shutdown would wait for them for five seconds.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool // nobody is waited for any more
}

// note is an http.Server's ConnState.
func (n *newcomers) note(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(n.conns, c)
	case n.over:
		_ = c.Close()
	case n.conns == nil:
		n.conns = map[net.Conn]struct{}{c: {}}
	default:
		n.conns[c] = struct{}{}
	}
}

// close ends them, and those to come.
func (n *newcomers) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	for c := range n.conns {
		_ = c.Close()
	}
}
