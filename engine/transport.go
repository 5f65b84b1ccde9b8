package engine

import (
	"errors"
	"os"
	"time"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// directRead is the payload outstanding from which a frame is read straight
// into gws's buffer. Below, one read into ours brings the next frames, too.
const directRead = 8 << 10

// Of what is for nobody a buffer is read, or some smaller pieces, and then none for discardPause:
// with buffers of the default size a peer gets rid of 15 to 30 MB a second, enough for one that has
// only just begun a message too big. A piece counts as discardLeast, however small it is.
const (
	discardPause = time.Millisecond
	discardLeast = 1 << 10
)

var (
	// errEnding makes gws leave its loop when the connection is ending.
	errEnding = errors.New("engine: connection is ending")

	// errRefused makes gws leave its loop behind a text that is not UTF-8.
	errRefused = errors.New("engine: text is not UTF-8")

	// errAtRest tells a lane to let go of its connection: a side lane's message is over,
	// or a reader has been nudged. gws never sees it.
	errAtRest = errors.New("engine: no message is coming in")
)

// A transport is the inbound side of a connection, between socket and lane. Every
// inbound byte passes the scanner here before gws gets it.
//
// It belongs to the reader: a goroutine, or the loop that the connection is on.
type transport struct {
	c       *Conn
	scanner frame.Scanner
	buf     *frame.Buffer // nil while there is nothing to read
	pos     int           // buf.B[pos:safe] is for gws
	safe    int
	cut     int   // buf.B[pos:cut] are whole messages
	err     error // what Read returns once buf is used up
	fault   *frame.Error

	length    int64  // of the message coming in, as far as its headers say
	started   uint64 // messages of which a header has come
	total     int64  // bytes read
	lastWait  int64  // engine clock when the last read returned; exact if the endpoint is timed
	controls  bucket
	more      *more           // nil until it is needed
	peerClose *gws.CloseError // from the close frame that the peer sent
	gwsCode   frame.CloseCode // from the close frame that gws wrote

	dropped    int32  // bytes read for nobody since the last pause
	kept       uint16 // bytes at the front of buf that have been scanned and wait for the rest of their frame
	closeSeen  bool   // the header of the peer's close frame has passed
	astray     bool   // where the next frame begins is not known
	data       bool   // the last header was that of a data frame
	fragmented bool   // the message coming in is
	compressed bool   // likewise
	side       bool   // a side lane reads until the message is over
}

func (t *transport) init(c *Conn, rules *frame.Rules, early []byte) {
	t.c = c
	t.scanner = frame.NewScanner(rules)
	if len(early) > 0 {
		t.clock()
		t.buf = c.e.pool.Get(len(early))
		t.buf.B = append(t.buf.B, early...)
		t.scan(0)
	}
}

// more is what a transport needs for what does not come whole, and for what is
// metered. Most connections never do, and every byte of them counts.
type more struct {
	hold    [holdMost]byte // passed by the scanner, not yet for gws
	held    int
	trickle trickle
	bulk    bulk
	whole   *frame.Buffer // of a bulk that its message has yet to take
	text    textWatch
	marks   marks
	refused *CloseError // what the fault is, if it is no violation of the protocol
	granted int64       // of the engine's allowance, for the frame that is coming in

	messages, bytes bucket
}

func (t *transport) needMore() *more {
	if t.more == nil {
		t.more = new(more)
	}
	return t.more
}

func (t *transport) held() int {
	if t.more == nil {
		return 0
	}
	return t.more.held
}

func (t *transport) trickles() bool { return t.more != nil && t.more.trickle.on }

// direct is memory of gws's that a read goes straight into.
type direct struct{ b []byte }

func (d *direct) lend(int) []byte { return d.b }
func (d *direct) giveBack()       {}

// Read gives gws bytes that the scanner has passed. Before it waits for more it
// hands over what has been received so far, and waits for room.
func (t *transport) Read(p []byte, d *direct) (int, error) {
	for {
		if t.pos < t.safe {
			n := copy(p, t.buf.B[t.pos:t.safe])
			t.pos += n
			return n, nil
		}
		if t.fault != nil && t.err == nil { // all that came before it is used up
			t.err = t.fault
		}
		if t.err != nil {
			t.giveBack()
			return 0, t.err
		}
		if t.side && t.atRest() {
			return 0, errAtRest
		}
		if !t.c.beforeWait() {
			t.giveBack()
			return 0, errEnding
		}
		if n, err := t.fill(p, d); n > 0 || err != nil {
			return n, err
		}
	}
}

// fill waits for bytes. It returns n > 0 if it has read payload straight into p.
func (t *transport) fill(p []byte, d *direct) (n int, err error) {
	left := t.scanner.Remaining()
	direct := left >= directRead && len(p) >= directRead && !t.trickles()
	if direct {
		t.giveBack()
		d.b = p[:min(int64(len(p)), left)]
		n, err = t.c.sock.read(d)
		d.b = nil
	} else {
		n, err = t.c.sock.read(t)
	}
	switch {
	case n > 0:
		t.count(n)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.giveBack()
		return 0, t.disturbed()
	case err != nil:
		t.err = err
	}
	switch {
	case err != nil:
		t.giveBack()
	case direct:
		t.c.tap(p[:n])
		t.watch(p[:n], left)
		t.scanner.Skip(int64(n))
	default:
		t.read(n)
		n = 0
	}
	t.arrived()
	if t.c.ending() {
		return 0, errEnding
	}
	return n, err
}

// disturbed says how to go on when a deadline has ended a wait: it was a nudge, or an
// interrupt, or one in place of the other.
func (t *transport) disturbed() error {
	rests := t.atRest() && t.scanner.AtBoundary()
	switch {
	case !t.c.nudged(rests), t.c.ending():
		return errEnding
	case rests:
		return errAtRest
	}
	return nil
}

// count takes note of n bytes that have just been read.
func (t *transport) count(n int) {
	t.total += int64(n)
	t.clock()
	t.c.busy.Store(true) // before ending is asked: Shutdown lets either this read count or none
	t.c.received()
}

// clock notes when something has been read.
func (t *transport) clock() {
	if t.c.ep.timed {
		t.lastWait = t.c.e.clock.exact()
	} else {
		t.lastWait = t.c.e.clock.now()
	}
}

// refuse ends the stream with a text that is not UTF-8, which is not to be used, like
// anything behind it. The frames are in order, so the peer's close frame will be known.
func (t *transport) refuse() {
	t.err = errRefused
	t.pos, t.cut = t.safe, t.safe
}

// atRest reports whether all has been used up that was received, and no message is
// coming in. A part of a header may be held back.
func (t *transport) atRest() bool {
	return t.pos == t.safe && t.scanner.Remaining() == 0 && !t.scanner.InMessage() && !t.trickles()
}

// read takes n new bytes in buf, behind those that were held back, or in the bulk.
func (t *transport) read(n int) {
	if t.inBulk() != nil {
		t.addBulk(n)
		return
	}
	front := t.front()
	from := front + t.held()
	t.buf.B = t.buf.B[:from+n]
	t.c.tap(t.buf.B[from:])
	t.pos, t.safe, t.cut = front, front, front
	if t.kept > 0 {
		t.pos, t.safe, t.cut, t.kept = 0, 0, 0, 0
	} else if m := t.more; m != nil {
		copy(t.buf.B[front:], m.hold[:m.held])
		m.held = 0
	}
	if t.trickles() {
		switch from = t.piece(front, from); {
		case t.fault != nil:
			t.overlook(t.buf.B[from:])
			return
		case t.trickles():
			return
		}
	}
	t.scan(from)
}

// front is where in buf what was held back begins.
func (t *transport) front() int {
	if t.trickles() {
		return frame.MaxHeaderSize // room for the header of a piece
	}
	return int(t.kept)
}

// scan passes the new bytes in buf, from the given one on, up to the first
// violation. A header of which bytes are missing is held back whole.
func (t *transport) scan(from int) {
	b := t.buf.B
	at, header := from, t.pos // one that is not whole stands in front
	for at < len(b) {
		left := t.scanner.Remaining()
		if pay := min(left, int64(len(b)-at)); pay > 0 && !t.watch(b[at:at+int(pay)], left) {
			t.safe = at
			t.overlook(b[at:])
			return
		}
		fresh := left > 0 || t.scanner.AtBoundary()
		if fresh {
			header = at + int(min(left, int64(len(b)-at)))
			if !t.scanner.InMessage() && header < len(b) {
				t.cut = header
			}
		}
		h, n, ok, err := t.scanner.Next(b[at:])
		if err != nil {
			t.fault = err.(*frame.Error)
			t.safe = header
			t.overlook(b[header:])
			return
		}
		at += n
		if fresh && header < len(b) && t.c.deflateBits != 0 {
			t.claim(&b[header])
		}
		if !ok {
			continue
		}
		if !t.note(h, len(b)-at) {
			t.safe = header
			t.overlook(b[at:])
			return
		}
		if missing := h.Length - int64(len(b)-at); missing > 0 && !t.c.ending() {
			switch {
			case t.follows(h, missing):
				t.startTrickle(h, header, at)
				return
			case t.bulky(h):
				t.startBulk(h, header, at)
				return
			}
		}
	}
	t.safe = max(from, at)
	if t.scanner.Remaining() > 0 {
		return
	}
	if !t.scanner.AtBoundary() {
		t.keep(b[header:])
		t.safe = header
	}
	if !t.scanner.InMessage() {
		t.cut = t.safe
	}
}

// keep holds back bytes that the scanner has passed and gws must not have yet.
func (t *transport) keep(b []byte) {
	m := t.needMore()
	m.held = copy(m.hold[:], b)
}

// note keeps what a header says, of whose payload here bytes are in buf. It returns
// false if the frame may not pass after all: it exceeds a rate, or the limit, for
// the scanner allows for what compression may add.
func (t *transport) note(h frame.Header, here int) bool {
	if !t.meterFrame(h) {
		return false
	}
	t.closeSeen = t.closeSeen || h.Opcode == frame.Close
	t.data = h.Opcode.IsData()
	t.returnGrant()
	switch {
	case h.Opcode == frame.Continuation:
		t.length += h.Length
		t.fragmented = true
	case t.data:
		t.length, t.fragmented = h.Length, !h.Fin
	}
	if t.data && !t.compressed && t.length > int64(t.c.e.cfg.MaxMessageBytes) {
		t.fault = frame.ErrMessageTooBig
		return false
	}
	if t.data && !t.beginText(h, here) {
		t.fault = frame.ErrInvalidUTF8
		return false
	}
	return true
}

// lend implements memory. The buffer of the read before is used up, and serves
// for the attempt that finds nothing more. Of a bulk, whose memory is held anyway, it
// lends more than is asked for; behind it no more than a buffer has, for what comes there is
// beyond the bounds of the inbox.
func (t *transport) lend(most int) []byte {
	if k := t.inBulk(); k != nil {
		t.giveBack()
		return k.rest(int(t.scanner.Remaining()) + t.c.e.cfg.ReadBufferBytes)
	}
	if t.kept > 0 {
		return t.buf.B[t.kept:cap(t.buf.B)]
	}
	from := t.front() + t.held()
	size := from + min(most, t.c.e.cfg.ReadBufferBytes-from)
	if t.buf != nil && cap(t.buf.B) < size {
		t.giveBack() // held what had come with the handshake
	}
	if t.buf == nil {
		t.buf = t.c.e.pool.Get(size)
	}
	t.pos, t.safe, t.cut = 0, 0, 0
	return t.buf.B[from:size]
}

// keepMost is how large a frame may be that waits for its rest in a buffer: one of its own
// size if it is small, else the one that it was read into, which has room for those
// behind it.
const keepMost = 16 << 10

// keepFrame has what has come of a small frame wait for its rest. It returns false
// if gws must have it before.
func (t *transport) keepFrame() bool {
	if t.trickles() {
		return false
	}
	b := t.buf.B[t.cut:t.safe]
	h, n, err := frame.ParseHeader(b)
	if err != nil || !h.Fin || n+int(h.Length) > keepMost {
		return false
	}
	if size := n + int(h.Length); size > smallMessage && size <= cap(t.buf.B) {
		t.buf.B = t.buf.B[:copy(t.buf.B, b)]
	} else {
		own := t.c.e.pool.Get(size)
		own.B = append(own.B, b...)
		t.giveBack()
		t.buf = own
	}
	t.pos, t.safe, t.cut, t.kept = 0, 0, 0, uint16(len(b))
	return true
}

// release lets go of all that is held for what will not be received any more.
func (t *transport) release() {
	t.giveBack()
	t.dropBulk()
	t.returnGrant()
}

func (t *transport) giveBack() {
	if t.buf != nil {
		t.c.e.pool.Put(t.buf)
		t.buf, t.pos, t.safe, t.cut, t.kept = nil, 0, 0, 0, 0
	}
}

// discard reads and drops until the peer has said its last: its close frame with
// nothing behind it, or EOF. Closing the socket with bytes unread would answer them
// with a reset, and the peer might never read our close frame (RFC 6455 §7.1.1). A flood is read
// in pauses, so that one which has been refused does not cost as much as one that has not.
func (t *transport) discard() {
	t.dropAll()
	defer t.giveBack()
	for !t.peerDone() {
		n, err := t.c.sock.read(t)
		if err != nil {
			return
		}
		time.Sleep(t.drop(n))
	}
}

// dropAll: what is still read is for nobody.
func (t *transport) dropAll() {
	t.c.uninterrupted()
	t.more = nil
	if t.err == errRefused || t.fault != nil {
		t.err = nil // there is more to read
	}
}

// drop takes n bytes that have been read, and says how long to wait before the next read.
func (t *transport) drop(n int) time.Duration {
	t.overlook(t.buf.B[:n])
	if t.peerDone() {
		return 0
	}
	t.giveBack()
	t.dropped += int32(max(n, discardLeast))
	if int(t.dropped) <= min(t.c.e.cfg.ReadBufferBytes, defaultReadBuffer)/2 { // a read may be a little less than a buffer
		return 0
	}
	t.dropped = 0
	return t.c.e.discardPause
}

// overlook follows frames that are for nobody. A limit that has been exceeded, or text that is
// not UTF-8, is no reason to lose sight of where they begin: the peer's close frame, which
// ends the connection, is one of them.
func (t *transport) overlook(b []byte) {
	t.scanner.Lift()
	for len(b) > 0 {
		h, n, ok, err := t.scanner.Next(b)
		if err != nil {
			t.astray = true
			return
		}
		t.closeSeen = t.closeSeen || ok && h.Opcode == frame.Close
		b = b[n:]
	}
}

func (t *transport) peerDone() bool {
	if t.astray {
		return false
	}
	return t.err != nil || t.closeSeen && t.scanner.Remaining() == 0 && !t.c.sock.unread()
}
