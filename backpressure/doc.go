// Package backpressure decides what happens when a WebSocket peer is slower
// than the program that sends to it.
//
// Its one type of weight is [Queue], the outbound side of one connection. It
// encodes messages into frames, keeps them in order, bounds them in bytes, lets
// control frames pass data, cuts large messages into fragments, and writes to
// the socket without ever making a sender wait for it.
//
// # The writer
//
// There is no writer goroutine per connection. The queue is a state machine
// under one mutex:
//
//	idle ──send──▶ writing ──everything taken──▶ idle
//	                  │
//	                  └─socket full, or enough done─▶ waiting ──Resume──▶ writing
//
// Whoever sends on an idle queue becomes its owner, leaves the mutex, and
// offers the bytes to the socket without blocking. Others only append. What the
// socket does not take waits for [Wire.Await] to bring a call of
// [Queue.Resume]: from a goroutine that lives as long as the congestion does,
// or from an event loop. Only the owner touches the socket, so a slow socket
// never blocks a second sender.
//
// # What happens to messages for which there is no room
//
// A message's [Class] says it: it is refused, dropped, makes the oldest of its class
// go, or ends the connection. A message may also have a time to live, or a key under
// which a newer one takes its place, and what has been dropped may leave a gap that
// the peer sees. A message of which the socket has taken a byte is always finished.
//
// # Memory
//
// Each queue bounds the bytes pending for its peer. A [Budget] bounds what all of
// them hold together, buffers and bookkeeping included: each holder asks its
// [Account] first, and those that hold much are refused before those that hold
// little.
//
// # What it refuses to do
//
// It starts no goroutine and sets no deadline, and reads the clock only while
// messages that may be dropped are waiting: a [Wire] does the
// waiting, and the engine above watches [Queue.Status] to end a connection
// that makes none. It knows nothing of rooms, users or messages of an
// application.
package backpressure
