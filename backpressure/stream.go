package backpressure

import (
	"context"

	"github.com/penstock-ws/penstock/frame"
)

// A Stream is one message whose payload is still being produced. Data sent on
// the same queue meanwhile waits behind it (RFC 6455 §5.4 forbids interleaving),
// control frames do not. It belongs to one goroutine.
type Stream struct {
	q    *Queue
	it   *item
	op   frame.Opcode // of the next fragment
	wake chan struct{}
}

// OpenStream begins a message at the end of the queue. Unless the verdict is
// Queued there is no stream.
func (q *Queue) OpenStream(op frame.Opcode) (*Stream, Verdict) {
	q.mu.Lock()
	if v := q.admitLocked(); v != Queued {
		q.refuseLocked(v)
		return nil, v
	}
	s := &Stream{q: q, it: newItem(), op: op, wake: make(chan struct{}, 1)}
	s.it.stream = s
	q.messages++
	q.linkLocked(s.it, 0)
	q.unlockAndTell()
	return s, Queued
}

// Write sends the next fragment, copying p of at most ChunkSize bytes, once the
// one before has been handed to the socket; fin ends the message. It waits for
// that, for ctx, or for the end of the queue: then it returns ErrClosed. After an
// error the message is incomplete, and the connection must be closed with discard.
func (s *Stream) Write(ctx context.Context, p []byte, fin bool) error {
	if err := s.await(ctx); err != nil {
		return err
	}
	q := s.q // locked by await
	it := s.it
	if it.buf == nil {
		it.buf = q.cfg.Pool.Get(len(p))
	}
	it.buf.B = append(it.buf.B[:0], p...)
	it.setFragment(frame.Header{Fin: fin, Opcode: s.op, Length: int64(len(p))}, it.buf.B)
	s.op = frame.Continuation
	if fin {
		it.stream = nil
		s.it = nil
	}
	q.countLocked(it.ready())
	q.flushNowLocked(len(p))
	return nil
}

// await returns with the queue locked when the fragment before has been written,
// or with an error and the queue unlocked.
func (s *Stream) await(ctx context.Context) error {
	for {
		s.q.mu.Lock()
		if s.q.dead || s.it == nil {
			s.q.mu.Unlock()
			return ErrClosed
		}
		if s.it.ready() == 0 {
			return nil
		}
		s.q.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
