package engine

import "github.com/penstock-ws/penstock/frame"

// A bucket is a token bucket: it fills with rate tokens a second, up to its size,
// of which it knows what is missing. The zero value is full.
type bucket struct {
	used int32
	at   uint32 // engine clock, in milliseconds
}

// take takes n tokens; false: there are not so many. Neither rate nor size may be
// beyond 31 bits.
func (b *bucket) take(n, rate, size, now int64) bool {
	at := uint32(now / 1e6)
	if refill := int64(at-b.at) * rate / 1000; refill > 0 {
		b.at = at
		b.used = int32(max(0, int64(b.used)-refill))
	}
	if int64(b.used)+n > size {
		return false
	}
	b.used += int32(n)
	return true
}

// meterFrame holds a frame against the rates that one connection may have, and ends
// it if one is exceeded.
func (t *transport) meterFrame(h frame.Header) bool {
	cfg, now := &t.c.e.cfg, t.c.e.clock.now()
	switch {
	case h.Opcode == frame.Close:
	case h.Opcode.IsControl():
		if rate := int64(cfg.ControlFramesPerSecond); rate > 0 && !t.controls.take(1, rate, rate, now) {
			return t.exceeds("too many control frames")
		}
	default:
		if h.Opcode != frame.Continuation {
			t.started++
			if rate := int64(cfg.MessagesPerSecond); rate > 0 && !t.needMore().messages.take(1, rate, rate, now) {
				return t.exceeds("too many messages")
			}
		}
		if rate := int64(cfg.BytesPerSecond); rate > 0 && !t.needMore().bytes.take(h.Length, rate, max(rate, int64(cfg.MaxMessageBytes)), now) {
			return t.exceeds("too many bytes")
		}
	}
	return true
}

// exceeds ends the connection of a peer that sends too much.
func (t *transport) exceeds(reason string) bool {
	t.needMore().refused = &CloseError{Code: frame.ClosePolicyViolation, Reason: reason, Cause: CauseLimit}
	t.fault = errLimit
	return false
}

// errLimit stands in a transport's fault for what more.refused says.
var errLimit = &frame.Error{Code: frame.ClosePolicyViolation, Reason: "limit exceeded", Section: "RFC 6455 §7.4.1"}

// A slowness is how long the reader has waited for the message that is coming in.
// It is guarded by the connection's mu.
type slowness struct {
	message uint64 // transport.started
	waited  int64  // nanoseconds, before the wait under way
	since   int64  // engine clock when that began; 0: no message is coming in
	got     int64  // bytes, before it
	from    int64  // transport.total when the message began
}

// noteWaitLocked is called before the reader waits for the socket. The time in
// which it does not wait is not the peer's fault.
func (c *Conn) noteWaitLocked() {
	t, s := &c.transport, c.slow
	if t.fault != nil || t.scanner.AtBoundary() && !t.scanner.InMessage() {
		if s != nil {
			*s = slowness{}
		}
		return
	}
	if s == nil {
		s = new(slowness)
		c.slow = s
	}
	now := c.e.clock.now()
	if s.since == 0 || s.message != t.started {
		*s = slowness{message: t.started, since: now, from: t.total}
		return
	}
	s.waited += max(0, t.lastWait-s.since)
	s.since = now
	s.got = t.total - s.from
}

// slowGrace is how long a message may take whatever its rate: a second of silence
// on a mobile network is no attack.
const slowGrace = 10e9

// tooSlow reports whether the message that is coming in does so below rate.
func (s *slowness) tooSlow(rate int, now int64) bool {
	if s == nil || s.since == 0 || rate <= 0 {
		return false
	}
	elapsed := s.waited + now - s.since - slowGrace
	return elapsed > 0 && float64(s.got) < float64(elapsed)/1e9*float64(rate)
}
