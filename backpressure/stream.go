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
// error the message is incomplete: call Abort.
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

// Abort gives the message up, after the fragment under way, and closes the queue:
// no other data may follow an unfinished message (RFC 6455 §5.4), so what waits
// behind it is dropped. What was sent before it still goes out. If the queue is
// closing already, its code and reason stay. After the end of the message it does
// nothing.
func (s *Stream) Abort(code frame.CloseCode, reason string) {
	q := s.q
	q.mu.Lock()
	if s.it == nil || q.dead {
		q.mu.Unlock()
		return
	}
	q.dropFromLocked(s.it)
	if !q.closing {
		q.pushCloseLocked(code, reason)
	}
	q.flushNowLocked(0)
}

// await returns with the queue locked when the fragment before has been written,
// or with an error and the queue unlocked.
func (s *Stream) await(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil { // also while the socket keeps up
			return err
		}
		s.q.mu.Lock()
		if s.q.dead || s.it == nil {
			s.q.mu.Unlock()
			return ErrClosed
		}
		if s.it.ready() == 0 {
			return nil
		}
		s.q.held = false // or it would wait for ever
		s.q.flushNowLocked(0)
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
