package bench

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sampleResult() *Result {
	cpu := 4321.5
	return &Result{
		Name: "echo", Scenario: "echo", WindowNS: 5e9, Messages: 1234567, MessagesPerSecond: 246913.4,
		LatencyMode: ClosedLoop, Latency: Latency{P50: 950, P90: 12_345, P99: 1_234_567, P999: 123_456_789, Max: 2e9},
		ServerCPU: &cpu, Failures: []Failures{},
		Settings: map[string]any{"connections": 100, "pipeline": 1, "payload": 128, "text": false},
	}
}

func TestTable(t *testing.T) {
	r := sampleResult()
	var out strings.Builder
	require.NoError(t, r.WriteTable(&out))
	for _, want := range []string{
		"echo, 5s counted",
		"1,234,567", "246,913", "950 ns", "12.3 µs", "1.23 ms", "123 ms", "2.00 s", "4,322 ns", "closed-loop",
	} {
		require.Contains(t, out.String(), want)
	}
	for _, absent := range []string{"client CPU", "PARTIAL", "FAILED", "limited"} {
		require.NotContains(t, out.String(), absent)
	}

	r.Partial = true
	r.Failures = []Failures{{FailureSequence, 2, "connection 7: reply 5 came twice"}}
	r.CPU = CPU{Client: 0.99, Driver: "epoll", Loops: 1}
	out.Reset()
	require.NoError(t, r.WriteTable(&out))
	for _, want := range []string{"PARTIAL", "FAILED (sequence): 2", "connection 7", "limited the throughput"} {
		require.Contains(t, out.String(), want)
	}
}

// A client that may have been the bottleneck is told, whatever carried the connections.
func TestClientBound(t *testing.T) {
	for want, cpus := range map[bool][]CPU{
		true: {
			{Client: 0.96, Driver: driverEpoll, Loops: 1, ClientCPUs: 2},
			{Client: 1.95, Driver: driverGoroutines, Loops: 8, ClientCPUs: 2},
			{Client: 0.97, Driver: driverGoroutines, Loops: 4, ClientCPUs: 1},
			{Client: 1.2, Server: 0.75, Driver: driverGoroutines, Loops: 8, ClientCPUs: 2},
		},
		false: {
			{},
			{Client: 0.9, Driver: driverEpoll, Loops: 1, ClientCPUs: 2},
			{Client: 1.2, Driver: driverGoroutines, Loops: 8, ClientCPUs: 2},
			{Client: 0.8, Server: 1.15, Driver: driverGoroutines, Loops: 8, ClientCPUs: 2},
			{Client: 1.2, Server: 0.75, Driver: driverGoroutines, Loops: 8},
		},
	} {
		for _, c := range cpus {
			require.Equal(t, want, (&Result{CPU: c}).clientBound() != "", "%+v", c)
		}
	}
}

// A fan-out is told by delivery, and by whom it went to.
func TestFanoutTable(t *testing.T) {
	r := sampleResult()
	perMessage, perDelivery := 4_100_000.0, 4_100.0
	r.Deliveries, r.DeliveriesPerSecond = 98_765_432, 19_753_086
	r.ServerCPU, r.ServerCPUPerDelivery = &perMessage, &perDelivery
	var out strings.Builder
	require.NoError(t, r.WriteTable(&out))
	for _, want := range []string{
		"98,765,432", "19,753,086", "server CPU/delivery    4,100 ns", "every receiver",
	} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "CPU/message")
}

// The name of a Result says what was sent.
func TestResultName(t *testing.T) {
	fanout := Fanout{Connections: 100}.withDefaults()
	for want, s := range map[string]*session{
		"fanout: 100 connections and 3 stalled, 1 in flight from one of them, 128 bytes binary": {
			name: "fanout", sources: []*source{new(source)}, plan: plan{groups: []Group{fanout.group()}}, extra: map[string]any{"stalled": 3},
		},
		"echo: 5 connections, 2 in flight on each, 9 bytes compressed text; beside 10 bomb": {
			name: "echo", plan: plan{groups: []Group{{Connections: 5, InFlight: 2, PayloadBytes: 9, Text: true, Compress: true}}, beside: []Hostile{{HostileBomb, 10}}},
		},
		"mixed: a: 1 connections, 10 messages/s, 9 bytes binary; b: 2 connections, 0.5 rising to 20 (Poisson) messages/s, 9 bytes binary": {
			name: "mixed", plan: plan{groups: []Group{
				{Name: "a", Connections: 1, PayloadBytes: 9, Pace: Pace{Rate: 10, To: 10}},
				{Name: "b", Connections: 2, PayloadBytes: 9, Pace: Pace{Rate: 0.5, To: 20, Poisson: true}},
			}},
		},
	} {
		require.Equal(t, want, s.load())
	}
}

// What is written as JSON can be read back, for reports that are made later.
func TestResultJSON(t *testing.T) {
	r := sampleResult()
	r.Failures = []Failures{{FailureUnanswered, 1, "connection 0: 1 message"}}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var back Result
	require.NoError(t, json.Unmarshal(text, &back))
	back.Settings = r.Settings // numbers come back as float64
	require.Equal(t, r, &back)
	require.Error(t, json.Unmarshal([]byte(`{"failures":[{"kind":"no such"}]}`), &back))
}

func TestGrouped(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 999_999.6: "1,000,000", 12_345_678: "12,345,678", -455: "-455", -1455: "-1,455"} {
		require.Equal(t, want, grouped(x))
	}
}

// A table of several loads says of each line how its latency is to be read, and where a
// column holds something else.
func TestSummary(t *testing.T) {
	closed, open, fanout, idle := sampleResult(), sampleResult(), sampleResult(), sampleResult()
	open.Name, open.LatencyMode = "rate", OpenLoop
	fanout.Name, fanout.Deliveries = "fanout", 5
	idle.Name, idle.LatencyMode, idle.Memory = "idle", "", &Memory{User: 9000}
	var out strings.Builder
	require.NoError(t, WriteSummary(&out, []*Result{closed, open}))
	require.Regexp(t, `closed +echo\n`, out.String())
	require.Regexp(t, `open +rate\n`, out.String())
	require.NotContains(t, out.String(), "Of fan-out")
	require.NotContains(t, out.String(), "Of idle")
	out.Reset()
	require.NoError(t, WriteSummary(&out, []*Result{fanout, idle}))
	require.Contains(t, out.String(), "Of fan-out, messages/s and CPU/message are those of deliveries.")
	require.Contains(t, out.String(), "Of idle, memory is that of one connection")
}
