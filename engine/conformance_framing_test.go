package engine_test

import (
	"bytes"
	"fmt"
	"strings"
)

// letterString is n bytes of text.
func letterString(n int) string { return string(letters(n)) }

// patternString is n bytes that are not text, from 255 down.
func patternString(n int) string {
	b := pattern(n)
	for i := range b {
		b[i] ^= 0xff
	}
	return string(b)
}

// confLengths are around the borders of the three encodings.
var confLengths = []int{0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 257, 32767, 32768, 65534, 65535, 65536, 65537, confLimit}

func framingProbes() (all []probe) {
	add := func(p probe) { all = append(all, p) }

	// Masks, as a rule: §5.1.
	for name, b0 := range map[string]byte{"text": 0x81, "binary": 0x82, "start of a fragmented text": 0x01, "ping": 0x89, "pong": 0x8A, "close": 0x88} {
		add(probe{clause: "6455-5.1-unmasked", name: name, send: fUnmasked(b0, "Hi"), fails: []int{1002}})
		add(probe{clause: "6455-5.1-unmasked", name: name + ", empty", send: fUnmasked(b0, ""), fails: []int{1002}})
		add(probe{clause: "6455-5.1-unmasked", name: name + ", after a masked frame", send: wire(fText("good"), fUnmasked(b0, "Hi")), echo: texts("good"), fails: []int{1002}})
	}
	add(probe{clause: "6455-5.1-unmasked", name: "continuation", send: wire(fStart(confText, "a"), fUnmasked(0x80, "b")), fails: []int{1002}})
	add(probe{clause: "6455-5.1-unmasked", name: "16-bit length", send: wire([]byte{0x82, 126, 0, 126}, make([]byte, 126)), fails: []int{1002}})
	add(probe{clause: "6455-5.1-unmasked", name: "64-bit length", send: wire([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 65536)), fails: []int{1002}})

	// What the client objects to shows in every case; these are for each kind of frame.
	add(probe{clause: "6455-5.1-sent", name: "text", send: fText("Hello"), echo: texts("Hello")})
	add(probe{clause: "6455-5.1-sent", name: "binary", send: fBinary("Hello"), echo: binaries("Hello")})
	add(probe{clause: "6455-5.1-sent", name: "empty", send: fText(""), echo: texts("")})
	add(probe{clause: "6455-5.1-sent", name: "pong", send: fPing("Hello"), pongs: []string{"Hello"}})
	add(probe{clause: "6455-5.1-sent", name: "large", send: fText(letterString(confLimit)), echo: texts(letterString(confLimit))})

	add(probe{clause: "6455-5.2-fin", name: "set", send: wire(fText("a"), fText("b")), echo: texts("a", "b")})
	add(probe{clause: "6455-5.2-fin", name: "clear", send: wire(fStart(confText, "a"), fMore("b"), fLast("c")), echo: texts("abc")})
	add(probe{clause: "6455-5.2-fin", name: "clear, and no more", send: fStart(confText, "a"), hangup: true})
	add(probe{clause: "6455-5.2-fin", name: "clear in an empty frame, and no more", send: wire(fStart(confText, "a"), fMore("")), hangup: true})

	for rsv := byte(1); rsv < 8; rsv++ {
		for name, b0 := range map[string]byte{"text": 0x81, "binary": 0x82, "start of a text": 0x01, "ping": 0x89, "pong": 0x8A, "close": 0x88} {
			p := probe{clause: "6455-5.2-rsv", name: fmt.Sprintf("bits %03b on %s", rsv, name), send: fRaw(b0|rsv<<4, ""), fails: []int{1002}}
			p.bare = rsv == 4 && b0&0xf < 8 // then RSV1 has a meaning
			add(p)
			if rsv&(rsv-1) == 0 {
				p.name, p.send = p.name+", with a payload", fRaw(b0|rsv<<4, "Hi")
				add(p)
			}
		}
		add(probe{clause: "6455-5.2-rsv", name: fmt.Sprintf("bits %03b on a middle fragment", rsv), send: wire(fStart(confText, "a"), fRaw(rsv<<4, "b"), fLast("c")), fails: []int{1002}})
		add(probe{clause: "6455-5.2-rsv", name: fmt.Sprintf("bits %03b on a last fragment", rsv), send: wire(fStart(confText, "a"), fRaw(0x80|rsv<<4, "b")), fails: []int{1002}})
	}

	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		reserved := func(name string, send ...[]byte) {
			add(probe{clause: "6455-5.2-opcode", name: fmt.Sprintf("%#x %s", op, name), send: wire(send...), fails: []int{1002}})
		}
		reserved("empty", fRaw(0x80|op, ""))
		reserved("with a payload", fRaw(0x80|op, "Hi"))
		reserved("without FIN", fRaw(op, ""))
		reserved("inside a message", fStart(confText, "a"), fRaw(0x80|op, ""))
	}

	for _, n := range confLengths {
		text, binary := letterString(n), patternString(n)
		add(probe{clause: "6455-5.2-length", name: fmt.Sprintf("%d bytes of text", n), send: fText(text), echo: texts(text)})
		add(probe{clause: "6455-5.2-length", name: fmt.Sprintf("%d bytes, binary", n), send: fBinary(binary), echo: binaries(binary)})
		add(probe{clause: "6455-5.2-length", name: fmt.Sprintf("%d bytes as last fragment", n), send: wire(fStart(confBinary, ""), fLast(binary)), echo: binaries(binary)})
	}
	for _, row := range []struct{ size, n int }{{2, 0}, {2, 1}, {2, 124}, {2, 125}, {8, 0}, {8, 1}, {8, 125}, {8, 126}, {8, 127}, {8, 255}, {8, 65534}, {8, 65535}} {
		name, payload := fmt.Sprintf("%d in %d bytes", row.n, row.size), letterString(row.n)
		add(probe{clause: "6455-5.2-minimal", name: name + ", text", send: fLong(0x81, row.size, payload), fails: []int{1002}})
		add(probe{clause: "6455-5.2-minimal", name: name + ", binary", send: fLong(0x82, row.size, payload), fails: []int{1002}})
		add(probe{clause: "6455-5.2-minimal", name: name + ", fragment", send: wire(fStart(confText, "a"), fLong(0x80, row.size, payload)), fails: []int{1002}})
	}
	for _, length := range []uint64{1 << 63, 1<<63 | 1, 1<<63 | 0xffff, 1<<63 | 0x10000, 1<<64 - 1} {
		for name, b0 := range map[string]byte{"text": 0x81, "binary": 0x82, "start of a binary": 0x02} {
			add(probe{clause: "6455-5.2-topbit", name: fmt.Sprintf("%#x, %s", length, name), send: fHead(confKey, b0, 8, length), fails: []int{1002}})
		}
		add(probe{clause: "6455-5.2-topbit", name: fmt.Sprintf("%#x, fragment", length), send: wire(fStart(confText, "a"), fHead(confKey, 0x80, 8, length)), fails: []int{1002}})
	}

	// The bytes, and not only what the client makes of them.
	for n, head := range map[int]string{
		0: "\x82\x00", 1: "\x82\x01", 125: "\x82\x7d", 126: "\x82\x7e\x00\x7e", 127: "\x82\x7e\x00\x7f", 255: "\x82\x7e\x00\xff", 256: "\x82\x7e\x01\x00",
		65535: "\x82\x7e\xff\xff", 65536: "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		add(probe{clause: "6455-5.2-sent", name: fmt.Sprintf("%d bytes", n), send: fBinary(patternString(n)), echo: binaries(patternString(n)), once: true, more: rawReply(head)})
	}
	add(probe{clause: "6455-5.2-sent", name: "pong of 125 bytes", send: fPing(letterString(125)), pongs: []string{letterString(125)}, once: true, more: rawReply("\x8a\x7d")})

	large := strings.Repeat("\x01\x02\x03\xff", 1<<14)
	add(probe{clause: "6455-5.7-examples", name: "text Hello", send: []byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), echo: texts("Hello"), once: true, more: rawReply("\x81\x05Hello")})
	add(probe{clause: "6455-5.7-examples", name: "fragments Hel and lo", send: wire(fStart(confText, "Hel"), fLast("lo")), echo: texts("Hello")})
	add(probe{clause: "6455-5.7-examples", name: "ping Hello", send: []byte("\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), pongs: []string{"Hello"}, once: true, more: rawReply("\x8a\x05Hello")})
	add(probe{clause: "6455-5.7-examples", name: "256 bytes", send: fBinary(patternString(256)), echo: binaries(patternString(256)), once: true, more: rawReply("\x82\x7e\x01\x00")})
	add(probe{clause: "6455-5.7-examples", name: "64 KiB", send: fBinary(large), echo: binaries(large), once: true, more: rawReply("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")})

	return append(all, streamProbes()...)
}

// rawReply wants the server's first bytes to be these.
func rawReply(want string) func(s *session) string {
	return func(s *session) string {
		if !bytes.HasPrefix(s.raw, []byte(want)) {
			return fmt.Sprintf("sent %q, not %q", s.raw[:min(len(s.raw), len(want))], want)
		}
		return ""
	}
}

// streamProbes are about messages in a row.
func streamProbes() (all []probe) {
	for _, n := range []int{0, 1, 100, 200, 1000, 5000} {
		var send []byte
		var echo []said
		for i := range 60 {
			s := strings.Repeat(string(rune('A'+i)), n+i)
			if i%3 == 0 {
				send, echo = append(send, fBinary(s)...), append(echo, said{confBinary, s})
			} else {
				send, echo = append(send, fText(s)...), append(echo, said{confText, s})
			}
		}
		all = append(all, probe{clause: "6455-6.1-sent", name: fmt.Sprintf("60 messages from %d bytes on", n), send: send, echo: echo})
	}
	all = append(all,
		probe{clause: "6455-6.1-sent", name: "one after the other's echo", send: fText("first"), after: 1, later: fBinary("second"), echo: []said{{confText, "first"}, {confBinary, "second"}}},
		probe{clause: "6455-6.1-sent", name: "small, large, small", send: wire(fText("a"), fText(letterString(confLimit)), fText("b")), echo: texts("a", letterString(confLimit), "b")},
		probe{clause: "6455-6.2-received", name: "a header in two writes", send: []byte{0x81}, after: 0, later: fText("Hello")[1:], echo: texts("Hello"), once: true},
		probe{clause: "6455-6.2-received", name: "many in one write", send: bytes.Repeat(fText("x"), 500), echo: texts(strings.Split(strings.Repeat("x", 500), "")...)},
		probe{clause: "6455-6.2-received", name: "kinds in turn", send: wire(fText("a"), fBinary("\xff"), fPing("p"), fText("b"), fPong(""), fStart(confBinary, "\xfe"), fLast("\xfd")),
			echo: []said{{confText, "a"}, {confBinary, "\xff"}, {confText, "b"}, {confBinary, "\xfe\xfd"}}, pongs: []string{"p"}},
	)
	for _, n := range []int{1, 5, 6, 7} { // after the ping's pong the rest of a frame's header or payload comes
		frame := wire(fPing("now"), fText("Hello"))
		cut := len(fPing("now")) + n
		all = append(all, probe{clause: "6455-6.2-received", name: fmt.Sprintf("%d bytes of a frame, a pong, the rest", n), send: frame[:cut], after: 1, later: frame[cut:], echo: texts("Hello"), pongs: []string{"now"}, once: true})
	}
	for _, n := range []int{1, 2, 3, 5, 9, 10, 13, 14, 15, 30, 10_000, 65_000} { // cuts in the header of a large frame
		frame := wire(fPing("now"), fText(letterString(66_000)))
		cut := len(fPing("now")) + n
		all = append(all, probe{clause: "6455-6.2-received", name: fmt.Sprintf("%d bytes of a large frame, a pong, the rest", n), send: frame[:cut], after: 1, later: frame[cut:], echo: texts(letterString(66_000)), pongs: []string{"now"}, once: true})
	}
	return all
}

func maskProbes() (all []probe) {
	for _, key := range [][4]byte{{}, {0xff, 0xff, 0xff, 0xff}, {1, 2, 3, 4}, {0x80, 0, 0, 1}, {0, 0, 0, 0xff}} {
		name := fmt.Sprintf("key %x", key)
		for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 31, 32, 33, 126, 4099, 65541} {
			all = append(all, probe{clause: "6455-5.3-masks", name: fmt.Sprintf("%s, %d bytes", name, n), send: fMasked(key, 0x82, patternString(n)), echo: binaries(patternString(n))})
		}
		all = append(all,
			probe{clause: "6455-5.3-masks", name: name + ", ping", send: fMasked(key, 0x89, "payload"), pongs: []string{"payload"}},
			probe{clause: "6455-5.3-masks", name: name + ", close", send: fMasked(key, 0x88, fCode(4321)+"reason"), closing: true, answers: []int{4321}},
			probe{clause: "6455-5.3-masks", name: name + ", text with runes", send: fMasked(key, 0x81, "Größe ≠ 𝄞"), echo: texts("Größe ≠ 𝄞")},
		)
	}
	for _, sizes := range [][]int{{1, 1, 1}, {2, 3, 5}, {3, 3, 3}, {5, 0, 7}, {4, 4, 4}, {1, 2, 3, 4, 5, 6, 7}, {8190, 3, 8191}} {
		var send []byte
		var message string
		for i, n := range sizes {
			b0 := byte(confContinue)
			if i == 0 {
				b0 = confText
			}
			if i == len(sizes)-1 {
				b0 |= confFin
			}
			send = append(send, fMasked([4]byte{byte(i), 0x5a, byte(7 * i), 0xc3}, b0, letterString(n))...)
			message += letterString(n)
		}
		all = append(all, probe{clause: "6455-5.3-masks", name: fmt.Sprintf("fragments of %v bytes, each with its key", sizes), send: send, echo: texts(message)})
	}
	// Half a rune under each key: with the wrong one it is something else.
	for i := 1; i < len("𝄞"); i++ {
		all = append(all, probe{clause: "6455-5.3-masks", name: fmt.Sprintf("a rune cut after %d bytes, each part with its key", i), echo: texts("𝄞"),
			send: wire(fMasked([4]byte{0xff, 0, 0xff, 0}, confText, "𝄞"[:i]), fMasked([4]byte{1, 0x80, 2, 0x40}, confFin|confContinue, "𝄞"[i:]))})
	}
	return all
}
