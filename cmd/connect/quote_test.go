package connect

import (
	"bytes"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

func TestReadable(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "",
		"plain":              "plain",
		"{\"a\": \"\\x\"}":   "{\"a\": \"\\x\"}",
		"größer 漢字 👩\u200d🔬": "größer 漢字 👩\u200d🔬",
		"a\tb\n* closed":     "a\tb\n  * closed",
		"\x1b[2J":            `"\x1b[2J"`,
		"a\rb":               `"a\rb"`,
		"\u009b2J":           `"\u009b2J"`,
		"\x7f":               `"\x7f"`,
		"\u202eabc":          `"\u202eabc"`,
		"\xff":               `"\xff"`,
		"\ufffd":             `"�"`,
		"a\n\x07\u2028":      `"a\n\a\u2028"`,
	} {
		require.Equal(t, want, readable([]byte(text)))
	}
}

// FuzzTerminal: nothing that comes, and no message of ours that quotes it, makes a
// terminal do anything.
func FuzzTerminal(f *testing.F) {
	for _, seed := range []string{"x", "\x1b[2J", "\u009b", "a\nb\t\r", "\xff\x00", "\u202e\u2066"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		var out, notes bytes.Buffer
		p := printer{terminal: true, talks: true, out: &out, notes: &notes}
		op := frame.Text
		if binary {
			op = frame.Binary
		}
		require.NoError(t, p.message(engine.Message{Type: op, Data: data}))
		require.NoError(t, p.control(frame.Ping, data, 1))
		require.NoError(t, p.closed(&engine.CloseError{Reason: string(data)}))
		p.tell(string(data))
		p.json = true
		require.NoError(t, p.message(engine.Message{Type: op, Data: data}))
		require.NoError(t, p.closed(&engine.CloseError{Reason: string(data)}))
		for _, text := range []string{out.String(), notes.String()} {
			for _, r := range text {
				if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
					t.Fatalf("%U in %q", r, text)
				}
			}
		}
		for i, line := range bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n")) {
			if i > 0 && !bytes.HasPrefix(line, []byte("  ")) && !bytes.HasPrefix(line, []byte("{")) {
				t.Fatalf("line %d of %q could be ours", i, &out)
			}
		}
	})
}

func TestTyped(t *testing.T) {
	for text, want := range map[string]typed{
		"":                {message: []byte("")},
		"hello /quit":     {message: []byte("hello /quit")},
		"//":              {message: []byte("/")},
		"//quit":          {message: []byte("/quit")},
		"/ping":           {ping: true, payload: []byte{}},
		"/ping a b":       {ping: true, payload: []byte("a b")},
		"/quit":           {close: true, code: 1000},
		"/close":          {close: true, code: 1000},
		"/close 4001":     {close: true, code: 4001},
		"/close 1001 a b": {close: true, code: 1001, reason: "a b"},
	} {
		got, err := parseTyped([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"/", "/nonsense", "/ quit", "/close x", "/close 1006", "/close 999", "/close 70000", "/close -1",
		"/close 1000 " + string(bytes.Repeat([]byte("x"), 124)), "/close 1000 \xff", "/ping " + string(bytes.Repeat([]byte("x"), 126))} {
		_, err := parseTyped([]byte(text))
		require.Error(t, err, text)
	}
}
