package deflate

import (
	"errors"
	"io"
	"math"
)

// Grow makes room for more of an inflated message. It returns a slice that
// begins with the bytes of old and has room for need bytes altogether; more is
// used, less will do as long as it is more than old has. nil refuses. It may
// reuse old's memory, which Inflate does not touch again then.
type Grow func(old []byte, need int) []byte

const (
	// ratioGrace is the output in bytes that no ratio forbids: short messages
	// of one repeated byte are not bombs.
	ratioGrace = 4 << 10

	// minStep is the least that Grow is asked for at once, in bytes.
	minStep = 512
)

// Inflate appends the message that src holds to dst: all its frames' payload,
// without the 00 00 ff ff that the sender has cut off (RFC 7692 §7.2.2). It
// uses dst's spare capacity, then what grow gives; a nil grow is Go's append.
//
// limit is the most bytes that a message may inflate to; there is no value for
// "any". maxRatio, if over 0, is the most that it may inflate to per byte of
// src, over 4 KiB that are always allowed; DEFLATE itself ends at 1032. Memory
// is asked for when there is a byte to put in it: for as much again as the
// message has so far, at least len(src) and 512, never for more than the limit.
//
// Errors: ErrTooBig, ErrCorrupt, ErrNoMemory. dst is then returned at its
// original length, but in the memory that grow has given last. src is not kept.
//
// A message that was cut short is ErrCorrupt, unless what is left is a message,
// too; of Huffman codes made for it, this cannot be told for certain. A message
// whose last bytes look like those that check it takes twice as long.
//
// A block with BFINAL set may be followed by others (§7.2.3.4): they begin at
// the next byte, and cannot refer to what was before, as with zlib.
func Inflate(dst, src []byte, limit, maxRatio int, grow Grow) ([]byte, error) {
	if grow == nil {
		grow = appendGrow
	}
	f := takeInflater()
	defer f.release()
	f.start(src, markedEnd)
	o := output{b: dst, start: len(dst), most: atMost(len(src), limit, maxRatio), step: len(src), grow: grow}
	err := f.into(&o)
	if message := o.b[o.start:]; err == nil && takesEnd(message) && !f.endsInHeader(src, len(message)) {
		err = ErrCorrupt
	}
	if err != nil {
		return o.b[:o.start], err
	}
	return o.b, nil
}

// atMost returns how many bytes n may inflate to.
func atMost(n, limit, maxRatio int) int {
	limit = max(0, limit)
	if maxRatio <= 0 || n > (math.MaxInt-ratioGrace)/maxRatio {
		return limit
	}
	return min(limit, n*maxRatio+ratioGrace)
}

func appendGrow(old []byte, need int) []byte {
	return append(make([]byte, 0, need), old...)
}

// output is the message as far as it is inflated: b[start:].
type output struct {
	b           []byte
	start, most int
	step        int
	grow        Grow
}

// room is the spare capacity that may be used.
func (o *output) room() []byte {
	n := len(o.b)
	return o.b[n : n+min(cap(o.b)-n, o.most-(n-o.start))]
}

// more makes room for at least one byte.
func (o *output) more() error {
	have := len(o.b) - o.start
	if have >= o.most {
		return ErrTooBig
	}
	step := min(max(minStep, o.step, have), o.most-have)
	grown := o.grow(o.b, len(o.b)+step)
	if cap(grown) <= len(o.b) {
		return ErrNoMemory
	}
	o.b = grown[:len(o.b)]
	return nil
}

// into inflates until the message ends. When the room is used up it asks for
// one byte first: only if there is one, more room is needed, or the message too big.
func (f *inflater) into(o *output) error {
	if err := f.hold(); err != nil {
		return err
	}
	for {
		room := o.room()
		full := len(room) == 0
		if full {
			room = f.scratch[:1]
		}
		n, err := f.read(room)
		if full && n > 0 {
			if err := o.more(); err != nil {
				return err
			}
			o.b = append(o.b, f.scratch[0])
		} else {
			o.b = o.b[:len(o.b)+n]
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
