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

	// resumedTurn is the same for an owner that came from Resume and may not wait: an
	// event loop, which has others to write for. With 64 KiB, large messages took
	// so many turns that the ones behind them had to wait twice as long (20 echoes of
	// 1 MB on one core: p99 31 ms instead of 13).
	resumedTurn = 256 << 10

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
	q.driveLocked(resumedTurn, wait)
}

// flushLocked writes if nobody else does and no cork forbids it, else leaves the
// bytes to the owner. own is the size of the caller's message. It unlocks.
func (q *Queue) flushLocked(own int) {
	if q.corks > 0 && q.pending < q.cfg.CorkSize {
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
	for !handOver && q.nextLocked(v) {
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

// nextLocked fills v with what may be written next, after it has dropped what has
// waited too long, made messages of the gaps whose turn it is, and told of it: the
// write that follows may last.
func (q *Queue) nextLocked(v *vector) bool {
	for {
		at, it := q.clockLocked(), q.head
		for it != nil && it.gap != nil { // what has expired behind a gap belongs to it
			it = it.next
		}
		switch {
		case it != nil && !q.dead && it.expired(at):
			q.dropLocked(it, expired)
		case q.notices != 0:
			q.tellLocked()
		case it != q.head && !q.dead:
			q.fillGapLocked(q.head)
		default:
			return q.gatherLocked(v, at)
		}
	}
}

// fillGapLocked puts in place of a gap at the head the message that its class
// makes of it. It unlocks meanwhile: the class is the program's.
func (q *Queue) fillGapLocked(it *item) {
	lost := *it.gap
	q.popLocked()
	q.mu.Unlock()
	op, payload := q.events.Gap(lost)
	q.mu.Lock()
	if q.dead || q.discard || !op.IsData() || op == frame.Continuation {
		return
	}
	m := Message{Opcode: op, Payload: payload}
	it = q.itemLocked(&m, false)
	q.linkFrontLocked(it)
	q.pending += it.size(q.cfg) // not by countLocked: it makes nobody congested
}

// gatherLocked fills v with what may be written next and reports whether that
// is anything. A frame under way is finished first, then control frames go, then
// data; of a message in fragments only one at a time, so that control frames get
// their turn and the socket its say between them. While a control frame is under
// way the head is at the end of a frame, even if it has begun: a segment grows.
// What has expired at the time at is left for the next time, except at the head,
// where there is nothing of that kind.
func (q *Queue) gatherLocked(v *vector, at int64) bool {
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
	for ; it != nil && it.ready() > 0 && !it.expired(at) && v.total < vectorBytes && len(v.bufs) < vectorParts; it = it.next {
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

// landLocked undoes a gather whose vector was not written.
func (q *Queue) landLocked(v *vector) { q.consumeLocked(v, 0) }

// advanceLocked moves on from a fragment that has been written: to the next one
// of its message, to the stream that produces it, or to the next item.
func (q *Queue) advanceLocked(it *item) {
	if it.load(q.cfg) {
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

// tellLocked reports events without the lock and takes it again.
func (q *Queue) tellLocked() {
	if q.notices != 0 || q.dead && !q.finished {
		q.unlockAndTell()
		q.mu.Lock()
	}
}

// unlockAndTell unlocks and reports what is owed to Events.
func (q *Queue) unlockAndTell() {
	notices, finished := q.notices, q.dead && !q.finished
	q.notices = 0
	q.finished = q.finished || finished
	var err error
	if q.seldom != nil {
		err = q.seldom.err
	}
	q.mu.Unlock()
	if notices != 0 {
		q.events.Notice(notices)
	}
	if finished {
		q.events.Finished(err)
	}
}

// finishLocked: the close frame has been written.
func (q *Queue) finishLocked() {
	q.dead = true
	if q.starved {
		q.starved = false
		q.over.Store(false)
	}
	q.wakeLocked()
}

func (q *Queue) failLocked(err error) {
	if q.dead {
		return
	}
	q.dead, q.closing, q.lost = true, true, true
	q.needSeldomLocked().err = err
	q.pending, q.starved = 0, false
	q.over.Store(false)
	q.wakeLocked()
	for it := q.head; it != nil; it = it.next {
		it.endStream()
	}
	if q.state != writing {
		q.releaseLocked() // the owner does it when it leaves
	}
}

// wireSize returns the bytes on the wire of a message of n payload bytes.
func (c *Config) wireSize(n int) int {
	if n == 0 {
		return c.frameSize(0)
	}
	return c.trainSize(n)
}

// trainSize returns the bytes on the wire of n payload bytes in fragments of at
// most ChunkSize.
func (c *Config) trainSize(n int) int {
	whole, rest := n/c.ChunkSize, n%c.ChunkSize
	size := whole * c.frameSize(c.ChunkSize)
	if rest > 0 {
		size += c.frameSize(rest)
	}
	return size
}

// frameSize returns the bytes on the wire of a frame of n payload bytes.
func (c *Config) frameSize(n int) int {
	return frame.Header{Masked: c.Mask, Length: int64(n)}.Size() + n
}
