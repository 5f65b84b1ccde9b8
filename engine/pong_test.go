package engine

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A meteredSocket takes as many bytes as it is allowed, so that no kernel stands
// between what is written and who counts it.
type meteredSocket struct {
	neverParks
	e     *Engine
	mu    sync.Mutex
	moved *sync.Cond
	room  int
	out   received
	order []frame.Opcode // of the frames that have been written in full
	in    []byte
	waits bool // the reader, with all that has come parsed
	shut  bool
}

func (s *meteredSocket) read(m memory) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waits = true; len(s.in) == 0 && !s.shut; {
		s.moved.Wait()
	}
	s.waits = false
	if s.shut {
		return 0, io.EOF
	}
	n := copy(m.lend(1<<20), s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *meteredSocket) Write(bufs [][]byte, wait bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wait && s.room == 0 && !s.shut {
		s.moved.Wait()
	}
	if s.shut {
		return 0, net.ErrClosed
	}
	for _, b := range bufs {
		b = b[:min(len(b), s.room)]
		s.take(b)
		s.room -= len(b)
		n += len(b)
	}
	s.moved.Broadcast()
	return n, nil
}

func (s *meteredSocket) take(b []byte) {
	s.out.raw = append(s.out.raw, b...)
	for {
		h, n, err := frame.ParseHeader(s.out.raw)
		if err != nil || n == 0 || len(s.out.raw) < n+int(h.Length) {
			return
		}
		s.order = append(s.order, h.Opcode)
		s.out.raw = s.out.raw[n+int(h.Length):]
	}
}

func (s *meteredSocket) Await(q *backpressure.Queue) {
	s.e.goroutines.spawn(func() { q.Resume(true) })
}
func (s *meteredSocket) setReadDeadline(time.Time) error { return os.ErrNoDeadline }
func (s *meteredSocket) unsent() (n, lost int)           { return 0, 0 }
func (s *meteredSocket) closeWrite() error               { return nil }
func (s *meteredSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	s.moved.Broadcast()
	return nil
}

// allow lets n more bytes be written and waits until they have been.
func (s *meteredSocket) allow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room += n
	s.moved.Broadcast()
	for s.room > 0 && !s.shut {
		s.moved.Wait()
	}
}

// zeroSource yields zeros for ever.
type zeroSource struct{}

func (zeroSource) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The pong to a ping that is parsed while 64 MiB are being sent is written at most
// two fragments later, wherever in a fragment the socket was just then.
func TestPongPassesLargeMessage(t *testing.T) {
	const size, chunk = 64 << 20, 64 << 10
	for name, send := range map[string]func(c *Conn){
		"Send":       func(c *Conn) { _ = c.SendBytes(make([]byte, size)) },
		"SendStream": func(c *Conn) { _ = c.SendStream(c.Context(), frame.Binary, io.LimitReader(zeroSource{}, size)) },
		"SendPrepared": func(c *Conn) {
			m, err := c.e.Prepare(frame.Binary, make([]byte, size))
			if err == nil {
				_ = c.SendPrepared(m)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opened := make(chan *Conn, 1)
			e, err := New(Config{MaxMessageBytes: size, HighWaterBytes: 2 * size, MemoryBudgetBytes: 1 << 30}, Endpoint{Handler: Handler{
				OnOpen:    func(_ context.Context, c *Conn) error { opened <- c; return nil },
				OnMessage: func(context.Context, *Conn, Message) error { return nil },
			}})
			require.NoError(t, err)
			s := &meteredSocket{e: e}
			s.moved = sync.NewCond(&s.mu)
			require.NoError(t, e.admission.enter(&Scope{}))
			response := []byte{0x89, 0} // a frame, so that it can be counted
			e.start(e.endpoint, beginning{sock: s, response: response, scope: scopeOf("")})
			c := <-opened
			sent := make(chan struct{})
			go func() { defer close(sent); send(c) }()
			s.allow(3*chunk + 1000)
			most := 0
			for i := range 60 {
				s.allow(1 + i*7919%(2*chunk)) // anywhere in a fragment, headers too
				pongs, before := s.count()
				s.ping()
				for {
					s.allow(chunk / 4)
					if now, fragments := s.count(); now > pongs {
						most = max(most, fragments-before)
						break
					}
				}
			}
			t.Logf("at most %d fragments before the pong", most)
			require.LessOrEqual(t, most, 2)
			c.abort(&CloseError{Code: frame.CloseAbnormal, Reason: "enough"})
			<-sent
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

// ping has the peer ping, and waits until the reader has dealt with it.
func (s *meteredSocket) ping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in, s.waits = append(s.in, 0x89, 0x80, 0, 0, 0, 0), false
	s.moved.Broadcast()
	for !s.waits && !s.shut {
		s.mu.Unlock()
		time.Sleep(50 * time.Microsecond)
		s.mu.Lock()
	}
}

// count returns how many pongs and fragments have been written in full.
func (s *meteredSocket) count() (pongs, fragments int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.order {
		if op == frame.Pong {
			pongs++
		} else {
			fragments++
		}
	}
	return pongs, fragments
}
