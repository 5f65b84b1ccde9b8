package connect

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// harmless reports whether a terminal shows a rune and does nothing else: no control
// characters, C1 included, nothing that changes the direction of writing.
func harmless(r rune) bool {
	const joiner = '\u200d' // inside emojis
	return r != utf8.RuneError && unicode.IsGraphic(r) || r == joiner
}

// readable returns a text as a terminal may show it: lines after the first are
// indented, so that none can be taken for ours; what has other control characters than
// tabs is quoted.
func readable(text []byte) string {
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if !harmless(r) && r != '\n' && r != '\t' {
			return strconv.Quote(string(text))
		}
		rest = rest[size:]
	}
	return strings.ReplaceAll(string(text), "\n", "\n  ")
}

// oneLine returns a message of ours, in which there may be a peer's words, with
// everything escaped that is more than a character.
func oneLine(text string) string { return escaped(text, `\x%02x`) }

// escapedJSON escapes what JSON need not and terminals would obey.
func escapedJSON(line string) string { return escaped(line, `\u%04x`) }

func escaped(text, form string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !harmless(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if harmless(r) || r > 0xffff {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, form, r)
		}
	}
	return b.String()
}
