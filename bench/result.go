package bench

import (
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ClosedLoop labels latency that was measured in a closed loop; see Echo.
const ClosedLoop = "closed loop"

// Result is what a run measured.
type Result struct {
	// Name tells results apart that are compared with others of the same name: runs of
	// one scenario with the same load. Round counts those in one file, from 0.
	Name  string `json:"name"`
	Round int    `json:"round"`

	Scenario string    `json:"scenario"`
	Started  time.Time `json:"started"`

	// Partial: the run ended before its window did, by cancellation or because no
	// connection was left. What is here is true of the shorter window.
	Partial bool `json:"partial"`

	WindowNS          int64   `json:"window_ns"` // length of the counted window
	Messages          int64   `json:"messages"`  // completed inside the window
	MessagesPerSecond float64 `json:"messages_per_second"`

	// Deliveries are a fan-out's messages, counted at every connection that
	// received them inside the window; 0 in other scenarios.
	Deliveries          int64   `json:"deliveries,omitempty"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second,omitempty"`

	// LatencyMode says what the latencies were counted from. In a fan-out each
	// delivery counts, at whichever connection; stalled ones have none.
	LatencyMode string  `json:"latency_mode"`
	Latency     Latency `json:"latency_ns"`

	// Histogram holds the latencies in nanoseconds: an HdrHistogram, V2
	// compressed, base64; empty without messages.
	Histogram string `json:"latency_histogram"`

	// ServerCPU and ClientCPU are nanoseconds of CPU time per message, user and system;
	// nil if it cannot be known.
	ServerCPU *float64 `json:"server_cpu_ns_per_message"`
	ClientCPU *float64 `json:"client_cpu_ns_per_message"`

	// The same per delivery; nil in other scenarios than a fan-out.
	ServerCPUPerDelivery *float64 `json:"server_cpu_ns_per_delivery,omitempty"`
	ClientCPUPerDelivery *float64 `json:"client_cpu_ns_per_delivery,omitempty"`

	CPU CPU `json:"cpu"`

	// Series is the window in intervals of the same length; the last may be shorter.
	Series []Point `json:"series"`

	Errors   int        `json:"errors"`   // connections that failed
	Failures []Failures `json:"failures"` // by kind

	// Settings are what the run was told, under the names of the command's
	// flags. A caller adds its own.
	Settings map[string]any `json:"settings"`
	Machine  Machine        `json:"machine"`
}

// Latency holds percentiles in nanoseconds, to three digits; Max is exact.
type Latency struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

// CPU tells how much CPU the window took and how that was read. The shares are
// of one CPU: 1 is a CPU in full use, 2 are two.
type CPU struct {
	Server      float64 `json:"server_share"`
	Client      float64 `json:"client_share"`
	ServerClock string  `json:"server_clock"` // empty: not known
	ClientClock string  `json:"client_clock"`
	Driver      string  `json:"client_driver"` // what carried the connections
	Loops       int     `json:"client_loops"`  // epoll loops, or groups of goroutines
}

// result makes the Result of what has been recorded.
func (s *session) result(cancelled bool) *Result {
	span := s.after.at - s.before.at
	settings := s.cfg.settings()
	settings["url"] = s.target.URL
	maps.Copy(settings, s.extra)
	r := &Result{
		Scenario:    s.name,
		Started:     s.started,
		Partial:     cancelled || span < int64(s.cfg.Duration),
		WindowNS:    span,
		LatencyMode: ClosedLoop,
		Failures:    s.failures.list(),
		Settings:    settings,
		Machine:     thisMachine(),
	}
	for _, f := range r.Failures {
		r.Errors += f.Count
	}
	s.addLatency(r)
	s.addCPU(r)
	s.addSeries(r)
	r.Name = r.load()
	return r
}

func (s *session) addLatency(r *Result) {
	all := newHistogram()
	for _, rec := range s.recorders {
		all.Merge(rec.latency)
		r.Messages += rec.messages
		r.Latency.Max = max(r.Latency.Max, rec.longest)
	}
	if all.TotalCount() == 0 {
		return
	}
	seconds := time.Duration(r.WindowNS).Seconds()
	r.MessagesPerSecond = float64(r.Messages) / seconds
	if s.source != nil {
		r.Deliveries = all.TotalCount()
		r.DeliveriesPerSecond = float64(r.Deliveries) / seconds
	}
	quantile := func(p float64) int64 { return min(all.ValueAtPercentile(p), r.Latency.Max) }
	r.Latency.P50, r.Latency.P90 = quantile(50), quantile(90)
	r.Latency.P99, r.Latency.P999 = quantile(99), quantile(99.9)
	// Writes to memory and does not fail.
	encoded, _ := all.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	r.Histogram = string(encoded)
}

func (s *session) addCPU(r *Result) {
	server := s.after.server.since(s.before.server)
	client := s.after.client.since(s.before.client)
	r.ServerCPU, r.ClientCPU = server.per(r.Messages), client.per(r.Messages)
	r.ServerCPUPerDelivery, r.ClientCPUPerDelivery = server.per(r.Deliveries), client.per(r.Deliveries)
	r.CPU = CPU{
		ServerClock: s.server.name,
		ClientClock: s.client.name,
		Driver:      s.driver,
		Loops:       len(s.recorders),
	}
	if r.WindowNS > 0 {
		r.CPU.Server = float64(server.ns) / float64(r.WindowNS)
		r.CPU.Client = float64(client.ns) / float64(r.WindowNS)
	}
}
