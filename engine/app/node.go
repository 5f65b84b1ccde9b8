package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A node is a JSON value and where it stands. encoding/json alone would take the last
// of two fields with the same name, and could not say where a mistake is.
type node struct {
	line  int
	value any // nil, bool, string, json.Number, []*node or *object
}

// An object keeps its fields in order.
type object struct {
	names  []string
	fields map[string]*node
}

// A parser reads one JSON text.
type parser struct {
	text []byte
	dec  *json.Decoder
	path []string // to where it reads
	// twice is told of a field that stands in an object twice, by its path.
	twice func(line int, path string)
}

// mostDepth is how deep a manifest may be nested; its own structure has four levels.
const mostDepth = 32

// parse reads text as one JSON value with nothing behind it. The line is that of the
// mistake.
func parse(text []byte, twice func(line int, path string)) (n *node, line int, err error) {
	p := &parser{text: text, dec: json.NewDecoder(bytes.NewReader(text)), twice: twice}
	p.dec.UseNumber()
	if n, err = p.value(mostDepth); err == nil {
		if _, more := p.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the end of the JSON value")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the JSON text ends before it is complete")
	}
	return n, p.line(), err
}

// line returns the line that has been read to.
func (p *parser) line() int {
	return 1 + bytes.Count(p.text[:min(p.dec.InputOffset(), int64(len(p.text)))], []byte("\n"))
}

func (p *parser) value(depth int) (*node, error) {
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &node{line: p.line(), value: token}
	switch {
	case depth == 0:
		return nil, fmt.Errorf("it is nested deeper than %d levels", mostDepth)
	case token == json.Delim('{'):
		n.value, err = p.object(depth - 1)
	case token == json.Delim('['):
		n.value, err = p.array(depth - 1)
	}
	return n, err
}

func (p *parser) object(depth int) (*object, error) {
	o := &object{fields: make(map[string]*node)}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder lets nothing else pass here
		p.path = append(p.path, name)
		if o.fields[name] == nil {
			o.names = append(o.names, name)
		} else {
			p.twice(p.line(), strings.Join(p.path, "."))
		}
		if o.fields[name], err = p.value(depth); err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
	}
	_, err := p.dec.Token()
	return o, err
}

func (p *parser) array(depth int) (list []*node, err error) {
	for p.dec.More() {
		n, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	_, err = p.dec.Token()
	return list, err
}

// String returns the value as a message quotes it.
func (n *node) String() string {
	switch v := n.value.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%.60q", v)
	case []*node:
		return "an array"
	case *object:
		return "an object"
	}
	return fmt.Sprintf("%.60s", fmt.Sprint(n.value))
}
