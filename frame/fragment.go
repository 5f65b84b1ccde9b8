package frame

// Fragmenter cuts one message into frames (RFC 6455 §5.4). It copies nothing:
// the fragments alias the payload. It allocates nothing.
type Fragmenter struct {
	rest []byte
	max  int
	op   Opcode
	done bool
}

// NewFragmenter cuts payload into fragments of max bytes, the last one shorter;
// max <= 0 makes one of it, and so does a control opcode, which must not be
// fragmented (RFC 6455 §5.5).
func NewFragmenter(op Opcode, payload []byte, max int) Fragmenter {
	if max <= 0 || op.IsControl() {
		max = len(payload)
	}
	return Fragmenter{rest: payload, max: max, op: op}
}

// Next returns the next frame's unmasked header, with RSV 0, and its payload;
// ok is false when there are no more. An empty message is one final empty
// frame. A fragment's capacity ends with it: appending does not reach the next.
func (f *Fragmenter) Next() (h Header, fragment []byte, ok bool) {
	if f.done {
		return Header{}, nil, false
	}
	n := min(f.max, len(f.rest))
	fragment = f.rest[:n:n]
	f.rest = f.rest[n:]
	f.done = len(f.rest) == 0
	h = Header{Fin: f.done, Opcode: f.op, Length: int64(n)}
	f.op = Continuation
	return h, fragment, true
}

// Remaining returns the payload bytes not yet handed out.
func (f *Fragmenter) Remaining() int { return len(f.rest) }

// Rest returns the payload not yet handed out. To go on from a copy of it, make
// a new Fragmenter with the opcode Continuation, unless nothing has been handed
// out.
func (f *Fragmenter) Rest() []byte { return f.rest }
