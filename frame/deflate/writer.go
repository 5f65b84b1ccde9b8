package deflate

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/flate"
)

// syncTail ends every sync flush: it is what follows the header of an empty
// block without compression (RFC 1951 §3.2.4), and what a message goes without
// (RFC 7692 §7.2.1).
const syncTail = "\x00\x00\xff\xff"

// Writer compresses a message that arrives in pieces: Append for each, then
// Finish. It belongs to one goroutine at a time. It holds 0.3 to 1.2 MiB,
// depending on the level; take it when there is something to send, and
// give it back with Close.
type Writer struct {
	kind  int
	flate *flate.Writer
	out   sink
	begun bool // flate has seen something of a message
}

// NewWriter takes a Writer from a pool, or makes one. level is as in
// compress/flate: 1 to 9, 0 for none, -1 for the default, -2 for Huffman codes
// only. bits is the window, 8 to 15; below 15 the library knows one level of
// matching (about 5), which stands in for 1 to 9 and -1. Anything else panics.
func NewWriter(level, bits int) *Writer {
	return takeWriter(kindOf(level, bits))
}

// Append compresses piece and appends to dst what output there is so far, which
// may be nothing. dst and piece must not overlap; neither is kept.
func (w *Writer) Append(dst, piece []byte) []byte {
	w.begun = true
	w.out.b = dst
	_, _ = w.flate.Write(piece) // fails only if the sink does
	return w.out.take()
}

// Flush appends what is needed for the peer to inflate all bytes so far, and
// ends it with 00 00 ff ff; the message goes on (a sync flush in zlib's words).
func (w *Writer) Flush(dst []byte) []byte {
	w.begun = true
	w.out.b = dst
	_ = w.flate.Flush() // see Append
	return w.out.take()
}

// Finish appends the rest of the message: a flush without the 00 00 ff ff at
// its end, which nothing before can have held a part of, because only a flush
// puts it out. An empty message is one byte 0x00 (RFC 7692 §7.2.3.6). The
// Writer is then ready for the next message.
func (w *Writer) Finish(dst []byte) []byte {
	dst = w.Flush(dst)
	w.reset()
	return dst[:len(dst)-len(syncTail)]
}

// Close gives w back, a message that is not finished is forgotten. w must not
// be used afterwards.
func (w *Writer) Close() {
	if w.begun {
		w.reset()
	}
	writers[w.kind].Put(w)
}

func (w *Writer) reset() {
	w.flate.Reset(&w.out)
	w.begun = false
}

// sink is where flate puts its output.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

func (s *sink) take() []byte {
	b := s.b
	s.b = nil // the memory is the caller's
	return b
}

// Kinds of writers: the levels at full window, then the smaller windows.
const (
	minLevel   = flate.HuffmanOnly
	maxLevel   = flate.BestCompression
	smallKinds = maxLevel - minLevel + 1
	kinds      = smallKinds + MaxBits - MinBits
)

var writers [kinds]sync.Pool

// kindOf keeps those apart that compress differently. What finds no matches has
// no window either, so level 0 and -2 are the same for all bits.
func kindOf(level, bits int) int {
	if level < minLevel || level > maxLevel {
		panic(fmt.Sprintf("deflate: level %d; use %d to %d", level, minLevel, maxLevel))
	}
	if bits < MinBits || bits > MaxBits {
		panic(fmt.Sprintf("deflate: window of %d bits; use %d to %d", bits, MinBits, MaxBits))
	}
	if bits == MaxBits || level == flate.NoCompression || level == flate.HuffmanOnly {
		return level - minLevel
	}
	return smallKinds + bits - MinBits
}

func takeWriter(kind int) *Writer {
	if w, ok := writers[kind].Get().(*Writer); ok {
		return w
	}
	w := &Writer{kind: kind}
	var err error
	if kind < smallKinds {
		w.flate, err = flate.NewWriter(&w.out, kind+minLevel)
	} else {
		w.flate, err = flate.NewWriterWindow(&w.out, 1<<(kind-smallKinds+MinBits))
	}
	if err != nil {
		panic("deflate: klauspost/compress has changed its limits: " + err.Error())
	}
	return w
}
