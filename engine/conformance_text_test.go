package engine_test

import (
	"fmt"
	"strings"
)

// confInvalidText has each way in which bytes may fail to be UTF-8 (RFC 3629 §3).
var confInvalidText = map[string]string{
	"lone continuation 80":        "\x80",
	"lone continuation BF":        "\xbf",
	"two lone continuations":      "\x80\xbf",
	"start of two, then space":    "\xc3 ",
	"start of three, then space":  "\xe1\x80 ",
	"start of four, then space":   "\xf1\x80\x80 ",
	"start of two, ends":          "\xdf",
	"start of three, ends":        "\xef\xbf",
	"start of four, ends":         "\xf4\x8f\xbf",
	"overlong 2: C0 80":           "\xc0\x80",
	"overlong 2: C1 BF":           "\xc1\xbf",
	"overlong 3: E0 80 80":        "\xe0\x80\x80",
	"overlong 3: E0 9F BF":        "\xe0\x9f\xbf",
	"overlong 4: F0 80 80 80":     "\xf0\x80\x80\x80",
	"overlong 4: F0 8F BF BF":     "\xf0\x8f\xbf\xbf",
	"surrogate D800":              "\xed\xa0\x80",
	"surrogate DBFF":              "\xed\xaf\xbf",
	"surrogate DC00":              "\xed\xb0\x80",
	"surrogate DFFF":              "\xed\xbf\xbf",
	"surrogate pair":              "\xed\xa0\x80\xed\xb0\x80",
	"over 10FFFF: F4 90":          "\xf4\x90\x80\x80",
	"over 10FFFF: F5":             "\xf5\x80\x80\x80",
	"over 10FFFF: F7":             "\xf7\xbf\xbf\xbf",
	"five bytes: F8":              "\xf8\x88\x80\x80\x80",
	"six bytes: FC":               "\xfc\x84\x80\x80\x80\x80",
	"FE":                          "\xfe",
	"FF":                          "\xff",
	"Latin-1":                     "\xe9t\xe9",
	"continuation too many of 2":  "\xc3\xa9\x80",
	"continuation too many of 4":  "\xf0\x9d\x84\x9e\x80",
	"start, start, continuation":  "\xc3\xc3\xa9",
	"three cut by another start":  "\xe2\x82\xe2\x82\xac",
	"four with a bad second byte": "\xf0\x28\x8c\xbc",
	"four with a bad third byte":  "\xf0\x90\x28\xbc",
	"four with a bad fourth byte": "\xf0\x90\x8c\x28",
}

// confValidText has the borders of what is.
var confValidText = map[string]string{
	"U+0000": "\x00", "U+007F": "\x7f", "U+0080": "\xc2\x80", "U+07FF": "\xdf\xbf", "U+0800": "\xe0\xa0\x80", "U+D7FF": "\xed\x9f\xbf",
	"U+E000": "\xee\x80\x80", "U+FFFD": "\xef\xbf\xbd", "U+FFFE": "\xef\xbf\xbe", "U+FFFF": "\xef\xbf\xbf", "U+FDD0": "\xef\xb7\x90",
	"U+10000": "\xf0\x90\x80\x80", "U+3FFFF": "\xf0\xbf\xbf\xbf", "U+40000": "\xf1\x80\x80\x80", "U+FFFFF": "\xf3\xbf\xbf\xbf",
	"U+100000": "\xf4\x80\x80\x80", "U+10FFFF": "\xf4\x8f\xbf\xbf", "a byte order mark": "\xef\xbb\xbfx", "kosme": "κόσμε", "all lengths": "aé€𝄞",
	"control characters": "\x01\x02\r\n\t\x1b\x7f",
}

func textProbes() (all []probe) {
	add := func(p probe) { all = append(all, p) }
	const bad, early, text, binary = "6455-8.1-utf8", "6455-8.1-early", "6455-5.6-text", "6455-5.6-binary"
	mixed := "aé€𝄞z"

	for name, s := range confValidText {
		add(probe{clause: text, name: name, send: fText(s), echo: texts(s)})
		add(probe{clause: text, name: name + " in bytes", send: fPieces(confText, s, nil, every(s)...), echo: texts(s)})
	}
	for _, cut := range every(mixed) {
		add(probe{clause: text, name: fmt.Sprintf("cut at byte %d", cut), send: fPieces(confText, mixed, nil, cut), echo: texts(mixed)})
		add(probe{clause: text, name: fmt.Sprintf("cut at byte %d, ping between", cut), send: fPieces(confText, mixed, fPing("\xff"), cut), echo: texts(mixed), pongs: []string{"\xff"}})
		add(probe{clause: text, name: fmt.Sprintf("cut at byte %d, an empty fragment between", cut), send: fPieces(confText, mixed, fMore(""), cut), echo: texts(mixed)})
	}
	long := strings.Repeat("€", confLimit/3)
	shifted := "é" + strings.Repeat("𝄞", confLimit/4-1)
	for name, s := range map[string]string{"three bytes": long, "four bytes, shifted": shifted} {
		add(probe{clause: text, name: "long, runes of " + name, send: fText(s), echo: texts(s)})
		for _, size := range []int{1000, 4097, 32_767, 32_768, 65_535} {
			var cuts []int
			for at := size; at < len(s); at += size {
				cuts = append(cuts, at)
			}
			add(probe{clause: text, name: fmt.Sprintf("long, runes of %s, pieces of %d", name, size), send: fPieces(confText, s, nil, cuts...), echo: texts(s)})
		}
	}
	add(probe{clause: text, name: "empty", send: fText(""), echo: texts("")})

	for name, s := range confInvalidText {
		add(probe{clause: bad, name: name, send: fText(s), fails: []int{1007}})
		add(probe{clause: bad, name: name + " after text", send: fText("Größe " + s), fails: []int{1007}})
		add(probe{clause: bad, name: name + " in bytes", send: fPieces(confText, "x"+s, nil, every("x"+s)...), fails: []int{1007}})
		add(probe{clause: binary, name: name, send: fBinary(s), echo: binaries(s)})
		// Only what no further byte can mend shows early.
		if !strings.HasSuffix(name, "ends") {
			add(probe{clause: early, name: name + " in a fragment", send: fStart(confText, s), rest: fLast(""), fails: []int{1007}})
			whole := fText(s + letterString(50))
			add(probe{clause: early, name: name + " in half a frame", send: whole[:6+len(s)], rest: whole[6+len(s):], fails: []int{1007}})
		}
	}
	for i := 1; i < len("𝄞"); i++ {
		cut := "𝄞"[:i]
		add(probe{clause: bad, name: fmt.Sprintf("ends after %d bytes of a rune", i), send: fText("a" + cut), fails: []int{1007}})
		add(probe{clause: bad, name: fmt.Sprintf("ends after %d bytes of a rune, in an empty fragment", i), send: wire(fStart(confText, cut), fLast("")), fails: []int{1007}})
		add(probe{clause: bad, name: fmt.Sprintf("ends after %d bytes of a rune, empty fragments, a ping", i), send: wire(fStart(confText, cut), fMore(""), fPing("p"), fLast("")), pongs: []string{"p"}, fails: []int{1007}})
		add(probe{clause: bad, name: fmt.Sprintf("next message has the rest of %d bytes", i), send: wire(fText(cut), fText("𝄞"[i:])), fails: []int{1007}})
		add(probe{clause: bad, name: fmt.Sprintf("a binary message has the first %d bytes", i), send: wire(fStart(confBinary, cut), fLast(""), fText("𝄞"[i:])), echo: binaries(cut), fails: []int{1007}})
		add(probe{clause: binary, name: fmt.Sprintf("then the rest of %d bytes, too", i), send: wire(fStart(confBinary, cut), fLast("𝄞"[i:]), fText("a")), echo: []said{{confBinary, "𝄞"}, {confText, "a"}}})
	}
	for _, at := range []int{0, 1000, 8191, 8192, 32_767, 32_768, 60_000, 65_999} {
		s := letterString(at) + "\xff" + letterString(66_000-at)
		add(probe{clause: bad, name: fmt.Sprintf("at byte %d of a long frame", at), send: fText(s), fails: []int{1007}})
		frame := fText(s)
		if at < 65_000 {
			cut := at + 14 + 1 + 500 // the header, what is wrong, a little more
			add(probe{clause: early, name: fmt.Sprintf("at byte %d of a long frame", at), send: frame[:cut], rest: frame[cut:], fails: []int{1007}})
		}
	}
	add(probe{clause: bad, name: "long text cut inside its last rune", send: fText(long[:len(long)-1]), fails: []int{1007}})
	add(probe{clause: bad, name: "the second of two messages", send: wire(fText("good"), fText("\xff")), echo: texts("good"), fails: []int{1007}})
	add(probe{clause: bad, name: "the last fragment only", send: wire(fStart(confText, "good"), fLast("\xff")), fails: []int{1007}})
	add(probe{clause: early, name: "the second fragment", send: wire(fStart(confText, "good"), fMore("\xff")), rest: fLast(""), fails: []int{1007}})
	add(probe{clause: early, name: "a rune across fragments", send: wire(fStart(confText, "\xf4"), fMore("\x90")), rest: fLast("\x80\x80"), fails: []int{1007}})
	add(probe{clause: early, name: "a rune across fragments, a ping between", send: wire(fStart(confText, "\xf4"), fPing("p"), fMore("\x90")), rest: fLast("\x80\x80"), pongs: []string{"p"}, fails: []int{1007}})

	add(probe{clause: binary, name: "all bytes", send: fBinary(patternString(256)), echo: binaries(patternString(256))})
	add(probe{clause: binary, name: "empty", send: fBinary(""), echo: binaries("")})
	add(probe{clause: binary, name: "fragments of what is not UTF-8", send: wire(fStart(confBinary, "\xff"), fMore("\xc3"), fLast("\x28")), echo: binaries("\xff\xc3\x28")})
	add(probe{clause: binary, name: "after fragmented text", send: wire(fStart(confText, "a"), fLast("b"), fBinary("\xff"), fStart(confBinary, "\xff"), fLast("\xff")), echo: []said{{confText, "ab"}, {confBinary, "\xff"}, {confBinary, "\xff\xff"}}})
	return all
}
