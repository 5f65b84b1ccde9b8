package frame

import "fmt"

// Scanner follows one direction of a connection's byte stream, finds the frame
// headers in it and refuses what violates the protocol or a limit, before
// anything has been allocated for it. It never sees payload as more than a
// number of bytes to pass over.
//
// The result does not depend on how the stream is split into calls. A Scanner
// belongs to one goroutine at a time; it allocates nothing. It is made by
// NewScanner; the zero value is not usable.
type Scanner struct {
	rules     *Rules
	err       *Error // sticky
	remaining int64  // payload bytes of the current frame not yet seen
	message   int64  // payload bytes announced by the open message's frames
	fragments int32  // frames of the open message
	partial   [MaxHeaderSize]byte
	have      uint8 // bytes in partial; 0 unless a header was split between calls
	open      bool  // a data message lacks its final frame
	lifted    bool  // no limit holds any more
}

// Rules are what a Scanner enforces beyond the frame format. One value is
// shared by all connections with the same configuration; it must not change
// while a Scanner uses it. The zero value reads a server's frames without limits.
type Rules struct {
	// ExpectMask is true for a server reading a client's frames, which must
	// all be masked; a server's must not be (RFC 6455 §5.1).
	ExpectMask bool

	// AllowRSV holds the RSV bits that an extension has claimed: they may be
	// set on the first frame of a data message (RFC 7692 §6), never elsewhere.
	AllowRSV byte

	// MaxMessage is the limit for a message's payload on the wire, in bytes
	// over all its fragments; the frame whose header announces more is refused
	// with ErrMessageTooBig (1009). 0: no limit.
	MaxMessage int64

	// MaxFragments is the limit for the frames of one message, empty ones
	// included; one more is refused with ErrTooManyFragments (1008). 0: no limit.
	MaxFragments int
}

// NewScanner returns a Scanner at the start of a stream. r is kept, not
// copied; nil stands for the zero Rules.
func NewScanner(r *Rules) Scanner {
	if r == nil {
		r = new(Rules)
	}
	return Scanner{rules: r}
}

// Next takes the stream's next bytes: it passes over the rest of the current
// frame's payload, then reads a header.
//
//   - ok: h has been completed; n bytes of b were consumed, up to the header's
//     end. Call again with b[n:].
//   - !ok and err == nil: all of b was consumed; n == len(b).
//   - err, an *Error: a frame violates the rules. n is the offset in b at which
//     its header begins, 0 if that was in an earlier call. Bytes before n are
//     good. The error comes as soon as a byte decides it, and stays.
func (s *Scanner) Next(b []byte) (h Header, n int, ok bool, err error) {
	if s.err != nil {
		return Header{}, 0, false, s.err
	}
	if s.remaining > 0 {
		n = int(min(s.remaining, int64(len(b))))
		s.remaining -= int64(n)
	}
	rest := b[n:]
	if len(rest) == 0 {
		return Header{}, n, false, nil
	}
	if s.have > 0 || len(rest) < 2 || len(rest) < headerSize(rest[1]) {
		return s.nextSplit(b, n)
	}
	if e := s.check(rest); e != nil {
		s.err = e
		return Header{}, n, false, e
	}
	n += h.decode(rest)
	s.accept(&h)
	return h, n, true, nil
}

// Remaining returns the payload bytes of the current frame not yet seen.
func (s *Scanner) Remaining() int64 { return s.remaining }

// Skip tells the scanner that the next n payload bytes of the current frame
// went elsewhere and will not come through Next. More than Remaining, or less
// than 0, is the caller's mistake and panics.
func (s *Scanner) Skip(n int64) {
	if n < 0 || n > s.remaining {
		panic(fmt.Sprintf("frame: Scanner.Skip(%d) with %d payload bytes remaining; skip at most Remaining()", n, s.remaining))
	}
	s.remaining -= n
}

// Lift has no limit hold any more, MaxMessage and MaxFragments: it is for a stream whose
// messages are for nobody, but whose frames still count. If a limit was the error, the
// scanner stands before the header that Next has refused, and all of that is to come again.
// What violates the protocol stays one.
func (s *Scanner) Lift() {
	s.lifted = true
	if s.err == ErrMessageTooBig || s.err == ErrTooManyFragments {
		s.err, s.have = nil, 0
	}
}

// AtBoundary reports whether the stream stands between two frames: no partial
// header, no payload outstanding. After an error it is false for good.
func (s *Scanner) AtBoundary() bool {
	return s.remaining == 0 && s.have == 0 && s.err == nil
}

// InMessage reports whether a fragmented data message lacks its final frame.
// It turns with the header of the first and of the final frame, not with their payload.
func (s *Scanner) InMessage() bool { return s.open }

// nextSplit reads a header that is not whole in b[start:]: it began in an
// earlier call (then start is 0), or it will end in a later one.
func (s *Scanner) nextSplit(b []byte, start int) (h Header, n int, ok bool, err error) {
	for n = start; n < len(b); {
		s.partial[s.have] = b[n]
		s.have++
		n++
		p := s.partial[:s.have]
		if e := s.check(p); e != nil {
			s.err = e
			return Header{}, start, false, e
		}
		if len(p) >= 2 && len(p) == headerSize(p[1]) {
			h.decode(p)
			s.have = 0
			s.accept(&h)
			return h, n, true, nil
		}
	}
	return Header{}, n, false, nil
}

// check judges a header by its first bytes, one or more; p may go on behind
// the header. The split and the whole path both end here, and a byte's own
// checks come before those of later bytes: so the verdict is the same for
// every split.
func (s *Scanner) check(p []byte) *Error {
	if e := s.checkFirst(p[0]); e != nil || len(p) == 1 {
		return e
	}
	if e := s.checkSecond(p[0], p[1]); e != nil {
		return e
	}
	length, e := lengthBound(p)
	if e != nil {
		return e
	}
	// message is at most MaxMessage, so that the difference cannot overflow, until lifted.
	if limit := s.rules.MaxMessage; limit > 0 && length > limit-s.message && !isControl(p[0]) && !s.lifted {
		return ErrMessageTooBig
	}
	return nil
}

// checkFirst judges a header's first byte: FIN, RSV and opcode.
func (s *Scanner) checkFirst(b0 byte) *Error {
	var allowRSV byte
	switch Opcode(b0 & opcodeBits) {
	case Text, Binary:
		if s.open {
			return ErrExpectedContinuation
		}
		allowRSV = s.rules.AllowRSV
	case Continuation:
		if !s.open {
			return ErrUnexpectedContinuation
		}
		if limit := s.rules.MaxFragments; limit > 0 && int(s.fragments) >= limit && !s.lifted {
			return ErrTooManyFragments
		}
	case Close, Ping, Pong:
		if b0&finBit == 0 {
			return ErrFragmentedControl
		}
	default:
		return ErrUnknownOpcode
	}
	if b0&rsvBits&^allowRSV != 0 {
		return ErrReservedBits
	}
	return nil
}

// checkSecond judges the mask bit and, for control frames, the length code.
func (s *Scanner) checkSecond(b0, b1 byte) *Error {
	if masked := b1&maskBit != 0; masked != s.rules.ExpectMask {
		if masked {
			return ErrMasked
		}
		return ErrUnmasked
	}
	if isControl(b0) && b1&lengthBits > MaxControlPayload {
		return ErrControlTooLong
	}
	return nil
}

// accept takes note of a header that passed check.
func (s *Scanner) accept(h *Header) {
	s.remaining = h.Length
	if h.Opcode.IsControl() {
		return
	}
	if h.Fin {
		s.open, s.message, s.fragments = false, 0, 0
		return
	}
	s.open = true
	s.message += h.Length // wraps only without a limit, and then nobody reads it
	s.fragments++
}

// isControl reports whether a header's first byte is that of a control frame
// (RFC 6455 §5.5: the opcode's high bit).
func isControl(b0 byte) bool { return b0&0x08 != 0 }
