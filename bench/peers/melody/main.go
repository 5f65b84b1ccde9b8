// Command melody is an echo or fan-out server on plain melody, with its default
// configuration but for a message limit that lets the benchmark's messages pass and
// a buffer that holds the deepest of its pipelines.
//
// Package peer says how it is run.
package main

import (
	"net/http"

	"github.com/olahol/melody"

	"github.com/penstock-ws/penstock/bench/peers/peer"
)

func main() {
	peer.Main("melody",
		peer.Mode{Name: "echo", Handler: func() http.Handler { return upgrade(echo) }},
		peer.Mode{Name: "fanout", Handler: func() http.Handler { return upgrade(fanout) }},
	)
}

// upgrade returns a server set up by setUp.
func upgrade(setUp func(*melody.Melody)) http.HandlerFunc {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 20
	m.Config.MessageBufferSize = 1024
	m.Upgrader.CheckOrigin = func(*http.Request) bool { return true }
	setUp(m)
	return func(w http.ResponseWriter, r *http.Request) {
		_ = m.HandleRequest(w, r) // melody has answered
	}
}

func echo(m *melody.Melody) {
	m.HandleMessage(func(s *melody.Session, message []byte) { _ = s.Write(message) })
	m.HandleMessageBinary(func(s *melody.Session, message []byte) { _ = s.WriteBinary(message) })
}

func fanout(m *melody.Melody) {
	m.HandleMessage(func(_ *melody.Session, message []byte) { _ = m.Broadcast(message) })
	m.HandleMessageBinary(func(_ *melody.Session, message []byte) { _ = m.BroadcastBinary(message) })
}
