package backpressure

import (
	"sync"

	"github.com/penstock-ws/penstock/frame"
)

// An item is one element of a queue's data lane. It is one of
//
//   - a segment: encoded frames of small messages, one after the other, in buf;
//   - a single: one message that is encoded already, in buf or in a Prepared;
//   - a train: one large message, sent as fragments that are cut off as the
//     writer gets to them. head and body are the fragment under way, rest is
//     what follows it;
//   - a stream: a message that is still being produced; at the head of the lane
//     with nothing in body it keeps later data waiting;
//   - a gap: what stands for dropped messages until its turn to be written
//     comes and it is made a message;
//   - the close frame, after which nothing is written.
//
// Control frames may pass between items and between the fragments of one.
type item struct {
	next, prev *item

	buf    *frame.Buffer // memory to put back in the pool; nil if there is none
	shared *Prepared     // whose memory it is otherwise; nil: the sender's
	body   []byte        // bytes to write next
	rest   frame.Fragmenter
	charge int // what the queue's account holds for it

	head             [frame.MaxHeaderSize]byte // header before body, of a train or stream
	headOff, headLen uint8

	begun   bool // some byte of the fragment under way has been written
	cut     bool // an earlier fragment has been
	segment bool // small frames may be appended
	train   bool // rest is in use
	final   bool // the close frame
	flying  int  // bytes gathered for a write that has not returned; a segment may have grown since
	stream  *Stream
	gap     *Lost

	tracking
}

// tracking is what the backlog knows of an item.
type tracking struct {
	class          *Class // nil: not tracked
	key            string
	payload        int   // its message's size
	until          int64 // when it expires; 0: never
	older, younger *item // of the same class
}

// itemCost is what the budget counts for an item beside its buffer.
const itemCost = 256

var items = sync.Pool{New: func() any { return new(item) }}

func newItem() *item { return items.Get().(*item) }

// ready returns the number of bytes that may be written now.
func (it *item) ready() int {
	return int(it.headLen-it.headOff) + len(it.body)
}

// size returns the bytes on the wire that are left of the item.
func (it *item) size(cfg *Config) int {
	return it.ready() + cfg.trainSize(it.rest.Remaining())
}

// startTrain makes a message the content of it and its first fragment the one
// under way.
func (it *item) startTrain(op frame.Opcode, rsv byte, payload []byte, cfg *Config) {
	it.train = true
	it.rest = frame.NewFragmenter(op, payload, cfg.ChunkSize)
	h, body, _ := it.rest.Next()
	h.Masked = cfg.Mask
	h.RSV = rsv // of the first fragment only (RFC 7692 §6.1)
	it.setFragment(h, body)
}

// load makes the next fragment of a train the one under way, and reports
// whether there was one.
func (it *item) load(cfg *Config) bool {
	if !it.train {
		return false
	}
	h, body, ok := it.rest.Next()
	if ok {
		h.Masked = cfg.Mask
		it.setFragment(h, body)
		it.cut = true
	}
	return ok
}

// setFragment makes a frame the one under way. If h says that it is masked it gets a
// key of its own, and body, which must be the queue's memory then, is masked where
// it is.
func (it *item) setFragment(h frame.Header, body []byte) {
	if h.Masked {
		h.Mask = newKey()
		frame.Mask(body, h.Mask, 0)
	}
	it.headLen = uint8(len(frame.AppendHeader(it.head[:0], h)))
	it.headOff, it.body, it.begun = 0, body, false
}

// more reports whether something may follow the fragment under way.
func (it *item) more() bool {
	return it.stream != nil || it.rest.Remaining() > 0
}

// cutOff gives up all but the bytes that are being written, or else the rest of
// a frame of which some bytes have been, and returns the bytes given up. The
// close frame stays.
func (it *item) cutOff(cfg *Config) int {
	if it.final {
		return 0
	}
	dropped := cfg.trainSize(it.rest.Remaining())
	it.train, it.rest = false, frame.Fragmenter{}
	it.endStream()
	keep := it.flying
	if keep == 0 && it.begun {
		keep = it.underWay()
	}
	return dropped + it.truncate(keep)
}

// underWay returns how many of the bytes to write next belong to a frame that has
// begun. Only a segment may hold frames behind it.
func (it *item) underWay() int {
	if !it.segment {
		return it.ready()
	}
	all := it.buf.B
	written, end := len(all)-len(it.body), 0
	for end < written {
		h, n, _ := frame.ParseHeader(all[end:])
		end += n + int(h.Length)
	}
	return end - written
}

// truncate leaves the first keep of the bytes to write next, and returns how many
// were behind them.
func (it *item) truncate(keep int) int {
	dropped := it.ready() - keep
	if keep == 0 {
		it.headOff, it.body = it.headLen, nil
		return dropped
	}
	it.body = it.body[:len(it.body)-dropped]
	if it.segment {
		it.buf.B = it.buf.B[:len(it.buf.B)-dropped]
	}
	return dropped
}

// endStream tells the producer that no further fragment is taken.
func (it *item) endStream() {
	if it.stream != nil {
		it.stream.it = nil
		it.stream.signal()
		it.stream = nil
	}
}

// land takes up to n written bytes off what was gathered and returns how many of
// them were the item's.
func (it *item) land(n int) int {
	n = min(n, it.flying)
	it.flying = 0
	took := min(n, int(it.headLen-it.headOff))
	it.headOff += uint8(took)
	it.body = it.body[n-took:]
	it.begun = it.begun || n > 0
	return n
}

// settle copies what is left of a message in its sender's memory into memory of
// the queue's own; fragments after the one under way are of at most chunk bytes.
func (it *item) settle(pool *frame.Pool, chunk int) {
	rest := it.rest.Rest()
	n := len(it.body)
	it.buf = pool.Get(n + len(rest))
	it.buf.B = append(append(it.buf.B, it.body...), rest...)
	it.body = it.buf.B[:n]
	if len(rest) > 0 {
		it.rest = frame.NewFragmenter(frame.Continuation, it.buf.B[n:], chunk)
	}
}
