package bench

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/penstock-ws/penstock/frame"
)

// flow is one connection's side of the closed loop, without its socket: the
// driver hands it what was read and writes what it has pending.
//
// All its messages are encoded once, into a ring with a slot for each message in
// flight. A reply frees its slot for the message that follows it, so sending costs
// eight bytes of patching, and however many messages a read has set
// free, they leave in one write.
type flow struct {
	// immutable
	ring    []byte       // the encoded frames, back to back
	slots   uint64       // frames in ring
	size    uint64       // bytes of a frame
	head    int          // of which header
	key     uint64       // masking key, twice
	base    uint64       // number of the first message, so that no two connections send the same
	pattern []byte       // a message's payload, but for its number
	opcode  frame.Opcode // of every message

	// owned by whoever drives the connection
	stage   stage
	next    uint64        // messages handed to pending
	done    uint64        // replies, all of them in order
	written uint64        // bytes of messages that the socket has taken
	sentAt  []int64       // per slot: when its message was due to be sent
	control controlWriter // pong and close frames on their way out

	controlTurn bool // what pending returned last came from control

	scanner frame.Scanner
	opening frame.Header      // of the frame being read
	pos     int               // payload bytes of the reply seen so far
	number  [numberBytes]byte // its number, as far as it has come
	inbound []byte            // payload of the control frame being read
}

// stage is how far a flow's life has come.
type stage uint8

const (
	stageRunning  stage = iota // every reply makes a new message
	stageDraining              // no new messages
	stageClosing               // all answered; a close frame is on its way
	stageClosed                // the server has answered it
)

// newFlow returns a flow whose replies are checked by rules. pattern is shared
// by all flows; each reads it from an offset of its own.
func newFlow(cfg Echo, rules *frame.Rules, pattern []byte) *flow {
	offset := rand.IntN(len(pattern) - cfg.PayloadBytes + 1)
	f := &flow{
		slots:   uint64(cfg.InFlight),
		base:    rand.Uint64(),
		pattern: pattern[offset : offset+cfg.PayloadBytes],
		opcode:  cfg.opcode(),
		sentAt:  make([]int64, cfg.InFlight),
		scanner: frame.NewScanner(rules),
	}
	f.encode()
	return f
}

// newPattern returns text from which payloads of n bytes are cut. Its period
// does not divide into the offsets that newFlow chooses from.
func newPattern(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return bytes.Repeat([]byte(letters), n/len(letters)+2)
}

// encode fills the ring.
func (f *flow) encode() {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	f.key = uint64(binary.LittleEndian.Uint32(key[:])) * (1<<32 + 1)
	h := frame.Header{Fin: true, Opcode: f.opcode, Masked: true, Mask: key, Length: int64(len(f.pattern))}
	f.head = h.Size()
	f.size = uint64(f.head + len(f.pattern))
	f.ring = make([]byte, 0, f.size*f.slots)
	for range f.slots {
		f.ring = frame.AppendHeader(f.ring, h)
		start := len(f.ring)
		f.ring = append(f.ring, f.pattern...)
		frame.Mask(f.ring[start:], key, 0)
	}
}

// refill sends a new message for each one that was answered. They are due now:
// what their writing takes is part of their latency.
func (f *flow) refill(now int64) {
	if f.stage != stageRunning {
		return
	}
	for f.next < f.done+f.slots {
		slot := f.next % f.slots
		f.stamp(f.ring[slot*f.size+uint64(f.head):])
		f.sentAt[slot] = now
		f.next++
	}
}

// stamp writes the number of the next message into its masked payload.
func (f *flow) stamp(payload []byte) {
	masked := spell(f.base+f.next) ^ f.key
	if len(f.pattern) >= numberBytes {
		binary.LittleEndian.PutUint64(payload, masked)
		return
	}
	for i := range f.pattern {
		payload[i] = byte(masked >> (8 * i))
	}
}

// drain ends the sending of messages; the flow says goodbye once all are answered.
func (f *flow) drain() {
	if f.stage == stageRunning {
		f.stage = stageDraining
	}
	f.settle()
}

// settle sends the close frame when a draining flow has nothing in flight.
func (f *flow) settle() {
	if f.stage == stageDraining && f.done == f.next {
		f.stage = stageClosing
		f.control.add(frame.Close, frame.AppendClose(nil, frame.CloseNormal, ""))
	}
}

// pending returns what is to be written next, in up to two pieces. Replies may
// come, and more be pending, before wrote tells how much of it was taken.
func (f *flow) pending() (a, b []byte) {
	from, n := f.written%(f.size*f.slots), f.next*f.size-f.written
	f.controlTurn = n == 0 || f.control.started()
	if f.controlTurn {
		return f.control.rest(), nil
	}
	if wrap := from + n; wrap > uint64(len(f.ring)) {
		return f.ring[from:], f.ring[:wrap-uint64(len(f.ring))]
	}
	return f.ring[from : from+n], nil
}

// wrote takes note that the socket took n bytes of what pending returned.
func (f *flow) wrote(n int) {
	if f.controlTurn {
		f.control.sent += n
		return
	}
	f.written += uint64(n)
}

// controlWriter holds control frames until they are written. They go out
// between messages: when all of them have been written, or none in part.
type controlWriter struct {
	frames []byte
	sent   int
}

func (c *controlWriter) add(op frame.Opcode, payload []byte) {
	if len(c.rest()) == 0 {
		c.frames, c.sent = c.frames[:0], 0
	}
	// A mask of zero is a mask; a load generator hides nothing from proxies.
	c.frames = frame.AppendHeader(c.frames, frame.Header{Fin: true, Opcode: op, Masked: true, Length: int64(len(payload))})
	c.frames = append(c.frames, payload...)
}

func (c *controlWriter) rest() []byte  { return c.frames[c.sent:] }
func (c *controlWriter) started() bool { return c.sent > 0 && c.sent < len(c.frames) }
