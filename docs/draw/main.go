// Command draw makes docs/images/paths.svg of docs/images/paths.txt: two rows of boxes between
// the peer and the program, the way in above and the way out below, and what goes back
// from one box to another between them. The text is the source: edit that.
//
// It knows this one kind of picture, lays out everything by itself, and refuses a text
// that would run out of its box. The same source makes the same bytes.
package main

//go:generate go run . ../images/paths.txt ../images/paths.svg

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "draw: a source and a file for the picture are needed")
		os.Exit(2)
	}
	if err := draw(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "draw: %v\n", err)
		os.Exit(1)
	}
}

func draw(source, target string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	svg, err := picture(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	return os.WriteFile(target, svg, 0o644) //nolint:gosec // a picture for everybody
}

// picture returns the SVG that a source describes.
func picture(source string) ([]byte, error) {
	p, err := parse(source)
	if err != nil {
		return nil, err
	}
	return p.svg(), nil
}
