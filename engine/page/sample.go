package page

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/penstock-ws/penstock/engine"
	"github.com/penstock-ws/penstock/frame"
)

// A sample is what the page gets each second: figures of the moment, and totals since the
// engine's start, of which it makes rates itself.
type sample struct {
	At int64 `json:"at"` // ms since the page's start

	Connections int `json:"connections"`
	Congested   int `json:"congested"`
	Pending     int `json:"pending"`
	Workers     int `json:"workers"`
	WorkersMost int `json:"workers_most"`
	Runnable    int `json:"runnable"`
	BudgetUsed  int `json:"budget_used"`
	BudgetLimit int `json:"budget_limit"`

	Opened      uint64 `json:"opened"`
	Refused     uint64 `json:"refused"`
	MessagesIn  uint64 `json:"messages_in"`
	MessagesOut uint64 `json:"messages_out"`
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
	Dropped     uint64 `json:"dropped"` // for overflow, age, or a newer one
	Violations  uint64 `json:"violations"`
	Stalled     uint64 `json:"stalled"`
	Shed        uint64 `json:"shed"`
	Panics      uint64 `json:"panics"`

	Closes []closes `json:"closes"`
}

// closes are the connections that ended with a code; 0 stands for all others.
type closes struct {
	Code  frame.CloseCode `json:"code"`
	Count uint64          `json:"count"`
}

// mostCodes bounds the codes of a sample: peers choose among two thousand.
const mostCodes = 12

func newSample(at time.Duration, s *engine.Stats) sample {
	return sample{
		At:          at.Milliseconds(),
		Connections: s.Connections,
		Congested:   s.Congested,
		Pending:     s.Pending,
		Workers:     s.Workers,
		WorkersMost: s.WorkersMost,
		Runnable:    s.Runnable,
		BudgetUsed:  s.BudgetUsed,
		BudgetLimit: s.BudgetLimit,
		Opened:      s.Opened,
		Refused:     s.Refused,
		MessagesIn:  s.MessagesIn,
		MessagesOut: s.MessagesOut,
		BytesIn:     s.BytesIn,
		BytesOut:    s.BytesOut,
		Dropped:     s.DroppedOverflow + s.DroppedExpired + s.Replaced,
		Violations:  s.Violations,
		Stalled:     s.Stalled,
		Shed:        s.Shed,
		Panics:      s.Panics,
		Closes:      mostFrequent(s.Closed),
	}
}

// mostFrequent returns the codes by their numbers, and the rarest together.
func mostFrequent(closed map[frame.CloseCode]uint64) []closes {
	list := make([]closes, 0, len(closed))
	for _, code := range slices.Sorted(maps.Keys(closed)) {
		list = append(list, closes{code, closed[code]})
	}
	if len(list) <= mostCodes {
		return list
	}
	slices.SortStableFunc(list, func(a, b closes) int { return cmp.Compare(b.Count, a.Count) })
	others := closes{}
	for _, c := range list[mostCodes-1:] {
		others.Count += c.Count
	}
	list = list[:mostCodes-1]
	slices.SortFunc(list, func(a, b closes) int { return cmp.Compare(a.Code, b.Code) })
	return append(list, others)
}
