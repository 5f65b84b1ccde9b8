package backpressure

import "github.com/penstock-ws/penstock/frame"

const (
	// smallMessage is the payload size up to which a message is copied into a
	// segment at once: one contiguous write beats a vectored one there.
	smallMessage = 2 << 10

	// firstSegment is the memory of the first segment of a queue that is being
	// written: a congested connection with one small message must not hold a
	// whole cork buffer.
	firstSegment = 2 << 10
)

// smallest is the payload size up to which a message is one small frame.
func (q *Queue) smallest() int { return min(smallMessage, q.cfg.ChunkSize) }

// pushLocked appends a message that has been admitted.
func (q *Queue) pushLocked(m *Message) {
	if q.copiesLocked(m) {
		q.appendLocked(m)
		return
	}
	it := q.itemLocked(m, q.state == idle)
	q.linkLocked(it, it.size(q.cfg))
	if m.tracked() {
		q.trackLocked(it, m, false)
	}
}

// copiesLocked reports whether a message goes into a segment: a small one that
// stays where it is, unless it is shared and will be written at once.
func (q *Queue) copiesLocked(m *Message) bool {
	waits := m.Hold || q.corks > 0 || q.held || q.state != idle
	return !m.tracked() && m.len() <= q.smallest() && (m.Prepared == nil || waits)
}

// replaceLocked puts a message in the place of one that waits.
func (q *Queue) replaceLocked(it *item, m *Message) {
	q.lostLocked(m.Class, it.payload, replaced)
	q.pending -= it.size(q.cfg)
	q.emptyLocked(it)
	q.fillLocked(it, m, false)
	it.payload = m.len()
	it.touch()
	q.countLocked(it.size(q.cfg))
	q.fellLocked()
}

// itemLocked makes an item of a message. If it may be lent, the sender's memory
// is written from as far as the socket takes it.
func (q *Queue) itemLocked(m *Message, lend bool) *item {
	it := newItem()
	q.chargeLocked(it, itemCost)
	q.fillLocked(it, m, lend)
	return it
}

// fillLocked makes a message the content of an empty item.
func (q *Queue) fillLocked(it *item, m *Message, lend bool) {
	if p := m.Prepared; p != nil {
		it.shared = p // acquired when it was admitted
		if p.Len() > q.cfg.ChunkSize {
			it.startTrain(p.op, p.rsv, p.Payload(), q.cfg)
		} else {
			it.body = p.wire
		}
		return
	}
	if len(m.Payload) > q.smallest() {
		q.fillTrainLocked(it, m, lend)
		return
	}
	it.buf = q.cfg.Pool.Get(frame.MaxHeaderSize + len(m.Payload))
	it.buf.B = m.appendFrame(it.buf.B, q.cfg.Mask)
	it.body = it.buf.B
	q.chargeLocked(it, cap(it.buf.B))
}

// fillTrainLocked is fillLocked for a message that is cut into fragments. What will
// be masked is copied at once: fragments are masked where they are.
func (q *Queue) fillTrainLocked(it *item, m *Message, lend bool) {
	if q.cfg.Mask {
		it.buf = q.cfg.Pool.Get(len(m.Payload))
		it.buf.B = append(it.buf.B, m.Payload...)
		it.startTrain(m.Opcode, m.RSV, it.buf.B, q.cfg)
		q.chargeLocked(it, cap(it.buf.B))
		return
	}
	it.startTrain(m.Opcode, m.RSV, m.Payload, q.cfg)
	q.chargeLocked(it, q.cfg.Pool.Size(len(m.Payload))) // what it will be if it must stay
	if lend {
		q.lent = it
	} else {
		q.settleItemLocked(it)
	}
}

// appendFrame appends the whole message as one frame, masked or not.
func (m *Message) appendFrame(dst []byte, mask bool) []byte {
	h := frame.Header{Fin: true, RSV: m.RSV, Opcode: m.Opcode, Masked: mask, Length: int64(len(m.Payload))}
	return appendFrame(dst, h, m.Payload)
}

// appendLocked appends a small message to a segment.
func (q *Queue) appendLocked(m *Message) {
	if p := m.Prepared; p != nil {
		it := q.segmentLocked(len(p.wire), m.Hold)
		it.buf.B = append(it.buf.B, p.wire...)
		q.grownLocked(it, len(p.wire))
		return
	}
	size := q.cfg.frameSize(len(m.Payload))
	it := q.segmentLocked(size, m.Hold)
	it.buf.B = m.appendFrame(it.buf.B, q.cfg.Mask)
	q.grownLocked(it, size)
}

// segmentLocked returns a segment at the tail with room for size bytes.
func (q *Queue) segmentLocked(size int, hold bool) *item {
	if q.tailTakesLocked(size) {
		return q.tail
	}
	it := newItem()
	it.segment = true
	it.buf = q.cfg.Pool.Get(q.segmentSizeLocked(size, hold))
	q.chargeLocked(it, itemCost+cap(it.buf.B))
	q.linkLocked(it, 0)
	return it
}

// tailTakesLocked reports whether the tail is a segment with room for size bytes.
func (q *Queue) tailTakesLocked(size int) bool {
	it := q.tail
	return it != nil && it.segment && cap(it.buf.B)-len(it.buf.B) >= size
}

// segmentSizeLocked returns the memory that a segment begins with whose first
// message has size bytes.
func (q *Queue) segmentSizeLocked(size int, hold bool) int {
	switch {
	case q.corks > 0 || q.held || hold || q.tail != nil && q.tail.segment:
		return max(size, q.cfg.CorkSize)
	case q.state == idle:
		return size // written at once
	}
	return max(size, firstSegment)
}

// grownLocked accounts for size bytes just appended to a segment.
func (q *Queue) grownLocked(it *item, size int) {
	all := it.buf.B
	it.body = all[len(all)-len(it.body)-size:]
	q.countLocked(size)
}

// Preface puts bytes that are no frame before all frames, the response to the
// handshake, and holds everything back until Release. It copies b, which must not
// be empty, and must come first. Drain, Room and Stream.Write release as well:
// they would wait for ever.
func (q *Queue) Preface(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = true
	it := newItem()
	it.buf = q.cfg.Pool.Get(len(b))
	it.buf.B = append(it.buf.B, b...)
	it.body = it.buf.B
	it.begun = true // no control frame goes before it, and it is never discarded
	q.linkLocked(it, 0)
	q.pending += len(b) // not by countLocked: it makes nobody congested
}

// Release ends the holding back that Preface began, and writes.
func (q *Queue) Release() {
	q.mu.Lock()
	q.held = false
	q.flushNowLocked(0)
}

func (q *Queue) pushCloseLocked(code frame.CloseCode, reason string) {
	q.closing = true
	it := newItem()
	it.final = true
	if code == frame.CloseAbnormal {
		q.linkLocked(it, 0)
		return
	}
	it.buf = q.cfg.Pool.Get(frame.MaxControlPayload)
	it.buf.B = frame.AppendClose(it.buf.B, code, reason)
	it.setFragment(frame.Header{Fin: true, Opcode: frame.Close, Masked: q.cfg.Mask, Length: int64(len(it.buf.B))}, it.buf.B)
	q.linkLocked(it, it.ready())
}
