package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// Hostile is peers that behave badly beside the ones that are measured: what they
// do to those is what they are for.
type Hostile struct {
	Kind HostileKind

	// Count is how many there are at a time. When the server has ended one, another
	// takes its place, 50 ms after the first began at the earliest, 500 ms for
	// HostileFragments. 0: 10. At most MaxConnections.
	Count int
}

// HostileKind is a way to behave badly.
type HostileKind uint8

const (
	HostileUnread    HostileKind = iota // sends messages and never reads
	HostileSilent                       // sends nothing after the handshake, not even pongs
	HostileReset                        // resets the connection in the middle of a message, again and again
	HostileFragments                    // sends a message of ever more empty fragments
	HostilePings                        // sends pings without end and never reads
	HostileAnnounce                     // announces a message of 1 MiB and sends nothing of it
	HostileBomb                         // sends 1 GiB of zeros, compressed
	HostileDrip                         // sends its handshake a byte at a time
	hostileKinds
)

var hostileNames = [hostileKinds]string{"unread", "silent", "reset", "fragments", "pings", "announce", "bomb", "drip"}

// String returns the kind's name.
func (k HostileKind) String() string {
	if k < hostileKinds {
		return hostileNames[k]
	}
	return fmt.Sprintf("HostileKind(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k HostileKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name.
func (k *HostileKind) UnmarshalText(text []byte) error {
	for *k = 0; *k < hostileKinds; *k++ {
		if k.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("%q: allowed: one of %v", text, hostileNames)
}

func (h Hostile) withDefaults() Hostile {
	setDefault(&h.Count, 10)
	return h
}

func (h Hostile) ranges() []error {
	return []error{
		inRange("Hostile.Kind", int(h.Kind), 0, int(hostileKinds)-1),
		inRange("Hostile.Count", h.Count, 1, MaxConnections),
	}
}

// HostileResult is what became of some Hostile peers.
type HostileResult struct {
	Kind     HostileKind    `json:"kind"`
	Count    int            `json:"count"`
	Attempts int            `json:"attempts"` // connections that were made, or refused
	Ends     map[string]int `json:"ends"`     // how the server, or the run, ended them
}

// hostility is a Hostile at work.
type hostility struct {
	Hostile
	dialer dialer
	attack []byte // what is sent after the handshake

	mu     sync.Mutex
	result HostileResult // guarded by mu
}

// unleash starts the hostile peers; pacify ends them.
func (s *session) unleash(ctx context.Context) (pacify func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	address, _ := parseURL(s.target.URL) // Run has parsed it
	for _, h := range s.plan.beside {
		a := newHostility(h, address)
		s.hostile = append(s.hostile, a)
		for range h.Count {
			all.Go(func() { a.run(ctx) }) // until ctx is done
		}
	}
	return func() { cancel(); all.Wait() }
}

func newHostility(h Hostile, address *url.URL) *hostility {
	a := &hostility{Hostile: h, dialer: dialer{address: address}}
	a.result = HostileResult{Kind: h.Kind, Count: h.Count, Ends: make(map[string]int)}
	put := func(h frame.Header, payload []byte) {
		h.Masked = true // with a mask of zeros
		if h.Length == 0 {
			h.Length = int64(len(payload))
		}
		a.attack = append(frame.AppendHeader(a.attack, h), payload...)
	}
	switch h.Kind {
	case HostileUnread:
		put(frame.Header{Fin: true, Opcode: frame.Binary}, make([]byte, 16<<10))
		a.dialer.control = smallBuffer
	case HostileReset:
		put(frame.Header{Fin: true, Opcode: frame.Binary, Length: 1000}, make([]byte, 500))
	case HostileFragments:
		put(frame.Header{Opcode: frame.Text}, nil)
		for range 1000 {
			put(frame.Header{}, nil)
		}
	case HostilePings:
		for range 30 {
			put(frame.Header{Fin: true, Opcode: frame.Ping}, make([]byte, frame.MaxControlPayload))
		}
	case HostileAnnounce:
		put(frame.Header{Fin: true, Opcode: frame.Binary, Length: 1 << 20}, nil)
	case HostileBomb:
		a.dialer.compress = true
		put(frame.Header{Fin: true, RSV: frame.RSV1, Opcode: frame.Binary}, bomb())
	}
	return a
}

// bomb is a message of nearly 1 GiB in just under 1 MiB, so that a limit of that does
// not keep it out: DEFLATE's most is 1032 to 1.
func bomb() []byte {
	const piece, n = 4 << 20, 250
	w := deflate.NewWriter(9, deflate.MaxBits)
	defer w.Close()
	b := w.Append(nil, make([]byte, piece))
	b = w.Flush(b)
	one := len(b)
	for range n - 1 {
		b = append(b, b[:one]...)
	}
	return append(b, 0)
}

// every is how long after one peer has begun the next takes its place at the earliest. It is
// longer than most servers take to end one, so that a quick server does not have to bear
// more of them than a slow one.
func (k HostileKind) every() time.Duration {
	if k == HostileFragments { // tens of thousands of frames
		return 500 * time.Millisecond
	}
	return 50 * time.Millisecond
}

// run is one peer after the other.
func (a *hostility) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := time.Now().Add(a.Kind.every())
		end := a.once(ctx)
		a.mu.Lock()
		a.result.Attempts++
		a.result.Ends[end]++
		a.mu.Unlock()
		pause(ctx, time.Until(next))
	}
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// once is the life of one peer; it returns how that ended.
func (a *hostility) once(ctx context.Context) (end string) {
	conn, end := a.connect(ctx)
	if conn == nil {
		return end
	}
	socket := socketOf(conn)
	var helper sync.WaitGroup
	defer helper.Wait()
	defer socket.Close() // not conn: TLS would wait 5 s to say goodbye to one that reads nothing
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	switch a.Kind {
	case HostileDrip:
		over := make(chan string, 1)
		helper.Go(func() { over <- awaitEnd(conn) }) // until socket is closed
		return a.drip(ctx, conn, over)
	case HostileReset:
		_, _ = conn.Write(a.attack)
		_ = socket.SetLinger(0)
		return "reset by the peer"
	case HostileUnread, HostilePings:
		return a.flood(conn)
	case HostileFragments:
		helper.Go(func() { a.flood(conn) }) // until socket is closed
	default:
		if _, err := conn.Write(a.attack); err != nil {
			return ended(err)
		}
	}
	return awaitEnd(conn)
}

// socketOf returns the TCP connection that conn is, or that TLS runs on.
func socketOf(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*net.TCPConn)
}

func (a *hostility) connect(ctx context.Context) (net.Conn, string) {
	if a.Kind == HostileDrip {
		conn, err := a.dialer.connect(ctx)
		switch {
		case err == nil:
			return conn, ""
		case ctx.Err() != nil:
			return nil, endedByRun
		}
		return nil, "not connected"
	}
	d, err := a.dialer.dial(ctx, 0)
	switch {
	case err == nil:
		return d.conn, "" // early bytes are lost; only the wording of an end hangs on them
	case ctx.Err() != nil:
		return nil, endedByRun
	}
	return nil, "refused"
}

const endedByRun = "alive at the end"

// flood writes until the connection fails; of fragments, only continuations repeat.
func (a *hostility) flood(conn net.Conn) string {
	if _, err := conn.Write(a.attack); err != nil {
		return ended(err)
	}
	rest := a.attack
	if a.Kind == HostileFragments {
		rest = rest[frame.Header{Masked: true}.Size():]
	}
	for {
		if _, err := conn.Write(rest); err != nil {
			return ended(err)
		}
	}
}

// drip sends a handshake a byte every 200 ms, until over tells how the server ended it.
func (a *hostility) drip(ctx context.Context, conn net.Conn, over <-chan string) string {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	request := []byte("GET / HTTP/1.1\r\nHost: x\r\nX-Padding: ")
	for i := 0; ; i++ {
		b := []byte("x")
		if i < len(request) {
			b = request[i : i+1]
		}
		if _, err := conn.Write(b); err != nil {
			return ended(err)
		}
		select {
		case <-tick.C:
		case end := <-over:
			return end
		case <-ctx.Done():
			return endedByRun
		}
	}
}

// awaitEnd reads, and answers nothing, until the server ends the connection.
func awaitEnd(conn net.Conn) string {
	scanner := frame.NewScanner(&frame.Rules{AllowRSV: frame.RSV1})
	buf := make([]byte, 4<<10)
	closing := []byte(nil)
	inClose := false
	for {
		n, err := conn.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			if left := int(min(scanner.Remaining(), int64(len(b)))); left > 0 {
				if inClose {
					closing = append(closing, b[:left]...)
				}
				scanner.Skip(int64(left))
				b = b[left:]
				continue
			}
			h, used, ok, err := scanner.Next(b)
			if err != nil {
				return "not a WebSocket" // the answer to a handshake, of a drip
			}
			inClose = ok && h.Opcode == frame.Close
			b = b[used:]
		}
		if len(closing) >= 2 {
			return fmt.Sprintf("closed with %d", int(closing[0])<<8|int(closing[1]))
		}
		if err != nil {
			return ended(err)
		}
	}
}

// ended says in words how a connection ended.
func ended(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endedByRun
	case errors.Is(err, io.EOF):
		return "closed without a close frame"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset by the server"
	}
	return "failed"
}
