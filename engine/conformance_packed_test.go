package engine_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"strings"
)

// packedOffer is what most cases of permessage-deflate offer.
var packedOffer = []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}

// The RFC's messages (RFC 7692 §7.2.3), which are "Hello" but for the last.
const (
	packedHello  = "\xf2\x48\xcd\xc9\xc9\x07\x00"
	packedStored = "\x00\x05\x00\xfa\xffHello\x00"
	packedFinal  = "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
	packedBlocks = "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"
	packedNone   = "\x00"
)

// packedString compresses with Go's library, the engine with another.
func packedString(s string, level int) string { return string(deflated([]byte(s), level)) }

// storedBlock is a block without compression. It leaves the stream at a byte.
func storedBlock(s string, final bool) string {
	head := make([]byte, 5)
	if final {
		head[0] = 1
	}
	binary.LittleEndian.PutUint16(head[1:], uint16(len(s)))
	binary.LittleEndian.PutUint16(head[3:], ^uint16(len(s)))
	return string(head) + s
}

// syncFlushed is s with a sync flush after each of its parts but the last, the
// tail of which is missing.
func syncFlushed(parts ...string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	for _, s := range parts {
		_, _ = w.Write([]byte(s))
		_ = w.Flush()
	}
	return string(b.Bytes()[:b.Len()-4])
}

const (
	fPackedText   = confFin | confRSV1 | confText
	fPackedBinary = confFin | confRSV1 | confBinary
)

func packedProbes() (all []probe) {
	add := func(clause, name string, send []byte, echo ...said) *probe {
		all = append(all, probe{clause: clause, name: name, offer: packedOffer, picks: 1, send: send, echo: echo})
		return &all[len(all)-1]
	}
	fails := func(clause, name string, code int, send ...[]byte) *probe {
		p := add(clause, name, wire(send...))
		p.fails = []int{code}
		return p
	}
	hello := said{confText, "Hello"}
	const rsv1, unasked = "7692-6-rsv1", "7692-6-unasked"

	fails(rsv1, "on a last fragment", 1002, fRaw(confRSV1|confText, packedHello[:3]), fRaw(confFin|confRSV1, packedHello[3:]))
	fails(rsv1, "on a middle fragment", 1002, fRaw(confRSV1|confText, packedHello[:3]), fRaw(confRSV1, packedHello[3:]), fLast(""))
	fails(rsv1, "on a last fragment of a message that is not compressed", 1002, fStart(confText, "Hel"), fRaw(confFin|confRSV1, "lo"))
	fails(rsv1, "on a middle fragment, empty", 1002, fStart(confBinary, ""), fRaw(confRSV1, ""))
	for name, op := range map[string]byte{"ping": confPing, "pong": confPong, "close": confClose} {
		fails(rsv1, "on a "+name, 1002, fRaw(confFin|confRSV1|op, ""))
		fails(rsv1, "on a "+name+" with a payload", 1002, fRaw(confFin|confRSV1|op, fCode(1000)))
		fails(rsv1, "on a "+name+" inside a message", 1002, fRaw(confRSV1|confText, packedHello[:3]), fRaw(confFin|confRSV1|op, ""))
	}
	for bits, name := range map[byte]string{0x20: "RSV2", 0x10: "RSV3", 0x60: "RSV2 beside it", 0x50: "RSV3 beside it", 0x70: "all three"} {
		fails(rsv1, name+" on text", 1002, fRaw(confFin|bits|confText, packedHello))
		fails(rsv1, name+" on binary", 1002, fRaw(confFin|bits|confBinary, packedHello))
	}
	fails(rsv1, "on a reserved opcode", 1002, fRaw(confFin|confRSV1|3, ""))

	for name, line := range map[string][]string{"no offer": nil, "another offered": {"x-webkit-deflate-frame"}, "a declined offer": {"permessage-deflate; unknown"}} {
		for kind, b0 := range map[string]byte{"text": fPackedText, "binary": fPackedBinary, "fragment": confRSV1 | confText} {
			p := fails(unasked, name+", "+kind, 1002, fRaw(b0, packedHello))
			p.offer, p.picks, p.on, p.bare = line, 0, confPacking, true
		}
	}
	p := fails(unasked, "a server without compression", 1002, fRaw(fPackedText, packedHello))
	p.plain = true
	p.picks = 0

	const fragments, mixed = "7692-6.2-fragments", "7692-6.2-mixed"
	var long string
	for i := range 400 {
		long += fmt.Sprintf("Größe %d ≠ 𝄞; ", i*i)
	}
	packed := packedString(long, 6)
	for _, cut := range every(packedHello) {
		add(fragments, fmt.Sprintf("cut at byte %d", cut), fPieces(confRSV1|confText, packedHello, nil, cut), hello)
		add(fragments, fmt.Sprintf("cut at byte %d, ping between", cut), fPieces(confRSV1|confText, packedHello, fPing("p"), cut), hello).pongs = []string{"p"}
		add(fragments, fmt.Sprintf("cut at byte %d, empty one between", cut), fPieces(confRSV1|confText, packedHello, fMore(""), cut), hello)
	}
	add(fragments, "in bytes", fPieces(confRSV1|confText, packedHello, nil, every(packedHello)...), hello)
	add(fragments, "first empty", wire(fRaw(confRSV1|confText, ""), fLast(packedHello)), hello)
	add(fragments, "last empty", wire(fRaw(confRSV1|confText, packedHello), fLast("")), hello)
	add(fragments, "long text in bytes", fPieces(confRSV1|confText, packed, nil, every(packed)...), said{confText, long})
	noise := string(random(20_000))
	for _, size := range []int{1, 125, 126, 4096, 8191, 8192, 16_384} {
		s := packedString(noise, 6)
		if size == 1 {
			s = packedString(noise[:1000], 6)
		}
		var cuts []int
		for at := size; at < len(s); at += size {
			cuts = append(cuts, at)
		}
		want := noise
		if size == 1 {
			want = noise[:1000]
		}
		add(fragments, fmt.Sprintf("noise in pieces of %d", size), fPieces(confRSV1|confBinary, s, nil, cuts...), said{confBinary, want})
	}

	add(mixed, "not compressed", fText("Hello"), hello)
	add(mixed, "not compressed, in fragments", wire(fStart(confText, "Hel"), fLast("lo")), hello)
	add(mixed, "in turn", wire(fText("a"), fRaw(fPackedText, packedHello), fText("b"), fPing("p"), fRaw(fPackedBinary, packedStored), fBinary("\xff")),
		said{confText, "a"}, hello, said{confText, "b"}, said{confBinary, "Hello"}, said{confBinary, "\xff"}).pongs = []string{"p"}
	add(mixed, "in turn, in fragments", wire(fPieces(confRSV1|confText, packedHello, fPing("p"), 3), fPieces(confText, "Hello", fPing("p"), 3), fPieces(confRSV1|confText, packedHello, nil, 1, 2)),
		hello, hello, hello).pongs = []string{"p", "p"}
	add(mixed, "what would inflate, but is not marked", fBinary(packedHello), said{confBinary, packedHello})
	add(mixed, "200 in turn", bytes.Repeat(wire(fText("Hello"), fRaw(fPackedText, packedHello)), 100), slicesRepeat(hello, 200)...)
	fails(mixed, "text that is not UTF-8, not compressed", 1007, fText("\xff"))
	fails(mixed, "reserved opcode", 1002, fRaw(0x83, ""))

	const blocks, corrupt, utf, examples = "7692-7.2.2-blocks", "7692-7.2.2-corrupt", "7692-7.2.2-utf8", "7692-7.2.3-examples"
	add(examples, "one block", fRaw(fPackedText, packedHello), hello)
	add(examples, "one block in two frames", wire(fRaw(confRSV1|confText, packedHello[:3]), fLast(packedHello[3:])), hello)
	add(examples, "one block twice", wire(fRaw(fPackedText, packedHello), fRaw(fPackedText, packedHello)), hello, hello)
	add(examples, "no compression", fRaw(fPackedText, packedStored), hello)
	add(examples, "BFINAL", fRaw(fPackedText, packedFinal), hello)
	add(examples, "two blocks", fRaw(fPackedText, packedBlocks), hello)
	add(examples, "an empty message", fRaw(fPackedText, packedNone), said{confText, ""})
	add(examples, "an empty message in two frames", wire(fRaw(confRSV1|confText, ""), fLast(packedNone)), said{confText, ""})

	add(blocks, "empty stored block before the data", fRaw(fPackedText, storedBlock("", false)+packedHello), hello)
	add(blocks, "two stored blocks", fRaw(fPackedText, storedBlock("Hel", false)+storedBlock("lo", false)+"\x00"), hello)
	add(blocks, "sync flush in the middle", fRaw(fPackedText, syncFlushed("Hel", "lo")), hello)
	add(blocks, "three sync flushes in a row", fRaw(fPackedText, syncFlushed("Hel", "", "", "lo")), hello)
	add(blocks, "its tail not removed", fRaw(fPackedText, packedHello+"\x00\x00\xff\xff\x00"), hello)
	add(blocks, "BFINAL, stored", fRaw(fPackedText, storedBlock("Hello", true)+"\x00"), hello)
	add(blocks, "BFINAL, then another block", fRaw(fPackedText, storedBlock("Hel", true)+storedBlock("lo", false)+"\x00"), hello)
	add(blocks, "a match in the block before", fRaw(fPackedText, packedHello+"\x00\x00\xff\xff"+"\xf2\x00\x11\x00\x00"), said{confText, "HelloHello"})
	for level := -2; level <= 9; level++ {
		add(blocks, fmt.Sprintf("Go's level %d", level), fRaw(fPackedText, packedString(long, level)), said{confText, long})
		add(blocks, fmt.Sprintf("Go's level %d, noise", level), fRaw(fPackedBinary, packedString(noise, level)), said{confBinary, noise})
	}
	far := string(random(300)) + strings.Repeat("x", 32_000) + string(random(300)) // repeats 32 300 bytes back
	add(blocks, "a match far back", fRaw(fPackedBinary, packedString(far, 9)), said{confBinary, far})

	fails(corrupt, "nothing at all", 1007, fRaw(fPackedText, ""))
	fails(corrupt, "nothing at all, binary, in fragments", 1007, fRaw(confRSV1|confBinary, ""), fMore(""), fLast(""))
	fails(corrupt, "plain text", 1007, fRaw(fPackedText, "Hello"))
	fails(corrupt, "noise", 1007, fRaw(fPackedBinary, noise[:1000]))
	fails(corrupt, "block of type 3", 1007, fRaw(fPackedText, "\x06"))
	fails(corrupt, "all ones", 1007, fRaw(fPackedBinary, strings.Repeat("\xff", 50)))
	fails(corrupt, "a stored block whose lengths differ", 1007, fRaw(fPackedText, "\x00\x05\x00\xfb\xffHello\x00"))
	fails(corrupt, "a stored block that is cut short", 1007, fRaw(fPackedBinary, storedBlock("Hello", false)[:8]))
	fails(corrupt, "a match before the beginning", 1007, fRaw(fPackedText, "\xf2\x00\x11\x00\x00"))
	fails(corrupt, "a match in the message before", 1007, fRaw(fPackedText, packedHello), fRaw(fPackedText, "\xf2\x00\x11\x00\x00")).echo = []said{hello}
	fails(corrupt, "a zlib header", 1007, fRaw(fPackedText, "\x78\x9c"+packedHello))
	fails(corrupt, "something behind the last block", 1007, fRaw(fPackedText, packedFinal+"\xff\xff\xff"))
	for less := 1; less <= 40; less++ { // whatever a receiver appends, to find the end, must not pass for the data
		s := strings.Repeat("x", 100)
		fails(corrupt, fmt.Sprintf("a stored block that lacks %d bytes", less), 1007, fRaw(fPackedBinary, storedBlock(s, false)[:105-less]))
		fails(corrupt, fmt.Sprintf("a last stored block that lacks %d bytes", less), 1007, fRaw(fPackedBinary, storedBlock(s, true)[:105-less]))
	}
	for n := 1; n < len(packedHello); n++ {
		fails(corrupt, fmt.Sprintf("only %d of 7 bytes", n), 1007, fRaw(fPackedBinary, packedHello[:n]))
	}
	for _, less := range []int{1, 2, 3, 10, 100} {
		fails(corrupt, fmt.Sprintf("long text without its last %d bytes", less), 1007, fRaw(fPackedText, packed[:len(packed)-less]))
	}
	fails(corrupt, "good fragment, bad fragment", 1007, fRaw(confRSV1|confText, packedHello[:6]), fLast("\xff\xff\xff\xff"))

	for name, s := range confInvalidText {
		fails(utf, name, 1007, fRaw(fPackedText, packedString("Größe "+s, 6)))
		add(utf, name+", but binary", fRaw(fPackedBinary, packedString(s, 6)), said{confBinary, s})
	}
	fails(utf, "in fragments", 1007, fRaw(confRSV1|confText, packedString("ok \xff", 6)[:4]), fLast(packedString("ok \xff", 6)[4:]))
	for _, cut := range every("aé€𝄞z") { // the message's blocks are cut, its text is whole
		s := "aé€𝄞z"
		add(utf, fmt.Sprintf("a rune across blocks, byte %d", cut), fRaw(fPackedText, syncFlushed(s[:cut], s[cut:])), said{confText, s})
	}
	add(utf, "compressed bytes that are no text", fRaw(fPackedText, packedString("\u00ff", 6)), said{confText, "\u00ff"})

	const limit = "7692-8-limit"
	most, text := string(random(confLimit)), letterString(confLimit)
	add(limit, "exactly", fRaw(fPackedText, packedString(text, 9)), said{confText, text})
	add(limit, "exactly, noise", fRaw(fPackedBinary, packedString(most, 1)), said{confBinary, most}).may = []int{1009} // on the wire it is more
	add(limit, "exactly, stored", fRaw(fPackedBinary, packedString(most, 0)), said{confBinary, most}).may = []int{1009}
	add(limit, "exactly, twice", bytes.Repeat(fRaw(fPackedText, packedString(text, 9)), 2), slicesRepeat(said{confText, text}, 2)...)
	packed = packedString(text, 9)
	add(limit, "exactly, in fragments", fPieces(confRSV1|confText, packed, nil, 1, 2, len(packed)/2), said{confText, text})
	add(limit, "exactly, not compressed", fText(text), said{confText, text})
	count := confCountCommand + letterString(confLimit-len(confCountCommand))
	add(limit, "exactly, counted", fRaw(fPackedText, packedString(count, 9)), said{confText, fmt.Sprint(confLimit)})
	for _, more := range []int{1, 2, 100, confLimit, 50 * confLimit} {
		fails(limit, fmt.Sprintf("%d more, counted", more), 1009, fRaw(fPackedText, packedString(count+letterString(more), 9)))
		fails(limit, fmt.Sprintf("%d more", more), 1009, fRaw(fPackedText, packedString(letterString(confLimit+more), 9)))
		fails(limit, fmt.Sprintf("%d more of zeros", more), 1009, fRaw(fPackedBinary, packedString(string(make([]byte, confLimit+more)), 9)))
	}
	fails(limit, "1 more, stored", 1009, fRaw(fPackedBinary, packedString(string(random(confLimit+1)), 0)))
	bomb := packedString(string(make([]byte, 10*confLimit)), 9)
	fails(limit, "ten times, in fragments", 1009, fPieces(confRSV1|confBinary, bomb, nil, every(bomb[:50])...))
	fails(limit, "1 more, not compressed", 1009, fText(letterString(confLimit+1)))
	fails(limit, "1 more, not compressed, only the header", 1009, fHead(confKey, 0x82, 0, confLimit+1))
	fails(limit, "1 more, not compressed, second header", 1009, fStart(confText, text), fHead(confKey, 0x80, 0, 1)).rest = []byte("x")
	fails(limit, "far more on the wire", 1009, fHead(confKey, fPackedBinary, 0, 2*confLimit))
	fails(limit, "far more on the wire, second header", 1009, fRaw(confRSV1|confBinary, packedHello), fHead(confKey, 0x80, 0, 2*confLimit))
	fails(limit, "2^63-1 on the wire", 1009, fHead(confKey, fPackedBinary, 8, 1<<63-1))
	fails(rsv1, "2^63 on the wire", 1002, fHead(confKey, fPackedBinary, 8, 1<<63))
	fails(rsv1, "a length of one byte in two", 1002, fLong(fPackedBinary, 2, packedHello))
	return all
}

func slicesRepeat(m said, n int) (all []said) {
	for range n {
		all = append(all, m)
	}
	return all
}

// packedSentProbes are about what the server compresses. That it inflates to what
// was sent, and ends as it should, the client looks at in every case.
func packedSentProbes() (all []probe) {
	add := func(clause, name string, offer []string, s string, more func(*session) string) {
		all = append(all, probe{clause: clause, name: name, offer: offer, picks: 1, send: fBinary(s), echo: binaries(s), more: more, once: true})
	}
	const rsv1, tail, fresh, window = "7692-6.1-sent", "7692-7.2.1-sent", "7692-7.1.1.1-server_takeover", "7692-7.1.2.1-server_bits"

	wasPacked := func(s *session) string {
		if len(s.packed) == 0 || !s.packed[len(s.packed)-1] {
			return "not compressed"
		}
		return ""
	}
	large := string(random(67_500)) + strings.Repeat("\x00", 2000) // compressed it is still more than 64 KiB
	for _, n := range []int{0, 1, 2, 10, 125, 126, 127, 1000, 65_535, 65_536, confLimit} {
		add(rsv1, fmt.Sprintf("%d letters", n), packedOffer, letterString(n), nil)
		add(rsv1, fmt.Sprintf("%d bytes of noise", n), packedOffer, string(random(n)), nil)
		add(tail, fmt.Sprintf("%d zeros", n), packedOffer, strings.Repeat("\x00", n), nil)
	}
	add(rsv1, "a message of several frames", packedOffer, large, wasPacked)
	add(tail, "letters are compressed", packedOffer, letterString(5000), wasPacked)
	add(tail, "text beside noise", packedOffer, letterString(3000)+string(random(3000))+letterString(3000), wasPacked)
	// Random bytes end in every way that a stream can.
	for i := range 40 {
		add(tail, fmt.Sprintf("ending %d", i), packedOffer, letterString(500)+string(random(20+i)), nil)
	}

	// Each message is inflated with nothing before it.
	all = append(all, probe{
		clause: fresh, name: "the same three times", offer: packedOffer, picks: 1, once: true,
		send: bytes.Repeat(fText(letterString(300)+"Größe"), 3), echo: texts(letterString(300)+"Größe", letterString(300)+"Größe", letterString(300)+"Größe"),
		more: func(s *session) string {
			if len(s.wires) != 3 || s.wires[0] != s.wires[1] || s.wires[1] != s.wires[2] {
				return "the same message is compressed differently"
			}
			return ""
		},
	})

	// A text that repeats itself at all distances.
	unit := string(random(150))
	var far string
	for i, gap := range []int{100, 300, 700, 1500, 3000, 6000, 13_000, 20_000} {
		far += unit + letterString(gap)[:gap-i]
	}
	for bits := 8; bits <= 15; bits++ {
		add(window, fmt.Sprintf("%d bits are kept", bits), []string{fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits)}, far, keepsWindow(bits))
		add(window, fmt.Sprintf("%d bits are kept in a large message", bits), []string{fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits)}, far+string(random(9000))+unit+letterString(9000), keepsWindow(bits))
	}
	return all
}

// keepsWindow wants what has been compressed to refer no further back.
func keepsWindow(bits int) func(s *session) string {
	return func(s *session) string {
		for i, w := range s.wires {
			if !s.packed[i] {
				continue
			}
			if d := furthest([]byte(w)); d > 1<<bits {
				return fmt.Sprintf("a match %d bytes back", d)
			}
		}
		return ""
	}
}
