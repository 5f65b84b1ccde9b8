// Command coder is an echo or fan-out server on plain coder/websocket, set up for speed:
// messages are read into a buffer that each connection keeps, where Conn.Read
// would make one for each message, and written by Conn.Write as a single frame.
// Contexts are never cancelled, which spares a timer for each call; compression is
// off by default. A fan-out writes to every connection from the goroutine that has
// read the message: the library has no prepared messages, and its chat
// example's goroutine for each member costs a switch for each delivery.
//
// Package peer says how it is run.
package main

import (
	"bytes"
	"context"
	"net/http"

	"github.com/coder/websocket"

	"github.com/penstock-ws/penstock/bench/peers/peer"
)

func main() {
	peer.Main("coder",
		peer.Mode{Name: "echo", Handler: func() http.Handler { return upgrade(echo) }},
		peer.Mode{Name: "fanout", Handler: func() http.Handler { return upgrade(new(fanout).serve) }},
	)
}

const messageLimit = 64 << 20 // the default of 32 KiB would refuse the benchmark's larger messages

func upgrade(serve func(*websocket.Conn)) http.HandlerFunc {
	options := &websocket.AcceptOptions{InsecureSkipVerify: true} // any origin
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil {
			return // coder has answered
		}
		defer conn.CloseNow()
		conn.SetReadLimit(messageLimit)
		serve(conn)
	}
}

// echo answers every message with itself.
func echo(conn *websocket.Conn) {
	readAll(conn, func(kind websocket.MessageType, message []byte) error {
		return conn.Write(context.Background(), kind, message)
	})
}

// fanout sends every message to all connections.
type fanout struct{ room peer.Room[*websocket.Conn] }

func (f *fanout) serve(conn *websocket.Conn) {
	f.room.Join(conn)
	defer f.room.Leave(conn)
	readAll(conn, func(kind websocket.MessageType, message []byte) error {
		// A write that fails is the matter of the connection's reader.
		f.room.Each(func(to *websocket.Conn) { _ = to.Write(context.Background(), kind, message) })
		return nil
	})
}

// readAll hands on every message, valid until handle returns, until the
// connection ends.
func readAll(conn *websocket.Conn, handle func(websocket.MessageType, []byte) error) {
	var message bytes.Buffer
	for {
		kind, r, err := conn.Reader(context.Background())
		if err != nil {
			return
		}
		message.Reset()
		if _, err := message.ReadFrom(r); err != nil {
			return
		}
		if handle(kind, message.Bytes()) != nil {
			return
		}
	}
}
