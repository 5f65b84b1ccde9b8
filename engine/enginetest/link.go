package enginetest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Link is one end of a connection in memory, to a server that StartMemory has
// started: a net.Conn that behaves as a socket does, with faults to inject. Its two
// directions are independent of each other.
//
// Errors are those of a socket, bare: net.ErrClosed, os.ErrDeadlineExceeded, io.EOF when
// the peer has closed or ended its direction, syscall.ECONNRESET when the connection has
// been reset, and syscall.EPIPE for what is written after CloseWrite or when the peer is
// gone, of which, as with a socket, the first Write does not learn.
type Link struct {
	// immutable
	Out, In       *Flow // what this end writes, and what it reads
	local, remote net.Addr
}

// newLink returns the two ends of a connection.
func newLink(client, server net.Addr) (clientEnd, serverEnd *Link) {
	p := new(pair)
	p.changed.L = &p.mu
	up, down := &Flow{pair: p, buffer: defaultBuffer}, &Flow{pair: p, buffer: defaultBuffer}
	up.back, down.back = down, up
	return &Link{Out: up, In: down, local: client, remote: server}, &Link{Out: down, In: up, local: server, remote: client}
}

// A pair is what the two directions of a connection share.
type pair struct {
	mu      sync.Mutex // guards both flows
	changed sync.Cond
}

func (p *pair) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// Read waits until something has arrived, or for the end.
func (l *Link) Read(p []byte) (int, error) { return l.In.read(p) }

// Write waits until all of p has room on its way.
func (l *Link) Write(p []byte) (int, error) { return l.Out.write(p) }

// CloseWrite ends this end's direction: the peer reads to the end, then io.EOF.
func (l *Link) CloseWrite() error {
	mu := l.locked()
	defer mu.Unlock()
	if l.Out.gone {
		return net.ErrClosed
	}
	l.Out.endLocked(io.EOF)
	return nil
}

// Close closes this end, as the system does when a program has died: the peer reads what
// has been written, then io.EOF; or syscall.ECONNRESET if something that it has sent is
// still unread.
func (l *Link) Close() error {
	mu := l.locked()
	defer mu.Unlock()
	if l.Out.gone {
		return net.ErrClosed
	}
	if l.In.waiting > 0 {
		l.resetLocked()
	}
	l.closeLocked()
	return nil
}

// Reset closes this end and has the peer's reads and writes return syscall.ECONNRESET,
// the reads when they have come to the end of what was written before.
func (l *Link) Reset() {
	mu := l.locked()
	defer mu.Unlock()
	l.resetLocked()
	l.closeLocked()
}

func (l *Link) resetLocked() {
	l.Out.endLocked(syscall.ECONNRESET)
	l.In.endLocked(syscall.ECONNRESET)
}

func (l *Link) locked() *sync.Mutex {
	l.In.pair.mu.Lock()
	return &l.In.pair.mu
}

func (l *Link) closeLocked() {
	l.Out.endLocked(io.EOF) // unless it has ended in another way
	l.Out.gone, l.In.deaf = true, true
	l.Out.writeBy.setLocked(time.Time{}, l.Out.pair)
	l.In.readBy.setLocked(time.Time{}, l.In.pair)
	l.In.dropLocked()
	l.In.pair.changed.Broadcast()
}

// LocalAddr returns this end's address, which is made up: a loopback address, so that
// what tells addresses apart works.
func (l *Link) LocalAddr() net.Addr { return l.local }

// RemoteAddr returns the other end's address, made up like this end's.
func (l *Link) RemoteAddr() net.Addr { return l.remote }

// SetDeadline has reads and writes return os.ErrDeadlineExceeded from t on; the zero time
// has none.
func (l *Link) SetDeadline(t time.Time) error {
	if err := l.SetReadDeadline(t); err != nil {
		return err
	}
	return l.SetWriteDeadline(t)
}

// SetReadDeadline is SetDeadline for reads.
func (l *Link) SetReadDeadline(t time.Time) error {
	mu := l.locked()
	defer mu.Unlock()
	if l.In.deaf {
		return net.ErrClosed
	}
	l.In.readBy.setLocked(t, l.In.pair)
	return nil
}

// SetWriteDeadline is SetDeadline for writes.
func (l *Link) SetWriteDeadline(t time.Time) error {
	mu := l.locked()
	defer mu.Unlock()
	if l.Out.gone {
		return net.ErrClosed
	}
	l.Out.writeBy.setLocked(t, l.Out.pair)
	return nil
}

// A deadline wakes whoever waits when it passes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) setLocked(t time.Time, p *pair) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(max(0, time.Until(t)), p.wake)
	}
}

func (d *deadline) errLocked(now time.Time) error {
	if d.at.IsZero() || now.Before(d.at) {
		return nil
	}
	return os.ErrDeadlineExceeded
}
