package engine

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"unicode/utf8"
)

// A sketch is a client's frame before it is encoded, with room for lies.
type sketch struct {
	head    byte // FIN, RSV and opcode
	payload []byte
	bare    bool   // not masked
	form    int    // 16 or 64: the length's form, whatever it is; 0: the shortest
	lie     uint64 // added to the length
}

func (s sketch) encode(b []byte, key uint32) []byte {
	n, mask := uint64(len(s.payload))+s.lie, byte(0x80)
	if s.bare {
		mask = 0
	}
	switch {
	case s.form == 64 || s.form == 0 && n > 0xffff:
		b = binary.BigEndian.AppendUint64(append(b, s.head, mask|127), n)
	case s.form == 16 || s.form == 0 && n > 125:
		b = binary.BigEndian.AppendUint16(append(b, s.head, mask|126), uint16(n))
	default:
		b = append(b, s.head, mask|byte(n&127))
	}
	if s.bare {
		return append(b, s.payload...)
	}
	var m [4]byte
	binary.BigEndian.PutUint32(m[:], key)
	b = append(b, m[:]...)
	for i, c := range s.payload {
		b = append(b, c^m[i%4])
	}
	return b
}

// A streamMaker makes random streams of a client, from one seed each.
type streamMaker struct {
	*rand.Rand
	limit    int // Config.MaxMessageBytes
	deflates bool
}

// RandomInbound gives the stream of a seed: mostly frames that are in order, often with
// something wrong in them.
func RandomInbound(seed uint64, limit int, deflates bool) []byte {
	m := streamMaker{rand.New(rand.NewPCG(seed, 6455)), limit, deflates}
	if m.IntN(50) == 0 {
		return m.bytes(m.IntN(200))
	}
	frames := m.frames()
	if m.IntN(2) == 0 {
		for range 1 + m.IntN(3) {
			frames = m.spoil(frames)
		}
	}
	var b []byte
	for _, s := range frames {
		key := m.Uint32()
		if m.IntN(8) == 0 {
			key = 0
		}
		b = s.encode(b, key)
	}
	if m.IntN(4) == 0 && len(b) > 0 {
		for range 1 + m.IntN(2) {
			b = m.damage(b)
		}
	}
	return b
}

func (m streamMaker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

// chance is true once in n times.
func (m streamMaker) chance(n int) bool { return m.IntN(n) == 0 }

func (m streamMaker) frames() (list []sketch) {
	for range 1 + m.IntN(8) {
		if m.chance(4) {
			list = append(list, m.control())
			continue
		}
		list = append(list, m.message()...)
	}
	if m.chance(100) {
		return append(list, m.tooMuch()...)
	}
	if !m.chance(4) {
		list = append(list, sketch{head: 0x88, payload: m.closing()})
	}
	if m.chance(6) {
		list = append(list, m.message()...) // nobody may see it after a close frame
	}
	return list
}

func (m streamMaker) control() sketch {
	n := m.IntN(12)
	if m.chance(4) {
		n = 125 - m.IntN(2)
	}
	return sketch{head: []byte{0x89, 0x8a}[m.IntN(2)], payload: m.bytes(n)}
}

func (m streamMaker) closing() []byte {
	if m.chance(3) {
		return nil
	}
	codes := []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	reason := m.text(m.IntN(20))
	if m.chance(4) {
		reason = m.text(123)
	}
	return append(binary.BigEndian.AppendUint16(nil, codes[m.IntN(len(codes))]), reason...)
}

// size prefers where an encoding, a buffer or a limit ends.
func (m streamMaker) size() int {
	edges := []int{0, 1, 125, 126, 127, 128}
	switch m.IntN(40) {
	case 0:
		edges = []int{4 << 10, 8 << 10, 16 << 10}
	case 1:
		edges = []int{4<<10 - 8, 8<<10 + 14, 12 << 10}
	case 2:
		if m.chance(4) {
			edges = []int{0xffff, 0x10000, m.limit - 1, m.limit}
		}
	case 3, 4, 5, 6, 7, 8, 9, 10:
	default:
		return m.IntN(200)
	}
	return min(m.limit, max(0, edges[m.IntN(len(edges))]+m.IntN(3)-1))
}

// text is n bytes of UTF-8, with runes of all lengths.
func (m streamMaker) text(n int) []byte {
	b := make([]byte, 0, n)
	if n > 2000 { // as much again is faster than anew
		some := m.text(500 + m.IntN(500))
		for len(b)+len(some) <= n {
			b = append(b, some...)
		}
	}
	runes := []rune{'x', 'y', 0, 0x7f, 0x80, 'ü', 0x7ff, 0x800, '€', 0xd7ff, 0xe000, 0xffff, 0x10000, '😀', 0x10ffff}
	for len(b) < n {
		r := runes[m.IntN(len(runes))]
		if len(b)+utf8.RuneLen(r) > n {
			r = 'z'
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func (m streamMaker) message() (list []sketch) {
	op, payload := byte(2), []byte(nil)
	if m.chance(2) {
		op, payload = 1, m.text(m.size())
	} else {
		payload = m.bytes(m.size())
	}
	if m.chance(30) {
		payload = append(payload, make([]byte, max(0, m.limit+1-len(payload)))...) // one byte too many
	}
	if m.deflates && m.chance(2) {
		if m.chance(20) {
			payload = make([]byte, m.IntN(2*m.limit)) // a bomb
		}
		op, payload = op|0x40, m.deflate(payload)
	}
	parts := 1
	if m.chance(3) {
		parts = 2 + m.IntN(4)
	}
	if m.chance(40) {
		parts = InboundFragments + m.IntN(3) - 1
	}
	for ; parts > 1; parts-- {
		n := m.IntN(len(payload) + 1)
		if m.chance(3) {
			n = min(len(payload), m.IntN(4))
		}
		list = append(list, sketch{head: op, payload: payload[:n:n]})
		op, payload = 0, payload[n:]
		for m.chance(4) {
			list = append(list, m.control())
		}
	}
	return append(list, sketch{head: op | 0x80, payload: payload})
}

// tooMuch is a message whose fragments announce about the limit, the last of them in
// vain: it must be refused before its payload comes.
func (m streamMaker) tooMuch() []sketch {
	op, slack := byte(2), 0
	if m.deflates {
		op, slack = 0x42, m.limit/16+64
	}
	n := m.limit - m.IntN(100)
	return []sketch{{head: op, payload: m.bytes(n)}, {head: 0x80, lie: uint64(m.limit + slack - n + m.IntN(3))}}
}

// deflate is what Go's own compressor makes of p: not ours.
func (m streamMaker) deflate(p []byte) []byte {
	i := m.IntN(len(flateWriters))
	w, ok := flateWriters[i].Get().(*flate.Writer)
	if !ok {
		w, _ = flate.NewWriter(nil, []int{-2, 0, 1, 9}[i])
	}
	defer flateWriters[i].Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	_, _ = w.Write(p)
	_ = w.Flush()
	return b.Bytes()[:b.Len()-4]
}

// flateWriters are pooled: making one takes longer than the rest of a stream.
var flateWriters [4]sync.Pool

// notText is not UTF-8, or not yet.
var notText = []string{"\xff", "\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "\xc3", "\xf0\x9f\x98"}

// closingsNot are payloads of close frames that nobody may send.
var closingsNot = []string{
	"\x03", "\x00", "\x00\x00", "\x03\xe7", "\x03\xec", "\x03\xed", "\x03\xee", "\x03\xf7", "\x03\xf8", "\x0b\xb7", "\x13\x88", "\xff\xff",
	"\x03\xe8\xff", "\x0f\xa0gr\xc3", "\x03\xf6\xed\xa0\x80", "\x03\xedno\xff",
}

// spoil does one thing to frames that a peer might.
func (m streamMaker) spoil(list []sketch) []sketch {
	i := m.IntN(len(list))
	s := &list[i]
	switch m.IntN(16) {
	case 0:
		s.head ^= 0x40
	case 1:
		s.head ^= []byte{0x10, 0x20}[m.IntN(2)]
	case 2:
		s.head ^= 0x80
	case 3:
		s.head = s.head&0xf0 | byte(m.IntN(16))
	case 4:
		s.bare = true
	case 5:
		s.form = []int{16, 64}[m.IntN(2)]
	case 6:
		s.form, s.lie = 64, 1<<63
	case 7:
		s.form, s.lie = 64, []uint64{1<<63 - 1, 1 << 62, 1 << 32, 1 << 31, uint64(m.limit)}[m.IntN(5)]-uint64(len(s.payload))
	case 8:
		s.lie = uint64(m.IntN(9) - 4)
	case 9:
		s.lie = uint64(m.IntN(600))
	case 10, 11:
		bad := notText[m.IntN(len(notText))]
		s.payload = slices.Insert(slices.Clone(s.payload), m.IntN(len(s.payload)+1), []byte(bad)...)
	case 12:
		list[len(list)-1] = sketch{head: 0x88, payload: []byte(closingsNot[m.IntN(len(closingsNot))])}
	case 13:
		return slices.Insert(list, m.IntN(len(list)+1), list[i])
	case 14:
		j := m.IntN(len(list))
		list[i], list[j] = list[j], list[i]
	default:
		if len(list) > 1 {
			return slices.Delete(list, i, i+1)
		}
	}
	return list
}

// damage does one thing to bytes that a network might.
func (m streamMaker) damage(b []byte) []byte {
	at := m.IntN(len(b))
	switch m.IntN(6) {
	case 0, 1:
		b[at] ^= 1 << m.IntN(8)
	case 2:
		b[at] = byte(m.Uint32())
	case 3:
		return b[:at+1]
	case 4:
		return slices.Insert(b, at, m.bytes(1+m.IntN(4))...)
	default:
		return slices.Delete(b, at, min(len(b)-1, at+1+m.IntN(4)))
	}
	return b
}

// randomCuts cuts n bytes: seldom, often, or behind each byte.
func randomCuts(rnd *rand.Rand, n int) (cuts []int) {
	most := []int{1, 3, 20, 200, 6000}[rnd.IntN(5)]
	if n > 3000 {
		most = max(most, 200)
	}
	for ; n > 0; n -= cuts[len(cuts)-1] {
		cuts = append(cuts, min(n, 1+rnd.IntN(most)))
	}
	return cuts
}
