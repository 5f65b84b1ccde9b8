package bench

import (
	"fmt"
	"maps"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What latency was counted from; see Echo and Pace.
const (
	ClosedLoop = "closed loop"
	OpenLoop   = "open loop"
	BothLoops  = "closed and open loop" // of groups that differ
)

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

	// Owed is how many messages of an open loop were due before the window's end and had
	// not come by then. They are not among Messages; their wait until then is in the latency.
	Owed int64 `json:"owed"`

	// Uncompressed is how many replies to compressed messages came uncompressed.
	Uncompressed int64 `json:"uncompressed,omitempty"`

	// Groups are the figures of each group of a Mixed.
	Groups []GroupResult `json:"groups,omitempty"`

	// Beside tells what became of hostile peers.
	Beside []HostileResult `json:"beside,omitempty"`

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

	// Memory is what a connection takes; nil in other scenarios than Idle.
	Memory *Memory `json:"memory,omitempty"`

	// Settings are what the run was told, under the names of the command's
	// flags. A caller adds its own.
	Settings map[string]any `json:"settings"`
	Machine  Machine        `json:"machine"`
}

// GroupResult is what one group of connections measured: its part of the Result's
// figures of the same names.
type GroupResult struct {
	Name              string         `json:"name"`
	Messages          int64          `json:"messages"`
	MessagesPerSecond float64        `json:"messages_per_second"`
	LatencyMode       string         `json:"latency_mode"`
	Latency           Latency        `json:"latency_ns"`
	Histogram         string         `json:"latency_histogram"`
	Owed              int64          `json:"owed"`
	Settings          map[string]any `json:"settings"`
}

// Latency holds percentiles in nanoseconds, to three digits; Max is exact.
type Latency struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

// What carries connections; see CPU.Driver.
const (
	driverEpoll      = "epoll"
	driverGoroutines = "goroutines"
)

// CPU tells how much CPU the window took and how that was read. The shares are
// of one CPU: 1 is a CPU in full use, 2 are two.
type CPU struct {
	Server      float64 `json:"server_share"`
	Client      float64 `json:"client_share"`
	ServerClock string  `json:"server_clock"` // empty: not known
	ClientClock string  `json:"client_clock"`
	Driver      string  `json:"client_driver"` // what carried the connections: epoll or goroutines
	Loops       int     `json:"client_loops"`  // epoll loops, or groups of goroutines
	ClientCPUs  int     `json:"client_cpus"`   // that the client's threads could use at a time
}

// result makes the Result of what has been recorded.
func (s *session) result(cancelled bool) *Result {
	span := s.after.at - s.before.at
	r := &Result{
		Scenario: s.name,
		Started:  s.started,
		Partial:  cancelled || span < int64(s.plan.duration),
		WindowNS: span,
		Failures: s.failures.list(),
		Settings: s.settings(),
		Machine:  ThisMachine(),
	}
	for _, f := range r.Failures {
		r.Errors += f.Count
	}
	s.addGroups(r)
	s.addCPU(r)
	s.addSeries(r)
	for _, h := range s.hostile {
		r.Beside = append(r.Beside, h.result)
	}
	r.Name = s.load()
	return r
}

// settings are what the run was told; of a Mixed, each group has its own besides.
func (s *session) settings() map[string]any {
	set := make(map[string]any)
	if len(s.plan.groups) == 1 && s.told == nil {
		set = s.plan.groups[0].settings()
	}
	if len(s.plan.groups) > 0 {
		set["warmup"], set["duration"] = s.plan.warmup.String(), s.plan.duration.String()
	}
	set["url"] = s.target.URL
	for _, h := range s.plan.beside {
		before, _ := set["beside_"+h.Kind.String()].(int)
		set["beside_"+h.Kind.String()] = before + h.Count
	}
	maps.Copy(set, s.told)
	maps.Copy(set, s.extra)
	return set
}

// besideMark stands in a Result's Name between what is measured and each kind of
// hostile peers.
const besideMark = "; beside "

// load says in words what was sent; it is the Result's Name.
func (s *session) load() string {
	groups := s.plan.groups
	text := s.name + ": "
	switch {
	case s.fans():
		text += fmt.Sprintf("%d connections", groups[0].Connections)
		if n := s.extra["stalled"]; n != 0 {
			text += fmt.Sprintf(" and %v stalled", n)
		}
		if n := len(s.sources); n > 1 {
			text += fmt.Sprintf(" in %d rooms, ", n) + groups[0].heading("from one of each room")
		} else {
			text += ", " + groups[0].heading("from one of them")
		}
	case len(groups) == 1:
		text += fmt.Sprintf("%d connections, ", groups[0].Connections) + groups[0].heading("on each")
	default:
		for i, g := range groups {
			if i > 0 {
				text += "; "
			}
			text += fmt.Sprintf("%s: %d connections, ", g.Name, g.Connections) + g.heading("on each")
		}
	}
	for _, h := range s.plan.beside {
		text += fmt.Sprintf(besideMark+"%d %v", h.Count, h.Kind)
	}
	return text
}

// addGroups adds what the recorders have of each group, and of all.
func (s *session) addGroups(r *Result) {
	seconds := time.Duration(r.WindowNS).Seconds()
	var all tally
	all.latency = newHistogram()
	for i := range s.plan.groups {
		of := s.tally(i)
		group := s.groupResult(i, of)
		group.MessagesPerSecond = perSecond(of.messages, seconds)
		r.Groups = append(r.Groups, group)
		all.merge(of)
		switch r.LatencyMode {
		case "", group.LatencyMode:
			r.LatencyMode = group.LatencyMode
		default:
			r.LatencyMode = BothLoops
		}
	}
	for _, rec := range s.recorders {
		r.Uncompressed += rec.plains
	}
	r.Messages, r.Owed = all.messages, all.owed
	r.MessagesPerSecond = perSecond(r.Messages, seconds)
	r.Latency, r.Histogram = latencyOf(all.latency, all.longest)
	if s.fans() {
		r.Deliveries = all.latency.TotalCount()
		r.DeliveriesPerSecond = perSecond(r.Deliveries, seconds)
	}
	if len(r.Groups) == 1 {
		r.Groups = nil
	}
}

// tally is what all recorders have of a group.
func (s *session) tally(group int) tally {
	all := tally{latency: newHistogram()}
	for _, rec := range s.recorders {
		all.merge(rec.groups[group])
	}
	return all
}

func (s *session) groupResult(i int, of tally) GroupResult {
	g := s.plan.groups[i]
	r := GroupResult{Name: g.Name, Messages: of.messages, Owed: of.owed, LatencyMode: g.mode(), Settings: g.settings()}
	r.Latency, r.Histogram = latencyOf(of.latency, of.longest)
	return r
}

func perSecond(n int64, seconds float64) float64 {
	if seconds == 0 {
		return 0
	}
	return float64(n) / seconds
}

// latencyOf returns what h holds, in figures and encoded.
func latencyOf(h *hdrhistogram.Histogram, longest int64) (Latency, string) {
	if h.TotalCount() == 0 {
		return Latency{}, ""
	}
	at := func(p float64) int64 { return min(h.ValueAtPercentile(p), longest) }
	// Encode writes to memory and does not fail.
	encoded, _ := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return Latency{P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: longest}, string(encoded)
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
		ClientCPUs:  runtime.GOMAXPROCS(0),
	}
	if r.WindowNS > 0 {
		r.CPU.Server = float64(server.ns) / float64(r.WindowNS)
		r.CPU.Client = float64(client.ns) / float64(r.WindowNS)
	}
}
