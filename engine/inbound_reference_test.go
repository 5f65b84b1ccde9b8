package engine

import (
	"fmt"
	"slices"

	"github.com/penstock-ws/penstock/frame"
	"github.com/penstock-ws/penstock/frame/deflate"
)

// A reference reads a client's stream by RFC 6455 and RFC 7692 as plainly as
// possible: all of it at once, no state between calls, and of the engine's code
// nothing but the inflater, which has a reference of its own.
type reference struct {
	limit     int // Config.MaxMessageBytes
	fragments int // Config.MaxFragments
	deflates  bool
	ratio     int  // Config.MaxInflateRatio
	client    bool // who reads: a server's frames are not masked
}

// An expectation is what must come of a stream.
type expectation struct {
	events []event // that come before the end

	// codes are those with which it may end: several if one byte breaks several rules.
	codes []frame.CloseCode

	remote bool // the peer ends it: its close frame, or EOF
	closes bool // with a close frame from us

	// others are the codes of what is wrong further on, if the end is a message's
	// contents. They may take its place where a worker reads messages while the reader
	// goes on (docs/architecture.md: at a violation what has been received is dropped).
	others []frame.CloseCode

	pings []event // all that the reader may come to, which answers them
}

func (r reference) expect(stream []byte) (x expectation) {
	found := false // the end; from there on, others are looked for
	end := func(remote bool, codes ...frame.CloseCode) {
		switch {
		case !found:
			x.codes, x.remote = codes, remote
			x.closes = codes[0] != frame.CloseAbnormal
		case !remote:
			x.others = append(x.others, codes...)
		}
		found = true
	}
	show := func(op byte, data []byte) {
		if !found {
			x.events = append(x.events, event{frame.Opcode(op), string(data)})
		}
	}
	var (
		inside, packed, watched bool
		op                      byte // of the message
		data                    []byte
		frames                  int
		announced               uint64
	)
	for at := 0; ; {
		if at >= len(stream) {
			end(true, frame.CloseAbnormal)
			return x
		}
		b := stream[at:]
		h, broken, whole := r.header(b, inside, packed, frames, announced)
		if len(broken) > 0 {
			end(false, broken...)
			return x
		}
		if !whole {
			end(true, frame.CloseAbnormal)
			return x
		}
		payload, missing := b[h.size:], uint64(0)
		if uint64(len(payload)) < h.length {
			missing = h.length - uint64(len(payload))
		} else {
			payload = payload[:h.length]
		}
		at += h.size + len(payload)
		payload = slices.Clone(payload)
		for i := range payload {
			payload[i] ^= h.mask[i%4]
		}
		if h.op >= 8 {
			if missing > 0 {
				end(true, frame.CloseAbnormal)
				return x
			}
			if h.op == 8 {
				remote, codes := closing(payload)
				end(remote, codes...)
				return x
			}
			if h.op == 9 {
				x.pings = append(x.pings, event{frame.Ping, string(payload)})
			}
			show(h.op, payload)
			continue
		}
		if !inside {
			op, packed, data, frames, announced = h.op, h.rsv1, nil, 0, 0
			watched = op == 1 && !packed
		}
		inside = !h.fin
		frames++
		announced += h.length
		data = append(data, payload...)
		if watched && !isUTF8(data, h.fin && missing == 0) {
			end(false, frame.CloseInvalidPayload)
			if !r.deflates {
				return x
			}
			watched = false
		}
		if missing > 0 {
			end(true, frame.CloseAbnormal)
			return x
		}
		if !h.fin {
			continue
		}
		if packed {
			out, err := deflate.Inflate(nil, data, r.limit, r.ratio, nil)
			switch {
			case err == deflate.ErrTooBig:
				end(false, frame.CloseMessageTooBig)
			case err != nil:
				end(false, frame.CloseInvalidPayload)
			case op == 1 && !isUTF8(out, true):
				end(false, frame.CloseInvalidPayload)
			}
			data = out
		}
		show(op, data)
	}
}

// A refHeader is what the first bytes of a frame say.
type refHeader struct {
	fin, rsv1 bool
	op        byte
	size      int
	length    uint64
	mask      [4]byte
}

// header judges a header, byte by byte: broken are the codes of the rules that the
// first byte that breaks one breaks. Of one that the stream ends in, missing bytes
// may be anything: what no byte could put right is broken.
func (r reference) header(b []byte, inside, packed bool, frames int, announced uint64) (h refHeader, broken []frame.CloseCode, whole bool) {
	bad := func(code frame.CloseCode, when bool) {
		if when {
			broken = append(broken, code)
		}
	}
	h.fin, h.op, h.rsv1 = b[0] >= 0x80, b[0]%16, b[0]&0x40 != 0
	control := h.op >= 8
	bad(1002, h.op > 2 && h.op < 8 || h.op > 10)
	bad(1002, control && !h.fin)
	bad(1002, h.op == 0 && !inside || (h.op == 1 || h.op == 2) && inside)
	bad(1002, b[0]&0x30 != 0 || h.rsv1 && !(r.deflates && (h.op == 1 || h.op == 2)))
	bad(1008, h.op == 0 && frames >= r.fragments)
	if len(broken) > 0 || len(b) < 2 {
		return h, broken, false
	}
	bad(1002, b[1] >= 0x80 == r.client)
	bad(1002, control && b[1]%128 > 125)
	if len(broken) > 0 {
		return h, broken, false
	}
	h.length = uint64(b[1] % 128)
	digits := map[uint64]int{126: 2, 127: 8}[h.length]
	least, most, there := h.length, h.length, 0
	if digits > 0 {
		least, most = 0, 0
		for i := 2; i < 2+digits; i++ {
			least, most = least<<8, most<<8|0xff
			if i < len(b) {
				least, most = least|uint64(b[i]), most&^0xff|uint64(b[i])
				there++
			}
		}
	}
	bad(1002, digits == 2 && most < 126)
	bad(1002, digits == 8 && most < 65536)
	bad(1002, digits == 8 && least>>63 != 0)
	h.length, h.size = least, 2+digits
	if !r.client {
		h.size += 4
	}
	whole = len(b) >= h.size
	if whole && !r.client {
		h.mask = [4]byte(b[h.size-4:])
	}
	if !control {
		// Compressed, a message may be a little longer than without; which of the two
		// it is may show only when the header is whole.
		limit := uint64(r.limit)
		if !inside {
			packed, announced = h.rsv1, 0
		}
		if packed || r.deflates && !whole {
			limit += limit/16 + 64
		}
		bad(1009, least > limit || announced > limit-least)
	}
	return h, broken, whole
}

// closing judges a close frame.
func closing(p []byte) (remote bool, codes []frame.CloseCode) {
	switch len(p) {
	case 0:
		return true, []frame.CloseCode{frame.CloseNoStatus}
	case 1:
		return false, []frame.CloseCode{frame.CloseProtocolError}
	}
	code := int(p[0])<<8 | int(p[1])
	legal := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
	if !legal {
		codes = append(codes, frame.CloseProtocolError)
	}
	if !isUTF8(p[2:], true) {
		codes = append(codes, frame.CloseInvalidPayload)
	}
	if len(codes) > 0 {
		return false, codes
	}
	return true, []frame.CloseCode{frame.CloseCode(code)}
}

// isUTF8 tells whether p is text (RFC 3629 §4), or, unless it is all, whether
// something may follow with which it would be.
func isUTF8(p []byte, all bool) bool {
	for len(p) > 0 {
		first := p[0]
		p = p[1:]
		var low, high byte = 0x80, 0xbf // of the next byte
		rest := 0
		switch {
		case first < 0x80:
			continue
		case first >= 0xc2 && first <= 0xdf:
			rest = 1
		case first >= 0xe0 && first <= 0xef:
			rest = 2
			if first == 0xe0 {
				low = 0xa0
			}
			if first == 0xed {
				high = 0x9f
			}
		case first >= 0xf0 && first <= 0xf4:
			rest = 3
			if first == 0xf0 {
				low = 0x90
			}
			if first == 0xf4 {
				high = 0x8f
			}
		default:
			return false
		}
		for ; rest > 0; rest-- {
			if len(p) == 0 {
				return !all
			}
			if p[0] < low || p[0] > high {
				return false
			}
			p, low, high = p[1:], 0x80, 0xbf
		}
	}
	return true
}

// compare tells what is not as promised of what was seen in one way:
//
//   - inline, whatever the split: exactly the events before the end, each message
//     sent back, each ping answered, and the code of what ended it;
//   - inline on a loop, the same, but that pings behind a message whose contents are
//     wrong may have been answered before it is handled;
//   - on workers and with Receive, the same if the peer ended it. If it broke a rule,
//     what had been received is dropped as soon as the reader notices, so that the
//     events, and what is sent back, are the first of these. Pings behind a message
//     whose contents are wrong may have been answered before a worker sees it.
func (x expectation) compare(way string, bits int, r *sightings) error {
	inline, all := way == "inline" || way == "inline, direct" || way == "loop, direct", x.remote
	events, pings := x.events, x.pings
	if inline && way != "loop, direct" {
		pings = events
	}
	if way == "inline, direct" || way == "pool, direct" || way == "loop, direct" {
		events = messagesOf(events)
	}
	a, err := r.answers(bits)
	switch {
	case err != nil:
		return fmt.Errorf("it sends what it must not: %w", err)
	case !slices.Contains(x.codes, r.close.Code) && (inline || !slices.Contains(x.others, r.close.Code)):
		return fmt.Errorf("it ends with %v, not one of %v", &r.close, x.codes)
	case r.close.Remote != x.remote:
		return fmt.Errorf("it ends with %v: who ended it?", &r.close)
	case a.closed != x.closes || a.closed && a.code != r.close.Code:
		return fmt.Errorf("the peer is told %v (%v), OnClose %v", a.code, a.closed, &r.close)
	case !startsWith(events, r.events, inline || all):
		return fmt.Errorf("handlers are shown %.200v, not %.200v", r.events, events)
	case !startsWith(messagesOf(events), a.messages, inline || all):
		return fmt.Errorf("%.200v is sent back, not %.200v", a.messages, messagesOf(events))
	case !answered(pings, a.pongs, inline && way != "loop, direct" || all):
		return fmt.Errorf("pongs %.200q to %.200v", a.pongs, pings)
	case all && int(r.messages) != len(messagesOf(x.events)):
		return fmt.Errorf("%d messages are counted, not %d", r.messages, len(messagesOf(x.events)))
	}
	return nil
}

// startsWith: got is the beginning of want, or all of it.
func startsWith[T comparable](want, got []T, all bool) bool {
	return len(got) <= len(want) && slices.Equal(want[:len(got)], got) && (!all || len(got) == len(want))
}

func messagesOf(events []event) (list []event) {
	for _, e := range events {
		if e.op == frame.Text || e.op == frame.Binary {
			list = append(list, e)
		}
	}
	return list
}

// answered: each ping has its pong, unless so many had to wait that the newest
// displace them (RFC 6455 §5.5.3).
func answered(events []event, pongs []string, all bool) bool {
	var pings []string
	bytes := 0
	for _, e := range events {
		if e.op == frame.Ping {
			pings = append(pings, e.data)
			bytes += 2 + len(e.data)
		}
	}
	if bytes <= 4<<10 {
		return startsWith(pings, pongs, all)
	}
	for _, p := range pongs {
		at := slices.Index(pings, p)
		if at < 0 {
			return false
		}
		pings = pings[at+1:]
	}
	return !all || len(pings) == 0
}

// JudgeInbound tells what is wrong with all that a server has sent a client, behind
// the response to its handshake, of the stream that RandomInbound makes of seed.
func JudgeInbound(seed uint64, deflates, inline bool, out []byte) error {
	x := reference{limit: InboundLimit, fragments: InboundFragments, deflates: deflates, ratio: defaultInflateRatio}.
		expect(RandomInbound(seed, InboundLimit, deflates))
	bits, way := 0, "pool, direct"
	if deflates {
		bits = 15
	}
	switch {
	case inline && defaultIO == IOLoops:
		way = "loop, direct"
	case inline:
		way = "inline, direct"
	}
	r := &sightings{
		close:    CloseError{Code: frame.CloseAbnormal, Remote: x.remote},
		messages: uint64(len(messagesOf(x.events))),
		out:      append([]byte(preface), out...),
	}
	a, err := r.answers(bits)
	if err != nil {
		return err
	}
	if r.events = a.messages; a.closed {
		r.close.Code = a.code
	}
	return x.compare(way, bits, r)
}
