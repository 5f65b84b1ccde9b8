package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/penstock-ws/penstock/bench"
)

// schema is the version of a Report's JSON; it grows when a field changes its meaning.
const schema = 1

// Report is all that has been measured: the raw file that tables are made from.
type Report struct {
	Schema  int       `json:"schema"`
	Started time.Time `json:"started"`
	Command string    `json:"command"` // that made it, to be run in bench/peers
	Partial bool      `json:"partial"` // it was interrupted
	Rounds  int       `json:"rounds"`  // that were asked for
	Base    string    `json:"base"`    // the peer that ratios are to

	WarmupNS   int64 `json:"warmup_ns"`
	DurationNS int64 `json:"duration_ns"`

	// The CPUs that servers and client were pinned to; nil: to none.
	ServerCPU *int `json:"server_cpu"`
	ClientCPU *int `json:"client_cpu"`

	Machine bench.Machine `json:"machine"`

	// LoadAverage is that of the last minute before the first run: how busy the
	// machine was with other things. Empty where it cannot be read.
	LoadAverage string `json:"load_average"`

	Peers []PeerInfo `json:"peers"` // in the roster's order
	Runs  []Run      `json:"runs"`
}

// PeerInfo is a peer as it was measured, or why it was not.
type PeerInfo struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Setup   string `json:"setup"`
	Version string `json:"version"`
	Absent  string `json:"absent,omitempty"`
}

// Run is one peer under one load in one round. Either Result or Error is set.
type Run struct {
	Load   string        `json:"load"`
	Peer   string        `json:"peer"`
	Round  int           `json:"round"`
	Result *bench.Result `json:"result,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// write puts r into the file, if there is to be one.
func (r *Report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("-json %s: %w", path, err)
	}
	return replaceFile(path, append(text, '\n'))
}

func readReport(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError{fmt.Errorf("-from: %w", err)}
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("-from %s: %w", path, err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("-from %s: it has schema %d, this program reads %d", path, r.Schema, schema)
	}
	return r, nil
}
