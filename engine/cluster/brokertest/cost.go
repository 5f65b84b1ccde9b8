package brokertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/penstock-ws/penstock/engine/cluster"
	"github.com/penstock-ws/penstock/frame"
)

// Cost measures how long a message takes from a publisher on one node to a client of
// another, in a room that has members there alone (cross) and in one that has a member on
// each (both), against the way from connection to connection of the broker without nodes,
// and to a client of the same node. The four take turns.
func Cost(b *testing.B, h Harness) {
	m, other := serve(b, h.New(b), nil), serve(b, h.New(b), nil)
	here, there := m.client("room=near&room=both"), other.client("room=far&room=both")
	m.waitLive("near", "both")
	other.waitLive("far", "both")
	from, to := open(b, h.New(b)).join("running.probe"), h.New(b)
	arrived := make(chan struct{}, 1)
	live := make(chan struct{}, 1)
	to.Subscribe("raw")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // until cancel
		defer close(ended)
		to.Run(ctx, cluster.Events{
			Received: func(cluster.Message) { arrived <- struct{}{} }, Live: func(string) { live <- struct{}{} }, Lost: func(error) {},
		})
	}()
	defer func() { cancel(); <-ended }()
	<-live
	payload := make([]byte, 128)
	var raw, cross, both, local []time.Duration
	timed := func(list *[]time.Duration, do func()) {
		began := time.Now()
		do()
		*list = append(*list, time.Since(began))
	}
	read := func(ws *websocket.Conn) {
		_, _, err := ws.ReadMessage()
		require.NoError(b, err)
	}
	for b.Loop() {
		timed(&raw, func() {
			_, err := from.Publish(ctx, []cluster.Message{{Channel: "raw", Payload: payload}})
			require.NoError(b, err)
			<-arrived
		})
		timed(&cross, func() {
			_, err := m.node.Room("far").Broadcast(ctx, frame.Binary, payload)
			require.NoError(b, err)
			read(there)
		})
		timed(&both, func() {
			_, err := m.node.Room("both").Broadcast(ctx, frame.Binary, payload)
			require.NoError(b, err)
			read(there)
		})
		read(here)
		timed(&local, func() {
			_, err := m.node.Hub().Room("near").Broadcast(ctx, frame.Binary, payload)
			require.NoError(b, err)
			read(here)
		})
	}
	p50 := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2].Nanoseconds()) / 1000
	}
	b.ReportMetric(p50(raw), "broker-p50-µs")
	b.ReportMetric(p50(cross), "cross-p50-µs")
	b.ReportMetric(p50(both), "both-p50-µs")
	b.ReportMetric(p50(local), "local-p50-µs")
	b.ReportMetric((p50(cross)-p50(local))/p50(raw), "added/broker")
}

// client is a connection that the benchmark reads.
func (m *member) client(query string) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(m.url+"?"+query, nil)
	require.NoError(m.t, err)
	m.t.Cleanup(func() { _ = ws.Close() })
	return ws
}
