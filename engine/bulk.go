package engine

import "github.com/penstock-ws/penstock/frame"

// bulkFrom is the payload from which a frame that is a message is kept from gws, which
// keeps buffers of up to 256 KiB for reuse, and asks for four bytes more than a payload has.
const bulkFrom = 256<<10 - 3

// bulkRead is how much of a bulk is read at once, so that a loop comes to others, too.
const bulkRead = 1 << 20

// A bulk is the payload of a large frame that is a message of its own. It is read
// from the socket into a buffer of the engine's pool, and unmasked and checked piece by
// piece, while it is in the processor's cache. The same frame without payload stands for it
// among the others, for gws or, on a loop, for takeWhole. See
// docs/decisions/0025-bulk.md.
type bulk struct {
	buf    *frame.Buffer // nil: there is none
	opcode frame.Opcode
	masked bool
	mask   [4]byte
	phase  int
}

// bulky reports whether the payload of a frame that has not come whole is to be kept from
// gws. A loop does so with all that do not wait for their rest in a buffer (keepFrame):
// it cannot give gws a frame that is not whole.
func (t *transport) bulky(h frame.Header) bool {
	from := t.c.e.bulkFrom
	if t.c.home != nil {
		from = min(from, int64(keepMost+1-h.Size()))
	}
	return h.Length >= from && h.Fin && (h.Opcode == frame.Text || h.Opcode == frame.Binary)
}

// startBulk takes what there is of a frame whose header is at header and whose payload
// begins at at. Nothing comes behind it.
func (t *transport) startBulk(h frame.Header, header, at int) {
	k := &t.needMore().bulk
	*k = bulk{buf: t.c.e.pool.Get(int(h.Length)), opcode: h.Opcode, masked: h.Masked, mask: h.Mask}
	t.putBulk(copy(k.buf.B[:h.Length], t.buf.B[at:]))
	t.safe = header
}

// inBulk returns the bulk that is coming in, nil if there is none.
func (t *transport) inBulk() *bulk {
	if t.more == nil || t.more.bulk.buf == nil {
		return nil
	}
	return &t.more.bulk
}

// rest is the memory for at most so many bytes of what is still to come of the bulk, and the
// room behind it: with the last bytes of a bulk come the first of what follows, and there is
// no need to ask whether there is more.
func (k *bulk) rest(most int) []byte {
	b := k.buf.B[len(k.buf.B):cap(k.buf.B)]
	return b[:min(len(b), most, bulkRead)]
}

// addBulk takes n bytes that have been read into the bulk's rest. When all of it is there,
// its stand-in is in the buffer, and what came behind it.
func (t *transport) addBulk(n int) {
	k := &t.more.bulk
	fresh := k.rest(n)
	t.c.tap(fresh)
	own := int(min(int64(n), t.scanner.Remaining()))
	t.putBulk(own)
	if t.fault != nil {
		t.overlook(fresh[own:])
		return
	}
	if t.scanner.Remaining() > 0 {
		return
	}
	t.buf = t.c.e.pool.Get(frame.MaxHeaderSize + n - own)
	t.buf.B = frame.AppendHeader(t.buf.B, frame.Header{Fin: true, Opcode: k.opcode, Masked: k.masked})
	from := len(t.buf.B)
	t.buf.B = append(t.buf.B, fresh[own:]...)
	t.pos, t.cut, t.safe = 0, from, from
	t.more.whole, k.buf = k.buf, nil
	t.scan(from)
}

// putBulk unmasks and checks n bytes at the bulk's rest.
func (t *transport) putBulk(n int) {
	k := &t.more.bulk
	have := len(k.buf.B)
	k.buf.B = k.buf.B[:have+n]
	piece := k.buf.B[have:]
	if k.masked {
		k.phase = frame.Mask(piece, k.mask, k.phase)
	}
	t.scanner.Skip(int64(n))
	if text := &t.more.text; text.on && !text.check.valid(piece, t.scanner.Remaining() == 0) {
		t.fault = frame.ErrInvalidUTF8
	}
}

// takeBulk returns the payload that the next message lacks: that of a bulk which is whole.
// nil: it lacks none.
func (t *transport) takeBulk() *frame.Buffer {
	if t.more == nil {
		return nil
	}
	whole := t.more.whole
	t.more.whole = nil
	return whole
}

// dropBulk gives back what will not become a message.
func (t *transport) dropBulk() {
	if m := t.more; m != nil {
		t.c.e.pool.Put(m.bulk.buf)
		t.c.e.pool.Put(m.whole)
		m.bulk.buf, m.whole = nil, nil
	}
}
