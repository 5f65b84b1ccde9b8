package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Schema is the version of a File. It grows when a field changes its meaning or
// goes; new fields do not count.
const Schema = 2

// File is what a command has measured, as it is kept: raw, so that reports can be
// made from it now or later.
type File struct {
	Schema  int       `json:"schema"`
	Results []*Result `json:"results"` // in the order in which they were measured
}

// NewFile returns a File of these results.
func NewFile(results ...*Result) *File { return &File{Schema: Schema, Results: results} }

// Write writes f as JSON.
func (f *File) Write(out io.Writer) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// ReadFile reads what Write has written. Its errors name the file and what is wrong
// with it.
func ReadFile(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	var f File
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("bench: %s is no result file: %w", path, err)
	}
	switch {
	case f.Schema != Schema:
		return nil, fmt.Errorf("bench: %s has schema %d; this version reads %d", path, f.Schema, Schema)
	case len(f.Results) == 0:
		return nil, fmt.Errorf("bench: %s holds no results", path)
	}
	for i, r := range f.Results {
		if r == nil || r.Name == "" {
			return nil, fmt.Errorf("bench: %s: result %d has no name", path, i+1)
		}
	}
	return &f, nil
}
