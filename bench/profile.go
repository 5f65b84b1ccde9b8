package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// profile is a Mixed as it stands in a file, under the names of the command's flags.
type profile struct {
	Groups []struct {
		Name        string  `json:"name"`
		Connections int     `json:"connections"`
		Pipeline    int     `json:"pipeline"`
		Payload     int     `json:"payload"`
		Text        bool    `json:"text"`
		Compress    bool    `json:"compress"`
		Rate        float64 `json:"rate"`
		RateTo      float64 `json:"rate_to"`
		Poisson     bool    `json:"poisson"`
	} `json:"groups"`
	Beside []struct {
		Kind  HostileKind `json:"kind"`
		Count int         `json:"count"`
	} `json:"beside"`
	Warmup   span `json:"warmup"`
	Duration span `json:"duration"`
}

// span is a duration written like "500ms".
type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q: allowed: a duration such as 500ms or 10s", text)
	}
	*s = span(d)
	return nil
}

// ReadProfile reads a Mixed from a JSON file:
//
//	{
//	  "groups": [
//	    {"name": "chat", "connections": 500, "payload": 200, "text": true, "rate": 2000, "poisson": true},
//	    {"name": "files", "connections": 4, "payload": 1048576, "pipeline": 2}
//	  ],
//	  "beside": [{"kind": "reset", "count": 5}],
//	  "warmup": "1s", "duration": "5s"
//	}
//
// What is left out has its default, as in Group; warm-up and duration have those above.
// A group without a rate is a closed loop. A name that does not exist, and a value that is not allowed, is an error that
// tells where it stands.
func ReadProfile(path string) (Mixed, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Mixed{}, fmt.Errorf("bench: profile: %w", err)
	}
	m, err := parseProfile(text)
	if err != nil {
		return Mixed{}, fmt.Errorf("bench: profile %s: %w", path, err)
	}
	return m, nil
}

func parseProfile(text []byte) (m Mixed, err error) {
	p := profile{Warmup: span(time.Second), Duration: span(5 * time.Second)}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Mixed{}, fmt.Errorf("%s: %w", lineOf(text, d.InputOffset(), err), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Mixed{}, fmt.Errorf("%s: something follows the profile", lineOf(text, d.InputOffset(), nil))
	}
	for i, g := range p.Groups {
		if g.Name == "" {
			g.Name = fmt.Sprintf("group %d", i+1)
		}
		m.Groups = append(m.Groups, Group{
			Name: g.Name, Connections: g.Connections, InFlight: g.Pipeline, PayloadBytes: g.Payload, Text: g.Text,
			Compress: g.Compress, Pace: Pace{Rate: g.Rate, To: g.RateTo, Poisson: g.Poisson},
		})
	}
	for _, h := range p.Beside {
		m.Beside = append(m.Beside, Hostile(h))
	}
	m.Warmup, m.Duration = time.Duration(p.Warmup), time.Duration(p.Duration)
	return m, m.Validate()
}

// lineOf says in which line a mistake stands.
func lineOf(text []byte, offset int64, err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	return fmt.Sprintf("line %d", 1+bytes.Count(text[:min(offset, int64(len(text)))], []byte("\n")))
}
