// Command gorilla is an echo or fan-out server on plain gorilla/websocket. A fan-out
// is encoded once, as a PreparedMessage, and there are two ways to write it:
//
//   - fanout: the reader of the message writes to every connection itself. One that
//     does not read blocks everybody.
//   - fanout-queued: a goroutine for each connection writes what it gets over a
//     channel, as in gorilla's chat example; a connection whose channel is full is closed.
//
// Package peer says how it is run.
package main

import (
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/penstock-ws/penstock/bench/peers/peer"
)

func main() {
	peer.Main("gorilla",
		peer.Mode{Name: "echo", Handler: func() http.Handler { return upgrade(echo) }},
		peer.Mode{Name: "fanout", Handler: func() http.Handler { return upgrade(new(direct).serve) }},
		peer.Mode{Name: "fanout-queued", Handler: func() http.Handler { return upgrade(new(queued).serve) }},
	)
}

// upgrade returns a handler that serves each connection on net/http's
// goroutine. Compression is off by default, and so are write deadlines, which would
// cost a timer for each write.
func upgrade(serve func(*websocket.Conn)) http.HandlerFunc {
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := u.Upgrade(w, r, nil)
		if err != nil {
			return // gorilla has answered
		}
		defer conn.Close()
		serve(conn)
	}
}

// echo answers every message with itself.
func echo(conn *websocket.Conn) {
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// readAll hands on every message, encoded once, until the connection ends.
func readAll(conn *websocket.Conn, broadcast func(*websocket.PreparedMessage)) {
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		prepared, err := websocket.NewPreparedMessage(kind, message)
		if err != nil {
			return
		}
		broadcast(prepared)
	}
}

// direct writes to all from the goroutine that has read the message.
type direct struct{ room peer.Room[*websocket.Conn] }

func (d *direct) serve(conn *websocket.Conn) {
	d.room.Join(conn)
	defer d.room.Leave(conn)
	readAll(conn, func(m *websocket.PreparedMessage) {
		// A write that fails is the matter of the connection's reader.
		d.room.Each(func(to *websocket.Conn) { _ = to.WritePreparedMessage(m) })
	})
}

// queued leaves the writing to a goroutine for each connection.
type queued struct{ room peer.Room[member] }

// member is a connection and its queue.
type member struct {
	conn  *websocket.Conn
	queue chan *websocket.PreparedMessage
}

const queueLength = 256 // as in gorilla's chat example

func (q *queued) serve(conn *websocket.Conn) {
	m := member{conn, make(chan *websocket.PreparedMessage, queueLength)}
	go m.write() // until the queue is closed
	q.room.Join(m)
	defer close(m.queue)
	defer q.room.Leave(m)
	readAll(conn, func(p *websocket.PreparedMessage) { q.room.Each(func(to member) { to.send(p) }) })
}

func (m member) send(p *websocket.PreparedMessage) {
	select {
	case m.queue <- p:
	default:
		m.conn.Close() // too slow; the reader does the rest
	}
}

func (m member) write() {
	for p := range m.queue {
		if m.conn.WritePreparedMessage(p) != nil {
			m.conn.Close()
		}
	}
}
