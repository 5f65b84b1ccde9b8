package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// mostFile bounds a file that is read: a configuration, a certificate, a key.
const mostFile = 1 << 20

// A fileError is one mistake in a configuration file.
type fileError struct {
	file    string
	line    int
	problem string
}

// Error tells where it is and what.
func (e *fileError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.problem) }

// fromFile reads a configuration file: a JSON object with a field for each setting.
// Without a path there is none.
func fromFile(list []*option, path string) (layer, error) {
	l := make(layer)
	if path == "" {
		return l, nil
	}
	text, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	r := &fileReader{path: path, text: text, dec: json.NewDecoder(bytes.NewReader(text)), layer: l, options: make(map[string]*option)}
	for _, o := range list {
		for _, name := range o.names() {
			r.options[name] = o
		}
	}
	if bytes.HasPrefix(text, []byte("\ufeff")) {
		r.mistake(1, "the file begins with a byte order mark: UTF-8 without one would be right")
	} else if err := r.read(); err != nil {
		r.mistake(r.line(), "%s", whatJSON(err))
	}
	return l, errors.Join(r.errs...)
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	if err == nil && len(text) > mostFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, mostFile)
	}
	return text, err
}

func whatJSON(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON text ends before it is complete"
	}
	return err.Error()
}

// A fileReader reads one file.
type fileReader struct {
	path    string
	text    []byte
	dec     *json.Decoder
	options map[string]*option
	layer   layer
	errs    []error
}

func (r *fileReader) mistake(line int, format string, args ...any) {
	r.errs = append(r.errs, &fileError{r.path, line, fmt.Sprintf(format, args...)})
}

// line returns the line that has been read to.
func (r *fileReader) line() int {
	return 1 + bytes.Count(r.text[:r.dec.InputOffset()], []byte("\n"))
}

// read returns an error of the syntax; other mistakes it collects.
func (r *fileReader) read() error {
	switch token, err := r.dec.Token(); {
	case err != nil:
		return err
	case token != json.Delim('{'):
		return errors.New("the file must be a JSON object")
	}
	for r.dec.More() {
		name, err := r.dec.Token()
		if err != nil {
			return err
		}
		line := r.line()
		var raw json.RawMessage
		if err := r.dec.Decode(&raw); err != nil {
			return err
		}
		r.field(line, name.(string), raw) // the decoder lets nothing but a string pass here
	}
	if _, err := r.dec.Token(); err != nil {
		return err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end of the JSON object")
	}
	return nil
}

func (r *fileReader) field(line int, name string, raw json.RawMessage) {
	o := r.options[name]
	if o == nil {
		r.mistake(line, "unknown field %q: allowed are those that --print-config lists", name)
		return
	}
	if g, twice := r.layer[o]; twice {
		r.mistake(line, "%s is set already, by %s", name, g.from)
		return
	}
	values, ok := o.fromJSON(raw)
	if !ok {
		r.mistake(line, "%s is %s: allowed is %s", name, o.shown(short(raw)), o.inJSON())
		return
	}
	r.layer[o] = given{values, fmt.Sprintf("file %s:%d", r.path, line)}
	if bad, allowed := o.firstWrong(values); allowed != "" {
		r.mistake(line, "%s is %q: allowed is %s", name, o.shown(bad), allowed)
	}
}

// fromJSON returns a JSON value as the environment would have it, and false if it is
// of the wrong type.
func (o *option) fromJSON(raw json.RawMessage) (values []string, ok bool) {
	if o.list {
		var list []json.RawMessage
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
			return nil, false
		}
		for _, element := range list {
			v, ok := scalar(element)
			if !ok || element[0] != '"' {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	}
	v, ok := scalar(raw)
	switch {
	case !ok, o.text && raw[0] != '"':
		return nil, false
	case (raw[0] == 't' || raw[0] == 'f') != o.toggle && raw[0] != '"':
		return nil, false
	}
	return []string{o.normal(v)}, true
}

// inJSON says which JSON values the option takes.
func (o *option) inJSON() string {
	switch {
	case o.list:
		return "a list of strings"
	case o.toggle:
		return "true or false"
	case o.text:
		return "a string: " + o.right()
	}
	return o.right()
}

// scalar returns a string, a number or a boolean as text.
func scalar(raw json.RawMessage) (string, bool) {
	switch raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err == nil
	case '{', '[', 'n':
		return "", false
	}
	return string(raw), true
}

// short is a JSON value as an error quotes it.
func short(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return strings.ToValidUTF8(string(raw[:min(len(raw), 60)]), "")
}
