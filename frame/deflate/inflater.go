package deflate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// A message ends in the header of a stored block whose length was cut off
// (RFC 7692 §7.2.1). Appending 00 00 ff ff (§7.2.2) does not show whether it
// does: a message cut short can take the four bytes for data, and be inflated
// to what nobody has sent. So the inflater reads another length, a mark as that
// block's data, and an empty final block; a message is whole only if the mark
// comes out at its end. All ones, the mark is no header of a block, and a
// long row of ones gets few blocks of Huffman codes to its far end.
const (
	markedEnd  = "\x02\x00\xfd\xff" + mark + finalBlock
	mark       = "\xff\xff"
	finalBlock = "\x03\x00"
)

// noTables is a DEFLATE stream of no bytes, whose only block has code tables that say next
// to nothing: the block's end, and one distance, the largest. klauspost/compress (1.20.3)
// goes on with the distance table that it has when a block comes without one, and decodes
// matches with it instead of refusing them. So that no message is decoded by the tables
// of the one before, which was another connection's, this goes before each: the largest
// distance reaches nothing within 24 KiB, and beyond that, or with a table of an earlier
// block of its own, a message only misleads itself. It takes 1 µs.
const noTables = "\x05\xdd\x81\x00\x00\x00\x00\x00\x90\xff\x6b\x25\x00"

// inflater holds about 45 KiB: a window, tables, and a buffer for its input.
// The buffer is what klauspost/compress reads fastest from and to the exact byte.
type inflater struct {
	flate   io.ReadCloser // a flate.Resetter, too
	in      *bufio.Reader
	src     source
	held    [len(mark)]byte // the last bytes of the output so far
	scratch [512]byte
}

// inflaters is shared, an inflater is not: none waits for another's message.
var inflaters = sync.Pool{New: func() any {
	f := &inflater{}
	f.in = bufio.NewReader(&f.src)
	f.flate = flate.NewReader(f.in)
	return f
}}

func takeInflater() *inflater { return inflaters.Get().(*inflater) }

// release gives f back. Its window keeps bytes of the message; a distance that
// reaches them is refused, because start makes the window empty.
func (f *inflater) release() {
	f.src = source{}
	inflaters.Put(f)
}

// start prepares for the message src, followed by end.
func (f *inflater) start(src []byte, end string) {
	f.feed(nil, noTables)
	_, _ = f.flate.Read(f.scratch[:]) // nothing, and its end
	f.feed(src, end)
}

func (f *inflater) feed(src []byte, end string) {
	f.src = source{src, end}
	f.in.Reset(&f.src)
	f.nextStream()
}

// nextStream begins another DEFLATE stream where the last one ended.
func (f *inflater) nextStream() {
	_ = f.flate.(flate.Resetter).Reset(f.in, nil) // never fails
}

// hold fills held, which read takes for granted.
func (f *inflater) hold() error {
	for i := range f.held {
		if n, _ := f.readRaw(f.held[i : i+1]); n == 0 {
			return ErrCorrupt
		}
	}
	return nil
}

// read inflates the message into p, which is not empty, without the mark.
// io.EOF is the end of a whole message; any other error is ErrCorrupt. Both may
// come along with bytes.
func (f *inflater) read(p []byte) (int, error) {
	n, err := f.readRaw(p)
	f.exchange(p[:n])
	if errors.Is(err, io.EOF) && string(f.held[:]) != mark {
		return n, ErrCorrupt
	}
	return n, err
}

// exchange puts what was held before p, and holds what is then at the end.
func (f *inflater) exchange(p []byte) {
	switch n := len(p) - len(f.held); {
	case len(p) == 0:
	case n < 0: // one byte
		p[0], f.held[0], f.held[1] = f.held[0], f.held[1], p[0]
	default:
		last := [len(mark)]byte(p[n:])
		copy(p[len(f.held):], p[:n])
		copy(p, f.held[:])
		f.held = last
	}
}

// readRaw inflates into p, which is not empty, from one stream after the other;
// io.EOF is the end of the last, and of the input.
func (f *inflater) readRaw(p []byte) (int, error) {
	for {
		n, err := f.flate.Read(p)
		switch {
		case err == nil:
			return n, nil
		case !errors.Is(err, io.EOF): // the end of input inside a block is io.ErrUnexpectedEOF
			return n, ErrCorrupt
		case f.in.Buffered()+f.src.len() == 0:
			return n, io.EOF
		}
		f.nextStream()
		if n > 0 {
			return n, nil
		}
	}
}

// takesEnd tells whether the end of the inflated message can be markedEnd's own
// length: a stored block that lacks just as many bytes as markedEnd has before
// its last block swallows them all.
func takesEnd(message []byte) bool {
	return bytes.HasSuffix(message, []byte(markedEnd[:len(syncTail)]))
}

// endsInHeader inflates src again, to size bytes, with the end that RFC 7692
// §7.2.2 has. What has swallowed markedEnd inflates to something else now.
func (f *inflater) endsInHeader(src []byte, size int) bool {
	f.start(src, syncTail+finalBlock)
	for got := 0; got <= size; {
		n, err := f.readRaw(f.scratch[:])
		got += n
		if err != nil {
			return errors.Is(err, io.EOF) && got == size
		}
	}
	return false
}

// source reads a message and what follows it.
type source struct {
	src []byte
	end string
}

func (s *source) len() int { return len(s.src) + len(s.end) }

// Read implements io.Reader.
func (s *source) Read(p []byte) (n int, err error) {
	if len(s.src) > 0 {
		n = copy(p, s.src)
		s.src = s.src[n:]
		return n, nil
	}
	if len(s.end) == 0 {
		return 0, io.EOF
	}
	n = copy(p, s.end)
	s.end = s.end[n:]
	return n, nil
}
