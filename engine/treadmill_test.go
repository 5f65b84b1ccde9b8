package engine

import (
	"io"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
)

// A treadmill is a socket that reads the same message again and again, one with each
// read, and takes whatever is written: a connection without a kernel.
type treadmill struct {
	neverParks
	tasks *group // for what a writer leaves to another goroutine
	frame []byte
	left  int
}

func (s *treadmill) read(m memory) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	return copy(m.lend(len(s.frame)), s.frame), nil
}

func (s *treadmill) Write(bufs [][]byte, _ bool) (n int, err error) {
	for _, b := range bufs {
		n += len(b)
	}
	return n, nil
}

func (s *treadmill) Await(q *backpressure.Queue)     { s.tasks.spawn(func() { q.Resume(true) }) }
func (s *treadmill) setReadDeadline(time.Time) error { return nil }
func (s *treadmill) unsent() (n, lost int)           { return 0, 0 }
func (s *treadmill) closeWrite() error               { return nil }
func (s *treadmill) close() error                    { return nil }

// Treadmill has e's own endpoint receive a binary message of so many bytes n times over
// one connection, and waits until that has ended.
func Treadmill(e *Engine, size, n int) {
	_ = e.admission.enter(&Scope{})
	mill := &treadmill{tasks: &e.goroutines, frame: wire{}.frame(true, 0, frame.Binary, make([]byte, size)), left: n}
	e.start(e.endpoint, beginning{sock: mill, response: []byte("HTTP"), scope: scopeOf("Mill\n\n")})
	for e.Stats().Connections > 0 {
		time.Sleep(time.Millisecond)
	}
}
