package bench

import "github.com/penstock-ws/penstock/frame"

// flow is one connection's side of the closed loop, without its socket: the
// driver hands it what was read and writes what it has pending.
type flow struct {
	*source // of the messages that come back: the flow's own, or one that a fan-out's flows share

	// immutable
	sends bool // the source's messages leave on this connection
	group int  // of its connection

	// owned by whoever drives the connection
	stage   stage
	done    uint64        // replies, all of them in order
	control controlWriter // pong and close frames on their way out

	controlTurn bool // what pending returned last came from control

	scanner frame.Scanner
	opening frame.Header      // of the frame being read
	pos     int               // payload bytes of the reply seen so far
	number  [numberBytes]byte // its number, as far as it has come
	inbound []byte            // payload of the control frame being read

	inflate  bool   // the reply being read is compressed
	packed   []byte // as far as it has come
	unpacked []byte // what the last one was
}

// stage is how far a flow's life has come.
type stage uint8

const (
	stageRunning  stage = iota // every reply makes a new message
	stageDraining              // no new messages
	stageClosing               // all answered; a close frame is on its way
	stageClosed                // the server has answered it
)

// newFlow returns a flow that receives what src sends, checked by rules.
func newFlow(src *source, sends bool, rules *frame.Rules) *flow {
	return &flow{source: src, sends: sends, scanner: frame.NewScanner(rules)}
}

// refill sends a new message for each one that is complete. They are due now:
// what their writing takes is part of their latency.
func (f *flow) refill(now int64) {
	if !f.sends {
		return
	}
	if f.stage == stageRunning {
		f.fill(now)
	}
	f.settle()
}

// leave takes a flow that has failed out of the reckoning: nobody waits for it
// any longer. Without the one that sends there is nothing left to come, and the
// others are not to blame; but when time is up, each answers for itself.
func (f *flow) leave(why *failure) {
	f.forgo(f.done)
	if f.sends {
		f.over, f.lost = true, why.kind != FailureUnanswered
	}
}

// drain ends the sending of messages; the flow says goodbye once all are answered.
func (f *flow) drain(rec *recorder) {
	if end, ok := rec.window.ended(); ok {
		f.owed(end, func(due int64) { rec.owe(f.group, due) })
	}
	f.over = true
	if f.stage == stageRunning {
		f.stage = stageDraining
	}
	f.settle()
}

// settle sends the close frame when a draining flow is owed nothing. The one that
// sends stays until all have received all.
func (f *flow) settle() {
	if f.stage == stageDraining && f.done == f.next && (!f.sends || f.complete == f.next) {
		f.stage = stageClosing
		f.control.add(frame.Close, frame.AppendClose(nil, frame.CloseNormal, ""))
	}
}

// pending returns what is to be written next, in up to two pieces. Replies may
// come, and more be pending, before wrote tells how much of it was taken.
func (f *flow) pending() (a, b []byte) {
	f.controlTurn = !f.sends || f.unwritten() == 0 || f.control.started()
	if f.controlTurn {
		return f.control.rest(), nil
	}
	return f.encoded()
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
