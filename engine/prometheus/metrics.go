package penstockprometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-ws/penstock/engine"
)

// A figure is a metric without labels.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*engine.Stats) float64
}

// A family is a metric with labels.
type family struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	samples func(*collector, *engine.Stats) []sample
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

// Each text ends with the unit.
var figures = []figure{
	{desc("connections", "Connections that are open now. Unit: connections."), gauge,
		func(s *engine.Stats) float64 { return float64(s.Connections) }},
	{desc("connections_opened_total", "Connections that have been opened. Unit: connections."), counter,
		func(s *engine.Stats) float64 { return float64(s.Opened) }},
	{desc("messages_received_total", "Data messages that have been received and handed over. Unit: messages."), counter,
		func(s *engine.Stats) float64 { return float64(s.MessagesIn) }},
	{desc("received_bytes_total", "Payload of the data messages that have been received. Unit: bytes."), counter,
		func(s *engine.Stats) float64 { return float64(s.BytesIn) }},
	{desc("messages_sent_total", "Data messages that have been taken for sending, once for each receiver. Unit: messages."), counter,
		func(s *engine.Stats) float64 { return float64(s.MessagesOut) }},
	{desc("sent_bytes_total", "What sockets have taken, frame headers and control frames included. Unit: bytes."), counter,
		func(s *engine.Stats) float64 { return float64(s.BytesOut) }},
	{desc("pending_bytes", "What is queued for peers now, over all connections. Unit: bytes."), gauge,
		func(s *engine.Stats) float64 { return float64(s.Pending) }},
	{desc("congested_connections", "Connections now whose peer is too slow: sends are refused, and nothing is read. Unit: connections."), gauge,
		func(s *engine.Stats) float64 { return float64(s.Congested) }},
	{desc("pool_waiting_connections", "Connections with messages that wait for a worker now. Unit: connections."), gauge,
		func(s *engine.Stats) float64 { return float64(s.Runnable) }},
	{desc("budget_used_bytes", "What is used of the memory budget now, by all engines that share it. Unit: bytes."), gauge,
		func(s *engine.Stats) float64 { return float64(s.BudgetUsed) }},
	{desc("budget_limit_bytes", "The memory budget; 0 if there is none. Unit: bytes."), gauge,
		func(s *engine.Stats) float64 { return float64(s.BudgetLimit) }},
	{desc("background_functions", "Functions given to Conn.Go that run now. Unit: functions."), gauge,
		func(s *engine.Stats) float64 { return float64(s.Background) }},
	{desc("panics_total", "Callbacks that have panicked or called runtime.Goexit. Unit: callbacks."), counter,
		func(s *engine.Stats) float64 { return float64(s.Panics) }},
}

var families = []family{
	{desc("upgrades_refused_total", "Requests that have not been upgraded, by reason. Unit: requests.", "reason"), counter,
		(*collector).refusals},
	{desc("closes_total", "Connections that have ended, by close code (RFC 6455 §7.4) and by what began the end. Unit: connections.", "code", "cause"), counter,
		(*collector).closes},
	{desc("dropped_messages_total", "Messages that have been dropped because a peer was too slow, by policy. Unit: messages.", "policy"), counter,
		(*collector).drops},
	{desc("pool_workers", "Workers of the pool now, by state: the sum is how many may run. Unit: workers.", "state"), gauge,
		(*collector).workers},
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

const namespace = "penstock_"
