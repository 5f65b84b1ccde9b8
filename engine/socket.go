package engine

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
)

// A socket is how a transport waits for its connection and writes to it: the
// seam between everything above and the ways to wait. Reads belong to the
// reader, writes to the queue's owner, closing to anyone.
type socket interface {
	backpressure.Wire

	// read waits until there is something to read, and reads it into memory that
	// it borrows from m no sooner than it must, so that none is held while
	// waiting. It returns n > 0, or 0 and an error, io.EOF included.
	read(m memory) (n int, err error)

	// setReadDeadline makes a pending read, or the next, return at t with
	// os.ErrDeadlineExceeded; zero: none does.
	setReadDeadline(t time.Time) error

	// unsent returns how many bytes the kernel has taken and not put on the network
	// yet, 0 if it does not say; and how many it has thrown away that the peer has not
	// acknowledged.
	unsent() (n, lost int)

	// unread reports whether bytes have come that have not been read, false if it is not
	// known.
	unread() bool

	// closeWrite ends our direction: the peer reads to the end, then EOF.
	closeWrite() error

	// parks reports whether park is worth trying. Its answer may turn to false.
	parks() bool

	// park has c.unpark called, once and by another goroutine, when there is something
	// to read, the end included, or the socket is closed. It returns false if it does
	// not. The reader calls it with nothing held.
	park(c *Conn) bool

	// close ends both directions and makes pending reads and writes return.
	close() error
}

// memory lends what is read into: lend before an attempt, giveBack after one in
// vain.
type memory interface {
	lend(most int) []byte // at most so many bytes, or what is held anyway
	giveBack()
}

// newSocket chooses by what the connection is: plain TCP is written without
// blocking and read without holding memory, by a loop if there are any; anything
// else by the means that every net.Conn has.
func (e *Engine) newSocket(conn net.Conn, dialled bool) socket {
	tasks := &e.goroutines
	under := underTLS(conn)
	tcp, ok := under.(*net.TCPConn)
	if !ok {
		e.fallBack("the connection is not TCP")
		return &streamSocket{conn: conn, tasks: tasks}
	}
	_ = tcp.SetNoDelay(true) // Go's default, but a listener may have another; what is to leave together is corked here
	kernel := kernelOf(tcp)
	kernel.tune(e.cfg.WriteStallTimeout)
	if under == conn && kernel.raw != nil {
		if !dialled { // a loop's gws.Conn is a server's
			if s := e.newLoopSocket(tcp, kernel); s != nil {
				return s
			}
		}
		if s := e.newTCPSocket(tcp, kernel); s != nil {
			return s
		}
	}
	if under != conn {
		e.fallBack("the connection is under TLS")
	}
	return &streamSocket{conn: conn, kernel: kernel, tasks: tasks}
}

func kernelOf(tcp *net.TCPConn) kernel {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return kernel{}
	}
	return kernel{raw: raw}
}

// A kernel is the TCP socket under a connection, for what only the system
// knows. The zero value is none.
type kernel struct{ raw syscall.RawConn }

// streamPiece is what one blocking write takes at the most: a TLS record.
const streamPiece = 16 << 10

// streamRead is what one read asks for. A read that waits holds its buffer, so
// that an idle connection costs this much.
const streamRead = 4 << 10

// A streamSocket serves TLS and other connections that can only block. All
// writing is done by a goroutine that lives while there is something to write.
type streamSocket struct {
	neverParks
	conn net.Conn
	kernel
	tasks *group
}

func (s *streamSocket) secure() bool { return underTLS(s.conn) != s.conn }

func (s *streamSocket) unread() bool { return s.kernel.unread() }

func (s *streamSocket) setReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }

func (s *streamSocket) read(m memory) (int, error) {
	for range mostEmptyReads {
		n, err := s.conn.Read(m.lend(streamRead))
		if n > 0 {
			return n, nil // an error comes again
		}
		if err != nil {
			m.giveBack()
			return 0, err
		}
	}
	m.giveBack()
	return 0, io.ErrNoProgress
}

// mostEmptyReads is how often in a row a connection may have read nothing without an
// error, which an io.Reader is allowed to and a net.Pipe does.
const mostEmptyReads = 100

// Write writes a piece at a time, so that progress shows on a slow connection.
// TLS gives no way to ask whether the socket has room.
func (s *streamSocket) Write(bufs [][]byte, wait bool) (int, error) {
	if !wait {
		return 0, nil
	}
	return s.conn.Write(bufs[0][:min(len(bufs[0]), streamPiece)])
}

func (s *streamSocket) Await(q *backpressure.Queue) {
	s.tasks.spawn(func() { q.Resume(true) })
}

// closeWrite: TLS, TCP and Unix sockets have a CloseWrite, and so may what a listener of
// the program's own accepts. Without one the peer sees the end when the socket is closed.
func (s *streamSocket) closeWrite() error {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// close closes what is under TLS, because tls.Conn.Close waits for a writer.
func (s *streamSocket) close() error { return underTLS(s.conn).Close() }

// underTLS returns what carries conn: through an https proxy there are two of TLS.
func underTLS(conn net.Conn) net.Conn {
	for {
		t, ok := conn.(*tls.Conn)
		if !ok {
			return conn
		}
		conn = t.NetConn()
	}
}
