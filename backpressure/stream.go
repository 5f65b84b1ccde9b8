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
	rsv  byte         // likewise
	wake chan struct{}
}

// OpenStream begins a message at the end of the queue, rsv being the reserved bits
// of its first frame. Unless the verdict is Queued there is no stream; Congested
// tells, whatever the queue's class, to wait for Room.
func (q *Queue) OpenStream(op frame.Opcode, rsv byte) (*Stream, Verdict) {
	q.mu.Lock()
	if q.closing || q.dead {
		q.unlockAndTell()
		return nil, Closed
	}
	if q.over.Load() {
		q.unlockAndTell()
		return nil, Congested
	}
	s := &Stream{q: q, it: newItem(), op: op, rsv: rsv, wake: make(chan struct{}, 1)}
	s.it.stream = s
	q.chargeLocked(s.it, itemCost)
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
	for {
		if err := ctx.Err(); err != nil { // also while the socket keeps up
			return err
		}
		if done, err := s.TryWrite(p, fin); done || err != nil {
			return err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TryWrite is Write for callers that wait for other things as well: it returns
// false if the fragment before has not been handed to the socket yet. Then Wake
// tells when to try again.
func (s *Stream) TryWrite(p []byte, fin bool) (bool, error) {
	q := s.q
	q.mu.Lock()
	if q.dead || s.it == nil {
		q.mu.Unlock()
		return false, ErrClosed
	}
	if s.it.ready() > 0 {
		q.held = false // or it would wait for ever
		q.flushNowLocked(0)
		return false, nil
	}
	it := s.it
	if it.buf == nil || cap(it.buf.B) < len(p) {
		q.cfg.Pool.Put(it.buf)
		it.buf = q.cfg.Pool.Get(len(p))
		q.chargeLocked(it, itemCost+cap(it.buf.B)-it.charge)
	}
	it.buf.B = append(it.buf.B[:0], p...)
	it.setFragment(frame.Header{Fin: fin, RSV: s.rsv, Opcode: s.op, Masked: q.cfg.Mask, Length: int64(len(p))}, it.buf.B)
	s.op, s.rsv = frame.Continuation, 0
	if fin {
		it.stream, s.it = nil, nil
	}
	q.countLocked(it.ready())
	q.flushNowLocked(len(p))
	return true, nil
}

// Wake yields a value when a TryWrite in vain should be repeated, or when the
// stream has ended.
func (s *Stream) Wake() <-chan struct{} { return s.wake }

// Ended reports whether the stream takes nothing more: its message is complete, or
// the queue has ended.
func (s *Stream) Ended() bool {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.it == nil || s.q.dead
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

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
