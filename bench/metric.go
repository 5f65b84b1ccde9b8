package bench

import (
	"fmt"
	"math"
)

// Metric is a figure by which two files are compared. Its zero value is none.
type Metric uint8

// The metrics. Of a fan-out CPU and throughput are those of deliveries.
const (
	// MetricServerCPUAdjusted is MetricServerCPU less what the client's CPU per message
	// accounts for. The client does the same work in both files, so that it tells how fast the
	// machine was; see docs/benchmarks.md for what that cannot tell.
	MetricServerCPUAdjusted Metric = iota + 1
	MetricServerCPU
	MetricClientCPU
	MetricThroughput
	MetricP50
	MetricP99
	MetricP999
	MetricServerMemory // the most that was resident at an interval's end; in an Idle, of each connection
	metricEnd
)

var metricNames = [metricEnd]string{
	"", "server-cpu-adjusted", "server-cpu", "client-cpu", "throughput", "p50", "p99", "p99.9", "server-memory",
}

// Metrics returns all metrics, in the order in which they are reported.
func Metrics() []Metric {
	var all []Metric
	for m := Metric(1); m < metricEnd; m++ {
		all = append(all, m)
	}
	return all
}

// String returns the metric's name, as it stands in JSON and on the command line.
func (m Metric) String() string {
	if m < metricEnd {
		return metricNames[m]
	}
	return fmt.Sprintf("Metric(%d)", uint8(m))
}

// MarshalText returns the metric's name.
func (m Metric) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a metric's name.
func (m *Metric) UnmarshalText(text []byte) error {
	for _, known := range Metrics() {
		if known.String() == string(text) {
			*m = known
			return nil
		}
	}
	return fmt.Errorf("bench: unknown metric %q", text)
}

// moreIsBetter tells in which direction the metric gets worse.
func (m Metric) moreIsBetter() bool { return m == MetricThroughput }

// title names the metric for people, for results of which some are fan-outs.
func (m Metric) title(deliveries bool) string {
	unit := "message"
	if deliveries {
		unit = "delivery"
	}
	switch m {
	case MetricServerCPUAdjusted:
		return "server CPU, adjusted"
	case MetricServerCPU:
		return "server CPU/" + unit
	case MetricClientCPU:
		return "client CPU/" + unit
	case MetricThroughput:
		if deliveries {
			return "deliveries/s"
		}
		return "messages/s"
	case MetricServerMemory:
		return "server memory"
	default:
		return "latency " + m.String()
	}
}

// format writes a figure of the metric in its unit.
func (m Metric) format(x float64) string {
	switch m {
	case MetricServerCPUAdjusted:
		return ""
	case MetricServerCPU, MetricClientCPU:
		return grouped(x) + " ns"
	case MetricThroughput:
		return grouped(x)
	case MetricServerMemory:
		if x < 1<<20 {
			return digits3(x/(1<<10)) + " KiB"
		}
		return digits3(x/(1<<20)) + " MiB"
	default:
		return duration(int64(x))
	}
}

// of returns r's figure; 0 if it is not known. That of MetricServerCPUAdjusted is
// the server's CPU, unadjusted.
func (m Metric) of(r *Result) float64 {
	switch m {
	case MetricServerCPUAdjusted, MetricServerCPU:
		return perUnit(r, r.ServerCPU, r.ServerCPUPerDelivery)
	case MetricClientCPU:
		return perUnit(r, r.ClientCPU, r.ClientCPUPerDelivery)
	case MetricThroughput:
		if r.Deliveries > 0 {
			return r.DeliveriesPerSecond
		}
		return r.MessagesPerSecond
	case MetricP50:
		return float64(r.Latency.P50)
	case MetricP99:
		return float64(r.Latency.P99)
	case MetricP999:
		return float64(r.Latency.P999)
	case MetricServerMemory:
		if r.Memory != nil {
			return r.Memory.User
		}
		return float64(r.peakMemory())
	}
	return 0
}

func perUnit(r *Result, perMessage, perDelivery *float64) float64 {
	if r.Deliveries > 0 {
		perMessage = perDelivery
	}
	if perMessage == nil {
		return 0
	}
	return *perMessage
}

// blocks returns the figure of count equal parts of r's window; nil if the series
// does not have it or is too short. Intervals are averaged into blocks because neighbours resemble
// each other: as samples of their own they would feign a certainty that is not there.
func (m Metric) blocks(r *Result, count int) (figures []float64) {
	if len(r.Series) < 2*count {
		return nil
	}
	for i := range count {
		from, to := len(r.Series)*i/count, len(r.Series)*(i+1)/count
		figures = append(figures, m.ofPart(r.Series, from, to))
	}
	return figures
}

// ofPart is the figure of the intervals from from to to, per message; 0 if not known.
func (m Metric) ofPart(series []Point, from, to int) float64 {
	var messages, server, client float64 // the CPU in ns
	begin, end := int64(0), int64(0)
	if from > 0 {
		begin = series[from-1].End
	}
	end = begin
	for _, p := range series[from:to] {
		span := float64(p.End - end)
		end = p.End
		messages += float64(p.Messages)
		server += p.ServerCPU * span
		client += p.ClientCPU * span
	}
	switch {
	case messages == 0 || end <= begin:
		return 0
	case m == MetricServerCPU || m == MetricServerCPUAdjusted:
		return server / messages
	case m == MetricClientCPU:
		return client / messages
	case m == MetricThroughput:
		return messages / (float64(end-begin) / 1e9)
	}
	return 0
}

// logOf is the logarithm of a figure that is known.
func logOf(x float64) (log float64, known bool) {
	known = x > 0 && !math.IsInf(x, 0)
	return math.Log(x), known
}
