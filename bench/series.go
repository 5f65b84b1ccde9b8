package bench

import "time"

// Point is one interval of the counted window.
type Point struct {
	End      int64 `json:"end_ns"` // since the window's beginning
	Messages int64 `json:"messages"`

	// Slowest is the longest latency of a reply that came in the interval, in ns; in
	// the last, also of what was owed then.
	Slowest int64 `json:"slowest_ns"`

	// The shares are of one CPU, as in CPU; memory is what the server has resident, in bytes.
	// 0: not known.
	ServerCPU    float64 `json:"server_cpu_share"`
	ClientCPU    float64 `json:"client_cpu_share"`
	ServerMemory int64   `json:"server_memory_bytes"`
}

const (
	shortestInterval = 100 * time.Millisecond
	mostIntervals    = 300
)

// intervalOf divides a window into no more than mostIntervals.
func intervalOf(window time.Duration) time.Duration {
	return max(shortestInterval, (window / mostIntervals).Round(shortestInterval))
}

// tick is what one recorder knows of an interval.
type tick struct {
	messages int64
	slowest  int64
}

// tickAt returns the interval in which now lies, of a window that began at from.
func (r *recorder) tickAt(now, from int64) *tick {
	i := int((now - from) / int64(r.interval))
	for len(r.ticks) <= i {
		r.ticks = append(r.ticks, tick{})
	}
	return &r.ticks[i]
}

// addSeries makes points of what the recorders and the samples have.
func (s *session) addSeries(r *Result) {
	samples := append([]sample{s.before}, s.samples...)
	for i, at := range samples[1:] {
		before := samples[i]
		span := float64(at.at - before.at)
		p := Point{End: at.at - s.before.at, ServerMemory: at.memory}
		p.ServerCPU = float64(at.server.since(before.server).ns) / span
		p.ClientCPU = float64(at.client.since(before.client).ns) / span
		last := i == len(samples)-2 // it is shut somewhat late, and has what came until then
		for _, rec := range s.recorders {
			for j := i; j < len(rec.ticks) && (j == i || last); j++ {
				p.Messages += rec.ticks[j].messages
				p.Slowest = max(p.Slowest, rec.ticks[j].slowest)
			}
		}
		r.Series = append(r.Series, p)
	}
}
