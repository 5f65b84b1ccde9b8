// Command gws is an echo or fan-out server on plain gws, set up for speed: its handlers
// run in the read loop, and nothing is compressed, checked or limited beyond
// gws's defaults. A fan-out goes through gws's Broadcaster, which encodes a message
// once and leaves writing it to the write queue of each connection.
//
// Package peer says how it is run.
package main

import (
	"net/http"

	"github.com/lxzan/gws"

	"github.com/penstock-ws/penstock/bench/peers/peer"
)

func main() {
	peer.Main("gws",
		peer.Mode{Name: "echo", Handler: func() http.Handler { return upgrade(echo{}) }},
		peer.Mode{Name: "fanout", Handler: func() http.Handler { return upgrade(&fanout{}) }},
	)
}

// upgrade returns the handler that gws's README recommends: the read loop on a
// goroutine of its own, so that net/http's request can be collected.
func upgrade(events gws.Event) http.HandlerFunc {
	u := gws.NewUpgrader(events, &gws.ServerOption{
		ParallelEnabled: false, // a goroutine per message costs more than an echo
	})
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := u.Upgrade(w, r)
		if err != nil {
			return // gws has answered
		}
		go conn.ReadLoop() // until the connection ends
	}
}

// echo answers every message with itself.
type echo struct{ gws.BuiltinEventHandler }

func (echo) OnMessage(conn *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = conn.WriteMessage(message.Opcode, message.Bytes())
}

// fanout sends every message to all connections.
type fanout struct {
	gws.BuiltinEventHandler
	room peer.Room[*gws.Conn]
}

func (f *fanout) OnOpen(conn *gws.Conn)           { f.room.Join(conn) }
func (f *fanout) OnClose(conn *gws.Conn, _ error) { f.room.Leave(conn) }

func (f *fanout) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	b := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer b.Close()
	f.room.Each(func(conn *gws.Conn) { _ = b.Broadcast(conn) })
}
