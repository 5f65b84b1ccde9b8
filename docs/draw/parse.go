package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A diagram is what a source says.
type diagram struct {
	title, desc string
	left, right string // what the rows run between
	rows        []row  // the first runs to the right, the second to the left
	backs       []back
}

type row struct {
	title string
	boxes []box
}

// A box is a step on the way.
type box struct {
	name  string // for backs
	head  string
	lines []string
	file  string // where the code is
	fn    string
}

// A back is an arrow from one box to another beside the way.
type back struct {
	from, to place
	label    string
}

// A place is a box by its row and its number in it.
type place struct{ row, box int }

// The longest texts that fit into a box of boxWidth, by the width of a letter.
const (
	longestLine = 20
	longestHead = 17
	longestCode = 24
)

var codeLine = regexp.MustCompile("^`([a-z_/]+\\.go): (\\w+)`$")

// parse reads a source: a keyword on each line, and fields behind it, between bars.
func parse(source string) (*diagram, error) {
	d := new(diagram)
	number := 0
	for line := range strings.Lines(source) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if err := d.add(word, strings.TrimSpace(rest)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if len(d.rows) != 2 || len(d.rows[0].boxes) != len(d.rows[1].boxes) {
		return nil, errors.New("two rows with as many boxes are needed")
	}
	return d, nil
}

func (d *diagram) add(word, rest string) error {
	switch word {
	case "title":
		d.title = rest
	case "desc":
		d.desc = strings.TrimSpace(d.desc + " " + rest)
	case "left":
		d.left = rest
	case "right":
		d.right = rest
	case "row":
		d.rows = append(d.rows, row{title: rest})
	case "box":
		return d.addBox(fields(rest))
	case "back":
		return d.addBack(fields(rest))
	default:
		return fmt.Errorf("%q is none of title, desc, left, right, row, box, back", word)
	}
	return nil
}

func fields(text string) []string {
	list := strings.Split(text, "|")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func (d *diagram) addBox(f []string) error {
	if len(d.rows) == 0 || len(f) < 3 {
		return errors.New("a box stands below a row, and has a name, a headline, lines, and `file.go: function` at the end")
	}
	code := codeLine.FindStringSubmatch(f[len(f)-1])
	if code == nil {
		return fmt.Errorf("%q is no `file.go: function`", f[len(f)-1])
	}
	b := box{name: f[0], head: f[1], lines: f[2 : len(f)-1], file: code[1], fn: code[2]}
	if utf8.RuneCountInString(b.head) > longestHead {
		return fmt.Errorf("%q is longer than a headline, %d letters", b.head, longestHead)
	}
	for _, line := range b.lines {
		if utf8.RuneCountInString(line) > longestLine {
			return fmt.Errorf("%q is longer than a box, %d letters", line, longestLine)
		}
	}
	if max(len(b.file), len(b.fn)) > longestCode || len(b.lines) > mostLines {
		return fmt.Errorf("box %s has more than a box can hold: %d lines, and code of %d letters", b.name, mostLines, longestCode)
	}
	r := &d.rows[len(d.rows)-1]
	r.boxes = append(r.boxes, b)
	return nil
}

func (d *diagram) addBack(f []string) error {
	names := strings.Fields(f[0])
	if len(f) != 2 || len(names) != 2 {
		return errors.New("a back has the names of two boxes, and a label")
	}
	from, ok := d.find(names[0])
	to, found := d.find(names[1])
	if !ok || !found {
		return fmt.Errorf("there is no box %s, or no %s, above", names[0], names[1])
	}
	d.backs = append(d.backs, back{from, to, f[1]})
	return nil
}

func (d *diagram) find(name string) (place, bool) {
	for i, r := range d.rows {
		if j := slices.IndexFunc(r.boxes, func(b box) bool { return b.name == name }); j >= 0 {
			return place{i, j}, true
		}
	}
	return place{}, false
}
