package engine

import (
	"net/http"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// permessage-deflate (RFC 7692) is done here, and gws knows nothing of it: the
// transport takes RSV1 off a compressed message's first frame and marks the
// message, and it is inflated right before it is handled.

// negotiate returns the window of what is compressed for this peer, 0 for none,
// and the header line that tells.
func (ep *endpoint) negotiate(r *http.Request) (bits int, answer string, err error) {
	if !ep.e.cfg.Compress {
		return 0, "", nil
	}
	p, answer, ok, err := deflate.Negotiate(r.Header["Sec-Websocket-Extensions"])
	switch {
	case err != nil:
		return 0, "", bad("Sec-WebSocket-Extensions is malformed")
	case !ok:
		return 0, "", nil
	}
	return p.ServerBits, answer, nil
}

// deflateSlack is by how much a message that cannot be compressed may be longer
// on the wire. Go's own compressor adds 5 bytes for each 16 KiB, zlib with the
// least memory 5 for each 124.
func deflateSlack(n int) int { return n>>4 + 64 }

// packedMost is how long n bytes become at most that deflate.AppendMessage compresses.
func packedMost(n int) int { return n + n>>15*5 + 16 }

// marks tell which of the messages that have not been taken yet are compressed,
// in order. They belong to the reader goroutine.
type marks struct {
	list []bool
	next int
}

// push begins the list anew when it is full: a peer whose reads all end inside a
// message never lets it become empty.
func (m *marks) push(compressed bool) {
	if m.next > 0 && len(m.list) == cap(m.list) {
		m.list = slices.Clone(m.list[m.next:])
		m.next = 0
	}
	m.list = append(m.list, compressed)
}

func (m *marks) pop() bool {
	compressed := m.list[m.next]
	if m.next++; m.next == len(m.list) {
		m.next = 0
		if m.list = m.list[:0]; cap(m.list) > 64 {
			m.list = nil // a burst of small messages
		}
	}
	return compressed
}

// claim takes RSV1 off the first byte of a data frame's header, which the scanner
// has passed, and notes of each message whether it had it.
func (t *transport) claim(b *byte) {
	if op := frame.Opcode(*b & 0xf); op == frame.Text || op == frame.Binary {
		t.compressed = *b&frame.RSV1 != 0
		t.needMore().marks.push(t.compressed)
		*b &^= frame.RSV1
	}
}

// unpack makes of a message of a connection with compression what its sender meant:
// inflated, and text that is UTF-8. Its memory is valid until release. Of a plain
// connection's messages the reader has checked all that there is to check.
func (c *Conn) unpack(m arrival, in *Message) *CloseError {
	if c.ep.pull && c.pulled.rejected {
		return &CloseError{Code: frame.CloseAbnormal} // which reject has no use for any more
	}
	if m.compressed {
		out, err := c.inflate(in.Data)
		if err != nil {
			return err
		}
		in.Data = out[:len(out):len(out)]
	}
	if in.Type == frame.Text && !m.checked && !utf8.Valid(in.Data) {
		return &CloseError{Code: frame.CloseInvalidPayload, Reason: frame.ErrInvalidUTF8.Reason, Cause: CauseViolation}
	}
	return nil
}

// reject ends the connection for a message that unpack has refused. Nothing that
// came after it is received either, or there would be a gap.
func (c *Conn) reject(cause *CloseError) {
	if c.ep.pull {
		if c.pulled.rejected {
			return
		}
		c.pulled.rejected = true
	}
	if cause.Code == frame.CloseTryAgainLater { // the peer has broken no rule
		c.e.counters.shed.Add(1)
	} else {
		c.e.counters.violations.Add(1)
	}
	c.mu.Lock()
	if !c.answered { // the peer's close, say, came after the message and waits for it
		c.cause = cause
	}
	c.mu.Unlock()
	c.shut(cause, false)
}

// inflate returns the message that b is compressed to, in a buffer that grows as
// it comes out, and in the budget with it.
func (c *Conn) inflate(b []byte) ([]byte, *CloseError) {
	out, err := deflate.Inflate(nil, b, c.e.cfg.MaxMessageBytes, max(c.e.cfg.MaxInflateRatio, 0), c.growInflated)
	switch err {
	case nil:
		return out, nil
	case deflate.ErrTooBig:
		return nil, &CloseError{Code: frame.CloseMessageTooBig, Reason: "message too big", Cause: CauseLimit}
	case deflate.ErrNoMemory:
		return nil, budgetError()
	}
	return nil, &CloseError{Code: frame.CloseInvalidPayload, Reason: "compressed data corrupt", Cause: CauseViolation}
}

// growInflated is the deflate.Grow of inflate.
func (c *Conn) growInflated(old []byte, need int) []byte {
	b := c.e.pool.Get(need)
	b.B = append(b.B, old...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if more := cap(b.B) - c.inflatedHeld(); more > 0 && !c.left && !c.inbound.Take(more) {
		c.e.pool.Put(b)
		return nil
	}
	c.dropInflatedLocked()
	c.inflated = b
	c.settleInboundLocked()
	if c.left {
		c.forgetInflatedLocked()
	}
	return b.B
}

// inflatedHeld is what the inflated message takes.
func (c *Conn) inflatedHeld() int {
	if c.inflated == nil {
		return 0
	}
	return cap(c.inflated.B)
}

// dropInflatedLocked gives back the inflated message.
func (c *Conn) dropInflatedLocked() {
	if c.inflated != nil && !c.left {
		c.e.pool.Put(c.inflated)
	}
	c.inflated = nil
}

// forgetInflatedLocked leaves an inflated message to the garbage collector: its
// connection has ended, but whoever called Receive may read it for as long as he
// likes, and a handler that called runtime.Goexit has not given it back.
func (c *Conn) forgetInflatedLocked() {
	if c.inflated != nil {
		c.e.pool.Forget(c.inflated)
	}
}

// release gives back the memory of a message that has been handled.
func (c *Conn) release(m arrival) {
	c.e.free(m)
	if c.inflated != nil {
		c.mu.Lock()
		c.dropInflatedLocked()
		c.settleInboundLocked()
		c.mu.Unlock()
	}
}

// compress returns the message as it is for this peer: compressed if that makes it
// smaller, in a buffer to be put back.
func (c *Conn) compress(m *backpressure.Message) *frame.Buffer {
	cfg := &c.e.cfg
	if c.deflateBits == 0 || len(m.Payload) < cfg.CompressMinBytes {
		return nil
	}
	b := c.e.pool.Get(packedMost(len(m.Payload)))
	b.B = deflate.AppendMessage(b.B, m.Payload, cfg.CompressLevel, int(c.deflateBits))
	if len(b.B) < len(m.Payload) {
		m.Payload, m.RSV = b.B, frame.RSV1
	}
	return b
}

// variants are what a prepared message is compressed to, for each window: when the
// first peer with it is sent to.
type variants [deflate.MaxBits - deflate.MinBits + 1]struct {
	once sync.Once
	p    *backpressure.Prepared
}

// forPeer returns the encoding of p for a peer with a window of so many bits, 0
// for one without compression.
func (p Prepared) forPeer(e *Engine, bits int) *backpressure.Prepared {
	if bits == 0 || p.variants == nil {
		return p.p
	}
	v := &p.variants[bits-deflate.MinBits]
	v.once.Do(func() {
		v.p = p.p
		b := deflate.AppendMessage(nil, p.p.Payload(), e.cfg.CompressLevel, bits)
		if len(b) < p.p.Len() {
			v.p = backpressure.Prepare(p.p.Opcode(), frame.RSV1, b, e.cfg.Budget)
		}
	})
	return v.p
}
