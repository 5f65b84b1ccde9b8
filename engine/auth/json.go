package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// deepest is how many objects and arrays may stand in each other.
const deepest = 32

// What parseObject refuses. None has a part of the text in it.
var (
	errNotUTF8   = errors.New("not UTF-8")
	errNotObject = errors.New("not a JSON object")
	errTwice     = errors.New("a JSON name that occurs twice")
	errTooDeep   = errors.New("JSON that is too deep")
)

// parseObject reads one JSON object, and nothing behind it. Unlike encoding/json it
// refuses a name that occurs twice in an object, at any depth: of two claims another
// reader may believe the other one. Numbers are json.Number.
func parseObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) {
		return nil, errNotUTF8
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if _, err := d.Token(); !ok || err != io.EOF {
		return nil, errNotObject
	}
	return object, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errNotObject
	}
	if depth > deepest {
		return nil, errTooDeep
	}
	switch t {
	case json.Delim('{'):
		return parseMembers(d, depth)
	case json.Delim('['):
		return parseElements(d, depth)
	}
	return t, nil
}

func parseMembers(d *json.Decoder, depth int) (any, error) {
	object := make(map[string]any)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotObject
		}
		if _, twice := object[name]; twice {
			return nil, errTwice
		}
		if object[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return object, end(d)
}

func parseElements(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, end(d)
}

// end reads the bracket that closes.
func end(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errNotObject
	}
	return nil
}
