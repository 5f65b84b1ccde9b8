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

// admitLocked decides whether one more message is taken, before it is queued.
func (q *Queue) admitLocked() Verdict {
	switch {
	case q.closing || q.dead:
		return Closed
	case !q.over.Load():
		return Queued
	case q.cfg.Disconnect == 0:
		return Congested
	}
	q.discardLocked()
	q.pushCloseLocked(q.cfg.Disconnect, "outbound queue overflow")
	return Overflowed
}

// refuseLocked ends a send that was not admitted. An overflow has queued the close
// frame, and perhaps nobody else is there to write it. It unlocks.
func (q *Queue) refuseLocked(v Verdict) {
	if v == Overflowed {
		q.flushNowLocked(0)
		return
	}
	q.unlockAndTell()
}

// smallest is the payload size up to which a message is one small frame.
func (q *Queue) smallest() int { return min(smallMessage, q.cfg.ChunkSize) }

func (q *Queue) pushLocked(op frame.Opcode, payload []byte) {
	if len(payload) <= q.smallest() {
		h := frame.Header{Fin: true, Opcode: op, Length: int64(len(payload))}
		size := h.Size() + len(payload)
		it := q.segmentLocked(size, false)
		it.buf.B = append(frame.AppendHeader(it.buf.B, h), payload...)
		q.grownLocked(it, size)
		return
	}
	it := newItem()
	it.startTrain(op, payload, q.cfg.ChunkSize)
	if q.state == idle {
		q.lent = it // written from the sender's memory as far as the socket takes it
	} else {
		it.settle(q.cfg.Pool, q.cfg.ChunkSize)
	}
	q.linkLocked(it, trainSize(len(payload), q.cfg.ChunkSize))
}

func (q *Queue) pushPreparedLocked(p *Prepared, hold bool) {
	size := len(p.wire)
	switch {
	case p.Len() > q.cfg.ChunkSize:
		it := newItem()
		it.startTrain(p.op, p.Payload(), q.cfg.ChunkSize)
		q.linkLocked(it, trainSize(p.Len(), q.cfg.ChunkSize))
	case p.Len() <= q.smallest() && (hold || q.corked || q.held || q.state != idle):
		it := q.segmentLocked(size, hold)
		it.buf.B = append(it.buf.B, p.wire...)
		q.grownLocked(it, size)
	default:
		it := newItem()
		it.body = p.wire
		q.linkLocked(it, size)
	}
}

// Preface puts bytes that are no frame before all frames, the response to the
// handshake, and holds everything back until Release. It copies b, which must not
// be empty, and must come first. Drain and Stream.Write release as well: they would
// wait for ever.
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

// segmentLocked returns a segment at the tail with room for size bytes.
func (q *Queue) segmentLocked(size int, hold bool) *item {
	if it := q.tail; it != nil && it.segment && cap(it.buf.B)-len(it.buf.B) >= size {
		return it
	}
	room := firstSegment
	switch {
	case q.corked || q.held || hold || q.tail != nil && q.tail.segment:
		room = q.cfg.CorkSize
	case q.state == idle:
		room = size // written at once
	}
	it := newItem()
	it.segment = true
	it.buf = q.cfg.Pool.Get(max(size, room))
	q.linkLocked(it, 0)
	return it
}

// grownLocked accounts for size bytes just appended to a segment.
func (q *Queue) grownLocked(it *item, size int) {
	all := it.buf.B
	it.body = all[len(all)-len(it.body)-size:]
	q.countLocked(size)
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
	it.setFragment(frame.Header{Fin: true, Opcode: frame.Close, Length: int64(len(it.buf.B))}, it.buf.B)
	q.linkLocked(it, it.ready())
}
