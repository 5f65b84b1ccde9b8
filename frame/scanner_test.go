package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/frame"
)

// scanRow is a stream of bytes and what a Scanner must make of it, however it
// is split. The rows also seed FuzzScanner.
type scanRow struct {
	section string
	name    string
	rules   frame.Rules
	stream  []byte
	events  []frame.Header
	err     *frame.Error
	start   int // with err: offset of the bad frame's header
	decided int // with err: offset of the byte that decides it
	end     scanEnd
}

// scanEnd is the state after a stream without an error.
type scanEnd struct {
	remaining  int64
	inHeader   bool
	openOfText bool // a fragmented message is open
}

var server = frame.Rules{ExpectMask: true}

func limited(message int64, fragments int) frame.Rules {
	return frame.Rules{MaxMessage: message, MaxFragments: fragments}
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func raw(b ...byte) []byte { return b }

func zeros(n int) []byte { return make([]byte, n) }

func head(fin bool, op frame.Opcode, length int64) frame.Header {
	return frame.Header{Fin: fin, Opcode: op, Length: length}
}

func masked(h frame.Header, key ...byte) frame.Header {
	h.Masked, h.Mask = true, [4]byte(key)
	return h
}

func compressed(h frame.Header) frame.Header {
	h.RSV = frame.RSV1
	return h
}

var scanRows = []scanRow{
	{section: "", name: "nothing"},
	{section: "5.7", name: "unmasked hello", stream: []byte("\x81\x05Hello"),
		events: []frame.Header{head(true, frame.Text, 5)}},
	{section: "5.7", name: "masked hello", rules: server, stream: []byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
		events: []frame.Header{masked(head(true, frame.Text, 5), 0x37, 0xfa, 0x21, 0x3d)}},
	{section: "5.7", name: "fragmented hello", stream: []byte("\x01\x03Hel\x80\x02lo"),
		events: []frame.Header{head(false, frame.Text, 3), head(true, frame.Continuation, 2)}},
	{section: "5.7", name: "ping and masked pong key zero", rules: server, stream: []byte("\x89\x81\x00\x00\x00\x00a\x8a\x80\x01\x02\x03\x04"),
		events: []frame.Header{masked(head(true, frame.Ping, 1), 0, 0, 0, 0), masked(head(true, frame.Pong, 0), 1, 2, 3, 4)}},
	{section: "5.2", name: "125 in seven bits", stream: cat(raw(0x82, 125), zeros(125)),
		events: []frame.Header{head(true, frame.Binary, 125)}},
	{section: "5.2", name: "126 in sixteen bits", stream: cat(raw(0x82, 126, 0, 126), zeros(126)),
		events: []frame.Header{head(true, frame.Binary, 126)}},
	{section: "5.2", name: "127 masked, then another", rules: server,
		stream: cat(raw(0x82, 0xfe, 0, 127, 1, 2, 3, 4), zeros(127), raw(0x81, 0x80, 5, 6, 7, 8)),
		events: []frame.Header{masked(head(true, frame.Binary, 127), 1, 2, 3, 4), masked(head(true, frame.Text, 0), 5, 6, 7, 8)}},
	{section: "5.2", name: "256: low byte zero", stream: cat(raw(0x82, 126, 1, 0), zeros(256)),
		events: []frame.Header{head(true, frame.Binary, 256)}},
	{section: "5.2", name: "65535", stream: cat(raw(0x82, 126, 0xff, 0xff), zeros(65535)),
		events: []frame.Header{head(true, frame.Binary, 65535)}},
	{section: "5.2", name: "65536 in 64 bits, then a ping", stream: cat(raw(0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0), zeros(65536), raw(0x89, 0)),
		events: []frame.Header{head(true, frame.Binary, 65536), head(true, frame.Ping, 0)}},
	{section: "5.2", name: "2^31 announced", stream: cat(raw(0x82, 127, 0, 0, 0, 0, 0x80, 0, 0, 0), zeros(3)),
		events: []frame.Header{head(true, frame.Binary, 1<<31)}, end: scanEnd{remaining: 1<<31 - 3}},
	{section: "5.2", name: "2^63-1 announced, masked", rules: server,
		stream: raw(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9, 8, 7, 6, 5),
		events: []frame.Header{masked(head(true, frame.Binary, math.MaxInt64), 9, 8, 7, 6)}, end: scanEnd{remaining: math.MaxInt64 - 1}},
	{section: "5.4", name: "control between fragments, empty fragments",
		stream: raw(0x01, 0, 0x89, 1, 'x', 0x00, 0, 0x8a, 0, 0x80, 0, 0x82, 0),
		events: []frame.Header{
			head(false, frame.Text, 0), head(true, frame.Ping, 1), head(false, frame.Continuation, 0),
			head(true, frame.Pong, 0), head(true, frame.Continuation, 0), head(true, frame.Binary, 0)}},
	{section: "5.4", name: "left open", stream: raw(0x01, 1, 'a'),
		events: []frame.Header{head(false, frame.Text, 1)}, end: scanEnd{openOfText: true}},
	{section: "5.2", name: "left in a header's first half", stream: raw(0x81), end: scanEnd{inHeader: true}},
	{section: "5.2", name: "left in a length", stream: raw(0x82, 127, 0, 0, 0, 0, 0), end: scanEnd{inHeader: true}},
	{section: "5.2", name: "left in a mask", rules: server, stream: raw(0x82, 0x81, 1, 2, 3), end: scanEnd{inHeader: true}},
	{section: "5.5.1", name: "frames behind a close are still frames", stream: raw(0x88, 2, 3, 0xe8, 0x82, 0),
		events: []frame.Header{head(true, frame.Close, 2), head(true, frame.Binary, 0)}},
	{section: "5.5", name: "control of 125", stream: cat(raw(0x89, 125), zeros(125)),
		events: []frame.Header{head(true, frame.Ping, 125)}},

	{section: "5.2", name: "RSV1 without an extension", stream: raw(0xc1), err: frame.ErrReservedBits},
	{section: "5.2", name: "RSV2", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0xa1, 0), err: frame.ErrReservedBits},
	{section: "5.2", name: "RSV3", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0x92, 0), err: frame.ErrReservedBits},
	{section: "RFC 7692 6.1", name: "RSV1 and RSV3 with RSV1 allowed", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0xd2, 0), err: frame.ErrReservedBits},
	{section: "RFC 7692 6.1", name: "RSV1 where allowed, only on the first fragment", rules: frame.Rules{AllowRSV: frame.RSV1},
		stream: raw(0x41, 1, 'a', 0x80, 1, 'b', 0xc2, 0),
		events: []frame.Header{compressed(head(false, frame.Text, 1)), head(true, frame.Continuation, 1), compressed(head(true, frame.Binary, 0))}},
	{section: "RFC 7692 6.1", name: "RSV1 on a continuation", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0x41, 1, 'a', 0xc0, 1, 'b'),
		events: []frame.Header{compressed(head(false, frame.Text, 1))}, err: frame.ErrReservedBits, start: 3, decided: 3},
	{section: "RFC 7692 6.1", name: "RSV1 on a ping", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0xc9, 0), err: frame.ErrReservedBits},
	{section: "RFC 7692 6.1", name: "RSV1 on a close", rules: frame.Rules{AllowRSV: frame.RSV1}, stream: raw(0xc8, 0), err: frame.ErrReservedBits},

	{section: "5.2", name: "opcode 3", stream: raw(0x83, 0), err: frame.ErrUnknownOpcode},
	{section: "5.2", name: "opcode 7 with RSV", stream: raw(0xf7, 0), err: frame.ErrUnknownOpcode},
	{section: "5.2", name: "opcode B", stream: raw(0x8b, 0), err: frame.ErrUnknownOpcode},
	{section: "5.2", name: "opcode F after a good frame", stream: raw(0x82, 2, 'a', 'b', 0x8f),
		events: []frame.Header{head(true, frame.Binary, 2)}, err: frame.ErrUnknownOpcode, start: 4, decided: 4},
	{section: "5.5", name: "ping in fragments", stream: raw(0x09, 0), err: frame.ErrFragmentedControl},
	{section: "5.5", name: "close in fragments", stream: raw(0x08, 0), err: frame.ErrFragmentedControl},
	{section: "5.4", name: "continuation first", stream: raw(0x80, 0), err: frame.ErrUnexpectedContinuation},
	{section: "5.4", name: "continuation after a whole message", stream: raw(0x81, 0, 0x00, 0),
		events: []frame.Header{head(true, frame.Text, 0)}, err: frame.ErrUnexpectedContinuation, start: 2, decided: 2},
	{section: "5.4", name: "continuation after a message in fragments", stream: raw(0x01, 0, 0x80, 0, 0x80, 0),
		events: []frame.Header{head(false, frame.Text, 0), head(true, frame.Continuation, 0)},
		err:    frame.ErrUnexpectedContinuation, start: 4, decided: 4},
	{section: "5.4", name: "text inside a text", stream: raw(0x01, 0, 0x81, 0),
		events: []frame.Header{head(false, frame.Text, 0)}, err: frame.ErrExpectedContinuation, start: 2, decided: 2},
	{section: "5.4", name: "binary inside a text, after a ping", stream: raw(0x01, 0, 0x89, 0, 0x02, 0),
		events: []frame.Header{head(false, frame.Text, 0), head(true, frame.Ping, 0)},
		err:    frame.ErrExpectedContinuation, start: 4, decided: 4},

	{section: "5.1", name: "unmasked to a server", rules: server, stream: raw(0x81, 0), err: frame.ErrUnmasked, decided: 1},
	{section: "5.1", name: "unmasked ping to a server", rules: server, stream: raw(0x89, 0), err: frame.ErrUnmasked, decided: 1},
	{section: "5.1", name: "masked to a client", stream: raw(0x81, 0x80, 1, 2, 3, 4), err: frame.ErrMasked, decided: 1},
	{section: "5.5", name: "control of 126", stream: cat(raw(0x89, 126, 0, 126), zeros(126)), err: frame.ErrControlTooLong, decided: 1},
	{section: "5.5", name: "close with a 64-bit length", rules: server, stream: raw(0x88, 0xff, 0x80), err: frame.ErrControlTooLong, decided: 1},

	{section: "5.2", name: "125 in sixteen bits", stream: raw(0x82, 126, 0, 125), err: frame.ErrLengthNotMinimal, decided: 3},
	{section: "5.2", name: "0 in sixteen bits, masked", rules: server, stream: raw(0x82, 0xfe, 0, 0, 1, 2, 3, 4), err: frame.ErrLengthNotMinimal, decided: 3},
	{section: "5.2", name: "65535 in 64 bits", stream: raw(0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), err: frame.ErrLengthNotMinimal, decided: 7},
	{section: "5.2", name: "1 in 64 bits over the limit", rules: limited(1, 0), stream: raw(0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2), err: frame.ErrLengthNotMinimal, decided: 7},
	{section: "5.2", name: "top bit", stream: raw(0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0), err: frame.ErrLengthTopBit, decided: 2},
	{section: "5.2", name: "2^64-1 (gws-hazards A1)", rules: frame.Rules{ExpectMask: true, MaxMessage: 1 << 20},
		stream: raw(0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4), err: frame.ErrLengthTopBit, decided: 2},

	{section: "7.4.1", name: "as much as the limit", rules: limited(125, 0), stream: cat(raw(0x82, 125), zeros(125)),
		events: []frame.Header{head(true, frame.Binary, 125)}},
	{section: "7.4.1", name: "one over the limit", rules: limited(124, 0), stream: raw(0x82, 125), err: frame.ErrMessageTooBig, decided: 1},
	{section: "7.4.1", name: "over the limit before the mask has come", rules: frame.Rules{ExpectMask: true, MaxMessage: 300},
		stream: raw(0x82, 0xfe, 1, 45, 1, 2, 3, 4), err: frame.ErrMessageTooBig, decided: 3},
	{section: "7.4.1", name: "over the limit by half a length", rules: limited(511, 0), stream: raw(0x82, 126, 2, 0), err: frame.ErrMessageTooBig, decided: 2},
	{section: "7.4.1", name: "2^63-1 over 2^63-2", rules: limited(math.MaxInt64-1, 0),
		stream: raw(0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), err: frame.ErrMessageTooBig, decided: 9},
	{section: "7.4.1", name: "over all fragments, pings apart", rules: limited(5, 0),
		stream: cat([]byte("\x01\x03Hel\x89\x07ignored\x00\x02lo\x80\x01!")),
		events: []frame.Header{head(false, frame.Text, 3), head(true, frame.Ping, 7), head(false, frame.Continuation, 2)},
		err:    frame.ErrMessageTooBig, start: 18, decided: 19},
	{section: "7.4.1", name: "the next message starts from zero", rules: limited(3, 0),
		stream: []byte("\x01\x02ab\x80\x01c\x81\x03abc\x01\x03abc\x80\x00\x81\x03abc"),
		events: []frame.Header{
			head(false, frame.Text, 2), head(true, frame.Continuation, 1), head(true, frame.Text, 3),
			head(false, frame.Text, 3), head(true, frame.Continuation, 0), head(true, frame.Text, 3)}},
	{section: "7.4.1", name: "a small rest and an enormous continuation", rules: limited(math.MaxInt64, 0),
		stream: raw(0x02, 1, 'a', 0x80, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		events: []frame.Header{head(false, frame.Binary, 1)}, err: frame.ErrMessageTooBig, start: 3, decided: 12},
	{section: "10.4", name: "as many fragments as allowed, twice", rules: limited(0, 2), stream: raw(0x01, 0, 0x80, 0, 0x01, 0, 0x80, 0),
		events: []frame.Header{
			head(false, frame.Text, 0), head(true, frame.Continuation, 0),
			head(false, frame.Text, 0), head(true, frame.Continuation, 0)}},
	{section: "10.4", name: "empty continuations count, pings do not", rules: limited(1, 3), stream: raw(0x01, 0, 0x89, 0, 0x00, 0, 0x89, 0, 0x00, 0, 0x80, 0),
		events: []frame.Header{
			head(false, frame.Text, 0), head(true, frame.Ping, 0), head(false, frame.Continuation, 0),
			head(true, frame.Ping, 0), head(false, frame.Continuation, 0)},
		err: frame.ErrTooManyFragments, start: 10, decided: 10},
}

// outcome is everything that a stream led to, in offsets of the whole stream.
type outcome struct {
	events []frame.Header
	ends   []int // offset behind each header
	err    error
	start  int // with err: offset of the bad frame's header
	end    scanEnd
}

// scan runs a Scanner over stream in pieces; cuts are ascending offsets. It
// checks what every call promises on the way.
func scan(t testing.TB, rules *frame.Rules, stream []byte, cuts []int) outcome {
	t.Helper()
	s := frame.NewScanner(rules)
	var o outcome
	from, header := 0, 0 // start of the piece, start of the header being read
	for _, to := range append(cuts[:len(cuts):len(cuts)], len(stream)) {
		piece := stream[from:to]
		for {
			inHeader := !s.AtBoundary() && s.Remaining() == 0
			if !inHeader {
				header = from + int(min(s.Remaining(), int64(len(piece))))
			}
			h, n, ok, err := s.Next(piece)
			if err != nil {
				if inHeader {
					require.Zero(t, n, "the header began in an earlier call")
				} else {
					require.Equal(t, header, from+n, "offset of the bad header")
				}
				requireSticky(t, &s, err)
				o.err, o.start = err, header
				return o
			}
			from += n
			piece = piece[n:]
			if !ok {
				require.Empty(t, piece, "neither a header nor all consumed")
				break
			}
			require.Equal(t, h.Length, s.Remaining())
			o.events = append(o.events, h)
			o.ends = append(o.ends, from)
		}
	}
	o.end = scanEnd{s.Remaining(), !s.AtBoundary() && s.Remaining() == 0, s.InMessage()}
	return o
}

func requireSticky(t testing.TB, s *frame.Scanner, err error) {
	t.Helper()
	require.False(t, s.AtBoundary())
	for _, b := range [][]byte{nil, {0x81, 0}, {0x81, 0x80, 1, 2, 3, 4}} {
		h, n, ok, again := s.Next(b)
		require.Zero(t, h)
		require.Zero(t, n)
		require.False(t, ok)
		require.Same(t, err, again)
	}
}

func everyByte(n int) []int {
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = i
	}
	return cuts
}

func randomCuts(r *rand.Rand, n int) []int {
	var cuts []int
	for at := r.IntN(4); at < n; at += r.IntN(9) {
		cuts = append(cuts, at)
	}
	return cuts
}

func TestScanner(t *testing.T) {
	for _, row := range scanRows {
		t.Run(row.section+" "+row.name, func(t *testing.T) {
			check := func(how string, cuts []int) {
				t.Helper()
				o := scan(t, &row.rules, row.stream, cuts)
				if row.err == nil {
					require.NoError(t, o.err, how)
					require.Equal(t, row.end, o.end, how)
				} else {
					require.Same(t, row.err, o.err, how)
					require.Equal(t, row.start, o.start, how)
				}
				require.Equal(t, row.events, o.events, how)
			}
			check("whole", nil)
			check("byte by byte", everyByte(len(row.stream)))
			for at := range row.stream {
				// In the middle of a long payload every cut is like every other.
				if len(row.stream) < 1000 || at < 32 || at > len(row.stream)-32 || at%509 == 0 {
					check(fmt.Sprintf("cut at %d", at), []int{at})
				}
			}
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			for range 20 {
				cuts := randomCuts(r, len(row.stream))
				check(fmt.Sprintf("seed %d, cuts %v", seed, cuts), cuts)
			}
		})
	}
}

// Every violation is refused at the byte that decides it, neither later (the
// peer could go on announcing) nor earlier.
func TestScannerFailsEarly(t *testing.T) {
	seen := map[error]bool{}
	for _, row := range scanRows {
		if row.err == nil {
			continue
		}
		seen[row.err] = true
		o := scan(t, &row.rules, row.stream[:row.decided], nil)
		require.NoError(t, o.err, row.name)
		o = scan(t, &row.rules, row.stream[:row.decided+1], nil)
		require.Same(t, row.err, o.err, row.name)
	}
	byPayload := map[error]bool{
		frame.ErrCloseLength: true, frame.ErrCloseCode: true, frame.ErrCloseReasonUTF8: true,
		frame.ErrInvalidUTF8: true, frame.ErrCompressedData: true,
	}
	for _, e := range allErrors {
		assert.True(t, seen[e] != byPayload[e], "%v needs a row in the scanner's table", e)
	}
}

func TestScannerSkip(t *testing.T) {
	s := frame.NewScanner(&frame.Rules{})
	_, n, ok, err := s.Next([]byte("\x82\x05abc"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 2, n)

	s.Skip(3)
	assert.EqualValues(t, 2, s.Remaining())
	assert.False(t, s.AtBoundary())
	s.Skip(0)
	s.Skip(1)

	h, n, ok, err := s.Next([]byte("e\x89\x00"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 3, n)
	assert.Equal(t, head(true, frame.Ping, 0), h)
	assert.True(t, s.AtBoundary())

	assert.Panics(t, func() { s.Skip(1) })
	assert.Panics(t, func() { s.Skip(-1) })
}

// Without a limit a message may grow past what an int64 counts.
func TestScannerUnlimitedMessage(t *testing.T) {
	s := frame.NewScanner(nil)
	huge := raw(0x02, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	for range 5 {
		h, _, ok, err := s.Next(huge)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, int64(math.MaxInt64), h.Length)
		s.Skip(s.Remaining())
		huge[0] = 0x00
	}
	assert.True(t, s.InMessage())
}

// Lift has the scanner go on behind what a limit has refused, from the header on that did,
// however the stream comes; but not behind what breaks the protocol.
func TestScannerLift(t *testing.T) {
	rules := &frame.Rules{MaxMessage: 5, MaxFragments: 2}
	long := cat(raw(0x82, 126, 1, 0), zeros(256))
	for name, row := range map[string]struct {
		begin, over []byte // over: the frame that is refused, and what else is
		err         error
	}{
		"too big":              {raw(0x82, 1, 0), cat(long, long), frame.ErrMessageTooBig},
		"too big in fragments": {raw(0x02, 4, 0, 0, 0, 0), cat(raw(0x00, 2, 0, 0), raw(0x80, 0), long), frame.ErrMessageTooBig},
		"too many fragments":   {raw(0x02, 0, 0x00, 0), cat(raw(0x00, 1, 0), raw(0x89, 0), raw(0x80, 1, 0)), frame.ErrTooManyFragments},
	} {
		stream := cat(row.begin, row.over, raw(0x88, 0))
		for size := 1; size <= len(stream); size++ {
			s := frame.NewScanner(rules)
			header, seen := 0, frame.Header{} // where the header under way, or the next, begins
			next := func(from, to int) (err error) {
				for from < to && err == nil {
					var n int
					var ok bool
					var h frame.Header
					if s.AtBoundary() {
						header = from
					} else if left := int(s.Remaining()); left > 0 {
						header = from + left
					}
					if h, n, ok, err = s.Next(stream[from:to]); ok {
						seen = h
					}
					from += n
				}
				return err
			}
			var err error
			for from := 0; from < len(stream); from += size {
				to := min(from+size, len(stream))
				if e := next(from, to); e != nil {
					require.Nil(t, err, name)
					err = e
					require.Equal(t, len(row.begin), header, name)
					s.Lift()
					require.NoError(t, next(header, to), name)
				}
			}
			require.Equal(t, row.err, err, name)
			require.Equal(t, frame.Close, seen.Opcode, "%s, by %d", name, size)
			require.True(t, s.AtBoundary(), name)
		}
	}
	s := frame.NewScanner(rules)
	s.Lift()
	_, _, _, err := s.Next(raw(0x8b))
	require.Equal(t, frame.ErrUnknownOpcode, err)
	s.Lift()
	_, _, _, err = s.Next(raw(0x88, 0))
	require.Equal(t, frame.ErrUnknownOpcode, err)
}

func TestScannerIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(frame.Scanner{}), uintptr(64), "it is in every connection")
}

func TestScannerAllocatesNothing(t *testing.T) {
	stream := []byte("\x01\x03Hel\x89\x00\x80\x02lo\x82\x7e\x01\x00")
	stream = cat(stream, zeros(256))
	bad := raw(0xff)
	rules := &frame.Rules{MaxMessage: 1 << 20, MaxFragments: 10}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		s := frame.NewScanner(rules)
		for from := 0; from < len(stream); { // whole
			_, n, _, err := s.Next(stream[from:])
			if err != nil {
				panic(err) // it would not get on
			}
			from += n
		}
		for i := range stream { // split
			_, _, _, _ = s.Next(stream[i : i+1])
		}
		if _, _, _, err := s.Next(bad); err != error(frame.ErrUnknownOpcode) {
			panic(err)
		}
	}))
}

// reference is a second reading of RFC 6455, as plain as possible: one shot
// over the whole stream, no state between calls, lengths as unsigned numbers.
// It knows what may be said of a header that ends with the stream: bytes that
// are not there count as zero for limits, and decide nothing else.
func reference(rules frame.Rules, stream []byte) (o outcome) {
	at := uint64(0)
	open, sum, frames := false, uint64(0), 0
	for at < uint64(len(stream)) {
		b := stream[at:]
		var pad [14]byte
		copy(pad[:], b)
		control := pad[0]&0x0f >= 8
		fail := func(e *frame.Error) outcome {
			o.err, o.start = e, int(at)
			return o
		}
		switch op := pad[0] & 0x0f; {
		case !strings.ContainsRune("\x00\x01\x02\x08\x09\x0a", rune(op)):
			return fail(frame.ErrUnknownOpcode)
		case control && pad[0] < 0x80:
			return fail(frame.ErrFragmentedControl)
		case op == 0 && !open:
			return fail(frame.ErrUnexpectedContinuation)
		case op == 0 && rules.MaxFragments > 0 && frames+1 > rules.MaxFragments:
			return fail(frame.ErrTooManyFragments)
		case (op == 1 || op == 2) && open:
			return fail(frame.ErrExpectedContinuation)
		case (op == 1 || op == 2) && pad[0]&0x70 != 0 && (pad[0]&0x70|rules.AllowRSV) != rules.AllowRSV:
			return fail(frame.ErrReservedBits)
		case op != 1 && op != 2 && pad[0]&0x70 != 0:
			return fail(frame.ErrReservedBits)
		}
		if len(b) < 2 {
			o.end.inHeader = true
			break
		}
		switch isMasked := pad[1] >= 0x80; {
		case isMasked && !rules.ExpectMask:
			return fail(frame.ErrMasked)
		case !isMasked && rules.ExpectMask:
			return fail(frame.ErrUnmasked)
		case control && pad[1]%128 > 125:
			return fail(frame.ErrControlTooLong)
		}
		size, length := 2, uint64(pad[1]%128)
		switch length {
		case 126:
			size, length = 4, uint64(binary.BigEndian.Uint16(pad[2:]))
			if len(b) >= 4 && length < 126 {
				return fail(frame.ErrLengthNotMinimal)
			}
		case 127:
			size, length = 10, binary.BigEndian.Uint64(pad[2:])
			if length > math.MaxInt64 {
				return fail(frame.ErrLengthTopBit)
			}
			if len(b) >= 8 && length < 65536 {
				return fail(frame.ErrLengthNotMinimal)
			}
		}
		if !control && rules.MaxMessage > 0 && sum+length > uint64(rules.MaxMessage) {
			return fail(frame.ErrMessageTooBig)
		}
		h := frame.Header{Fin: pad[0] >= 0x80, RSV: pad[0] & 0x70, Opcode: frame.Opcode(pad[0] & 0x0f), Length: int64(length)}
		if rules.ExpectMask {
			h.Masked, h.Mask = true, [4]byte(pad[size:size+4])
			size += 4
		}
		if len(b) < size {
			o.end.inHeader = true
			break
		}
		if !control {
			open, sum, frames = true, sum+length, frames+1
			if h.Fin {
				open, sum, frames = false, 0, 0
			}
		}
		at += uint64(size)
		o.events = append(o.events, h)
		o.ends = append(o.ends, int(at))
		at += length
	}
	if at > uint64(len(stream)) {
		o.end.remaining = int64(at - uint64(len(stream)))
	}
	o.end.openOfText = open
	return o
}

// The reference must agree with the table before it may judge anything else.
func TestReference(t *testing.T) {
	for _, row := range scanRows {
		o := reference(row.rules, row.stream)
		require.Equal(t, row.events, o.events, row.name)
		if row.err != nil {
			require.Same(t, row.err, o.err, row.name)
			require.Equal(t, row.start, o.start, row.name)
		} else {
			require.NoError(t, o.err, row.name)
			require.Equal(t, row.end, o.end, row.name)
		}
	}
}

// randomStream writes mostly legal frames with few bytes of payload, so that
// a run gets past the first header.
func randomStream(r *rand.Rand, rules frame.Rules) []byte {
	var b []byte
	open := false
	for range 1 + r.IntN(8) {
		h := frame.Header{Fin: r.IntN(2) == 0, Masked: rules.ExpectMask, Mask: [4]byte{1, 2, 3, 4}}
		switch {
		case r.IntN(3) == 0:
			h.Fin, h.Opcode = true, frame.Close+frame.Opcode(r.IntN(3))
		case open:
			open = !h.Fin
		default:
			h.Opcode, h.RSV, open = frame.Text+frame.Opcode(r.IntN(2)), rules.AllowRSV&frame.RSV1, !h.Fin
		}
		h.Length = int64([]int{0, 1, 5, 125, 126, 300}[r.IntN(6)])
		if h.Opcode.IsControl() {
			h.Length = min(h.Length, 125)
		}
		b = frame.AppendHeader(b, h)
		b = append(b, zeros(int(h.Length))...)
	}
	if r.IntN(2) == 0 {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	return b
}

func randomRules(r *rand.Rand) frame.Rules {
	return frame.Rules{
		ExpectMask:   r.IntN(2) == 0,
		AllowRSV:     []byte{0, frame.RSV1, 0x70}[r.IntN(3)],
		MaxMessage:   []int64{0, 1, 130, 500, 70000}[r.IntN(5)],
		MaxFragments: r.IntN(5),
	}
}

func TestScannerAgainstReference(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 3000 {
		rules := randomRules(r)
		agree(t, rules, randomStream(r, rules), r.Uint64())
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// agree demands the same outcome from the reference and from a Scanner fed
// whole, byte by byte, and at random cuts, and that errors come at the first
// byte that decides them.
func agree(t *testing.T, rules frame.Rules, stream []byte, seed uint64) {
	t.Helper()
	want := reference(rules, stream)
	r := rand.New(rand.NewPCG(seed, 2))
	for _, cuts := range [][]int{nil, everyByte(len(stream)), randomCuts(r, len(stream)), randomCuts(r, len(stream))} {
		require.Equal(t, want, scan(t, &rules, stream, cuts), "rules %+v, stream %x, cuts %v", rules, stream, cuts)
	}
	if want.err == nil {
		return
	}
	for size := want.start + 1; size <= min(want.start+14, len(stream)); size++ {
		prefix := stream[:size]
		require.Equal(t, reference(rules, prefix), scan(t, &rules, prefix, nil), "rules %+v, prefix %x", rules, prefix)
	}
}

func FuzzScanner(f *testing.F) {
	for i, row := range scanRows {
		if len(row.stream) > 1000 {
			continue
		}
		f.Add(row.rules.ExpectMask, row.rules.AllowRSV, row.rules.MaxMessage, row.rules.MaxFragments, row.stream, uint64(i))
	}
	f.Fuzz(func(t *testing.T, mask bool, rsv byte, message int64, fragments int, stream []byte, seed uint64) {
		if len(stream) > 1<<16 {
			return // every split of so much takes too long
		}
		agree(t, frame.Rules{ExpectMask: mask, AllowRSV: rsv, MaxMessage: message, MaxFragments: fragments}, stream, seed)
	})
}
