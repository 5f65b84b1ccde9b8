package backpressure

import (
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

// A direct is the memory for one frame that is written as soon as it is encoded.
// Nearly all messages take this way, so it does without items and vectors.
type direct struct {
	bufs  [1][]byte
	small [frame.MaxHeaderSize + smallMessage]byte
}

var directs = sync.Pool{New: func() any { return new(direct) }}

// clearLocked reports whether a message can be written at once: nobody writes and
// nothing waits.
func (q *Queue) clearLocked() bool {
	return q.state == idle && q.head == nil && !q.corked && !q.held && q.control.waiting == nil
}

// sendDirectLocked encodes and writes a small message. It unlocks.
func (q *Queue) sendDirectLocked(op frame.Opcode, payload []byte) {
	d := directs.Get().(*direct)
	h := frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))}
	wire := append(frame.AppendHeader(d.small[:0], h), payload...)
	if left := q.writeDirectLocked(d, wire); len(left) > 0 {
		it := newItem()
		it.buf = q.cfg.Pool.Get(len(left))
		it.buf.B = append(it.buf.B, left...)
		it.body = it.buf.B
		q.returnLocked(it, len(left) < len(wire))
	}
	q.afterDirectLocked(d)
}

// sendPreparedDirectLocked writes a message that is encoded already. It unlocks.
func (q *Queue) sendPreparedDirectLocked(p *Prepared) {
	d := directs.Get().(*direct)
	if left := q.writeDirectLocked(d, p.wire); len(left) > 0 {
		it := newItem()
		it.body = left
		q.returnLocked(it, len(left) < len(p.wire))
	}
	q.afterDirectLocked(d)
}

// writeDirectLocked offers one frame to the socket and returns what it did not
// take. It unlocks meanwhile.
func (q *Queue) writeDirectLocked(d *direct, wire []byte) (left []byte) {
	q.state = writing
	q.countLocked(len(wire))
	q.mu.Unlock()
	d.bufs[0] = wire
	n, err := q.wire.Write(d.bufs[:], false)
	d.bufs[0] = nil
	q.mu.Lock()
	q.takenLocked(n)
	if err != nil {
		q.failLocked(err)
	}
	return wire[n:]
}

// returnLocked puts what is left of a frame back in front of all that has been
// queued meanwhile.
func (q *Queue) returnLocked(it *item, begun bool) {
	it.begun = begun
	it.next = q.head
	q.head = it
	if q.tail == nil {
		q.tail = it
	}
	q.full = true
	q.discardAgainLocked()
}

// afterDirectLocked gives up ownership if there is nothing left to write. It
// unlocks.
func (q *Queue) afterDirectLocked(d *direct) {
	directs.Put(d)
	full := q.full
	q.full = false
	if q.dead || full {
		q.leaveLocked(full)
		return
	}
	if q.head == nil && q.control.waiting == nil {
		q.state = idle
		q.unlockAndTell()
		return
	}
	q.driveLocked(turn, false)
}
