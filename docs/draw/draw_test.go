package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPictureIsCurrent: the picture is that of its source.
func TestPictureIsCurrent(t *testing.T) {
	target := filepath.Join(t.TempDir(), "paths.svg")
	require.NoError(t, draw("../images/paths.txt", target))
	want, err := os.ReadFile(target)
	require.NoError(t, err)
	got, err := os.ReadFile("../images/paths.svg")
	require.NoError(t, err)
	require.True(t, string(want) == string(got), "the picture is stale: make generate draws it anew") //nolint:testifylint // nobody reads the difference
}

// TestPictureIsXML: what a label says is no markup, and the whole is well-formed.
func TestPictureIsXML(t *testing.T) {
	svg, err := picture(small + "back a b | less < more & \"more\"\n")
	require.NoError(t, err)
	words := ""
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if text, ok := token.(xml.CharData); ok {
			words += string(text)
		}
	}
	require.Contains(t, words, `less < more & "more"`)
}

const small = "row in\nbox a | head | line | `a.go: a`\nrow out\nbox b | head | `b.go: b`\n"

// TestMistakes: a source that cannot be drawn is an error that names the line.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"no keyword":            {small + "line a b", `line 5: "line" is none of title, desc, left, right, row, box, back`},
		"no code":               {small + "box c | head | line", "line 5: \"line\" is no `file.go: function`"},
		"a line too long":       {small + "box c | head | a line that runs out of its box | `c.go: c`", "line 5: \"a line that runs out of its box\" is longer than a box, 20 letters"},
		"a head too long":       {small + "box c | a headline that is long | `c.go: c`", "line 5: \"a headline that is long\" is longer than a headline, 17 letters"},
		"too many lines":        {small + "box c | head | 1 | 2 | 3 | 4 | 5 | `c.go: c`", "line 5: box c has more than a box can hold: 4 lines, and code of 24 letters"},
		"an unknown box":        {small + "back a c | label", "line 5: there is no box a, or no c, above"},
		"a back of one":         {small + "back a | label", "line 5: a back has the names of two boxes, and a label"},
		"a box before a row":    {"box a | head | `a.go: a`", "line 1: a box stands below a row, and has a name, a headline, lines, and `file.go: function` at the end"},
		"rows that differ":      {small + "box c | head | `c.go: c`", "two rows with as many boxes are needed"},
		"one row":               {"row in\n", "two rows with as many boxes are needed"},
		"code that is too long": {small + "box c | head | `engine/averyveryverylongname.go: c`", "line 5: box c has more than a box can hold: 4 lines, and code of 24 letters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := picture(c.source)
			require.EqualError(t, err, c.want)
		})
	}
}
