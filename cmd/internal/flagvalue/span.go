package flagvalue

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Span is a flag that takes a duration from low to high, or, unless it is empty, a word for
// one that has none, which sets -1.
func Span(p *time.Duration, low, high time.Duration, word string) pflag.Value {
	return span{p, low, high, word}
}

type span struct {
	p         *time.Duration
	low, high time.Duration
	word      string
}

// Type is what the help calls the flag's value.
func (v span) Type() string { return "duration" }

// Allowed says which values it takes.
func (v span) Allowed() string {
	text := fmt.Sprintf("a duration like 500ms or 10s, from %v to %v", v.low, v.high)
	if v.word != "" {
		text += ", or " + v.word
	}
	return text
}

// String is the duration, or nothing for zero.
func (v span) String() string {
	switch {
	case v.p == nil || *v.p == 0:
		return ""
	case *v.p < 0:
		return v.word
	}
	return v.p.String()
}

// Set takes a duration, or the word.
func (v span) Set(s string) error {
	if v.word != "" && s == v.word {
		*v.p = -1
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < v.low || d > v.high {
		return ErrNotAllowed
	}
	*v.p = d
	return nil
}
