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

// clearLocked reports whether a message can be written at once: nobody writes,
// nothing waits, and the queue is not starved.
func (q *Queue) clearLocked() bool {
	return q.state == idle && q.head == nil && q.corks == 0 && !q.held && !q.dead && q.control.waiting == nil && !q.starved
}

// sendDirectLocked writes a message of one frame while the queue is clear, and
// puts what the socket does not take into the queue. Then it unlocks and returns
// true; false: the message is too large.
func (q *Queue) sendDirectLocked(m *Message) bool {
	if m.Prepared != nil {
		return q.sendPreparedDirectLocked(m)
	}
	if len(m.Payload) > q.smallest() {
		return false
	}
	d := directs.Get().(*direct)
	wire := m.appendFrame(d.small[:0], q.cfg.Mask)
	if left := q.writeDirectLocked(d, wire); len(left) > 0 {
		it := newItem()
		it.buf = q.cfg.Pool.Get(len(left))
		it.buf.B = append(it.buf.B, left...)
		it.body = it.buf.B
		q.returnLocked(it, m, itemCost+cap(it.buf.B), len(left) < len(wire))
	}
	q.afterDirectLocked(d)
	return true
}

func (q *Queue) sendPreparedDirectLocked(m *Message) bool {
	p := m.Prepared
	if p.Len() > q.cfg.ChunkSize {
		return false
	}
	d := directs.Get().(*direct)
	if left := q.writeDirectLocked(d, p.wire); len(left) > 0 {
		it := newItem()
		it.shared, it.body = p, left
		p.mustAcquire()
		q.returnLocked(it, m, itemCost, len(left) < len(p.wire))
	}
	q.afterDirectLocked(d)
	return true
}

// writeDirectLocked offers one frame to the socket and returns what it did not
// take. It unlocks meanwhile.
func (q *Queue) writeDirectLocked(d *direct, wire []byte) (left []byte) {
	q.messages++
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
// queued meanwhile. If nothing of it has been written it is a waiting message like
// others.
func (q *Queue) returnLocked(it *item, m *Message, cost int, begun bool) {
	q.chargeLocked(it, cost)
	it.begun = begun
	q.linkFrontLocked(it)
	if !begun && m.tracked() {
		q.trackLocked(it, m, true)
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
