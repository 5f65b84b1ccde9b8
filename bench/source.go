package bench

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// source makes the messages of one connection and knows who has yet to receive
// them: that connection in an echo, every connection in a fan-out.
//
// All its messages are encoded once, into a ring with a slot for each message in
// flight. A message that is complete frees its slot for the one that follows it, so
// sending costs eight bytes of patching, and however many messages a read has set
// free, they leave in one write.
type source struct {
	// immutable
	ring    []byte       // the encoded frames, back to back
	slots   uint64       // frames in ring
	size    uint64       // bytes of a frame
	head    int          // of which is before the number: the header, and what compression adds
	key     uint64       // masking key, twice, from the number's first byte on
	base    uint64       // number of the first message, so that no two sources send the same
	pattern []byte       // a message's payload, but for its number
	opcode  frame.Opcode // of every message
	packed  bool         // they are compressed

	// owned by whoever drives the connections of its flows
	pace      pacer
	next      uint64  // messages handed to pending
	complete  uint64  // messages that every receiver has
	written   uint64  // bytes of messages that the socket has taken
	sentAt    []int64 // per slot: when its message was due to be sent
	waiting   []int   // per slot: receivers that lack its message
	receivers int     // that take part
	over      bool    // no new messages
	lost      bool    // the connection that sends has failed before its time
}

// newSource returns a source for that many receivers. pattern is shared by all
// sources; each reads it from an offset of its own.
func newSource(g Group, receivers int, pattern []byte) *source {
	offset := rand.IntN(len(pattern) - g.PayloadBytes + 1)
	s := &source{
		slots:     uint64(g.InFlight),
		base:      rand.Uint64(),
		pattern:   pattern[offset : offset+g.PayloadBytes],
		opcode:    g.opcode(),
		packed:    g.Compress,
		sentAt:    make([]int64, g.InFlight),
		waiting:   make([]int, g.InFlight),
		receivers: receivers,
	}
	s.encode()
	return s
}

// encode fills the ring.
func (s *source) encode() {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	before, payload := s.payload()
	h := frame.Header{Fin: true, Opcode: s.opcode, Masked: true, Mask: key, Length: int64(len(payload))}
	if s.packed {
		h.RSV = frame.RSV1
	}
	s.head = h.Size() + before
	s.size = uint64(h.Size() + len(payload))
	s.key = uint64(bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*before)) * (1<<32 + 1)
	s.ring = make([]byte, 0, s.size*s.slots)
	for range s.slots {
		s.ring = frame.AppendHeader(s.ring, h)
		start := len(s.ring)
		s.ring = append(s.ring, payload...)
		frame.Mask(s.ring[start:], key, 0)
	}
}

// payload returns what a message is on the wire, and how much of it comes before its
// number. A compressed one has its number in a block of its own that is stored as it
// is (RFC 1951 §3.2.4), so that no message has to be compressed anew.
func (s *source) payload() (before int, payload []byte) {
	if !s.packed {
		return 0, s.pattern
	}
	n := min(numberBytes, len(s.pattern))
	payload = append(payload, 0, byte(n), 0, ^byte(n), 0xff)
	before = len(payload)
	payload = append(payload, s.pattern[:n]...)
	return before, deflate.AppendMessage(payload, s.pattern[n:], 1, deflate.MaxBits)
}

// ready reports whether a message has been completed since the last fill, or no
// more are to come.
func (s *source) ready() bool { return s.over || s.next < s.complete+s.slots }

// fill puts a new message that is due into every slot that is free.
func (s *source) fill(now int64) {
	if s.over {
		return
	}
	for s.next < s.complete+s.slots {
		due, ok := s.pace.take(now)
		if !ok {
			return
		}
		slot := s.next % s.slots
		s.stamp(s.ring[slot*s.size+uint64(s.head):])
		s.sentAt[slot] = due
		s.waiting[slot] = s.receivers
		s.next++
	}
}

// stamp writes the number of the next message into its masked payload.
func (s *source) stamp(payload []byte) {
	masked := spell(s.base+s.next) ^ s.key
	if len(s.pattern) >= numberBytes {
		binary.LittleEndian.PutUint64(payload, masked)
		return
	}
	for i := range s.pattern {
		payload[i] = byte(masked >> (8 * i))
	}
}

// arrived takes note that one more receiver has message n, or will do without;
// it returns true if that was the last. Receivers get messages in order, so
// messages are complete in order, too.
func (s *source) arrived(n uint64) bool {
	slot := n % s.slots
	s.waiting[slot]--
	if s.waiting[slot] > 0 {
		return false
	}
	s.complete++
	return true
}

// wake returns when there is something to fill that no reply will tell of.
func (s *source) wake() (at int64, ok bool) {
	return s.pace.at, s.pace.open() && !s.over && s.next < s.complete+s.slots
}

// owed calls count for each message that was due until end and has not come, with the
// time at which it was. Nothing more is due afterwards.
func (s *source) owed(end int64, count func(due int64)) {
	if !s.pace.open() || s.over {
		return
	}
	for n := s.complete; n < s.next; n++ {
		count(s.sentAt[n%s.slots])
	}
	for due, ok := s.pace.take(end); ok; due, ok = s.pace.take(end) {
		count(due)
	}
}

// forgo takes out a receiver that has got the messages before n.
func (s *source) forgo(n uint64) {
	s.receivers--
	for ; n < s.next; n++ {
		s.arrived(n)
	}
}

// unwritten is how many bytes of messages the socket has yet to take.
func (s *source) unwritten() uint64 { return s.next*s.size - s.written }

// encoded returns them, in up to two pieces.
func (s *source) encoded() (a, b []byte) {
	from, n := s.written%(s.size*s.slots), s.unwritten()
	if wrap := from + n; wrap > uint64(len(s.ring)) {
		return s.ring[from:], s.ring[:wrap-uint64(len(s.ring))]
	}
	return s.ring[from : from+n], nil
}
