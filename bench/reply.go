package bench

import (
	"bytes"
	"errors"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// input takes bytes that the server sent, in any split, at the time now. It
// keeps no payload: replies are compared as they come.
func (f *flow) input(b []byte, now int64, rec *recorder) *failure {
	for len(b) > 0 {
		if left := f.scanner.Remaining(); left > 0 {
			n := int(min(left, int64(len(b))))
			if err := f.body(b[:n]); err != nil {
				return err
			}
			f.scanner.Skip(int64(n))
			b = b[n:]
		} else {
			h, n, ok, err := f.scanner.Next(b)
			if err != nil {
				return f.refused(err)
			}
			if !ok {
				return nil
			}
			if err := f.begin(h); err != nil {
				return err
			}
			b = b[n:]
		}
		if f.scanner.Remaining() == 0 {
			if err := f.end(now, rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// refused makes a failure of the scanner's verdict.
func (f *flow) refused(err error) *failure {
	if err == frame.ErrMessageTooBig {
		return failf(FailureSize, "a reply is larger than the %d bytes sent", len(f.pattern))
	}
	return failf(FailureProtocol, "%v", err)
}

// begin judges a frame by its header.
func (f *flow) begin(h frame.Header) *failure {
	f.opening = h
	switch {
	case h.Opcode.IsControl():
		f.inbound = f.inbound[:0]
		return nil
	case f.done == f.next:
		return failf(FailureUnasked, "a %v message of %d bytes or more came when all %d had been answered", h.Opcode, h.Length, f.done)
	case h.Opcode == frame.Continuation:
		return nil
	case h.Opcode != f.opcode:
		return failf(FailureOpcode, "a %v message was answered with %v", f.opcode, h.Opcode)
	}
	f.pos = 0
	f.inflate, f.packed = h.RSV&frame.RSV1 != 0, f.packed[:0]
	return nil
}

// body takes the next bytes of the current frame's payload.
func (f *flow) body(b []byte) *failure {
	if f.opening.Opcode.IsControl() {
		f.inbound = append(f.inbound, b...)
		return nil
	}
	if f.inflate {
		f.packed = append(f.packed, b...)
		return nil
	}
	return f.compare(b)
}

// compare takes the next bytes of a reply.
func (f *flow) compare(b []byte) *failure {
	if f.pos+len(b) > len(f.pattern) { // where compression is agreed upon the scanner allows for more
		return f.refused(frame.ErrMessageTooBig)
	}
	pos := f.pos
	f.pos += len(b)
	if digits := min(numberBytes, len(f.pattern)); pos < digits {
		n := copy(f.number[pos:digits], b)
		if f.pos >= digits && f.number != f.due(digits) {
			return f.misnumbered(digits)
		}
		pos += n
		b = b[n:]
	}
	if !bytes.Equal(b, f.pattern[pos:pos+len(b)]) {
		return failf(FailureContent, "reply %d differs from what was sent, at byte %d or after", f.done, pos)
	}
	return nil
}

// due returns the number that the next reply must have, as far as it goes.
func (f *flow) due(digits int) [numberBytes]byte {
	want := spelled(f.base + f.done)
	clear(want[digits:])
	return want
}

// misnumbered says what the number of a wrong reply tells.
func (f *flow) misnumbered(digits int) *failure {
	got, ok := unspell(f.number, digits)
	if !ok {
		return failf(FailureContent, "reply %d differs from what was sent, in its first %d bytes", f.done, digits)
	}
	gap := numberGap(got, f.base+f.done, digits)
	if gap > 0 {
		return failf(FailureSequence, "reply %d came when %d was due: lost or out of order", int64(f.done)+gap, f.done)
	}
	return failf(FailureSequence, "reply %d came when %d was due: doubled, late or not this connection's", int64(f.done)+gap, f.done)
}

// end completes a frame.
func (f *flow) end(now int64, rec *recorder) *failure {
	switch {
	case f.opening.Opcode == frame.Ping:
		// One pong on its way answers them all (RFC 6455 §5.5.3).
		if len(f.control.rest()) == 0 {
			f.control.add(frame.Pong, f.inbound)
		}
	case f.opening.Opcode == frame.Close:
		return f.closed()
	case f.opening.Opcode.IsData() && f.opening.Fin:
		return f.answered(now, rec)
	}
	return nil
}

// answered completes a reply.
func (f *flow) answered(now int64, rec *recorder) *failure {
	if f.inflate {
		if fail := f.unpack(); fail != nil {
			return fail
		}
	}
	if f.pos != len(f.pattern) {
		return failf(FailureSize, "reply %d has %d bytes; %d were sent", f.done, f.pos, len(f.pattern))
	}
	if f.source.packed && !f.inflate {
		rec.plain()
	}
	due := f.sentAt[f.done%f.slots]
	rec.reply(f.group, now-due)
	if rec.late && f.stage == stageRunning && f.pace.open() {
		rec.owe(f.group, due) // as drain would, had the reply come after it
	}
	if f.arrived(f.done) {
		rec.complete(f.group)
	}
	f.done++
	f.settle()
	return nil
}

// unpack inflates a compressed reply and compares it.
func (f *flow) unpack() *failure {
	var err error
	f.unpacked, err = deflate.Inflate(f.unpacked[:0], f.packed, len(f.pattern), 0, nil)
	switch {
	case errors.Is(err, deflate.ErrTooBig):
		return f.refused(frame.ErrMessageTooBig)
	case err != nil:
		return failf(FailureProtocol, "reply %d: %v", f.done, err)
	}
	return f.compare(f.unpacked)
}

// closed takes the server's close frame, which is welcome only as an answer.
func (f *flow) closed() *failure {
	code, reason, err := frame.ParseClose(f.inbound)
	if err != nil {
		return failf(FailureProtocol, "%v", err)
	}
	if f.stage != stageClosing {
		return failf(FailureClosed, "the server closed with %v %q after %d replies", code, reason, f.done)
	}
	f.stage = stageClosed
	return nil
}

// ended judges that the connection is over: cut says how the socket said so,
// nil at an orderly end. Nothing is owed once the flow is closing.
func (f *flow) ended(cut error) *failure {
	switch {
	case f.stage >= stageClosing:
		f.stage = stageClosed
		return nil
	case cut == nil:
		return failf(FailureClosed, "the server hung up without a close frame after %d replies", f.done)
	}
	return failf(FailureNetwork, "%v after %d replies", cut, f.done)
}

// unanswered tells what is still owed when time is up.
func (f *flow) unanswered() *failure {
	if f.done == f.next {
		return nil
	}
	return failf(FailureUnanswered, "%d messages never came back, from number %d on", f.next-f.done, f.done)
}
