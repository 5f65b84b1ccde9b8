package backpressure

import (
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

const (
	// turn is how many bytes an owner that did not come from Resume writes for
	// others, after its own message, before it hands over: a sender must not
	// become the writer of a busy connection.
	turn = 64 << 10

	// vectorBytes and vectorParts bound one write. Linux takes 1024 parts; the
	// kernel copies 64 KiB in about the time that one system call costs extra.
	vectorBytes = 64 << 10
	vectorParts = 64
)

// A vector is what one write offers to the socket: byte slices, and beside them
// the items they came from. A nil item stands for the control lane.
type vector struct {
	bufs  [][]byte
	from  []*item
	total int
}

var vectors = sync.Pool{New: func() any {
	return &vector{bufs: make([][]byte, 0, vectorParts+2), from: make([]*item, 0, vectorParts+2)}
}}

func (v *vector) reset() {
	clear(v.bufs)
	clear(v.from)
	v.bufs, v.from, v.total = v.bufs[:0], v.from[:0], 0
}

func (v *vector) add(b []byte) {
	if len(b) > 0 {
		v.bufs = append(v.bufs, b)
		v.total += len(b)
	}
}

func (v *vector) addItem(it *item) {
	v.add(it.head[it.headOff:it.headLen])
	v.add(it.body)
	v.from = append(v.from, it)
	it.flying = it.ready()
}

// Resume continues writing after the socket had been full. The wire calls it
// once for each Await. With wait true it returns when nothing is left to write,
// blocking in Wire.Write as often as the socket is full; with wait false it
// writes what the socket takes and asks the wire to wait again if need be.
func (q *Queue) Resume(wait bool) {
	q.mu.Lock()
	if q.state != waiting {
		q.unlockAndTell()
		return
	}
	q.driveLocked(turn, wait)
}

// flushLocked writes if nobody else does and no cork forbids it, else leaves the
// bytes to the owner. own is the size of the caller's message. It unlocks.
func (q *Queue) flushLocked(own int) {
	if q.corked && q.pending < q.cfg.CorkSize {
		q.settleLocked()
		q.unlockAndTell()
		return
	}
	q.flushNowLocked(own)
}

func (q *Queue) flushNowLocked(own int) {
	if q.held {
		q.settleLocked()
	}
	if q.held || q.state != idle {
		q.unlockAndTell()
		return
	}
	q.driveLocked(max(turn, own), false)
}

// driveLocked makes the caller the owner and writes until nothing is left, the
// socket is full, or budget bytes have been written. It unlocks.
func (q *Queue) driveLocked(budget int, wait bool) {
	q.state = writing
	v := vectors.Get().(*vector)
	handOver := false
	for !handOver && q.gatherLocked(v) {
		if budget <= 0 && !wait {
			q.landLocked(v)
			handOver = true
			break
		}
		q.mu.Unlock()
		n, err := q.wire.Write(v.bufs, wait)
		q.mu.Lock()
		handOver = n < v.total && !wait
		q.consumeLocked(v, n)
		if err != nil {
			q.failLocked(err)
		}
		budget -= n
		q.tellLocked()
	}
	v.reset()
	vectors.Put(v)
	q.leaveLocked(handOver)
}

// leaveLocked gives up ownership, to the wire if there is more to write. It
// unlocks.
func (q *Queue) leaveLocked(handOver bool) {
	q.settleLocked()
	q.state = idle
	if q.dead {
		q.releaseLocked()
	} else if handOver {
		q.state = waiting
	}
	await := q.state == waiting
	q.unlockAndTell()
	if await {
		q.wire.Await(q)
	}
}

// gatherLocked fills v with what may be written next and reports whether that
// is anything. A frame under way is finished first, then control frames go, then
// data; of a message in fragments only one at a time, so that control frames get
// their turn and the socket its say between them. While a control frame is under
// way the head is at the end of a frame, even if it has begun: a segment grows.
func (q *Queue) gatherLocked(v *vector) bool {
	v.reset()
	if q.dead {
		return false
	}
	it := q.head
	if it != nil && it.begun && it.ready() > 0 && q.control.off == 0 {
		v.addItem(it)
		if it.more() {
			return true
		}
		it = it.next
	}
	if b := q.control.launch(); b != nil {
		v.add(b)
		v.from = append(v.from, nil)
	}
	for ; it != nil && it.ready() > 0 && v.total < vectorBytes && len(v.bufs) < vectorParts; it = it.next {
		if it.final && q.control.waiting != nil {
			break // nothing may follow the close frame
		}
		v.addItem(it)
		if it.more() {
			break
		}
	}
	if v.total == 0 && q.head != nil && q.head.final {
		q.finishLocked()
	}
	return v.total > 0
}

// consumeLocked takes n written bytes off the parts of v, in order.
func (q *Queue) consumeLocked(v *vector, n int) {
	q.takenLocked(n)
	if q.dead {
		return // failed meanwhile: the owner frees everything when it leaves
	}
	for _, it := range v.from {
		if it == nil {
			n -= q.control.land(q.cfg.Pool, n)
			continue
		}
		n -= it.land(n)
		if it.ready() == 0 {
			q.advanceLocked(it)
		}
	}
	q.discardAgainLocked()
}

// takenLocked: the socket has taken n bytes.
func (q *Queue) takenLocked(n int) {
	q.written += uint64(n)
	if !q.dead {
		q.pending -= n
		q.fellLocked()
	}
}

// fellLocked must follow whatever makes pending less.
func (q *Queue) fellLocked() {
	if q.pending <= q.cfg.LowWater && q.over.Load() {
		q.over.Store(false)
		q.drained = true
	}
	if q.waiters != nil {
		q.wakeLocked()
	}
}

// landLocked undoes a gather whose vector was not written.
func (q *Queue) landLocked(v *vector) { q.consumeLocked(v, 0) }

// advanceLocked moves on from a fragment that has been written: to the next one
// of its message, to the stream that produces it, or to the next item.
func (q *Queue) advanceLocked(it *item) {
	if it.load() {
		return
	}
	if it.stream != nil {
		it.stream.signal()
		return
	}
	final := it.final
	q.popLocked()
	if final {
		q.finishLocked()
	}
}

// popLocked frees the head item.
func (q *Queue) popLocked() {
	it := q.head
	q.head = it.next
	if q.head == nil {
		q.tail = nil
	}
	if q.lent == it {
		q.lent = nil
	}
	it.free(q.cfg.Pool)
}

// linkLocked appends an item of which size bytes will be written.
func (q *Queue) linkLocked(it *item, size int) {
	if q.tail == nil {
		q.head = it
	} else {
		q.tail.next = it
	}
	q.tail = it
	q.countLocked(size)
}

func (q *Queue) countLocked(size int) {
	q.pending += size
	if q.pending > q.cfg.HighWater && !q.over.Load() {
		q.over.Store(true)
	}
}

// settleLocked gives the message that its sender has lent, if it is still here,
// memory of its own.
func (q *Queue) settleLocked() {
	if q.lent == nil {
		return
	}
	q.lent.settle(q.cfg.Pool, q.cfg.ChunkSize)
	q.lent = nil
}

// wakeLocked lets go those who wait for what has been reached.
func (q *Queue) wakeLocked() {
	kept := q.waiters[:0]
	for _, w := range q.waiters {
		if q.pending <= w.level || q.dead {
			close(w.ch)
		} else {
			kept = append(kept, w)
		}
	}
	clear(q.waiters[len(kept):])
	q.waiters = kept
	if len(kept) == 0 {
		q.waiters = nil
	}
}

func (q *Queue) forget(w waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.waiters {
		if q.waiters[i].ch == w.ch {
			q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
			return
		}
	}
}

// tellLocked reports events without the lock and takes it again.
func (q *Queue) tellLocked() {
	if q.drained || q.dead && !q.finished {
		q.unlockAndTell()
		q.mu.Lock()
	}
}

// unlockAndTell unlocks and reports what is owed to Events.
func (q *Queue) unlockAndTell() {
	drained, finished := q.drained, q.dead && !q.finished
	q.drained = false
	q.finished = q.finished || finished
	err := q.err
	q.mu.Unlock()
	if drained {
		q.events.Drained()
	}
	if finished {
		q.events.Finished(err)
	}
}

// finishLocked: the close frame has been written.
func (q *Queue) finishLocked() {
	q.dead = true
	q.wakeLocked()
}

func (q *Queue) failLocked(err error) {
	if q.dead {
		return
	}
	q.dead, q.closing, q.lost, q.err = true, true, true, err
	q.pending = 0
	q.over.Store(false)
	q.wakeLocked()
	for it := q.head; it != nil; it = it.next {
		it.endStream()
	}
	if q.state != writing {
		q.releaseLocked() // the owner does it when it leaves
	}
}

// releaseLocked frees everything; nobody may be writing.
func (q *Queue) releaseLocked() {
	for q.head != nil {
		q.popLocked()
	}
	q.control.release(q.cfg.Pool)
}

// discardLocked drops what is not on its way: whole messages, and of a message
// in fragments all but the one being written. What is in a write that has not
// returned can only be dropped when it has.
func (q *Queue) discardLocked() {
	q.discard = q.state == writing
	q.dropFromLocked(q.head)
}

// dropFromLocked drops what is not on its way of first and all behind it.
func (q *Queue) dropFromLocked(first *item) {
	reached := false
	before := q.pending
	var kept, last *item
	for it := q.head; it != nil; {
		next := it.next
		it.next = nil
		reached = reached || it == first
		if reached {
			q.pending -= it.cutOff(q.cfg.ChunkSize)
		}
		if !reached || it.ready() > 0 || it.final {
			if last == nil {
				kept = it
			} else {
				last.next = it
			}
			last = it
		} else {
			if q.lent == it {
				q.lent = nil
			}
			it.free(q.cfg.Pool)
		}
		it = next
	}
	q.head, q.tail = kept, last
	q.lost = q.lost || q.pending < before
	q.fellLocked()
}

// discardAgainLocked goes on with a discard that came during the write that has
// just returned.
func (q *Queue) discardAgainLocked() {
	if q.discard && !q.dead {
		q.discardLocked()
	}
}

// trainSize returns the bytes on the wire of n payload bytes in fragments of at
// most chunk.
func trainSize(n, chunk int) int {
	whole, rest := n/chunk, n%chunk
	size := whole * (chunk + frame.Header{Length: int64(chunk)}.Size())
	if rest > 0 {
		size += rest + frame.Header{Length: int64(rest)}.Size()
	}
	return size
}
