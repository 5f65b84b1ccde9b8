package engine

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/frame"
)

// read is the reader goroutine: it runs gws's loop until the connection ends, this one
// or another that its lane has gone on with. It is a fresh one, because the stack that
// net/http's goroutine has grown would stay as large for the connection's life.
func (c *Conn) read() {
	l := lane{e: c.e, conn: c}
	defer func() { // also after runtime.Goexit in an inline handler
		if l.conn != nil {
			l.conn.finishReading()
		}
	}()
	l.run()
}

// finishReading begins the end if nothing else has, and reads to the peer's EOF.
func (c *Conn) finishReading() {
	c.endReading()
	c.transport.discard()
	c.readEnded()
}

// endReading is called when gws gets no more of the connection. It begins the end
// if nothing else has.
func (c *Conn) endReading() {
	c.endInlineBurst()
	c.mu.Lock()
	c.handOverLocked()
	c.announced = 0 // gws has let go of what it had of a message
	c.settleInboundLocked()
	c.busy.Store(false)
	c.kickLocked()
	t := &c.transport
	t.release()
	switch cause := t.cause(); {
	case c.ending():
	case cause.violation():
		c.e.counters.violations.Add(1)
		c.shut(cause, false)
	default:
		c.finish(cause)
	}
}

// cause tells how the loop ended. A fault that the loop has not come to, because
// something before it in the same read ended the connection, does not count.
func (t *transport) cause() *CloseError {
	switch {
	case t.err == errRefused:
		return faultError(frame.ErrInvalidUTF8)
	case t.fault != nil && t.err != nil:
		if t.more != nil && t.more.refused != nil {
			return t.more.refused
		}
		return faultError(t.fault)
	case t.peerClose != nil && !utf8.Valid(t.peerClose.Reason): // which gws does not check where messages may be compressed
		return &CloseError{Code: frame.CloseInvalidPayload, Reason: "close reason is not UTF-8", Cause: CauseViolation}
	case t.peerClose != nil && t.gwsCode == frame.CloseProtocolError && !frame.CloseCode(t.peerClose.Code).Sendable(): // gws does not know 1014
		return &CloseError{Code: frame.CloseProtocolError, Reason: "invalid close frame", Cause: CauseViolation}
	case t.peerClose != nil:
		code := frame.CloseCode(t.peerClose.Code)
		if code == 0 {
			code = frame.CloseNoStatus
		}
		return &CloseError{Code: code, Reason: string(t.peerClose.Reason), Remote: true, Cause: CausePeer}
	case t.err == nil && t.gwsCode == frame.CloseInvalidPayload:
		return &CloseError{Code: frame.CloseInvalidPayload, Reason: frame.ErrInvalidUTF8.Reason, Cause: CauseViolation}
	case t.err == nil && t.gwsCode != 0:
		return &CloseError{Code: t.gwsCode, Reason: "protocol error", Cause: CauseViolation}
	}
	return &CloseError{Code: frame.CloseAbnormal, Reason: "peer is gone", Remote: true, Cause: CauseLost}
}

// faultError is the end by a violation that the scanner has found.
func faultError(f *frame.Error) *CloseError {
	cause := CauseViolation
	if f.Code == frame.CloseMessageTooBig || f.Code == frame.ClosePolicyViolation {
		cause = CauseLimit
	}
	return &CloseError{Code: f.Code, Reason: f.Reason, Cause: cause}
}

// violation: the peer broke a rule, and is told at once.
func (e *CloseError) violation() bool { return !e.Remote }

// received notes that the peer is alive. The coarse clock rarely moves, and
// writing to what other cores read is dear.
func (c *Conn) received() {
	if now := c.e.clock.now(); c.lastRead.Load() != now {
		c.lastRead.Store(now)
	}
}

// arrived: inline a message is handled right here, on the reader. A loop reads one that has
// come alone, and the others' of its turn, before any is handled.
func (c *Conn) arrived(m arrival) {
	if c.ep.inline && (c.home == nil || c.home.handlesNow()) {
		c.handleInline(m)
	} else {
		c.take(m)
	}
}

// take puts a message with those that are handed over before the reader waits
// again.
func (c *Conn) take(m arrival) {
	if c.pending == nil {
		c.pending = batchPool.Get().(*batch)
		c.pending.read = c.transport.lastWait
	}
	b := c.pending
	b.list[b.n] = m
	b.n++
	b.bytes += m.data.Len()
	if b.n == batchSize && c.handOver() {
		c.stopForRoom()
	}
}

// handOver gives the worker what has been received, and reports whether that
// filled the inbox.
func (c *Conn) handOver() (full bool) {
	c.mu.Lock()
	c.handOverLocked()
	full = c.fullLocked()
	c.kickLocked()
	return full
}

func (c *Conn) handOverLocked() {
	c.receivedN += uint64(int64(c.inlineN)) // less than zero after events
	c.receivedB += uint64(int64(c.inlineB))
	c.inlineN, c.inlineB = 0, 0
	c.announced = c.transport.needs()
	c.noteWaitLocked()
	b := c.pending
	if b == nil {
		c.settleInboundLocked()
		return
	}
	c.pending = nil
	c.messages += b.n
	c.bytes += b.bytes
	c.receivedN += uint64(b.n)
	c.receivedB += uint64(b.bytes)
	c.settleInboundLocked()
	c.inbox.push(b)
	c.wakeReceiverLocked()
}

// settle hands over all that has been received, and reports whether there is no room
// for more.
func (c *Conn) settle() (full bool) {
	c.endInlineBurst()
	if c.ep.inline {
		c.received() // handlers may have taken their time
	}
	c.mu.Lock()
	c.handOverLocked()
	c.busy.Store(false)
	full = c.fullLocked()
	c.kickLocked()
	return full
}

// beforeWait is called by the transport before it waits for the socket: it hands
// over, and waits until there is room for more. It returns false if the
// connection is ending.
func (c *Conn) beforeWait() bool {
	if c.settle() {
		c.transport.giveBack()
		c.awaitRoom()
	}
	return !c.ending()
}

// stopForRoom keeps the reader from going on while there is no room. A loop waits
// for nobody: it is told, and stops behind the message at hand.
func (c *Conn) stopForRoom() {
	if c.home != nil && !c.transport.side {
		c.home.noRoom()
		return
	}
	c.awaitRoom()
}

// awaitRoom keeps the reader from reading while the connection's inbox is full
// or its outbound queue congested, so that TCP pushes back on the peer.
func (c *Conn) awaitRoom() {
	c.mu.Lock()
	for c.fullLocked() {
		c.paused = true
		s := c.needSeldomLocked()
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
	c.resumedLocked()
	c.mu.Unlock()
}

func (c *Conn) resumedLocked() {
	if c.paused {
		c.paused = false
		c.received() // the peer could not show that it is alive
	}
}

// pause is awaitRoom for a loop. It returns false if there is room; else the
// connection's home is told when there is.
func (c *Conn) pause() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fullLocked() {
		c.paused = true
		return true
	}
	c.resumedLocked()
	return false
}

// fullLocked: at a bound; once the reader waits, until half of it is free again.
func (c *Conn) fullLocked() bool {
	if c.closing.Load() || c.noMore {
		return false
	}
	messages, bytes := c.e.cfg.InboxMessages, c.e.cfg.InboxBytes
	if c.paused {
		messages, bytes = (messages+1)/2, (bytes+1)/2
	}
	return c.messages >= messages || c.bytes >= bytes || c.queue.Congested()
}

func (c *Conn) wakeReaderLocked() {
	switch {
	case !c.paused || c.fullLocked():
	case c.seldom != nil && c.seldom.room != nil:
		close(c.seldom.room)
		c.seldom.room = nil
	case c.home != nil:
		c.home.makeRoom()
	}
}

// handleInline runs the chain on the reader. Replies are corked while more
// frames of the same read wait.
func (c *Conn) handleInline(m arrival) {
	if c.queue.Congested() {
		c.endInlineBurst() // others must not wait for what is held back for them
		c.stopForRoom()
	}
	c.inlineN++
	c.inlineB += int32(m.data.Len())
	t := &c.transport
	if t.pos < t.safe && c.inlineBurst == nil {
		b := c.e.ticker.bursts.Get().(*burst)
		c.inlineBurst = b
		b.begin(c)
		c.queue.Cork()
	}
	c.handle(m, t.lastWait)
}

// endInlineBurst writes the replies to all that was in the last read.
func (c *Conn) endInlineBurst() {
	b := c.inlineBurst
	if b == nil {
		return
	}
	c.inlineBurst = nil
	c.queue.Uncork()
	b.end()
	c.e.ticker.bursts.Put(b)
}

// events are gws's callbacks; all of them come on the reader.
type events struct{ _ byte }

func connOf(s *gws.Conn) *Conn { return s.NetConn().(*lane).conn }

// OnOpen is not of use: the engine has its own order of events.
func (*events) OnOpen(*gws.Conn) {}

// OnMessage takes a whole message.
func (*events) OnMessage(s *gws.Conn, m *gws.Message) {
	c := connOf(s)
	t := &c.transport
	r := arrival{data: m.Data, opcode: frame.Opcode(m.Opcode), memory: ofGWS}
	switch {
	case c.deflateBits != 0:
		r.compressed = t.more.marks.pop()
	case m.Opcode == gws.OpcodeText && !gwsChecksText(&c.e.cfg) && !utf8.Valid(m.Bytes()):
		t.refuse()
	}
	if t.err != nil { // what gws had read when a message was refused
		c.e.free(r)
		return
	}
	if bulk := t.takeBulk(); bulk != nil {
		c.e.free(r)
		r.own(c.e, bulk)
		r.checked = !r.compressed
	}
	c.arrived(r)
}

// OnPing is called for a ping.
func (*events) OnPing(s *gws.Conn, payload []byte) {
	if c := connOf(s); c.transport.err == nil {
		c.takeControl(frame.Ping, payload)
	}
}

// OnPong shows that the peer is alive, which its arrival already did.
func (*events) OnPong(s *gws.Conn, payload []byte) {
	if c := connOf(s); c.transport.err == nil {
		c.takeControl(frame.Pong, payload)
	}
}

// OnClose keeps the peer's code and reason for transport.cause.
func (*events) OnClose(s *gws.Conn, err error) {
	if e, ok := err.(*gws.CloseError); ok && connOf(s) != nil {
		connOf(s).transport.peerClose = e
	}
}

// takeControl answers a ping at once, whatever the workers do (RFC 6455 §5.5.3), and shows a
// ping or pong to the interceptors that see it, in order.
func (c *Conn) takeControl(op frame.Opcode, payload []byte) {
	if op == frame.Ping {
		c.queue.SendControl(frame.Pong, payload)
	}
	if c.ep.sees.SeesInbound(op) {
		c.inlineN-- // what arrives is counted as a message, and this is none
		c.inlineB -= int32(len(payload))
		c.arrived(arrival{opcode: op, data: bytes.NewBuffer(slices.Clone(payload))})
	}
}
