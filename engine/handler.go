package engine

import (
	"context"
	"net/http"
	"time"

	"github.com/penstock-ws/penstock/backpressure"
	"github.com/penstock-ws/penstock/interceptors"
)

// Message is what a handler receives: see [interceptors.Inbound]. Its Data is
// borrowed, valid until the handler returns; Clone makes a copy to keep.
type Message = interceptors.Inbound

// Handler is what a program does with connections. Every field may be nil.
//
// Unless the endpoint runs inline, the callbacks of one connection never overlap
// and, but for Admit and OnOpen, run on the engine's workers, of which there are
// Config.Workers: what waits for something slow belongs into Conn.Go. OnOpen comes
// before the first message, OnClose after the last, exactly once if OnOpen was
// called.
type Handler struct {
	// Admit may refuse a request before it is upgraded, by returning an error: a
	// *HandshakeError is answered as it says, an interceptors.Refusal with its status,
	// any other with 403. The interceptors have been asked before. What it stores in
	// interceptors.ConnStore of the request's context, Conn.Get returns. It runs on
	// the goroutine of net/http.
	Admit func(r *http.Request) error

	// OnOpen is called when an upgrade is certain, on the goroutine of net/http,
	// and before the response to the handshake leaves: whatever it arranges holds
	// when the client learns that it is connected, and what it sends is the
	// first that the client receives. An error ends the connection, as with
	// OnMessage.
	OnOpen func(ctx context.Context, c *Conn) error

	// OnData is called with the bytes that have been read from the socket, as they came:
	// frames, masked if they are a client's, in pieces of any size, whether they turn out
	// to be legal or not; until the closing handshake. It runs where the connection is
	// read, before what is in them is handled, and may overlap with OnMessage. It must not
	// wait, write to b, or keep it. It is for debugging and accounting.
	OnData func(c *Conn, b []byte)

	// OnMessage is called for each text and binary message, in order. If it is
	// nil, messages wait for Conn.Receive.
	//
	// ctx ends with the connection; it also carries the run's
	// interceptors.Context, which is valid until OnMessage returns.
	//
	// What an error means: an interceptors.Refusal is answered to the peer as
	// a text message {"type":"error","status":…,"message":…}, and with Close ends the
	// connection after it; a *CloseError closes with its code and reason; ErrCongested,
	// which says that a reply was not taken, closes with 1013; ErrDropped does nothing;
	// an error of a connection that is closed already does nothing; any other is logged
	// and closes with 1011. So does a panic.
	OnMessage func(ctx context.Context, c *Conn, m Message) error

	// OnDrain is called when sends that would have returned ErrCongested will not any
	// more: the bytes queued for the peer have fallen to LowWaterBytes after having
	// been above HighWaterBytes, once for each time, or the memory budget has room
	// again.
	OnDrain func(c *Conn)

	// OnDrop is called when messages of a class have been dropped because the peer
	// was too slow: with how many since it was last called, and why.
	OnDrop func(c *Conn, lost backpressure.Lost)

	// OnClose is called when the connection has ended: its socket is closed and
	// the functions given to Go have returned. err says how it ended; it is never
	// nil.
	OnClose func(c *Conn, err *CloseError)
}

// Endpoint is one use of an engine: a handler and how it is run. Engine.Endpoint
// makes an http.Handler of it.
type Endpoint struct {
	Handler Handler

	// Inline runs OnMessage on the goroutine that reads the
	// connection, without a worker: the shortest way, for handlers that never
	// block. Without event loops a blocking one delays only its own connection, but
	// pings to it are not answered meanwhile; OnDrain and OnDrop may overlap with
	// OnMessage then. With IOLoops all callbacks but OnOpen run on the connection's loop, one
	// at a time; one that blocks delays every connection of its loop.
	// SendWait, SendStream and Drain return ErrOnLoop there. It means nothing where there is no
	// OnMessage.
	Inline bool

	// SendClass, unless nil, replaces that of Config.
	SendClass *backpressure.Class

	// Interceptors follow those of Config.
	Interceptors []interceptors.Interceptor

	// PingInterval and IdleTimeout, unless zero, replace those of Config; negative:
	// never. IdleTimeout must be more than PingInterval. Less than a second is not exact.
	PingInterval time.Duration
	IdleTimeout  time.Duration

	// Subprotocols that the endpoint speaks, the preferred first. The first that
	// the client offers is chosen; if there is none, none is (RFC 6455 §4.2.2).
	Subprotocols []string
}
